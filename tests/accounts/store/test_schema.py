"""A database of an older server becomes today's with a copy kept, whatever happens; and there is no way back."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from tests.passwords import CHEAP
from tests.running import PATIENCE, ROOT

from imageserver import files
from imageserver.accounts.database import ROLES, User, UserDB
from imageserver.accounts.store import schema
from imageserver.errors import UsersUnavailable

BEFORE = """
CREATE TABLE IF NOT EXISTS users (
    name TEXT PRIMARY KEY, password TEXT NOT NULL, roles TEXT NOT NULL, model TEXT, hz REAL, rotate INTEGER NOT NULL
) STRICT
"""
"""With what an older server begins, whenever it adds a user."""


def older(path: Path, *names: str, journal: str = "DELETE") -> Path:
    """The database of an older server, with these users, each of whom has their name as the password."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(f"PRAGMA journal_mode = {journal}")
        connection.execute(BEFORE)
        for name in names:
            values = (name, CHEAP.hash(name), "camera viewer", "lenet", 5.0, 90)
            connection.execute("INSERT INTO users VALUES (?, ?, ?, ?, ?, ?)", values)
    path.chmod(0o640)
    return path


def copies(path: Path) -> list[str]:
    return sorted(found.name for found in path.parent.iterdir() if found != path)


def version(path: Path) -> int:
    with closing(sqlite3.connect(path)) as connection:
        return int(connection.execute("PRAGMA user_version").fetchone()[0])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "users.db"


@pytest.mark.parametrize("journal", ["DELETE", "WAL"])
def test_users_are_taken_over_and_a_copy_is_kept(path: Path, journal: str) -> None:
    older(path, "alice", "bob", journal=journal)
    users = UserDB(path, CHEAP)
    assert users.check("alice", "alice") == User("alice", frozenset({"camera", "viewer"}), "lenet", 5.0, 90)
    assert [user.name for user in users.list()] == ["alice", "bob"]
    assert users.get("alice").stamp and users.get("alice").stamp != users.get("bob").stamp
    assert version(path) == schema.VERSION == 2
    copy = path.with_name("users.db.before-1")
    assert copy.stat().st_mode & 0o777 == 0o600 and "users.db.before-1.2" not in copies(path)
    with closing(sqlite3.connect(copy)) as connection:
        assert connection.execute("SELECT name, rotate FROM users").fetchall() == [("alice", 90), ("bob", 90)]
    users.add("carol", "carol")
    assert users.check("carol", "carol")


def without_cameras(path: Path) -> Path:
    """The database of a server of version 1, with alice and a token of hers."""
    alice = ("alice", CHEAP.hash("alice"), "camera viewer admin", "lenet", 5.0, 90, "kitchen\ndoor")
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for statement in (*schema.SCHEMA[:-1], "PRAGMA user_version = 1"):
            connection.execute(statement.replace(", camera TEXT NOT NULL DEFAULT ''", ""))
        connection.execute(
            "INSERT INTO accounts (name, password, roles, model, hz, rotate, cameras) VALUES (?, ?, ?, ?, ?, ?, ?)",
            alice,
        )
        connection.execute("INSERT INTO tokens VALUES ('id', x'00', 'alice', 'kept', 'camera', 0, NULL, NULL)")
    return path


def test_what_users_of_version_1_have_they_keep(path: Path) -> None:
    users = UserDB(without_cameras(path), CHEAP)
    former = path.read_bytes()
    assert users.check("alice", "alice") == User("alice", frozenset(ROLES), "lenet", 5.0, 90, ("kitchen", "door"))
    assert [token.name for token in users.tokens()] == ["kept"]
    assert (version(path), copies(path)) == (2, ["users.db.before-2"])
    stamp = users.get("alice").stamp
    users.set(replace(users.get("alice"), camera="door"))
    assert (users.get("alice").camera, users.get("alice").stamp) == ("door", stamp), "it ends no connection"
    with closing(sqlite3.connect(path.with_name("users.db.before-2"))) as copy, closing(sqlite3.connect(path)) as new:
        assert "camera" not in [row[1] for row in copy.execute("PRAGMA table_info(accounts)")]
        with closing(sqlite3.connect(":memory:")) as fresh:
            schema.fill(fresh)
            columns = "PRAGMA table_info(accounts)"
            assert new.execute(columns).fetchall() == fresh.execute(columns).fetchall()
    path.write_bytes(former)
    assert UserDB(path, CHEAP).get("alice").camera == ""
    assert copies(path) == ["users.db.before-2"]


