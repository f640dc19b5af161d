"""Rows of `accounts` as users, and what of a user is stored how."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from imageserver.accounts.store.sql import SqlConnection
from imageserver.accounts.store.users import User, encodable, in_order, missing, normal
from imageserver.errors import UsersUnavailable

USER_COLUMNS = ", ".join(
    f"accounts.{column}" for column in ("name", "roles", "model", "hz", "rotate", "cameras", "camera", "stamp")
)
"""What `user_of` takes, in a query."""
_NOTHING = "-"


def user_of(row: Sequence[Any], credential: str = "", roles: str | None = None) -> User:
    """The user of a row of USER_COLUMNS.

    Args:
        row: What the database gave.
        credential: What this user has shown.
        roles: Of the token that was shown; of these the user has what is theirs still. None: all that are theirs.

    Raises:
        UsersUnavailable: The row is none: the file is damaged.
    """
    try:
        name, own_roles, model, hz, rotate, cameras, camera, stamp = row
        only = tuple(cameras.split("\n")) if cameras else ()
        user = User(name, frozenset(own_roles.split()), model, hz, rotate, only, camera, stamp, credential)
        if roles is None:
            return user
        return dataclasses.replace(user, roles=frozenset(role for role in roles.split() if user.has(role)))
    except (AttributeError, TypeError, ValueError) as error:
        raise UsersUnavailable(f"a row in the user database cannot be read ({error}): put back a copy of it") from error


def stored_name(text: str) -> str:
    """A user's name as it is stored; "" for what cannot be one."""
    name = normal(text)
    return name if encodable(name) else ""


def find(connection: SqlConnection, name: str) -> User:
    """The user of that name. SettingError: there is none."""
    query = f"SELECT {USER_COLUMNS} FROM accounts WHERE name = ?"  # noqa: S608 - constants
    row = connection.execute(query, (stored_name(name),)).fetchone()
    if row is None:
        raise missing(name)
    return user_of(row)


def columns(user: User) -> tuple[str, str | None, float | None, int, str, str]:
    """Roles, model, hz, rotate, cameras and camera, as they are stored."""
    return " ".join(in_order(user.roles)), user.model, user.hz, user.rotate, "\n".join(user.only), user.camera


def in_words(user: User) -> str:
    """What is set of a user: "roles camera,viewer, hz 5"."""
    return ", ".join(f"{name} {value}" for name, value in _settings(user).items() if value != _NOTHING)


def difference(before: User, after: User) -> str:
    """What was changed of a user: "roles camera -> camera,viewer, hz - -> 5"; "": nothing."""
    old, new = _settings(before), _settings(after)
    return ", ".join(f"{name} {old[name]} -> {new[name]}" for name in old if old[name] != new[name])


def _settings(user: User) -> dict[str, str]:
    return {
        "roles": ",".join(in_order(user.roles)),
        "only": ",".join(user.only) or _NOTHING,
        "camera": user.camera or _NOTHING,
        "model": user.model or _NOTHING,
        "hz": _NOTHING if user.hz is None else f"{user.hz:g}",
        "rotate": str(user.rotate or _NOTHING),
    }
