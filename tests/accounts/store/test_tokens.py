"""Tokens: what they may, when they end, and that nothing but the right one is taken."""

from __future__ import annotations

import dataclasses
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from imageserver.accounts.database import User, UserDB, is_token
from imageserver.accounts.store import bearer
from imageserver.errors import LimitExceeded, SettingError

DAY = 86_400.0


@pytest.fixture
def users(make: Callable[..., UserDB]) -> UserDB:
    return make()


def test_a_token_is_its_user_with_its_roles(users: UserDB) -> None:
    token, text = users.add_token("alice", ["camera"], days=90, name="front door")
    assert text.startswith(f"ist_{token.identity}_") and is_token(text)
    found = users.check_token(text)
    assert found == User("alice", frozenset({"camera"}), only=("kitchen", "door"))
    assert (found.credential, found.stamp) == (f"token {token.identity}", users.get("alice").stamp)
    assert users.check_token(text, "alice") and users.check_token(text, "bob") is None
    assert users.check("alice", text) is None


def test_what_is_kept_of_a_token_is_not_the_token(users: UserDB, place: Path | None) -> None:
    token, text = users.add_token("alice", name="front door")
    assert text.split("_")[2] not in repr(users.tokens()) + repr(users.changes(0)) + repr(token)
    if isinstance(place, Path):
        assert text.split("_")[2].encode() not in place.read_bytes()
        assert bytes.fromhex(text.split("_")[2]) not in place.read_bytes()


def test_without_roles_it_has_those_of_the_user_and_it_loses_what_the_user_loses(users: UserDB) -> None:
    _token, text = users.add_token("alice")
    assert users.check_token(text).roles == {"camera", "viewer"}
    users.set(dataclasses.replace(users.get("alice"), roles=frozenset({"viewer"})))
    assert users.check_token(text).roles == {"viewer"}
    users.set(dataclasses.replace(users.get("alice"), roles=frozenset({"camera", "viewer", "admin"})))
    assert users.check_token(text).roles == {"camera", "viewer"}
    _token, camera = users.add_token("alice", ["camera"])
    users.set(dataclasses.replace(users.get("alice"), roles=frozenset({"viewer"})))
    assert users.check_token(camera) is None


def test_a_token_of_an_admin_may_have_any_role(users: UserDB) -> None:
    users.add("boss", "x", ["admin"])
    assert users.check_token(users.add_token("boss", ["camera"])[1]).roles == {"camera"}


def test_it_ends(users: UserDB, clock) -> None:
    _token, text = users.add_token("alice", days=2)
    _token, lasting = users.add_token("alice")
    clock.now += 2 * DAY - 1
    assert users.check_token(text)
    clock.now += 1
    assert users.check_token(text) is None
    clock.now += 10_000 * DAY
    assert users.check_token(lasting)


def test_it_outlives_a_new_password_but_neither_its_user_nor_its_revocation(users: UserDB) -> None:
    first, text = users.add_token("alice")
    _second, other = users.add_token("alice")
    users.passwd("alice", "new")
    assert users.check_token(text)
    users.revoke(first.identity)
    assert users.check_token(text) is None and users.check_token(other)
    users.remove("alice")
    assert users.check_token(other) is None and users.tokens() == []
    users.add("alice", "secret")
    assert users.check_token(other) is None


def test_its_whole_text_revokes_it_too(users: UserDB) -> None:
    _token, text = users.add_token("alice")
    users.revoke(text)
    assert users.tokens() == []


@pytest.mark.parametrize("identity", ["", "0" * 12, "ist_", "x" * 100_000, "\ud800", "a\0", "%"])
def test_what_is_not_there_cannot_be_revoked(users: UserDB, identity: str) -> None:
    users.add_token("alice")
    with pytest.raises(SettingError, match="^there is no token or page session of that id"):
        users.revoke(identity)
    assert len(users.tokens()) == 1


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"user": "bob"}, "there is no user 'bob'"),
        ({"user": "\ud800"}, "there is no user"),
        ({"user": "x" * 100_000}, "there is no user 'x{128}';"),
        ({"roles": ["boss"]}, "'boss' cannot be a token's roles"),
        ({"roles": ["admin"]}, "'alice' has not the role admin"),
        ({"days": 0}, "days is 0"),
        ({"days": -1}, "days is -1"),
        ({"days": 3651}, "days is 3651"),
        ({"days": float("nan")}, "days is nan"),
        ({"days": float("inf")}, "days is inf"),
        ({"name": "x" * 65}, "cannot be a token's name"),
        ({"name": "x" * 100_000}, "'x{64}' cannot be a token's name"),
        ({"name": "a\nb"}, "cannot be a token's name"),
        ({"name": "\ud800"}, "cannot be a token's name"),
    ],
)
def test_tokens_that_cannot_be(users: UserDB, values, reason: str) -> None:
    with pytest.raises(SettingError, match=reason):
        users.add_token(**{"user": "alice", **values})
    assert users.tokens() == []