@pytest.mark.parametrize("done", [0, 1])
def test_version_1_is_brought_up_to_date_wholly_or_not_at_all(
    path: Path, monkeypatch: pytest.MonkeyPatch, done: int
) -> None:
    users = UserDB(without_cameras(path), CHEAP)
    with monkeypatch.context() as patch:
        patch.setattr(schema, "_SINCE_1", (*schema._SINCE_1[:done], "stop"))
        with pytest.raises(UsersUnavailable):
            users.any()
    assert version(path) == 1
    assert users.check("alice", "alice")


def test_an_old_one_without_users_stays_closed(path: Path) -> None:
    users = UserDB(older(path), CHEAP)
    assert users.closed() and not users.any()


def test_a_new_one_has_no_copy(path: Path) -> None:
    UserDB(path, CHEAP).add("alice", "x")
    assert copies(path) == [] and version(path) == 2 and path.stat().st_mode & 0o777 == 0o600


def test_a_copy_is_never_written_over(path: Path) -> None:
    UserDB(older(path, "alice"), CHEAP).any()
    kept = path.with_name("users.db.before-1").read_bytes()
    shutil.copy(path.with_name("users.db.before-1"), path)  # back to the older server, and on again
    assert UserDB(path, CHEAP).check("alice", "alice") and copies(path) == ["users.db.before-1"]
    path.unlink()
    assert UserDB(older(path, "bob"), CHEAP).check("bob", "bob")
    assert copies(path) == ["users.db.before-1", "users.db.before-1.2"]
    assert path.with_name("users.db.before-1").read_bytes() == kept


LOOKS = (
    "SELECT 1 FROM users LIMIT 1",
    "SELECT name, password, roles, model, hz, rotate FROM users WHERE name = 'alice' ORDER BY name",
    "SELECT name, password, roles, model, hz, rotate FROM users  ORDER BY name",
)
"""What an older server asks, before it lets anybody in or says that there is nobody."""

WRITES = (
    "INSERT INTO users VALUES ('eve', 'x', 'admin', NULL, NULL, 0)",
    "UPDATE users SET password = 'x' WHERE name = 'alice'",
    "DELETE FROM users WHERE name = 'alice'",
)


@pytest.mark.parametrize(
    "make", [lambda path: UserDB(path, CHEAP).add("alice", "x"), lambda path: older(path, "alice")]
)
def test_an_older_server_can_use_it_no_more_and_says_why(path: Path, make: Callable[[Path], object]) -> None:
    make(path)
    assert UserDB(path, CHEAP).any()
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for statement in LOOKS:
            with pytest.raises(sqlite3.OperationalError, match=r"it is of a newer server: .* ends in \.before-1"):
                connection.execute(statement)
        connection.execute(BEFORE)  # as it does at first
        for statement in WRITES:
            with pytest.raises(sqlite3.OperationalError):
                connection.execute(statement)
    assert [user.name for user in UserDB(path, CHEAP).list()] == ["alice"]


def test_a_newer_one_is_refused(path: Path) -> None:
    UserDB(path, CHEAP).add("alice", "x")
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 7")
    before = path.read_bytes()
    users = UserDB(path, CHEAP)
    for use in (users.any, lambda: users.check("alice", "x"), lambda: users.add("bob", "x"), users.revision):
        with pytest.raises(
            UsersUnavailable,
            match=r"users\.db is of version 7, and this server knows versions up to 2: start the newer server, or",
        ):
            use()
    assert users.closed() and path.read_bytes() == before


