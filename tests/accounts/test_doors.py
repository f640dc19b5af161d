"""The table of doors, as docs/users.md shows it."""

from __future__ import annotations

from pathlib import Path

import pytest

from imageserver.accounts import reference
from imageserver.accounts.database import ROLES, User
from imageserver.accounts.doors import DOORS, HTTP, TABLE, Door, DoorTable, Login
from imageserver.config import table

ROOT = Path(__file__).resolve().parents[2]


def test_the_page_of_users_shows_the_table() -> None:
    page = (ROOT / "docs" / "users.md").read_text()
    assert page == reference.inserted(page), "run `make docs`"


def test_a_page_without_marks_is_an_error() -> None:
    with pytest.raises(ValueError, match="no lines"):
        reference.inserted("# Users\n")


def test_rates_and_bodies_are_settings() -> None:
    names = {row.name for row in table.TABLE}
    assert {name for door in DOORS for name in (door.rate, door.body) if name} <= names
    assert {role for door in DOORS for role in door.roles} == set(ROLES)


def test_an_admin_may_everything_and_others_what_their_roles_say() -> None:
    put = TABLE.http("PUT", "/snippets/<number:identity>/")
    assert put.refuses(User("v", frozenset({"viewer"}))) == "this takes a user with the role camera or admin"
    assert not any(door.refuses(User("a", frozenset({"admin"}))) for door in DOORS)
    assert not any(door.refuses(None) for door in DOORS), "of nobody a login is asked, not a role"


def test_two_rows_about_one_door_are_an_error() -> None:
    row = Door(HTTP, "GET", "/", Login.NEVER)
    with pytest.raises(ValueError, match="same door"):
        DoorTable([row, row])
