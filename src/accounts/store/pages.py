"""Page sessions: what a browser shows in a cookie once somebody has logged in on a page. They end by themselves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from imageserver import clock
from imageserver.accounts.store import bearer
from imageserver.accounts.store.base import Store
from imageserver.accounts.store.rows import USER_COLUMNS, stored_name, user_of
from imageserver.accounts.store.sql import SqlConnection
from imageserver.accounts.store.users import User
from imageserver.errors import NotAllowed
from imageserver.limits import hit

_MARKED_EVERY = 60.0
"""Seconds between two writes of when a page session was last used, unless it ends earlier than that."""

_ALL = 2**62
"""Rows: as many as there are."""
LIVE_PAGE = "begun > ? AND seen > ? AND seen <= ?"
"""Which pages have not ended; the values are those of `_live`."""


@dataclass(frozen=True)
class PageSession:
    """What is known of a page session; not its cookie. Times are in seconds since 1970."""

    identity: str
    user: str
    address: str
    """Where its page was when it began."""
    begun: float
    seen: float
    """When it was last used, to the minute."""


class PageStore(Store):
    """Page sessions in the database."""

    def open_page(self, user: User, address: str) -> str:
        """Begin a page session; returns the value of its cookie, which is to be had here only.

        It ends with the password that was shown. Above `max_pages` of one user the one that was not used for longest
        ends.

        Args:
            user: As `check` gave it.
            address: The client's.

        Raises:
            NotAllowed: They have shown no password (a token begins no page session, which would outlive it), or it
                counts no more.
        """
        if user.credential != "password":
            raise NotAllowed("a page session begins with a password")
        now = self._clock()
        text, secret = bearer.made(bearer.PAGE)
        with self._transaction() as connection:
            self._forget_ended(connection, now)
            begun = connection.execute(
                'INSERT INTO pages (id, digest, "user", address, begun, seen) '
                "SELECT ?, ?, name, ?, ?, ? FROM accounts WHERE name = ? AND stamp = ?",
                (secret.identity, secret.digest, address[:64], now, now, user.name, user.stamp),
            ).rowcount
            if not begun:
                raise NotAllowed("the password was changed at this moment; log in again")
            self._bound(connection, user.name)
        return text

    def check_page(self, value: str) -> User | None:
        """The user of the page session with that cookie, None when it is none or has ended; costs a look-up."""
        shown = bearer.parsed(value, bearer.PAGE)
        if shown is None:
            return None
        now = self._clock()
        with self._connection() as connection:
            row = connection.execute(
                f'SELECT digest, seen, {USER_COLUMNS} FROM pages JOIN accounts ON accounts.name = "user" '  # noqa: S608
                f"WHERE id = ? AND {LIVE_PAGE}",
                (shown.identity, *self._live(now)),
            ).fetchone()
        if row is None or not shown.is_of(row[0]):
            return None
        if now - row[1] >= min(_MARKED_EVERY, self._limits.page_idle / 4):
            self._marks.note(("pages", shown.identity), now)
        return user_of(row[2:], f"page {shown.identity}")

    def pages(self, user: str | None = None) -> Sequence[PageSession]:
        """The page sessions of a user, or all of them, that have not ended; by user and age."""
        query = (
            f'SELECT id, "user", address, begun, seen FROM pages WHERE {LIVE_PAGE} AND (? OR "user" = ?) '  # noqa: S608
            'ORDER BY "user", begun, id'
        )
        values = (*self._live(self._clock()), user is None, stored_name(user or ""))
        with self._connection() as connection:
            return [PageSession(*row) for row in connection.execute(query, values)]

    def _live(self, now: float) -> tuple[float, float, float]:
        # What was used far in the future, while the clock was wrong by as much, would not end for as long.
        return now - self._limits.page_time, now - self._limits.page_idle, now + clock.LARGEST

    def _forget_ended(self, connection: SqlConnection, now: float) -> None:
        """Remove what has ended by itself, so that it takes no room."""
        total, idle, future = self._live(now)
        connection.execute("DELETE FROM pages WHERE seen > ?", (future,))
        for _ended in range(connection.execute("DELETE FROM pages WHERE begun <= ?", (total,)).rowcount):
            hit("page_time")
        for _ended in range(connection.execute("DELETE FROM pages WHERE seen <= ?", (idle,)).rowcount):
            hit("page_idle")

    def _bound(self, connection: SqlConnection, user: str) -> None:
        """End those of a user that are too many."""
        too_many = connection.execute(
            "DELETE FROM pages WHERE id IN "
            '(SELECT id FROM pages WHERE "user" = ? ORDER BY seen DESC, rowid DESC LIMIT ? OFFSET ?)',
            (user, _ALL, self._limits.max_pages),
        ).rowcount
        for _ended in range(too_many):
            hit("max_pages", f"user {user}")
