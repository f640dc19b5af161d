"""What was changed in the database of users, and by whom: written in the transaction that changes it."""

from __future__ import annotations

import enum
from typing import NamedTuple

from imageserver.accounts.store.sql import SqlConnection

MOST = 10_000
"""Changes that are kept; the oldest give way."""
_LONGEST = 2000
"""Characters of a detail; names of cameras may be longer, all together."""


class ChangeKind(enum.StrEnum):
    """What may happen to users, tokens and page sessions."""

    USER_ADDED = "user_added"
    USER_CHANGED = "user_changed"
    PASSWORD_CHANGED = "password_changed"
    USER_REMOVED = "user_removed"
    TOKEN_ADDED = "token_added"
    TOKEN_REVOKED = "token_revoked"
    PAGE_REVOKED = "page_revoked"


_KINDS = frozenset(ChangeKind)


class Change(NamedTuple):
    """One change; `number` grows by one with each, and none is given twice."""

    number: int
    time: float
    """Seconds since 1970."""
    kind: ChangeKind
    user: str
    """Whose account, token or page session."""
    by: str
    """Who changed it: a user of the server, or of the operating system for the command."""
    detail: str
    """In words, without any secret."""


def record(connection: SqlConnection, when: float, kind: ChangeKind, user: str, by: str, detail: str = "") -> None:
    """Write a change, in the transaction of the caller."""
    (number,) = connection.execute(
        'INSERT INTO changes (time, kind, "user", by, detail) VALUES (?, ?, ?, ?, ?) RETURNING number',
        (when, str(kind), user, by, detail[:_LONGEST]),
    ).fetchone()
    connection.execute("DELETE FROM changes WHERE number <= ?", (number - MOST,))


def after(connection: SqlConnection, number: int, most: int) -> list[Change]:
    """The changes that follow `number`, oldest first; what somebody wrote there by hand is left out."""
    query = 'SELECT number, time, kind, "user", by, detail FROM changes WHERE number > ? ORDER BY number LIMIT ?'
    rows = connection.execute(query, (number, most))
    return [Change(row[0], row[1], ChangeKind(row[2]), *row[3:]) for row in rows if row[2] in _KINDS]
