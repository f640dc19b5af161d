"""What becomes of users is in the audit, also what was done while no server ran."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.passwords import CHEAP
from tests.running import PATIENCE

from imageserver.accounts.audit import AuditFile
from imageserver.accounts.database import UserDB
from imageserver.app.changes import UserChanges
from imageserver.limits import Limits


class Followed:
    """A database, the audit, and the server that follows one into the other."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.users = UserDB(folder / "users.db", CHEAP)
        self.said: list[str] = []
        self.begin()

    def begin(self) -> None:
        """The server starts."""
        self.audit = AuditFile(str(self.folder / "audit.jsonl"), Limits(), self.said.append)
        self.changes = UserChanges(self.users, self.audit, self.folder / "kept.json", self.said.append)

    def end(self) -> None:
        """The server stops."""
        self.audit.close(PATIENCE)

    def text(self) -> str:
        """The audit."""
        return (self.folder / "audit.jsonl").read_text()

    def events(self) -> list[tuple[str, str, str]]:
        """Event, user and by of all lines."""
        return [(line["event"], line["user"], line["by"]) for line in map(json.loads, self.text().splitlines())]


@pytest.fixture
def followed(tmp_path: Path) -> Iterator[Followed]:
    found = Followed(tmp_path)
    yield found
    found.end()


def test_each_change_is_a_line_and_none_has_a_secret(followed: Followed) -> None:
    users = followed.users
    alice = users.add("alice", "password one", ("camera",), by="root")
    users.passwd("alice", "password two", by="root")
    users.set(dataclasses.replace(alice, roles=frozenset({"camera", "admin"}), only=("kitchen",)), by="root")
    token, secret = users.add_token("alice", ("camera",), by="alice")
    users.revoke(token.identity, by="alice")
    shown = users.check("alice", "password two")
    assert shown is not None
    page = users.open_page(shown, "10.0.0.7")
    users.revoke(users.pages()[0].identity, by="bob")
    users.remove("alice", by="root")
    followed.changes.follow()
    assert followed.events() == [
        ("user added", "alice", "root"),
        ("password changed", "alice", "root"),
        ("user changed", "alice", "root"),
        ("token made", "alice", "alice"),
        ("token revoked", "alice", "alice"),
        ("page session revoked", "alice", "bob"),
        ("user removed", "alice", "root"),
    ]
    for text in ("password one", "password two", secret, secret.split("_")[2], page):
        assert text not in followed.text()
    lines = list(map(json.loads, followed.text().splitlines()))
    assert "kitchen" in lines[2]["detail"]
    assert "admin" in lines[2]["detail"]
    assert token.identity in lines[3]["detail"]


def test_what_was_done_while_no_server_ran_is_noted_once(followed: Followed) -> None:
    followed.users.add("alice", "password")
    followed.changes.follow()
    followed.changes.follow()
    followed.end()
    followed.users.add("bob", "password")
    followed.begin()
    followed.changes.follow()
    assert followed.events() == [("user added", "alice", ""), ("user added", "bob", "")]


def test_what_the_disk_did_not_take_is_tried_again(followed: Followed, monkeypatch: pytest.MonkeyPatch) -> None:
    followed.users.add("alice", "password")
    with monkeypatch.context() as patched:
        patched.setattr(AuditFile, "write", lambda *_arguments: False)
        followed.changes.follow()
        followed.changes.follow()
    assert followed.said == ["--audit cannot be written; what was changed about users is noted when it can"]
    followed.end()
    followed.begin()
    followed.changes.follow()
    assert followed.events() == [("user added", "alice", "")]


def test_another_database_in_its_place_is_noted_from_its_beginning(followed: Followed, tmp_path: Path) -> None:
    followed.users.add("alice", "password")
    followed.users.add("bob", "password")
    followed.changes.follow()
    UserDB(tmp_path / "other.db", CHEAP).add("eve", "password")
    (tmp_path / "other.db").rename(tmp_path / "users.db")
    followed.changes.follow()
    assert followed.events()[2:] == [("user added", "eve", "")]


def test_a_damaged_database_is_told_once_and_followed_when_it_is_back(followed: Followed, tmp_path: Path) -> None:
    path = tmp_path / "users.db"
    followed.users.add("alice", "password")
    good = path.read_bytes()
    path.write_bytes(b"no database" * 100)
    followed.changes.follow()
    followed.changes.follow()
    assert len(followed.said) == 1
    assert followed.said[0].startswith("--audit cannot follow the users: the user database")
    path.write_bytes(good)
    followed.changes.follow()
    assert followed.events() == [("user added", "alice", "")]


def test_more_changes_than_are_read_at_once_are_all_noted(followed: Followed) -> None:
    alice = followed.users.add("alice", "password")
    for number in range(30):
        followed.users.set(dataclasses.replace(alice, hz=float(number + 1)))
    read = followed.users.changes
    followed.users.changes = lambda after, _most=7: read(after, 7)  # type: ignore[method-assign]
    followed.changes.follow()
    assert len(followed.events()) == 31


@pytest.mark.parametrize("content", ["", "[", "[1]", '{"a": 1}', '["x", null]', "7"])
def test_a_memory_that_is_damaged_is_none(followed: Followed, content: str) -> None:
    followed.users.add("alice", "password")
    followed.end()
    (followed.folder / "kept.json").write_text(content)
    followed.begin()
    followed.changes.follow()
    assert followed.events() == [("user added", "alice", "")]
