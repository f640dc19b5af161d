"""The pictures of Snap on disk: files for the pictures, SQLite for the records. Every method blocks: use a thread.

A picture is there, whole, once `put` has returned, whatever happens then: its file is written under another
name, flushed to the disk and renamed before its record is committed. What a crash leaves between the two (a
file without a record) is removed at the next start.
"""

from __future__ import annotations

import json
import os
import sqlite3
import threading
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imageserver import limits
from imageserver.errors import SettingError, TooLarge

_SCHEMA = """
CREATE TABLE IF NOT EXISTS snippets (
    number INTEGER PRIMARY KEY AUTOINCREMENT, id INTEGER NOT NULL, file TEXT NOT NULL, kind TEXT NOT NULL,
    size INTEGER NOT NULL, received TEXT NOT NULL, prediction TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS by_id ON snippets (id, number);
"""

_FIELDS = "SELECT id, kind, size, received, prediction, file FROM snippets"


@dataclass(frozen=True)
class Snippet:
    """One stored picture."""

    id: int
    kind: str
    """jpeg, png, bmp, tiff or webp."""
    size: int
    """Bytes."""
    received: str
    """ISO 8601, UTC."""
    prediction: dict[str, Any]
    path: Path


class SnapStore:
    """The pictures in `folder`: the newest `history` of each id, `max_bytes` of them all (the oldest go first)."""

    def __init__(self, folder: Path, *, history: int, max_bytes: int) -> None:
        """SettingError when the folder cannot be used."""
        self._folder, self._history, self._max_bytes = folder, history, max_bytes
        self._lock = threading.Lock()
        try:
            (folder / "pictures").mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(folder / "snippets.db", check_same_thread=False, isolation_level=None)
            self._database.execute("PRAGMA journal_mode = WAL")
            self._database.execute("PRAGMA synchronous = FULL")
            self._database.executescript(_SCHEMA)
            self._repair()
        except (OSError, sqlite3.Error) as error:
            why = f"pictures cannot be kept there ({error}): give a folder that can be written"
            raise SettingError(f"--data {folder.parent}: {why}") from error

    def put(
        self,
        identity: int,
        kind: str,
        picture: bytes | bytearray | memoryview,
        received: str,
        prediction: dict[str, Any],
    ) -> None:
        """Keep a picture, in place of the oldest ones where space is short.

        Raises:
            TooLarge: it alone is larger than all may be together.
            OSError, sqlite3.Error: it is not kept, and nothing half of it.
        """
        self.check(len(picture))
        name = f"{uuid.uuid4().hex}.{kind}"
        path = self._folder / "pictures" / name
        temporary = path.with_suffix(".tmp")
        try:
            with temporary.open("wb") as file:
                file.write(picture)
                file.flush()
                os.fsync(file.fileno())
            temporary.rename(path)
            _sync_folder(path.parent)
            with self._lock, self._database as database:
                database.execute("BEGIN IMMEDIATE")
                database.execute(
                    "INSERT INTO snippets (id, file, kind, size, received, prediction) VALUES (?, ?, ?, ?, ?, ?)",
                    (identity, name, kind, len(picture), received, json.dumps(prediction, ensure_ascii=False)),
                )
                gone = self._evict(database, identity)
        except BaseException:
            for left in (temporary, path):
                left.unlink(missing_ok=True)
            raise
        self._unlink(gone)

    def check(self, size: int) -> None:
        """TooLarge for a picture of `size` bytes that could not be kept, whatever gave way to it."""
        if size > self._max_bytes:
            limits.hit("snippet_disk")
            option = limits.option("snippet_disk")
            raise TooLarge(f"the picture has {size} bytes; {option} allows {self._max_bytes} for all of them")

    def get(self, identity: int) -> list[Snippet]:
        """The pictures of an id, newest first; none: an empty list."""
        return self._select("WHERE id = ? ORDER BY number DESC", identity)

    def newest(self) -> list[Snippet]:
        """The newest picture of every id, by id."""
        return self._select("WHERE number IN (SELECT MAX(number) FROM snippets GROUP BY id) ORDER BY id")

    def delete(self, identity: int) -> bool:
        """Forget an id; returns whether there was one."""
        with self._lock, self._database as database:
            database.execute("BEGIN IMMEDIATE")
            gone = [row[0] for row in database.execute("DELETE FROM snippets WHERE id = ? RETURNING file", (identity,))]
        self._unlink(gone)
        return bool(gone)

    def close(self) -> None:
        with self._lock:
            self._database.close()

    def _select(self, condition: str, *values: int) -> list[Snippet]:
        with self._lock:
            rows = self._database.execute(f"{_FIELDS} {condition}", values).fetchall()
        folder = self._folder / "pictures"
        return [Snippet(row[0], row[1], row[2], row[3], json.loads(row[4]), folder / row[5]) for row in rows]

    def _evict(self, database: sqlite3.Connection, identity: int) -> list[str]:
        """Forget what is over the limits; returns the files to remove."""
        kept = "SELECT number FROM snippets WHERE id = ?1 ORDER BY number DESC LIMIT ?2"
        old = f"DELETE FROM snippets WHERE id = ?1 AND number NOT IN ({kept})"  # noqa: S608 - our own text
        gone = [row[0] for row in database.execute(f"{old} RETURNING file", (identity, self._history))]
        (total,) = database.execute("SELECT COALESCE(SUM(size), 0) FROM snippets").fetchone()
        while total > self._max_bytes:
            number, file, size = database.execute(
                "SELECT number, file, size FROM snippets ORDER BY number LIMIT 1"
            ).fetchone()
            database.execute("DELETE FROM snippets WHERE number = ?", (number,))
            gone.append(file)
            total -= size
        return gone

    def _repair(self) -> None:
        """Remove what a crash left: files without a record, records without a file."""
        pictures = self._folder / "pictures"
        known = dict(self._database.execute("SELECT file, number FROM snippets").fetchall())
        for path in pictures.iterdir():
            if path.name not in known:
                path.unlink(missing_ok=True)
        missing = [(number,) for file, number in known.items() if not (pictures / file).is_file()]
        self._database.executemany("DELETE FROM snippets WHERE number = ?", missing)

    def _unlink(self, names: list[str]) -> None:
        for name in names:
            (self._folder / "pictures" / name).unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
