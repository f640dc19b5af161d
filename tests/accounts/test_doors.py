"""The table of doors is what docs/users.md shows and what there is: each route, event and command has its row.

Who may is said here once more, in the words of docs/users.md: a row that says something else is a mistake in one of
the two, and a new row is one here as well.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from imageserver.accounts import doors, reference
from imageserver.accounts.database import ROLES, User
from imageserver.accounts.doors import COMMAND, EVENT, HTTP, TABLE, Door, DoorTable, Login
from imageserver.app import parts, people
from imageserver.config import reading, table
from imageserver.protocols.legacy_tcp import codes
from imageserver.web import openapi
from imageserver.web.application import Application

ANYBODY: frozenset[str] = frozenset()
"""Any login will do."""
CAMERA, VIEWER, ADMIN = (frozenset({role, "admin"}) for role in ("camera", "viewer", "admin"))

WHO = {
    # health, what there is, and what is said of it
    r"GET (/v2)?/health/(live|ready)": ANYBODY,
    r"GET /|GET /docs|GET /openapi.json|GET /list_nn": ANYBODY,
    r"GET /<model:name>(/about|/train/status|/train/events)?": ANYBODY,
    r"GET /login|GET /pages/(camera.svg|<path:file>)": ANYBODY,
    r"GET /v2|GET /v2/models(/<model:name>(/versions/<version>)?(/ready|/stats)?|/stats)?": ANYBODY,
    # sends pictures
    r"GET /camera": CAMERA,
    r"POST /<model:name>/classify|POST /v2/models/<model:name>(/versions/<version>)?/infer": CAMERA,
    r"(PUT|POST) /snippets/<number:identity>/": CAMERA,
    r"receiveImage|configure|session_start|frame|session_end": CAMERA,
    # sees what others sent
    r"GET /snippets/|GET /metrics|GET /live|GET /streams/(events|<key:stream>.(json|jpg|mjpeg))?": VIEWER,
    r"GET /snippets/<number:identity>/(image)?": CAMERA | VIEWER,
    # an admin's alone
    r"(GET|POST) /<model:name>/train|POST /<model:name>/(train/cancel|reload)": ADMIN,
    r"DELETE /snippets/<number:identity>/|(POST|DELETE) /streams/<key:stream>": ADMIN,
    r"GET /users/|(PUT|DELETE) /users/<key:user>": ADMIN,
    # one's own, and an admin's are all
    r"(GET|POST) /tokens/|DELETE /tokens/<key:token>|GET /sessions/|DELETE /sessions/<key:session>": ANYBODY,
    r"POST /(login|logout)": ANYBODY,
    # doors that each message or event asks at once more, or the login itself
    r"GET /ws(/<.*:room>)?|(GET|POST) /socket.io/|authenticate": ANYBODY,
    # legacy TCP knows keys, and no users
    r"FILE|MODE|PRED|HASH|AUTH|BYE!": ANYBODY,
}
"""Who may, by the names of doors."""

NOT_DESCRIBED = {
    "GET /socket.io/": "speaks Socket.IO (docs/protocols.md)",
    "POST /socket.io/": "speaks Socket.IO (docs/protocols.md)",
    "GET /ws": "speaks WebSocket (docs/protocols.md)",
    "GET /ws/<string(maxlength=64):room>": "speaks WebSocket (docs/protocols.md)",
    "GET /live": "speaks WebSocket, to the live page",
    "GET /login": "a page for people",
    "GET /camera": "a page for people",
    "GET /pages/<path:file>": "what pages are made of",
    "GET /pages/camera.svg": "what pages are made of",
}
"""What the document of HTTP's operations leaves out, and why."""

