"""Rows of `accounts` as users."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from imageserver.accounts.store.users import User
from imageserver.errors import UsersUnavailable

USER_COLUMNS = ", ".join(
    f"accounts.{column}" for column in ("name", "roles", "model", "hz", "rotate", "cameras", "stamp")
)
"""What `user_of` takes, in a query."""


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
        name, own_roles, model, hz, rotate, cameras, stamp = row
        only = tuple(cameras.split("\n")) if cameras else ()
        user = User(name, frozenset(own_roles.split()), model, hz, rotate, only, stamp, credential)
        if roles is None:
            return user
        return dataclasses.replace(user, roles=frozenset(role for role in roles.split() if user.has(role)))
    except (AttributeError, TypeError, ValueError) as error:
        raise UsersUnavailable(f"a row in the user database cannot be read ({error}): put back a copy of it") from error
