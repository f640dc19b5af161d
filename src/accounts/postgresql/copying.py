"""Users and tokens of one database put into another: passwords as they are stored, so nobody notices."""

from __future__ import annotations

import time
from typing import NamedTuple

from imageserver.accounts.store import changes
from imageserver.accounts.store.base import Store
from imageserver.accounts.store.changes import ChangeKind
from imageserver.accounts.store.users import taken

_ACCOUNT = "name, password, roles, model, hz, rotate, cameras, camera"
_TOKEN = 'id, digest, "user", name, roles, created, expires, used'


class Copied(NamedTuple):
    """How many."""

    users: int
    tokens: int


def copy(source: Store, target: Store, by: str = "") -> Copied:
    """Add all users and tokens of one database to another, or none; page sessions stay where they are.

    Args:
        source: Where they are.
        target: Where they are to be, too.
        by: Who does it, for `changes`.

    Raises:
        SettingError: A user of one of the names is there already.
        UsersUnavailable: One of the two cannot be used.
    """
    with source._connection() as connection:
        accounts = connection.execute(f"SELECT {_ACCOUNT} FROM accounts ORDER BY name").fetchall()  # noqa: S608
        tokens = connection.execute(f"SELECT {_TOKEN} FROM tokens").fetchall()  # noqa: S608 - constants, as above
    now, detail = time.time(), f"copied from {source.path}"
    with target._transaction(create=True) as connection:
        for row in accounts:
            if not connection.execute(_insertion("accounts", _ACCOUNT), row).rowcount:
                raise taken(row[0])
            changes.record(connection, now, ChangeKind.USER_ADDED, row[0], by, detail)
        for row in tokens:
            connection.execute(_insertion("tokens", _TOKEN), row)
    return Copied(len(accounts), len(tokens))


def _insertion(table: str, columns: str) -> str:
    values = ", ".join("?" for _column in columns.split(","))
    return f"INSERT INTO {table} ({columns}) VALUES ({values}) ON CONFLICT DO NOTHING"  # noqa: S608 - constants
