"""Connections that live on a login end when it holds no longer, and no others do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.passwords import CHEAP

from imageserver.accounts import credentials
from imageserver.accounts.audit import NO_AUDIT
from imageserver.accounts.database import User, UserDB
from imageserver.accounts.live import AT_ONCE, ENDED, LiveLogins
from imageserver.accounts.remote.remembered import Remembered
from imageserver.errors import UsersUnavailable
from imageserver.limits import Limits
from imageserver.transport import hub


class Clock:
    now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


class House:
    """Users in memory, and who is connected."""

    def __init__(self) -> None:
        self.clock, self.log, self.ended = Clock(), list[str](), list[str]()
        self.users = UserDB(None, CHEAP, Limits(page_idle=600), self.clock)
        for name in ("alice", "bob"):
            self.users.add(name, "secret", ["camera", "viewer"])
        self.live = LiveLogins(self.users, self.log.append, NO_AUDIT)

    def password(self, name: str) -> User:
        user = self.users.check(name, "secret")
        assert user is not None
        return user

    def token(self, name: str, days: float | None = None) -> User:
        user = self.users.check_token(self.users.add_token(name, days=days)[1])
        assert user is not None
        return user

    def page(self, name: str) -> User:
        user = self.users.check_page(self.users.open_page(self.password(name), "192.0.2.1"))
        assert user is not None
        return user

    def connect(self, connection: str, user: User) -> Any:
        def end(sentence: str) -> None:
            assert sentence == ENDED
            self.ended.append(connection)

        return self.live.add(user, end)


@pytest.fixture
def house() -> House:
    found = House()
    found.connect("bob", found.password("bob"))
    found.connect("bob's token", found.token("bob"))
    found.connect("nobody's", User("cam"))
    found.live.look()
    return found


def alice_changes(house: House) -> dict[str, Callable[[], object]]:
    alice = house.users.get("alice")
    assert alice is not None
    return {
        "removed": lambda: house.users.remove("alice"),
        "password": lambda: house.users.passwd("alice", "another"),
        "roles": lambda: house.users.set(replace(alice, roles=frozenset({"viewer"}))),
        "cameras": lambda: house.users.set(replace(alice, only=("kitchen",))),
    }


@pytest.mark.parametrize("change", ["removed", "password", "roles", "cameras"])
def test_all_connections_of_a_user_who_was_changed_end_once(house: House, change: str) -> None:
    house.connect("one", house.password("alice"))
    house.connect("two", house.password("alice"))
    house.connect("page", house.page("alice"))
    house.live.look()
    assert house.ended == []
    alice_changes(house)[change]()
    for _ in range(3):
        house.live.look()
    assert sorted(house.ended) == ["one", "page", "two"]


def test_a_token_that_was_revoked_ends_its_own_alone(house: House) -> None:
    house.connect("password", house.password("alice"))
    token = house.token("alice")
    house.connect("token", token)
    house.users.revoke(token.credential.partition(" ")[2])
    house.live.look()
    assert house.ended == ["token"]


def test_what_ends_by_time_ends_its_connections(house: House) -> None:
    house.connect("token", house.token("alice", days=1))
    house.connect("page", house.page("alice"))
    house.live.look()
    house.clock.now += 601
    house.live.look()
    assert house.ended == ["page"]
    house.clock.now += 86_400
    house.live.look()
    assert house.ended == ["page", "token"]


def test_who_was_revoked_before_the_connection_was_registered_is_found(house: House) -> None:
    user = house.password("alice")
    house.users.remove("alice")
    house.live.look()  # has seen the change before the connection comes
    house.connect("late", user)
    house.live.look()
    assert house.ended == ["late"]


def test_who_has_gone_is_not_ended_and_nothing_of_them_stays(house: House) -> None:
    login = house.connect("gone", house.password("alice"))
    login.close()
    login.close()
    house.users.remove("alice")
    house.live.look()
    assert house.ended == []
    assert "alice" not in str(house.live._groups)


def test_one_that_cannot_be_ended_keeps_no_other_alive(house: House) -> None:
    house.live.add(house.password("alice"), lambda _sentence: 1 / 0)  # type: ignore[arg-type, return-value]
    house.connect("other", house.password("alice"))
    house.users.remove("alice")
    house.live.look()
    assert house.ended == ["other"]
    assert "ZeroDivisionError" in house.log[-1]


def test_nothing_is_looked_up_while_nothing_changes(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    looked_up: list[int] = []
    current = house.users.current
    monkeypatch.setattr(house.users, "current", lambda users: (looked_up.append(len(users)), current(users))[1])
    for _ in range(3):
        house.live.look()
    assert looked_up == []
    house.users.remove("alice")
    house.live.look()
    assert looked_up == [3]


def test_a_crowd_is_looked_up_in_parts_once_for_each_login(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    looked_up: list[int] = []
    alice = house.password("alice")
    for number in range(AT_ONCE + 100):
        house.connect(f"page {number}", replace(alice, credential=f"page {number}"))
        house.connect(f"camera {number}", alice)
    current = house.users.current
    monkeypatch.setattr(house.users, "current", lambda users: (looked_up.append(len(users)), current(users))[1])
    house.users.remove("alice")
    house.live.look()
    assert sum(looked_up) == AT_ONCE + 100 + 4
    assert max(looked_up) == AT_ONCE
    assert len(house.ended) == 2 * (AT_ONCE + 100)


def test_what_holds_no_longer_is_not_remembered_either(house: House) -> None:
    """Of several front ends: what was right lately counts while their database is gone."""
    memory = Remembered(600.0, house.clock)
    live = LiveLogins(house.users, house.log.append, NO_AUDIT, memory)
    revoked, kept = credentials.token("a"), credentials.token("b")
    user = house.token("alice")
    memory.note(revoked, user)
    memory.note(kept, house.token("bob"))
    live.look()
    assert memory.recall(revoked) and memory.recall(kept)
    house.users.revoke(user.credential.split()[1])
    live.look()
    assert memory.recall(revoked) is None and memory.recall(kept)


def test_what_ends_a_connection_is_not_remembered_either(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """The database may be gone before what is remembered is looked up."""
    memory = Remembered(600.0, house.clock)
    live = LiveLogins(house.users, house.log.append, NO_AUDIT, memory)
    revoked, user, ended = credentials.token("a"), house.token("alice"), list[str]()
    live.look()
    memory.note(revoked, user)
    live.add(user, ended.append)
    house.users.revoke(user.credential.split()[1])
    monkeypatch.setattr(memory, "doubt", lambda: None)  # that users have changed was seen before
    live.look()
    assert ended and memory.recall(revoked) is None


def test_while_the_users_cannot_be_read_nobody_is_ended(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    house.connect("alice", house.password("alice"))

    def damaged(*_anything: object) -> object:
        raise UsersUnavailable("the file is damaged")

    for name in ("revision", "current"):
        with monkeypatch.context() as broken:
            broken.setattr(house.users, name, damaged)
            house.users.passwd("bob", "another")
            house.live.look()
            house.live.look()
            assert house.ended == []
    assert [line.partition(",")[0] for line in house.log] == ["whose login holds no longer cannot be seen now"]
    house.users.remove("alice")
    house.live.look()
    assert sorted(house.ended) == ["alice", "bob", "bob's token"]
    assert house.log.count("whose login holds no longer is seen again") == 1


def test_another_process_changes_the_file(tmp_path: Path) -> None:
    users = UserDB(tmp_path / "users.db", CHEAP)
    users.add("alice", "secret")
    alice, ended = users.check("alice", "secret"), list[str]()
    assert alice is not None
    live = LiveLogins(users, print, NO_AUDIT)
    live.add(alice, ended.append)
    watching = hub.spawn(live.run)
    UserDB(tmp_path / "users.db", CHEAP).remove("alice")
    try:
        with hub.Timeout(60):
            while not ended:
                hub.sleep(0.01)
    finally:
        watching.kill()
    assert ended == [ENDED]
