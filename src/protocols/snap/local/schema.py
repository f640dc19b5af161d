"""The database of Snap's records: its tables, how those of older servers become them, and how it is opened.

Version 2 has the records in `pictures`. A server that knows no such table finds a view in place of its own: it cannot
index that, refuses at its start, and so never removes files of which it would know no record.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
from pathlib import Path

from imageserver import files

VERSION = 2
"""Of the tables, as `PRAGMA user_version` has it."""

ROOM = 2**20
"""Bytes that a copy leaves free on the disk."""

_OLDEST = (
    """
    CREATE TABLE snippets (
        number INTEGER PRIMARY KEY AUTOINCREMENT, id INTEGER NOT NULL, file TEXT NOT NULL, kind TEXT NOT NULL,
        size INTEGER NOT NULL, received TEXT NOT NULL, prediction TEXT NOT NULL
    )
    """,
    "CREATE INDEX by_id ON snippets (id, number)",
)

_COUNTED = (
    "ALTER TABLE snippets ADD COLUMN disk INTEGER NOT NULL DEFAULT 0",
    "CREATE TABLE totals (files INTEGER NOT NULL, disk INTEGER NOT NULL)",
    "INSERT INTO totals SELECT COUNT(*), 0 FROM snippets",
    """
    CREATE TRIGGER added AFTER INSERT ON snippets BEGIN
        UPDATE totals SET files = files + 1, disk = disk + NEW.disk;
    END
    """,
    """
    CREATE TRIGGER removed AFTER DELETE ON snippets BEGIN
        UPDATE totals SET files = files - 1, disk = disk - OLD.disk;
    END
    """,
    """
    CREATE TRIGGER measured AFTER UPDATE OF disk ON snippets BEGIN
        UPDATE totals SET disk = disk + NEW.disk - OLD.disk;
    END
    """,
)
"""What databases of servers that counted nothing lack; their pictures count as 0 bytes until they are measured."""

_OWNED = (
    "ALTER TABLE snippets RENAME TO pictures",
    "ALTER TABLE pictures ADD COLUMN owner TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE pictures ADD COLUMN camera TEXT NOT NULL DEFAULT ''",
    'CREATE VIEW snippets AS SELECT * FROM "the records of a newer server, which an older one cannot read"',
)
"""Who put a picture, and with which camera."""

_STEPS = (_COUNTED, _OWNED)
"""From each version to the next."""


def connect(path: Path, log_pages: int) -> sqlite3.Connection:
    """A connection that any thread may use, one at a time. sqlite3.Error.

    `log_pages`: pages (of 4 KiB) that the log of writes may have before they are moved into the database.
    """
    database = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
    try:
        _version(database, path)  # what follows writes
    except BaseException:
        database.close()
        raise
    database.execute("PRAGMA auto_vacuum = INCREMENTAL")  # of a new one; before anything is in it
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA synchronous = FULL")
    database.execute(f"PRAGMA wal_autocheckpoint = {log_pages}")
    database.execute(f"PRAGMA journal_size_limit = {log_pages * 4096}")
    return database


def prepared(path: Path, log_pages: int) -> tuple[sqlite3.Connection, Path | None]:
    """As `connect`, with the tables, of which those of an older server are taken over.

    Returns:
        The connection, and where the database is kept as it was; None, if nothing was to be taken over.

    Raises:
        sqlite3.NotSupportedError: it is of a newer server.
        OSError, sqlite3.Error: it cannot be used; nothing of it is changed.
    """
    database = connect(path, log_pages)
    try:
        copy = _bring_up_to_date(database, path)
    except BaseException:
        database.close()
        raise
    if database.execute("PRAGMA auto_vacuum").fetchone() == (0,):
        with contextlib.suppress(sqlite3.OperationalError):  # no room for the copy: at the next start, then
            database.execute("PRAGMA auto_vacuum = INCREMENTAL")
            database.execute("VACUUM")
    return database, copy


def fixed(path: Path) -> sqlite3.Connection:
    """A connection that reads, where the disk cannot be written: not even the locks and logs that reading takes.

    sqlite3.Error: it cannot be read so, since it is of another version, or a server was killed that wrote to it.
    """
    log = path.with_name(f"{path.name}-wal")
    if log.exists() and log.stat().st_size:
        raise sqlite3.OperationalError(
            f"{path.name} can be read when its disk can be written: {log.name} is to be added"
        )
    source = f"{path.absolute().as_uri()}?mode=ro&immutable=1"
    database = sqlite3.connect(source, uri=True, check_same_thread=False, isolation_level=None)
    try:
        if _version(database, path) != VERSION:
            raise sqlite3.OperationalError(f"{path.name} is of an older server, and taken over when it can be written")
    except BaseException:
        database.close()
        raise
    return database


def _bring_up_to_date(database: sqlite3.Connection, path: Path) -> Path | None:
    """Take the steps that a database lacks, all or none of them; returns the copy of what it was."""
    if _version(database, path) == VERSION:
        return None
    copy = None
    with database:
        database.execute("BEGIN IMMEDIATE")  # nobody writes between the copy and the steps
        version = _version(database, path)
        if database.execute("SELECT 1 FROM sqlite_master WHERE name = 'snippets'").fetchone():
            copy = _copied(path)
        else:
            _take(database, _OLDEST)
        for step in _STEPS[version:]:
            _take(database, step)
        database.execute(f"PRAGMA user_version = {VERSION}")
    return copy


def _version(database: sqlite3.Connection, path: Path) -> int:
    version = int(database.execute("PRAGMA user_version").fetchone()[0])
    if version > VERSION:
        sentence = f"{path.name} is of a newer server (version {version}, this one knows {VERSION})"
        raise sqlite3.NotSupportedError(sentence)
    return version


def _take(database: sqlite3.Connection, step: tuple[str, ...]) -> None:
    for statement in step:
        database.execute(statement)


def _copied(path: Path) -> Path:
    """A copy of a database, with what is in its log of writes, that the disk holds. OSError, sqlite3.Error.

    A copy of an earlier time gives way: its database is what came back since, or nobody would be here again.
    """
    copy = path.with_name(f"{path.name}.before-{VERSION}")
    made = copy.with_name(f"{copy.name}.tmp")
    log = path.with_name(f"{path.name}-wal")
    size = sum(file.stat().st_size for file in (path, log) if file.exists())
    disk = os.statvfs(path.parent)
    # Looked at first: each further attempt would fill the disk up, and take what others need of it.
    if disk.f_bavail * disk.f_frsize < size + ROOM:
        raise OSError(errno.ENOSPC, f"no room for {copy.name}, a copy of {size} bytes that is made before a takeover")
    made.unlink(missing_ok=True)
    try:
        with contextlib.closing(sqlite3.connect(path)) as source, contextlib.closing(sqlite3.connect(made)) as target:
            target.execute("PRAGMA journal_mode = OFF")  # whole or gone: its name comes last
            source.backup(target)
        files.sync(made)
        made.replace(copy)
    finally:
        made.unlink(missing_ok=True)
    files.sync(path.parent)
    return copy
