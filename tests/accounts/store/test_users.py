"""A user: which cameras are theirs, which roles they have, and what may stand in them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tests.passwords import CHEAP

from imageserver.accounts.database import User, UserDB, Verifier
from imageserver.accounts.store.users import MAX_CAMERAS, checked
from imageserver.errors import SettingError


def test_whose_cameras_are_whose() -> None:
    assert User("alice").sees("kitchen") and User("alice").sees("")
    bound = User("alice", only=("kitchen", "door"))
    assert [bound.sees(name) for name in ("kitchen", "door", "Kitchen", "kit", "")] == [True, True, False, False, False]


def test_who_has_which_roles() -> None:
    camera, admin = User("alice"), User("boss", frozenset({"admin"}))
    assert camera.has("camera") and camera.has("viewer", "camera") and camera.has()
    assert not camera.has("viewer") and not camera.has("viewer", "admin")
    assert admin.has("camera") and admin.has("viewer") and admin.has("admin") and admin.has()


def test_what_was_shown_makes_no_other_user() -> None:
    assert User("alice", stamp="a", credential="password") == User("alice", stamp="b", credential="token 1")
    assert "secret-stamp" not in repr(User("alice", stamp="secret-stamp"))


@pytest.mark.parametrize(
    ("only", "kept"),
    [
        (("kitchen", "door", "kitchen"), ("kitchen", "door")),
        (("josé", "jose\u0301"), ("josé",)),
        ((" door ",), ("door",)),
        (("x" * 64,), ("x" * 64,)),
    ],
)
def test_names_of_cameras_as_they_are_kept(only: tuple[str, ...], kept: tuple[str, ...]) -> None:
    assert checked(User("alice", only=only)).only == kept


@pytest.mark.parametrize(
    "only", [("",), (" ",), ("a,b",), ("a\nb",), ("x" * 65,), ("x" * 1_000_000,), ("\ud800",), ("a\0",), ("a\u2028b",)]
)
def test_names_of_cameras_that_cannot_be(only: tuple[str, ...]) -> None:
    with pytest.raises(SettingError, match="cannot be the name of a camera") as caught:
        checked(User("alice", only=only))
    assert len(str(caught.value)) < 300


def test_a_user_is_bound_to_so_many_cameras_at_most(tmp_path: Path) -> None:
    names = tuple(f"{number:064}" for number in range(MAX_CAMERAS))
    users = UserDB(tmp_path / "users.db", CHEAP)
    users.add("alice", "x", only=names)
    assert users.get("alice").only == names
    with pytest.raises(SettingError, match="257 names of cameras are too many"):
        users.set(User("alice", only=(*names, "one more")))


@pytest.mark.parametrize(
    "user",
    [
        User("x" * 1_000_000),
        User("alice", frozenset({"x" * 1_000_000})),
        User("alice", model="x" * 1_000_000),
        User("alice", only=("x" * 1_000_000,)),
    ],
)
def test_what_is_said_of_long_texts_is_short(user: User) -> None:
    with pytest.raises(SettingError) as caught:
        checked(user)
    assert len(str(caught.value)) < 300


def test_what_a_verifier_remembers_has_what_the_user_has_now(tmp_path: Path) -> None:
    users = UserDB(tmp_path / "users.db", CHEAP)
    users.add("alice", "secret", only=["kitchen"])
    verifier = Verifier(users)
    first = verifier.check("alice", "secret")
    again = verifier.recall("alice", "secret")
    for found in (first, again):
        assert (found.only, found.credential, found.stamp) == (("kitchen",), "password", users.get("alice").stamp)
    users.set(replace(users.get("alice"), only=("door",)))
    changed = verifier.recall("alice", "secret")
    assert changed.only == ("door",) and changed.stamp != first.stamp
    assert list(users.current([first, changed])) == [False, True]
    users.passwd("alice", "other")
    assert verifier.recall("alice", "secret") is None
