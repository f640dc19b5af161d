"""Page sessions: they end by themselves, with their user's password or roles, and with the token that began them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest

from imageserver import metrics
from imageserver.accounts.database import User, UserDB
from imageserver.errors import NotAllowed


@pytest.fixture
def users(make: Callable[..., UserDB]) -> UserDB:
    return make()


def begin(users: UserDB, address: str = "192.0.2.1") -> str:
    return users.open_page(users.check("alice", "secret"), address)


def hits(name: str) -> float:
    return metrics.LIMITS_HIT.child(name).value


def test_life_of_a_page_session(users: UserDB, place: Path | None, clock) -> None:
    cookie = begin(users)
    (page,) = users.pages("alice")
    assert (page.user, page.address, page.begun, page.seen) == ("alice", "192.0.2.1", clock.now, clock.now)
    found = users.check_page(cookie)
    assert found == users.get("alice") and found.credential == f"page {page.identity}"
    assert users.pages("bob") == [] and users.pages() == [page]
    if isinstance(place, Path):
        assert cookie.split("_")[2].encode() not in place.read_bytes()
    users.revoke(page.identity)
    assert users.check_page(cookie) is None and users.pages() == []


def test_it_ends_when_it_is_not_used_and_in_any_case(make: Callable[..., UserDB], clock) -> None:
    users = make(page_idle=600, page_time=3600)
    cookie, begun = begin(users), clock.now
    clock.now += 600
    assert users.check_page(cookie) is None and users.pages() == []
    cookie, begun = begin(users), clock.now
    while clock.now < begun + 3600 - 300:
        clock.now += 300
        assert users.check_page(cookie)
        users._marks.settle()
    clock.now = begun + 3600
    assert users.check_page(cookie) is None
    before = hits("page-time")
    begin(users)
    assert hits("page-time") == before + 1 and len(users.pages()) == 1


def test_its_use_is_written_once_a_minute(users: UserDB, clock) -> None:
    cookie, begun = begin(users), clock.now
    before = users.revision()
    for seconds, seen in ((59, 0), (60, 60), (119, 60), (120, 120)):
        clock.now = begun + seconds
        users.check_page(cookie)
        users._marks.settle()
        assert users.pages()[0].seen == begun + seen
    assert users.revision() == before


@pytest.mark.parametrize(
    "change",
    [
        lambda users: users.passwd("alice", "new"),
        lambda users: users.set(dataclasses.replace(users.get("alice"), roles=frozenset({"viewer"}))),
        lambda users: users.set(dataclasses.replace(users.get("alice"), only=())),
        lambda users: users.remove("alice"),
    ],
)
def test_what_changes_what_a_user_may_ends_them(users: UserDB, change) -> None:
    cookie = begin(users)
    change(users)
    assert users.check_page(cookie) is None and users.pages() == []


def test_other_changes_do_not(users: UserDB) -> None:
    cookie = begin(users)
    users.set(dataclasses.replace(users.get("alice"), hz=5.0, model="lenet", rotate=90))
    users.add("bob", "x")
    users.passwd("bob", "y")
    assert users.check_page(cookie).hz == 5.0


def test_it_begins_with_a_password_that_counts_at_this_moment(users: UserDB) -> None:
    by_password = users.check("alice", "secret")
    by_token = users.check_token(users.add_token("alice")[1])
    by_page = users.check_page(begin(users))
    for user in (by_token, by_page, users.get("alice"), User("alice"), User("alice", credential="password")):
        with pytest.raises(NotAllowed):
            users.open_page(user, "192.0.2.1")
    users.passwd("alice", "other")
    with pytest.raises(NotAllowed, match="log in again"):
        users.open_page(by_password, "192.0.2.1")
    assert users.pages() == []


def test_of_too_many_that_ends_which_was_not_used_for_longest(make: Callable[..., UserDB], clock) -> None:
    users = make(max_pages=3)
    before = hits("max-pages")
    cookies = []
    for _ in range(3):
        cookies.append(begin(users))
        clock.now += 1
    clock.now += 120
    assert users.check_page(cookies[0])
    users._marks.settle()
    cookies.append(begin(users))
    assert [bool(users.check_page(cookie)) for cookie in cookies] == [True, False, True, True]
    assert hits("max-pages") == before + 1
    users.add("bob", "x")
    users.open_page(users.check("bob", "x"), "192.0.2.2")
    assert len(users.pages()) == 4


def test_nothing_but_the_right_cookie_is_taken(users: UserDB) -> None:
    cookie = begin(users)
    wrong = [cookie[:at] + ("0" if cookie[at] != "0" else "1") + cookie[at + 1 :] for at in range(len(cookie))]
    wrong += [cookie[:length] for length in range(len(cookie))]
    wrong += [cookie + "0", cookie.upper(), cookie.replace("isp", "ist"), cookie * 100_000, cookie[:-1] + "\ud800"]
    assert not [text for text in wrong if users.check_page(text)]
    assert users.check_token(cookie) is None and users.check_token(cookie.replace("isp", "ist")) is None
    assert users.check_page(cookie)


def test_addresses_are_kept_short(users: UserDB) -> None:
    begin(users, "x" * 100_000)
    assert len(users.pages()[0].address) == 64


def test_one_that_was_used_while_the_clock_was_far_ahead_ends_when_it_is_right_again(users: UserDB, clock) -> None:
    clock.now += 10 * 365 * 86_400
    cookie = begin(users)
    user = users.check_page(cookie)
    before = users.revision()
    clock.now -= 10 * 365 * 86_400
    assert users.revision() != before
    assert users.check_page(cookie) is None and users.pages() == [] and users.current([user]) == [False]
    begin(users)
    assert len(users.pages()) == 1


def test_a_clock_set_back_by_an_hour_ends_none(users: UserDB, clock) -> None:
    cookie = begin(users)
    clock.now -= 3600
    assert users.check_page(cookie)