@pytest.mark.parametrize(
    "statement",
    [
        "PRAGMA page_size = 1024; VACUUM",
        "CREATE TABLE snippets (x)",
        "CREATE TABLE users (name TEXT)",
        f"{BEFORE}; CREATE TABLE more (x)",
        ";".join(schema.SCHEMA[:-1]) + "; PRAGMA user_version = 0",
    ],
)
def test_what_is_no_database_of_users_is_refused_and_left_alone(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(statement)
    before = path.read_bytes()
    assert before
    with pytest.raises(
        UsersUnavailable, match=r"holds no users, or not as any server stored them \(version 0, tables: "
    ):
        UserDB(path, CHEAP).any()
    assert path.read_bytes() == before and copies(path) == []


def test_without_a_copy_nothing_is_taken_over(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    older(path, "alice")
    before = path.read_bytes()

    def full(_path: Path) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(files, "sync", full)
        with pytest.raises(UsersUnavailable, match=r"cannot be used \(No space left on device\)"):
            UserDB(path, CHEAP).any()
    assert path.read_bytes() == before and version(path) == 0
    assert UserDB(path, CHEAP).check("alice", "alice")


@pytest.mark.parametrize("done", range(0, len(schema.SCHEMA), 5))
def test_it_is_done_wholly_or_not_at_all(path: Path, monkeypatch: pytest.MonkeyPatch, done: int) -> None:
    users = UserDB(older(path, "alice"), CHEAP)
    with monkeypatch.context() as patch:
        patch.setattr(schema, "SCHEMA", (*schema.SCHEMA[:done], "stop"))
        with pytest.raises(UsersUnavailable):
            users.any()
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute(LOOKS[0]).fetchone() == (1,)
    assert users.check("alice", "alice")
    assert copies(path) == ["users.db.before-1"]


def test_many_threads_take_it_over_once(path: Path) -> None:
    older(path, *(f"user{number}" for number in range(50)))
    ready, seen = threading.Barrier(8), []

    def look() -> None:
        ready.wait()
        seen.append(len(UserDB(path, CHEAP).list()))

    threads = [threading.Thread(target=look) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [50] * 8 and copies(path) == ["users.db.before-1"]


WRITER = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import bootstrap
bootstrap.provide_package()
import argon2
from imageserver.accounts.database import UserDB
from imageserver.limits import Limits
cheap = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
users = UserDB(Path(sys.argv[2]), cheap, Limits(max_tokens=1000), patience=60)
print("ready", flush=True)
sys.stdin.readline()
for number in range(200):
    token, text = users.add_token("alice", name=f"{sys.argv[3]} {number}") if number % 2 else (None, None)
    if token is None:
        users.add(f"{sys.argv[3]}-{number}", "x")
    print(text or f"{sys.argv[3]}-{number}", flush=True)
"""


def writer(path: Path, name: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WRITER, str(ROOT / "src"), str(path), name]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def test_what_was_acknowledged_is_there_after_a_kill(path: Path) -> None:
    """Two processes take an old database over at the same moment, and write; one of them is killed amid that."""
    older(path, "alice")
    with writer(path, "killed") as killed, writer(path, "other") as other:
        for process in (killed, other):
            assert process.stdout.readline() == "ready\n"
        for process in (killed, other):
            process.stdin.write("\n")
            process.stdin.flush()
        acknowledged = [killed.stdout.readline().strip() for _ in range(61)]
        killed.kill()
        acknowledged += [line.strip() for line in killed.stdout if line.endswith("\n")]
        acknowledged += other.communicate(timeout=PATIENCE)[0].split()
    assert killed.returncode == -9 and other.returncode == 0
    users = UserDB(path, CHEAP)
    lost = [word for word in acknowledged if not (users.check_token(word) or users.get(word))]
    assert not lost and len(acknowledged) > 260
    assert users.check("alice", "alice") and users.changes(0, most=10_000)[-1].number >= len(acknowledged)
    assert [name for name in copies(path) if "before" in name] == ["users.db.before-1"]
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_what_root_makes_belongs_to_who_has_the_folder_or_the_file(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    folder.mkdir()
    os.chown(folder, 12345, 12346)
    UserDB(folder / "users.db", CHEAP).add("alice", "x", ROLES)
    old = older(folder / "old.db", "alice")
    os.chown(old, 12347, 12348)
    assert UserDB(old, CHEAP).any()
    owners = {found.name: (found.stat().st_uid, found.stat().st_gid) for found in folder.iterdir()}
    assert owners == {"users.db": (12345, 12346), "old.db": (12347, 12348), "old.db.before-1": (12347, 12348)}


def test_a_name_that_something_else_has_is_left_to_it(path: Path) -> None:
    older(path, "alice")
    path.with_name("users.db.before-1").mkdir()
    assert UserDB(path, CHEAP).any()
    assert copies(path) == ["users.db.before-1", "users.db.before-1.2"]