CHANGING = r"(?!GET).*|GET /<model:name>/train|GET /ws.*|GET /socket.io/"
"""What a page of another site may not make a browser send; a connection on which one speaks changes something too."""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[parts.Doors]:
    """The doors of a server as it builds them, and serves nobody."""
    data = tmp_path_factory.mktemp("data")
    settings = reading.load(["-i", "127.0.0.1", "-p", "0", "--data", str(data)], warn=print)
    models, users = parts.inference(settings), people.users(settings)
    found = parts.doors(settings, models, people.logins(settings, users), parts.budget(settings), lambda: None)
    yield found
    for listener in found.listeners:
        listener.stop(0.0)


def rows(protocol: str) -> set[str]:
    return {door.name for door in doors.DOORS if door.protocol == protocol}


def test_every_route_has_a_row_and_every_row_a_route(built: parts.Doors) -> None:
    routes: set[str] = set()
    for prefix, application in built.http._routes:
        if isinstance(application, Application):
            routes |= {f"{route.method} {route.path}" for route in application.routes}
        else:
            assert application is built.socketio, f"{prefix!r} leads to {application}, which asks no table"
            routes |= {f"{method} {prefix}" for method in ("GET", "POST")}
    assert routes == rows(HTTP)


def test_every_route_is_described_or_no_program_asks_it(built: parts.Doors) -> None:
    routes = [route for _, one in built.http._routes if isinstance(one, Application) for route in one.routes]
    described = {f"{each.method} {path}" for each in openapi.operations(routes) for path in each.paths}
    assert rows(HTTP) - described == set(NOT_DESCRIBED)
    (document,) = (route.view.__self__ for route in routes if route.path == "/openapi.json")
    assert {f"{each.method} {path}" for each in document.operations for path in each.paths} == described


def test_every_event_has_a_row_and_every_row_an_event(built: parts.Doors) -> None:
    (namespace,) = built.socketio._handlers.values()
    assert set(namespace) - {"connect", "disconnect", "*"} == rows(EVENT)


def test_every_command_has_a_row_and_every_row_a_command() -> None:
    source = Path(codes.__file__).with_name("machine.py").read_text("utf-8")
    commands = set(re.findall(r'b"([A-Z]{4})"', source)) - {"VGG!"}
    assert commands | {"BYE!"} == rows(COMMAND)


@pytest.mark.parametrize("door", doors.DOORS, ids=lambda door: door.name)
def test_a_row_says_who_may_as_is_promised(door: Door) -> None:
    found = [roles for names, roles in WHO.items() if re.fullmatch(names, door.name)]
    assert len(found) == 1, f"WHO says {len(found)} times who may {door.name}: say it once"
    assert door.roles == found[0]


@pytest.mark.parametrize("door", [door for door in doors.DOORS if door.protocol == HTTP], ids=lambda door: door.name)
def test_what_changes_something_is_marked(door: Door) -> None:
    assert door.changes is bool(re.fullmatch(CHANGING, door.name))


def test_the_page_of_users_shows_the_table() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs/users.md").read_text()
    assert page == reference.inserted(page), "run `make docs`"


def test_a_page_without_marks_is_an_error() -> None:
    with pytest.raises(ValueError, match="no lines"):
        reference.inserted("# Users\n")


def test_rates_and_bodies_are_settings() -> None:
    names = {row.name for row in table.TABLE}
    assert {name for door in doors.DOORS for name in (door.rate, door.body) if name} <= names
    assert {role for door in doors.DOORS for role in door.roles} == set(ROLES)


def test_an_admin_may_everything_and_others_what_their_roles_say() -> None:
    put = TABLE.http("PUT", "/snippets/<number:identity>/")
    assert put.refuses(User("v", frozenset({"viewer"}))) == "this takes a user with the role camera or admin"
    assert not any(door.refuses(User("a", frozenset({"admin"}))) for door in doors.DOORS)
    assert not any(door.refuses(None) for door in doors.DOORS), "of nobody a login is asked, not a role"


def test_two_rows_about_one_door_are_an_error() -> None:
    row = Door(HTTP, "GET", "/", Login.NEVER)
    with pytest.raises(ValueError, match="same door"):
        DoorTable([row, row])