def test_a_user_has_only_so_many_but_expired_ones_give_way(make: Callable[..., UserDB], clock) -> None:
    users = make(max_tokens=3)
    for days in (1, 2, 3):
        users.add_token("alice", days=days)
    with pytest.raises(LimitExceeded, match="^'alice' has 3 tokens, and more are not allowed: revoke one$") as caught:
        users.add_token("alice")
    assert caught.value.limit == "max_tokens"
    users.add("bob", "x")
    users.add_token("bob")
    clock.now += 1 * DAY
    users.add_token("alice")
    assert len(users.tokens("alice")) == 3


def every_wrong_one(text: str) -> list[str]:
    """Texts beside a right one: each character changed, every length, other alphabets, other kinds."""
    changed = [text[:at] + ("0" if text[at] != "0" else "1") + text[at + 1 :] for at in range(len(text))]
    lengths = [text[:length] for length in range(len(text))] + [text + "0", text * 2, text * 100_000, "0" * 10_000_000]
    others = [text.upper(), text.replace("ist", "isp"), f" {text[:-1]}", f"{text[:-1]}\n", text.replace("_", "-")]
    strange = [text[:-1] + character for character in "\ud800é٣\0 _'\"%"]
    return [*changed, *lengths, *others, *strange, "ist_" + "é" * 77, "\ud800" * 81]


def test_nothing_but_the_right_text_is_taken(users: UserDB) -> None:
    _token, text = users.add_token("alice")
    assert not [wrong for wrong in every_wrong_one(text) if users.check_token(wrong)]
    assert users.check_token(text)


def test_texts_of_other_lengths_are_not_looked_at(users: UserDB, monkeypatch: pytest.MonkeyPatch) -> None:
    _token, text = users.add_token("alice")
    monkeypatch.setattr(bearer, "_FORM", None)
    monkeypatch.setattr(users, "_connection", None)
    for wrong in ("", text[:-1], text + "0", "ist_" * 10_000_000):
        assert users.check_token(wrong) is None and not is_token(wrong)


def test_a_password_cannot_look_like_a_token(users: UserDB) -> None:
    _token, text = users.add_token("alice")
    for change in (users.passwd, users.add):
        with pytest.raises(SettingError, match="this is a token"):
            change("alice", text)


def test_its_use_is_written_once_an_hour(users: UserDB, clock) -> None:
    _token, text = users.add_token("alice")
    begun = clock.now
    before = users.revision()
    for minutes, used in ((0, 0), (59, 0), (60, 60), (61, 60)):
        clock.now = begun + minutes * 60.0
        users.check_token(text)
        users._marks.settle()
        assert users.tokens()[0].used == begun + used * 60.0
    assert users.revision() == before


def test_a_database_for_reading_alone_serves(tmp_path: Path, make: Callable[..., UserDB], place: Path | None) -> None:
    if place is None:
        pytest.skip("it is about a file")
    users = make()
    _token, text = users.add_token("alice")
    with closing(sqlite3.connect(place, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")  # as good as one that cannot be written
        users._database._connections._patience = 0.05
        users._database._connections.close()
        assert users.check_token(text) and users.check("alice", "secret")
        users._marks.settle()
        assert users.tokens()[0].used is None
        assert users.check_token(text)
        assert users._marks._writing is None


def steps(users: UserDB, action: Callable[[], object]) -> int:
    """Thousands of steps that SQLite takes for it."""
    counted: list[int] = []
    with users._connection() as connection:
        connection.set_progress_handler(lambda: counted.append(1), 1000)
    action()  # with the connection that was used last
    with users._connection() as connection:
        connection.set_progress_handler(None, 0)
    return len(counted)


def test_twenty_thousand_tokens_cost_a_look_up_no_more(users: UserDB, clock) -> None:
    _token, text = users.add_token("alice")
    with users._transaction() as connection:
        connection.execute(
            "WITH RECURSIVE n (i) AS (VALUES (0) UNION ALL SELECT i + 1 FROM n WHERE i < 19999) INSERT INTO tokens "
            "SELECT printf('%012x', i), zeroblob(32), 'u' || i, '', 'camera', 0, ?1 + i - 10000, ?1 FROM n",
            (clock.now,),
        )
    users.any()  # what was written closes connections
    login = users.check_token(text)
    users._marks.settle()
    assert users.any() and steps(users, users.tokens) > 20
    for look in (
        lambda: users.check_token(text),
        lambda: users.check_token("ist_" + "0" * 12 + "_" + "0" * 64),
        lambda: users.tokens("alice"),
        lambda: users.current([login]),
        users.revision,
    ):
        assert steps(users, look) == 0


def test_no_token_with_an_end_is_made_while_the_clock_is_that_of_a_machine_that_was_never_set(make, clock) -> None:
    users = make()
    clock.now = 180.0
    with pytest.raises(SettingError, match=r"the clock of this machine says 1970-01-01 00:03 UTC, so a token of 90 d"):
        users.add_token("alice", days=90)
    assert users.check_token(users.add_token("alice")[1])


def test_a_token_that_was_used_while_the_clock_was_ahead_tells_its_use_again(make, clock) -> None:
    users = make()
    _token, text = users.add_token("alice")
    clock.now += 400 * 86_400
    users.check_token(text)
    users._marks.settle()
    clock.now -= 400 * 86_400
    users.check_token(text)
    users._marks.settle()
    assert users.tokens("alice")[0].used == clock.now
