"""The records of Snap's pictures, in SQLite. Every method blocks for a moment, and none for long: use a thread.

Whatever could touch many rows is done in pieces, each a transaction of its own, so that nobody waits for 200,000 rows.
How many pictures there are, and what they take of the disk, is counted by triggers in the database itself: it holds
after a crash, and nothing has to be added up at the start.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from imageserver.protocols.snap import schema

PAGE_BYTES = 2**20
"""Bytes of predictions after which a page of rows ends, whatever number of rows was asked for."""

_NEWEST = """
WITH RECURSIVE ids (id) AS (
    SELECT MIN(id) FROM snippets WHERE id > ?1
    UNION ALL SELECT (SELECT MIN(id) FROM snippets WHERE id > ids.id) FROM ids WHERE id IS NOT NULL
    LIMIT ?2
)
SELECT number, snippets.id, kind, size, received, prediction, file FROM ids
CROSS JOIN snippets ON number = (SELECT MAX(number) FROM snippets WHERE id = ids.id)
"""
"""The newest of each id, in their order, by a look at the index for each of them: no row is read that is not shown."""

_HISTORY = """
SELECT number, id, kind, size, received, prediction, file FROM snippets
WHERE id = ? AND number < ? ORDER BY number DESC LIMIT ?
"""
_OF = "SELECT number, file FROM snippets WHERE id = ? AND number <= ? ORDER BY number LIMIT ?"
_OLD = "SELECT number, file FROM snippets WHERE id = ? ORDER BY number DESC LIMIT ? OFFSET ?"
_OLDEST = """
SELECT number, file, disk FROM snippets WHERE number < (SELECT MAX(number) FROM snippets) ORDER BY number LIMIT ?
"""
_AFTER = "SELECT number, file FROM snippets WHERE number > ? ORDER BY number LIMIT ?"


class Row(NamedTuple):
    """One picture's record; `prediction` is the JSON text, as it was stored."""

    number: int
    id: int
    kind: str
    size: int
    received: str
    prediction: str
    file: str


@dataclass(frozen=True)
class Usage:
    """What all pictures take: `files` of them, and `disk` bytes, with the database and its log."""

    files: int
    disk: int


class Records:
    """The database in the file `path`, whose log of writes has about `log_pages`. sqlite3.Error: it cannot be used."""

    def __init__(self, path: Path, log_pages: int) -> None:
        self._wal = path.with_name(f"{path.name}-wal")
        self._lock, self._read_lock = threading.Lock(), threading.Lock()
        self._writer = schema.prepared(path, log_pages)
        self._reader = schema.connect(path, log_pages)
        self._page_size = int(self._writer.execute("PRAGMA page_size").fetchone()[0])

    def add(self, identity: int, file: str, kind: str, size: int, disk: int, received: str, prediction: str) -> None:
        """Add a picture whose file takes `disk` bytes; it is on the disk when this returns."""
        with self._transaction() as database:
            database.execute(
                "INSERT INTO snippets (id, file, kind, size, disk, received, prediction) VALUES (?, ?, ?, ?, ?, ?, ?)",
                (identity, file, kind, size, disk, received, prediction),
            )

    def remove(self, numbers: Iterable[int]) -> None:
        """Forget pictures. After a loss of power they may be there again."""
        with self._transaction(lasting=False) as database:
            database.executemany("DELETE FROM snippets WHERE number = ?", [(number,) for number in numbers])

    def measured(self, disk: Iterable[tuple[int, int]]) -> None:
        """What files were found to take: (bytes, number)."""
        with self._transaction(lasting=False) as database:
            database.executemany("UPDATE snippets SET disk = ?1 WHERE number = ?2 AND disk <> ?1", list(disk))

    def newest(self, after: int, most: int) -> tuple[list[Row], bool]:
        """The newest picture of each id above `after`, by id, and whether there are more of them.

        At most `most`, and about `PAGE_BYTES`; as `history`.
        """
        return self._page(_NEWEST, (after,), most)

    def history(self, identity: int, before: int, most: int) -> tuple[list[Row], bool]:
        """The pictures of an id with a number below `before`, newest first, and whether there are more of them."""
        return self._page(_HISTORY, (identity, before), most)

    def of(self, identity: int, newest: int, most: int) -> list[tuple[int, str]]:
        """Number and file of pictures of an id up to the number `newest`; at most `most` of them."""
        return self._read(_OF, (identity, newest, most))

    def old(self, identity: int, kept: int, most: int) -> list[tuple[int, str]]:
        """Number and file of pictures of an id that are not among its `kept` newest; at most `most` of them."""
        return self._read(_OLD, (identity, most, kept))

    def oldest(self, most: int) -> list[tuple[int, str, int]]:
        """Number, file and bytes on the disk of the oldest pictures; never the newest of them all."""
        return self._read(_OLDEST, (most,))

    def after(self, number: int, most: int) -> list[tuple[int, str]]:
        """Number and file of the pictures that follow `number`."""
        return self._read(_AFTER, (number, most))

    def usage(self) -> Usage:
        """What all pictures take now. The database counts with the pages that hold something: see `give_back`."""
        ((files, disk),) = self._read("SELECT files, disk FROM totals", ())
        ((pages,),) = self._read("PRAGMA page_count", ())
        ((free,),) = self._read("PRAGMA freelist_count", ())
        try:
            log = self._wal.stat().st_blocks * 512
        except FileNotFoundError:
            log = 0
        return Usage(files, disk + (pages - free) * self._page_size + log)

    def give_back(self, most: int = 100) -> bool:
        """Give at most `most` free pages back to the disk; returns whether there are more of them."""
        with self._transaction(lasting=False) as database:
            database.execute(f"PRAGMA incremental_vacuum({most})").fetchall()
            (free,) = database.execute("PRAGMA freelist_count").fetchone()
            (vacuum,) = database.execute("PRAGMA auto_vacuum").fetchone()
        return bool(free) and vacuum == 2

    def close(self) -> None:
        """Close the database."""
        with self._lock, self._read_lock:
            self._reader.close()
            self._writer.close()

    @contextlib.contextmanager
    def _transaction(self, lasting: bool = True) -> Iterator[sqlite3.Connection]:
        """A transaction: on the disk when it has ended, or (not `lasting`) soon after, whole or not at all."""
        with self._lock:
            self._writer.execute(f"PRAGMA synchronous = {'FULL' if lasting else 'NORMAL'}")
            with self._writer as database:
                database.execute("BEGIN IMMEDIATE")
                yield database

    def _page(self, query: str, values: tuple[int, ...], most: int) -> tuple[list[Row], bool]:
        found: list[Row] = []
        size = 0
        # A cursor left open would keep the log of writes from being emptied.
        with self._read_lock, contextlib.closing(self._reader.execute(query, (*values, most + 1))) as cursor:
            for row in cursor:
                if len(found) == most or size >= PAGE_BYTES:
                    return found, True
                found.append(Row(*row))
                size += len(found[-1].prediction)
        return found, False

    def _read(self, query: str, values: Sequence[Any]) -> list[Any]:
        with self._read_lock:
            return self._reader.execute(query, values).fetchall()
