"""The tables in PostgreSQL: how they come to be, two at once, by another version; what is put there beside users."""

from __future__ import annotations

import contextlib
import json
import threading
import tomllib
from pathlib import Path
from typing import Any

import pytest
from tests import postgresql
from tests.passwords import CHEAP
from tests.running import ROOT, until

from imageserver.accounts import audit as accounts_audit
from imageserver.accounts.audit import AuditEvent
from imageserver.accounts.database import UserDB
from imageserver.accounts.postgresql import audit, copying
from imageserver.config import database
from imageserver.errors import SettingError, UsersUnavailable


@contextlib.contextmanager
def connected(address: str) -> Any:
    import psycopg

    with psycopg.connect(address, autocommit=True) as connection:
        yield connection


@pytest.fixture
def empty(cluster: postgresql.Cluster) -> str:
    """The address of a database without tables."""
    return cluster.database()


def test_front_ends_that_start_at_once_make_them_once(empty: str) -> None:
    from imageserver.accounts.postgresql import schema

    start, failed = threading.Barrier(4), []

    def begin() -> None:
        with connected(empty) as connection:
            start.wait()
            try:
                schema.bring_up_to_date(connection, "here")
            except Exception as error:  # noqa: BLE001 - told below
                failed.append(error)

    threads = [threading.Thread(target=begin) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    with connected(empty) as connection:
        assert schema.version(connection, "here") == schema.VERSION


def test_those_of_an_older_server_are_brought_up_to_date(empty: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from imageserver.accounts.postgresql import schema

    with monkeypatch.context() as older, connected(empty) as connection:
        older.setattr(schema, "MIGRATIONS", schema.MIGRATIONS[:1])
        older.setattr(schema, "VERSION", 1)
        schema.bring_up_to_date(connection, "here")
        connection.execute("INSERT INTO imageserver.accounts (name, password, roles) VALUES ('alice', 'x', 'camera')")
    with connected(empty) as connection:
        schema.bring_up_to_date(connection, "here")
        assert connection.execute("SELECT number FROM imageserver.version").fetchall() == [(schema.VERSION,)]
        assert connection.execute("SELECT name FROM imageserver.accounts").fetchall() == [("alice",)]


def test_those_of_a_newer_server_are_left_alone(empty: str) -> None:
    from imageserver.accounts.postgresql import schema
    from imageserver.accounts.postgresql.database import PostgreSQL

    with connected(empty) as connection:
        schema.bring_up_to_date(connection, "here")
        connection.execute("UPDATE imageserver.version SET number = 99")
    opened = PostgreSQL(database.parsed(empty))
    opened.begin()
    try:
        with pytest.raises(
            UsersUnavailable, match=r"is of version 99, and this server knows versions up to \d+: start"
        ):
            opened.wait(30)
        with pytest.raises(UsersUnavailable, match="version 99"):
            UserDB(opened, CHEAP).any()
    finally:
        opened.close()


def test_who_may_make_no_schema_is_told(cluster: postgresql.Cluster, empty: str) -> None:
    from imageserver.accounts.postgresql.database import PostgreSQL

    with connected(empty) as connection:
        connection.execute("CREATE ROLE poor LOGIN")
    opened = PostgreSQL(database.parsed(empty.replace("tests@", "poor@")))
    opened.begin()
    try:
        with pytest.raises(UsersUnavailable, match=r"GRANT CREATE ON DATABASE"):
            opened.wait(30)
    finally:
        opened.close()


def test_no_password_is_in_what_is_said_of_a_database_that_is_gone() -> None:
    import psycopg

    from imageserver.accounts.postgresql.database import PostgreSQL

    opened = PostgreSQL(database.parsed("postgresql://anna:p%40ssword@127.0.0.1:1/users"))
    try:
        said = str(opened._unusable(psycopg.OperationalError('no "p%40ssword" and\nno "p@ssword" there')))
        assert "postgresql://anna:…@127.0.0.1:1/users" in said and '(no "…" and no "…" there)' in said
    finally:
        opened.close()


def test_what_nobody_expected_is_told_and_it_is_tried_again(
    cluster: postgresql.Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    from imageserver.accounts.postgresql.database import PostgreSQL

    states: list[str] = []
    opened = PostgreSQL(database.parsed(cluster.database()), state=states.append)
    with monkeypatch.context() as patch:
        patch.setattr(opened, "_listen", lambda _connection: {}["s3cret"])
        opened.begin()
        until(lambda: any(states), "a sentence")
        assert "(KeyError in test_tables.py" in max(states) and "s3cret" not in max(states)
    try:
        until(lambda: states[-1] == "" and opened._answers.is_set(), "the database")
        assert opened._watching.is_alive()
    finally:
        opened.close()


def test_older_pools_that_cannot_be_drained_are_not_admitted() -> None:
    extra = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]["postgresql"]
    assert "psycopg-pool>=3.3" in extra


def test_what_is_changed_by_hand_counts(place: Any) -> None:
    users = UserDB(place, CHEAP)
    user = users.add("alice", "secret")
    with place.connection() as connection:
        before = users.revision()
        connection.execute("UPDATE accounts SET roles = 'viewer' WHERE name = 'alice'")
    assert users.revision() != before and users.current([user]) == [False]


def test_whoever_listens_hears_of_changes(place: Any) -> None:
    heard = threading.Event()
    place._changed = heard.set
    try:
        UserDB(place, CHEAP).add("alice", "secret")
        assert heard.wait(30)
    finally:
        place._changed = lambda: None


class TestCopy:
    def test_passwords_and_tokens_go_along_and_back(self, place: Any, tmp_path: Path) -> None:
        file = UserDB(tmp_path / "users.db", CHEAP)
        alice = file.add("alice", "secret", ["camera", "viewer"], "echo", 5, 90, ["kitchen"], camera="kitchen")
        token = file.add_token("alice", days=3)[1]
        users = UserDB(place, CHEAP)
        assert copying.copy(file, users, "root") == (1, 1)
        assert users.check("alice", "secret") == alice == users.check_token(token)
        assert users.changes(0)[-1][3:] == ("alice", "root", f"copied from {tmp_path}/users.db")
        back = UserDB(tmp_path / "back.db", CHEAP)
        assert copying.copy(users, back) == (1, 1)
        assert back.check("alice", "secret") == alice == back.check_token(token)

    def test_all_or_nothing(self, place: Any, tmp_path: Path) -> None:
        file, users = UserDB(tmp_path / "users.db", CHEAP), UserDB(place, CHEAP)
        for name in ("alice", "bob"):
            file.add(name, "secret")
        users.add("bob", "other")
        with pytest.raises(SettingError, match="there is a user 'bob' already"):
            copying.copy(file, users)
        assert [user.name for user in users.list()] == ["bob"] and users.check("bob", "other")


def test_the_audits_of_all_are_read_in_order_of_time(place: Any) -> None:
    users = UserDB(place, CHEAP)

    def line(second: int, event: str) -> str:
        return json.dumps({"time": f"2026-11-21T23:14:{second:02}.000+00:00", "event": event, "user": "a"})

    audit.note(users, "b", [line(2, "two"), line(4, "four")], 1000)
    audit.note(users, "a", [line(1, "one"), line(3, "three")], 1000)
    assert [(found["event"], found["front_end"]) for found in audit.read(users, 3)] == [
        ("two", "b"),
        ("three", "a"),
        ("four", "b"),
    ]
    audit.note(users, "a", [line(5, "five")], 2)
    assert [found["event"] for found in audit.read(users, 100)] == ["three", "five"], "so many are kept"


def test_whatever_is_in_an_audit_is_taken_and_what_cannot_be_is_in_nobodys_way(place: Any) -> None:
    """Whoever logs in chooses the name that stands in a line: one such line must not stop the others."""
    users, sentence = UserDB(place, CHEAP), "unsupported Unicode escape sequence"
    names = ["\\u0000", "a\\u0000b", "\0", "\\", '"', "\ud800", "ä\u2028%s?", "\x7f" * 500]
    fields = [{"user": accounts_audit.cleaned(name, accounts_audit.LONGEST)} for name in names]
    lines = [accounts_audit.line_of(AuditEvent.LOGIN_REFUSED, second, each) for second, each in enumerate(fields)]
    bad = json.dumps({"time": "2026-11-21T23:14:00.000+00:00", "event": "none", "user": "\0"})
    assert audit.note(users, "c", lines, 1000) == (0, "")
    found = [each["user"] for each in audit.read(users, 1000) if each["front_end"] == "c"]
    assert found == [each["user"] for each in fields]
    assert audit.note(users, "d", [lines[0], bad, bad, lines[1]], 1000) == (2, sentence)
    assert [each["user"] for each in audit.read(users, 1000) if each["front_end"] == "d"] == names[:2]
