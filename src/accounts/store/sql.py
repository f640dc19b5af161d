"""What the methods of `UserDB` need of a database, whichever it is: SQLite in a file, or PostgreSQL.

Their statements are written once, with `?` for each value, in words that both understand: `"user"` in quotes, no number
of a row but `rowid`, what was inserted by RETURNING.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

from imageserver.config.database import DatabaseAddress

Place = Path | DatabaseAddress | None
"""Where users are; None: in memory. Shown without a password."""


class Cursor(Protocol):
    """What a statement gave."""

    @property
    def rowcount(self) -> int: ...

    def fetchone(self) -> Any: ...

    def fetchall(self) -> Sequence[Any]: ...

    def __iter__(self) -> Iterator[Any]: ...


class SqlConnection(Protocol):
    """For one thread at a time."""

    def execute(self, statement: str, values: Sequence[Any] = (), /) -> Cursor: ...


class Database(Protocol):
    """Lends connections. Whatever goes wrong with it is UsersUnavailable."""

    @property
    def place(self) -> Place:
        """Where it is."""

    @property
    def copy(self) -> Path | None:
        """Where it is kept as it was, when it was taken over from an older server since the start."""

    @property
    def among(self) -> str:
        """How a statement says that a text is one of a JSON list, which is the value of its `?`."""

    def closed(self) -> bool:
        """Whether there are users or ever were."""

    def connection(self) -> AbstractContextManager[SqlConnection]:
        """A connection that sees what others have changed."""

    def transaction(self, create: bool = False) -> AbstractContextManager[SqlConnection]:
        """A connection within a transaction, undone when anything is raised; no other one writes meanwhile.

        `create`: make the database when there is none.
        """
