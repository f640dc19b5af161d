"""The records of Snap's pictures, in SQLite. Every method blocks for a moment, and none for long: use a thread.

Whatever could touch many rows is done in pieces, each a transaction of its own, so that nobody waits for 200,000 rows.
How many pictures there are, and what they take of the disk, is counted by triggers in the database itself: it holds
after a crash, and nothing has to be added up at the start.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from imageserver.protocols.snap import pictures
from imageserver.protocols.snap.local import schema
from imageserver.protocols.snap.local.folder import SnapFolder
from imageserver.protocols.snap.pictures import ALL, LAST, NOBODY, Row, Sender, Sight, Slice, Usage

_COLUMNS = """
number, pictures.id, kind, size, received, file, owner, camera, CASE WHEN
    (?3 IS NULL OR owner = ?3)
    AND (?4 IS NULL OR CASE camera WHEN '' THEN owner ELSE camera END IN (SELECT value FROM json_each(?4)))
THEN prediction END
"""
"""Of a `Row`; of a picture that may not be seen the prediction is none, and not read."""

_NEWEST = f"""
WITH RECURSIVE ids (id) AS (
    SELECT MIN(id) FROM pictures WHERE id > ?1
    UNION ALL SELECT (SELECT MIN(id) FROM pictures WHERE id > ids.id) FROM ids WHERE id IS NOT NULL
    LIMIT ?2
)
SELECT {_COLUMNS} FROM ids CROSS JOIN pictures ON number = (SELECT MAX(number) FROM pictures WHERE id = ids.id)
"""  # noqa: S608 - no text of a client's in it
"""The newest of each id, in their order, by a look at the index for each of them: no row is read that is not shown."""

_HISTORY = f"""
SELECT {_COLUMNS} FROM pictures WHERE id = ?5 AND number < ?1 ORDER BY number DESC LIMIT ?2
"""  # noqa: S608 - as above
_OF = "SELECT number, file FROM pictures WHERE id = ? AND number <= ? ORDER BY number LIMIT ?"
_OLD = "SELECT number, file FROM pictures WHERE id = ? ORDER BY number DESC LIMIT ? OFFSET ?"
_OLDEST = """
SELECT number, file, disk FROM pictures WHERE number < (SELECT MAX(number) FROM pictures) ORDER BY number LIMIT ?
"""
_AFTER = "SELECT number, file FROM pictures WHERE number > ? ORDER BY number LIMIT ?"


class Records:
    """The database in `folder`, whose log of writes has about `log_pages`; to be read only, where the disk is.

    Attributes:
        copy: where it is kept as it was, when it was taken over from an older server just now.

    Raises:
        OSError, sqlite3.Error: as schema.prepared and schema.fixed.
    """

    def __init__(self, folder: SnapFolder, log_pages: int) -> None:
        path, self._folder = folder.database, folder
        self._lock, self._read_lock = threading.Lock(), threading.Lock()
        self._owed: set[int] = set()  # numbers to forget, for which a full disk had no room
        self._fixed, self.copy = folder.is_read_only(), None
        if self._fixed:
            self._writer = schema.fixed(path)
        else:
            self._writer, self.copy = schema.prepared(path, log_pages)
        try:
            self._reader = schema.fixed(path) if self._fixed else schema.connect(path, log_pages)
            self._page_size = int(self._writer.execute("PRAGMA page_size").fetchone()[0])
            self.usage()  # it can be read, and its log of writes is there
            folder.opened()
        except BaseException:
            self._writer.close()
            raise

    @property
    def usable(self) -> bool:
        """Whether it is the one that has its name, and can be written where its disk can."""
        try:
            self._folder.check()
            return not self._fixed or self._folder.is_read_only()
        except OSError:
            return False

    def add(
        self,
        identity: int,
        file: str,
        kind: str,
        size: int,
        disk: int,
        received: str,
        prediction: str,
        sender: Sender = NOBODY,
    ) -> None:
        """Add a picture whose file takes `disk` bytes; it is on the disk when this returns.

        `sender` is asked about the newest one in the transaction itself: of two for the same number the second one
        finds the first.
        """
        with self._transaction() as database:
            found = database.execute(_HISTORY, (LAST, 1, None, None, identity)).fetchone()
            sender.check(Row(*found) if found else None)
            database.execute(
                "INSERT INTO pictures (id, file, kind, size, disk, received, prediction, owner, camera)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (identity, file, kind, size, disk, received, prediction, sender.owner, sender.camera),
            )

    def remove(self, numbers: Iterable[int]) -> None:
        """Forget pictures, and what could not be forgotten before. After a loss of power they may be there again."""
        self._owed.update(numbers)
        if owed := tuple(self._owed):
            with self._transaction(lasting=False) as database:
                database.executemany("DELETE FROM pictures WHERE number = ?", [(number,) for number in owed])
            self._owed.difference_update(owed)

    def measured(self, disk: Iterable[tuple[int, int]]) -> None:
        """What files were found to take: (bytes, number)."""
        with self._transaction(lasting=False) as database:
            database.executemany("UPDATE pictures SET disk = ?1 WHERE number = ?2 AND disk <> ?1", list(disk))

    def newest(self, after: int, most: int, sight: Sight = ALL) -> Slice:
        """As PictureStore.newest."""
        return self._slice(_NEWEST, after, most, sight, lambda row: row.id)

    def history(self, identity: int, before: int, most: int, sight: Sight = ALL) -> Slice:
        """As PictureStore.history."""
        return self._slice(_HISTORY, before, most, sight, lambda row: row.number, identity)

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
            log = self._folder.log.stat().st_blocks * 512
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
        """A transaction: on the disk when it has ended, or (not `lasting`) soon after, whole or not at all.

        OSError: what was written is lost, since the database has been moved away meanwhile.
        """
        with self._lock:
            self._writer.execute(f"PRAGMA synchronous = {'FULL' if lasting else 'NORMAL'}")
            with self._writer as database:
                database.execute("BEGIN IMMEDIATE")
                self._folder.check()
                yield database
            self._folder.check()

    def _slice(self, query: str, start: int, most: int, sight: Sight, place: Callable[[Row], int], *more: int) -> Slice:
        looks = pictures.looks(most, sight)
        cameras = None if sight.cameras is None else json.dumps(sight.cameras)
        values = (start, looks + 1, sight.owner, cameras, *more)
        # A cursor left open would keep the log of writes from being emptied.
        with self._read_lock, contextlib.closing(self._reader.execute(query, values)) as cursor:
            return pictures.page_of(map(Row._make, cursor), most, looks, place)

    def _read(self, query: str, values: Sequence[Any]) -> list[Any]:
        with self._read_lock:
            return self._reader.execute(query, values).fetchall()
