"""What users, tokens and page sessions share: their database, its revision and what was changed in it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from imageserver import clock
from imageserver.accounts.store import changes
from imageserver.accounts.store.changes import Change
from imageserver.accounts.store.file import UsersFile
from imageserver.accounts.store.marks import Mark, Marks
from imageserver.accounts.store.sql import Database, Place, SqlConnection
from imageserver.limits import Limits

_WRITE_MARK = {
    "tokens": "UPDATE tokens SET used = ? WHERE id = ?",
    "pages": "UPDATE pages SET seen = ? WHERE id = ? AND seen < ?",
}


class Store:
    """What users, tokens and page sessions share.

    Args:
        place: A SQLite file, another database, or None: in memory.
        limits: Of tokens and page sessions.
        clock: Seconds since 1970.
        patience: Seconds to wait for others who write to the file.
    """

    def __init__(
        self, place: Path | Database | None, limits: Limits | None, clock: Callable[[], float], patience: float
    ) -> None:
        self._database: Database = UsersFile(place, patience) if place is None or isinstance(place, Path) else place
        self._limits, self._clock = limits or Limits(), clock
        self.committed = 0
        """Changes, and marks of use, that were written since the start."""
        self._marks = Marks(self._write_marks)

    @property
    def path(self) -> Place:
        """Where they are: a file, an address that shows no password, or None: in memory."""
        return self._database.place

    @property
    def copy(self) -> Path | None:
        """Where the users are kept as they were, when those of an older server were taken over since the start."""
        return self._database.copy

    def closed(self) -> bool:
        """Whether there are users or ever were: of a file whether it is there, whatever state it is in."""
        return self._database.closed()

    def revision(self) -> object:
        """Equal as long as no user, token or page session was changed, came to be, ended or expired; a look-up.

        What is changed by hand counts, and so does another file in the place of this one.
        """
        now = self._clock()
        with self._connection() as connection:
            return connection.execute(
                "SELECT value, (SELECT max(expires) FROM tokens WHERE expires <= ?), "
                "(SELECT max(seen) FROM pages WHERE seen <= ?), (SELECT max(begun) FROM pages WHERE begun <= ?), "
                "(SELECT max(seen) FROM pages WHERE seen > ?) FROM revision",
                (now, now - self._limits.page_idle, now - self._limits.page_time, now + clock.LARGEST),
            ).fetchone()

    def changes(self, after: int, most: int = 1000) -> Sequence[Change]:
        """At most `most` of the changes that follow the number `after`, oldest first; 10,000 are kept."""
        with self._connection() as connection:
            return changes.after(connection, after, most)

    @contextlib.contextmanager
    def _transaction(self, create: bool = False) -> Iterator[SqlConnection]:
        """A connection within a transaction, which is undone when anything is raised."""
        with self._database.transaction(create) as connection:
            yield connection
        self.committed += 1

    def _connection(self) -> contextlib.AbstractContextManager[SqlConnection]:
        """A connection to use from this thread, which sees what others changed. UsersUnavailable."""
        return self._database.connection()

    def _write_marks(self, marks: Mapping[Mark, float]) -> None:
        with self._transaction() as connection:
            for (table, identity), when in marks.items():
                statement = _WRITE_MARK[table]
                connection.execute(statement, (when, identity, when)[: statement.count("?")])
