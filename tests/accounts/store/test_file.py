"""The file of the users: what is said when it cannot be used, that it never opens the doors, and what changed in it."""

from __future__ import annotations

import dataclasses
import errno
import os
import shutil
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

import pytest
from tests.passwords import CHEAP

from imageserver import metrics
from imageserver.accounts.database import ChangeKind, User, UserDB
from imageserver.accounts.store import changes
from imageserver.errors import UsersUnavailable


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "users.db"


@pytest.fixture
def stored(path: Path, clock) -> UserDB:
    users = UserDB(path, CHEAP, clock=clock, patience=0.05)
    users.add("alice", "secret")
    return users


def by_hand(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(statement)


class TestClosed:
    def test_it_opens_for_nobody_who_was_there(self, make: Callable[..., UserDB], place: Path | None) -> None:
        assert not UserDB(place, CHEAP).closed()
        users = make()
        assert users.closed()
        users.remove("alice")
        assert users.closed() and not users.any()
        if isinstance(place, Path):
            assert UserDB(place, CHEAP).closed()

    @pytest.mark.parametrize("content", [b"", b"x" * 5000])
    def test_a_file_in_any_state_closes(self, path: Path, content: bytes) -> None:
        path.write_bytes(content)
        users = UserDB(path, CHEAP)
        assert users.closed()
        with pytest.raises(UsersUnavailable):
            users.check("alice", "secret")

    def test_one_that_goes_away_under_the_server_opens_nothing(self, stored: UserDB, path: Path) -> None:
        path.rename(path.with_name("moved"))
        assert stored.closed()
        for look in (stored.any, lambda: stored.check("alice", "secret"), lambda: stored.add("bob", "x")):
            with pytest.raises(UsersUnavailable, match="is gone: put it back"):
                look()
        path.with_name("moved").rename(path)
        assert stored.check("alice", "secret")

    def test_nor_does_a_link_to_what_is_not_there(self, path: Path, tmp_path: Path) -> None:
        path.symlink_to(tmp_path / "disk" / "users.db")
        assert UserDB(path, CHEAP).closed()
        with pytest.raises(UsersUnavailable, match="is gone"):
            UserDB(path, CHEAP).add("alice", "x")

    def test_nor_a_folder_that_is_none(self, path: Path) -> None:
        path.write_text("x")
        users = UserDB(path / "users.db", CHEAP)
        assert users.closed()
        with pytest.raises(UsersUnavailable, match="Not a directory"):
            users.any()


class TestUnavailable:
    def test_empty(self, stored: UserDB, path: Path) -> None:
        path.write_bytes(b"")
        for use in (stored.any, lambda: stored.get("alice"), lambda: stored.add("bob", "x"), stored.revision):
            with pytest.raises(UsersUnavailable, match=r"is empty \(0 bytes\): put back a copy"):
                use()
        assert path.read_bytes() == b""

    @pytest.mark.parametrize("size", [1, 15, 16, 99, 100, 512, 4095, 4096, 4097, 8192, 40_000])
    def test_cut_short_at_any_size(self, stored: UserDB, path: Path, size: int) -> None:
        """Where what is cut off is not asked for, the answer is right; else it says that the file cannot be used."""
        content = path.read_bytes()
        path.write_bytes(content[:size])
        with suppress(UsersUnavailable):
            assert stored.check("alice", "secret")
        path.write_bytes(content)
        assert stored.check("alice", "secret")

    def test_every_byte_of_the_first_pages_may_be_another(self, stored: UserDB, path: Path) -> None:
        """Nothing is raised but UsersUnavailable, and nobody comes in who does not know the password."""
        content = bytearray(path.read_bytes())
        for at in [*range(200), *range(200, len(content), 997)]:
            changed = bytearray(content)
            changed[at] ^= 0xFF
            path.write_bytes(changed)
            for use in (lambda: stored.check("alice", "wrong"), stored.revision, lambda: stored.current([User("a")])):
                with suppress(UsersUnavailable):
                    assert use() is not True

    def test_locked_is_said_soon(self, stored: UserDB, path: Path) -> None:
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")
            with pytest.raises(UsersUnavailable, match=r"\(database is locked\): another program holds it"):
                stored.check("alice", "secret")
            assert stored.closed()
        assert stored.check("alice", "secret")

    def test_a_row_by_hand_that_is_none(self, stored: UserDB, path: Path) -> None:
        by_hand(path, "UPDATE accounts SET roles = 'boss', cameras = 'a'")
        assert stored.get("alice").roles == {"boss"} and not stored.get("alice").has("camera")

    def test_a_folder_in_its_place(self, tmp_path: Path) -> None:
        with pytest.raises(UsersUnavailable, match="unable to open database file"):
            UserDB(tmp_path, CHEAP).any()


class TestRevision:
    CHANGES = (
        lambda users: users.add("bob", "x"),
        lambda users: users.passwd("alice", "other"),
        lambda users: users.set(dataclasses.replace(users.get("alice"), hz=3.0)),
        lambda users: users.add_token("alice"),
        lambda users: users.revoke(users.tokens()[0].identity),
        lambda users: users.open_page(users.check("alice", "other"), "x"),
        lambda users: users.revoke(users.pages()[0].identity),
        lambda users: users.remove("alice"),
    )

    def test_each_change_is_another(self, make: Callable[..., UserDB]) -> None:
        users = make()
        seen = [users.revision()]
        for change in self.CHANGES:
            change(users)
            assert users.revision() not in seen
            seen.append(users.revision())
        assert users.revision() == seen[-1]

    def test_what_expires_is_a_change(self, make: Callable[..., UserDB], clock) -> None:
        users = make(page_idle=600, page_time=1200)
        users.add_token("alice", days=1)
        users.open_page(users.check("alice", "secret"), "x")
        before = users.revision()
        clock.now += 599
        assert users.revision() == before
        clock.now += 1
        idle = users.revision()
        assert idle != before
        clock.now += 86_400
        assert users.revision() != idle

    @pytest.mark.parametrize(
        "statement",
        [
            "UPDATE accounts SET roles = 'admin'",
            "UPDATE accounts SET name = 'eve'",
            "DELETE FROM accounts",
            "UPDATE tokens SET roles = 'admin'",
            "DELETE FROM tokens",
            "UPDATE tokens SET expires = 1",
            "DELETE FROM pages",
        ],
    )
    def test_changes_by_hand_count(self, stored: UserDB, path: Path, statement: str) -> None:
        stored.add_token("alice")
        stored.open_page(stored.check("alice", "secret"), "x")
        before = stored.revision()
        by_hand(path, statement)
        assert stored.revision() != before

    def test_another_file_in_its_place_counts(self, stored: UserDB, path: Path) -> None:
        shutil.copy(path, path.with_name("copy"))
        before = stored.revision()
        stored.passwd("alice", "other")
        changed = stored.revision()
        for put in (lambda: shutil.copy(path.with_name("copy"), path), lambda: path.with_name("copy").replace(path)):
            stored.passwd("alice", "other")
            put()
            assert stored.revision() == before != changed
            assert stored.check("alice", "secret") and not stored.check("alice", "other")


class TestCurrent:
    def test_it_ends_with_what_was_shown(self, make: Callable[..., UserDB]) -> None:
        users = make()
        token, text = users.add_token("alice")
        logins = [users.check("alice", "secret"), users.check_token(text)]
        logins.append(users.check_page(users.open_page(logins[0], "x")))
        logins += [users.get("alice"), User("nobody", frozenset({"admin"}))]
        assert list(users.current(logins)) == [True] * 5
        assert users.current([]) == []
        users.revoke(token.identity)
        assert list(users.current(logins)) == [True, False, True, True, True]
        users.revoke(users.pages()[0].identity)
        assert list(users.current(logins)) == [True, False, False, True, True]
        users.passwd("alice", "other")
        assert list(users.current(logins)) == [False, False, False, False, True]
        users.passwd("alice", "secret")  # the same as before, and yet another
        assert list(users.current(logins)) == [False, False, False, False, True]

    def test_tokens_and_pages_expire(self, make: Callable[..., UserDB], clock) -> None:
        users = make(page_idle=600)
        user = users.check_token(users.add_token("alice", days=1)[1])
        page = users.check_page(users.open_page(users.check("alice", "secret"), "x"))
        clock.now += 600
        assert list(users.current([user, page])) == [True, False]
        clock.now += 86_400
        assert list(users.current([user, page])) == [False, False]

    def test_defaults_may_change_and_hashes_be_renewed(self, stored: UserDB, path: Path) -> None:
        user = stored.check("alice", "secret")
        stored.set(dataclasses.replace(user, hz=5.0, model="lenet", rotate=90))
        import argon2

        better = UserDB(path, argon2.PasswordHasher(time_cost=2, memory_cost=16, parallelism=1))
        before = path.read_bytes()
        assert better.check("alice", "secret") and path.read_bytes() != before
        assert list(stored.current([user])) == [True]

    @pytest.mark.parametrize(
        "statement",
        [
            "UPDATE accounts SET roles = 'admin'",
            "UPDATE accounts SET cameras = 'yard'",
            "UPDATE accounts SET password = password || 'x'",
            "UPDATE accounts SET name = 'eve'",
            "DELETE FROM accounts",
            "REPLACE INTO accounts (name, password, roles) VALUES ('alice', 'x', 'camera')",
            "INSERT INTO accounts (name, password, roles) VALUES ('alice', 'x', 'camera') "
            "ON CONFLICT DO UPDATE SET password = 'x'",
        ],
    )
    def test_changes_by_hand_count(self, stored: UserDB, path: Path, statement: str) -> None:
        user = stored.check("alice", "secret")
        page = stored.open_page(user, "x")
        by_hand(path, statement)
        assert list(stored.current([user])) == [False] and stored.check_page(page) is None

    def test_many_at_once_cost_a_look_up(self, stored: UserDB) -> None:
        user = stored.check("alice", "secret")
        many = [dataclasses.replace(user, name=f"user{number}") for number in range(20_000)]
        assert list(stored.current([*many, user])) == [False] * 20_000 + [True]


class TestChanges:
    def test_all_of_them_with_who_made_them(self, make: Callable[..., UserDB], clock) -> None:
        users = make()
        token, text = users.add_token("alice", ["camera"], 1, "front door", by="boss")
        users.passwd("alice", "hunter22", by="boss")
        users.open_page(users.check("alice", "hunter22"), "x")
        page = users.pages()[0].identity
        users.revoke(page, by="boss")
        users.revoke(token.identity, by="boss")
        users.set(dataclasses.replace(users.get("alice"), only=()), by="boss")
        users.remove("alice", by="boss")
        found = users.changes(0)
        assert [(change.kind, change.user, change.by) for change in found] == [
            (ChangeKind.USER_ADDED, "alice", "root"),
            (ChangeKind.TOKEN_ADDED, "alice", "boss"),
            (ChangeKind.PASSWORD_CHANGED, "alice", "boss"),
            (ChangeKind.PAGE_REVOKED, "alice", "boss"),
            (ChangeKind.TOKEN_REVOKED, "alice", "boss"),
            (ChangeKind.USER_CHANGED, "alice", "boss"),
            (ChangeKind.USER_REMOVED, "alice", "boss"),
        ]
        assert [change.number for change in found] == list(range(1, 8))
        assert {change.time for change in found} == {clock.now}
        assert found[0].detail == "roles camera,viewer, only kitchen,door"
        assert found[5].detail == "only kitchen,door -> -"
        assert found[1].detail.startswith(f"{token.identity} 'front door', roles camera, until 2027-01-16")
        assert "hunter22" not in repr(found) and text.split("_")[2] not in repr(found)
        assert users.changes(5) == found[5:] and users.changes(2, most=2) == found[2:4]

    def test_what_fails_is_no_change(self, make: Callable[..., UserDB]) -> None:
        users = make()
        for failing in (
            lambda: users.add("alice", "x"),
            lambda: users.passwd("bob", "x"),
            lambda: users.remove("bob"),
            lambda: users.add_token("alice", ["admin"]),
            lambda: users.revoke("0" * 12),
        ):
            with pytest.raises(Exception, match="alice|bob|no token"):
                failing()
        assert len(users.changes(0)) == 1

    def test_they_are_bounded(self, make: Callable[..., UserDB]) -> None:
        users = make()
        users.set(dataclasses.replace(users.get("alice"), only=tuple(f"{number:064}" for number in range(256))))
        assert len(users.changes(1)[0].detail) == 2000

    def test_the_oldest_give_way(self, make: Callable[..., UserDB], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(changes, "MOST", 5)
        users = make()
        for number in range(10):
            users.passwd("alice", str(number + 1))
        assert [change.number for change in users.changes(0)] == [7, 8, 9, 10, 11]


def test_writers_of_one_process_queue_for_longer_than_they_wait_for_another(stored: UserDB) -> None:
    """On a slow disk each takes a while: SQLite would let the unlucky ones run out of patience."""
    added = threading.Thread(target=stored.add, args=("bob", "x"))
    with stored._transaction():
        added.start()
        added.join(0.2)  # four times what it waits for other processes
        assert added.is_alive()
    added.join()
    assert stored.get("bob")


def test_connections_that_are_kept_hold_nothing(stored: UserDB, path: Path) -> None:
    """A look-up leaves no lock behind, and as many files open as are kept."""
    ready = threading.Barrier(10)

    def look() -> None:
        ready.wait()
        for _ in range(20):
            stored.check("alice", "secret")

    threads = [threading.Thread(target=look) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with closing(sqlite3.connect(path, timeout=0, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        other.execute("ROLLBACK")
    opened = [link for link in os.listdir("/proc/self/fd") if os.path.realpath(f"/proc/self/fd/{link}") == str(path)]
    assert len(opened) <= 4


def test_the_figure_of_the_disk_follows_reads_and_writes_apart_and_no_lock(tmp_path: Path) -> None:
    users, gauge = UserDB(tmp_path / "users.db", CHEAP, patience=0.01), metrics.DISK_FAILING.child("users")
    gauge.value = 0
    users.add("ann", "secret")
    assert users.path is not None
    with closing(sqlite3.connect(users.path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(UsersUnavailable):
            users.get("ann")
        assert gauge.value == 0, "somebody holds it for a moment"
    aside = users.path.rename(tmp_path / "aside.db")
    with pytest.raises(UsersUnavailable):
        users.remove("ann")
    assert gauge.value == 1
    aside.rename(users.path)
    assert users.get("ann") and gauge.value == 0
    with pytest.raises(UsersUnavailable), users._transaction():
        raise OSError(errno.ENOSPC, "No space left on device")
    assert users.get("ann") and gauge.value == 1, "it can still be read"
    users.remove("ann")
    assert gauge.value == 0
