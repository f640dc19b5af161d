"""The database of Snap's records: its tables, what is added to those of older servers, and how it is opened."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

_SCHEMA = """
CREATE TABLE IF NOT EXISTS snippets (
    number INTEGER PRIMARY KEY AUTOINCREMENT, id INTEGER NOT NULL, file TEXT NOT NULL, kind TEXT NOT NULL,
    size INTEGER NOT NULL, received TEXT NOT NULL, prediction TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS by_id ON snippets (id, number);
"""

_COUNTED = """
BEGIN IMMEDIATE;
ALTER TABLE snippets ADD COLUMN disk INTEGER NOT NULL DEFAULT 0;
CREATE TABLE totals (files INTEGER NOT NULL, disk INTEGER NOT NULL);
INSERT INTO totals SELECT COUNT(*), 0 FROM snippets;
CREATE TRIGGER added AFTER INSERT ON snippets BEGIN
    UPDATE totals SET files = files + 1, disk = disk + NEW.disk;
END;
CREATE TRIGGER removed AFTER DELETE ON snippets BEGIN
    UPDATE totals SET files = files - 1, disk = disk - OLD.disk;
END;
CREATE TRIGGER measured AFTER UPDATE OF disk ON snippets BEGIN
    UPDATE totals SET disk = disk + NEW.disk - OLD.disk;
END;
PRAGMA user_version = 1;
COMMIT;
"""
"""What databases of servers that counted nothing lack; their pictures count as 0 bytes until they are measured."""


def connect(path: Path, log_pages: int) -> sqlite3.Connection:
    """A connection that any thread may use, one at a time. sqlite3.Error.

    `log_pages`: pages (of 4 KiB) that the log of writes may have before they are moved into the database.
    """
    database = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
    database.execute("PRAGMA auto_vacuum = INCREMENTAL")  # of a new one; before anything is in it
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA synchronous = FULL")
    database.execute(f"PRAGMA wal_autocheckpoint = {log_pages}")
    database.execute(f"PRAGMA journal_size_limit = {log_pages * 4096}")
    return database


def prepared(path: Path, log_pages: int) -> sqlite3.Connection:
    """As `connect`, with the tables, of which those of an older server are brought up to date. sqlite3.Error."""
    database = connect(path, log_pages)
    database.executescript(_SCHEMA)
    if database.execute("PRAGMA user_version").fetchone() == (0,):
        database.executescript(_COUNTED)
    if database.execute("PRAGMA auto_vacuum").fetchone() == (0,):
        with contextlib.suppress(sqlite3.OperationalError):  # no room for the copy: at the next start, then
            database.execute("PRAGMA auto_vacuum = INCREMENTAL")
            database.execute("VACUUM")
    return database
