"""A walk over every door of HTTP, with every role and state of a token, and with every sort of page behind it.

What each may expect follows from the row of the door by the rules of docs/users.md, as tests/accounts/walking.py has
them; that rows are right, and that there is one for each door, is tests/accounts/test_doors.py's to say.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from tests.accounts.walking import (
    EVIL,
    FRIEND,
    MODES,
    PUT_BY_CAMERA,
    PUT_BY_NOBODY,
    WITH_USERS,
    Scene,
    Visitor,
    expected,
    scene,
)

from imageserver.accounts import doors
from imageserver.accounts.doors import HTTP, Door

DOORS = [door for door in doors.DOORS if door.protocol == HTTP]
MOZILLA = {"User-Agent": "Mozilla/5.0"}
FAILED = (429, 500, 502, 503, 504)


@pytest.fixture(scope="module", params=MODES)
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with scene(request.param, tmp_path_factory.mktemp("data")) as found:
        yield found


def path_of(door: Door) -> str:
    """A path through the door; what it names is there where that does no harm, and else is not."""
    number = PUT_BY_CAMERA if door.method == "GET" else PUT_BY_NOBODY
    found = door.path.replace("<model:name>", "echo").replace("<number:identity>", str(number))
    return re.sub(r"<[^>]+>", "1", found)


def passes(status: int) -> bool:
    """Whether the door let somebody through, whatever is behind it."""
    return status not in (401, 403, *FAILED)


def sees_nothing_there(door: Door, visitor: Visitor, mode: str) -> int:
    """The status for whom the picture of the user camera is not to see; 0: they may, or it is no door to it."""
    if mode not in WITH_USERS or visitor.roles is None or str(PUT_BY_CAMERA) not in path_of(door):
        return 0
    if visitor.bound:
        return 404
    return 403 if visitor.roles == {"camera"} and "camera" not in visitor.name else 0


@pytest.mark.parametrize("door", DOORS, ids=lambda door: door.name)
def test_who_may(place: Scene, door: Door) -> None:
    path = path_of(door)
    for visitor in place.visitors:
        if visitor.cookie and door.path == "/logout":
            continue  # it would be their last visit
        refusal = expected(door, place.mode, visitor) or sees_nothing_there(door, visitor, place.mode)
        status = place.client.ask(door.method, path, visitor.headers)
        assert status == refusal if refusal else passes(status), (visitor.name, path, status)
        if visitor.name in ("nobody", "camera") and door.method == "GET" and not door.changes:
            assert place.client.ask("HEAD", path, visitor.headers) == status, (visitor.name, path)


PAGES = {
    "its own": ({}, True),
    "of a friend": ({"Origin": FRIEND}, True),
    "of nobody knows": ({"Origin": EVIL}, False),
    "of another port": ({"Origin": "http://127.0.0.1:1"}, False),
    "without an origin": ({"Origin": "null"}, False),
    "of a name that leads here": ({"Host": "evil.example", "Origin": EVIL}, False),
    "of another site, by a browser that sends no Origin": ({**MOZILLA, "Sec-Fetch-Site": "cross-site"}, False),
    "of the same site, by a browser that sends no Origin": ({**MOZILLA, "Sec-Fetch-Site": "same-site"}, False),
    "of a name that leads here, without Origin": ({**MOZILLA, "Host": "evil.example"}, False),
    "of a name that leads here, with a cookie": ({"Cookie": "a=b", "Host": "evil.example"}, False),
}
"""Headers that come from a page, and whether it may use the server."""


@pytest.mark.parametrize("door", DOORS, ids=lambda door: door.name)
def test_from_where(place: Scene, door: Door) -> None:
    path, visitor = path_of(door), place.visitor("token of all" if place.mode in WITH_USERS else "nobody")
    alone = place.client.ask(door.method, path, visitor.headers)
    for page, (headers, may) in PAGES.items():
        own = {"Origin": place.server.url} if page == "its own" else {}
        status = place.client.ask(door.method, path, {**visitor.headers, **headers, **own})
        if may and (page == "its own" or door.foreign):
            assert status == (405 if is_old_training(door) and alone != 401 else alone), (page, path, status)
            assert place.client.headers.get("Access-Control-Allow-Origin") in ({**headers, **own}["Origin"], None), page
        else:
            assert status in (403, 401), (page, path, status)
            assert "Access-Control-Allow-Origin" not in place.client.headers, page


def is_old_training(door: Door) -> bool:
    """GET …/train is for programs."""
    return door.method == "GET" and door.path.endswith("/train")


@pytest.mark.parametrize("door", DOORS, ids=lambda door: door.name)
def test_a_preflight(place: Scene, door: Door) -> None:
    """It is answered without a login, which browsers do not send with it; pages of others are not."""
    path, asks = path_of(door), {"Access-Control-Request-Method": door.method}
    for origin, may in ((FRIEND, door.foreign), (EVIL, False)):
        status = place.client.ask("OPTIONS", path, {"Origin": origin, **asks})
        allowed = place.client.headers.get("Access-Control-Allow-Methods", "")
        assert (status in (200, 204) and door.method in allowed) is may, (origin, path, status, allowed)
