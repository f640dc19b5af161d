"""The SQLite file of the users, or memory in its place: connections, transactions, and what is said when it fails."""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path

from imageserver import metrics
from imageserver.accounts.store import schema
from imageserver.accounts.store.connections import Connections
from imageserver.errors import UsersUnavailable

_READ, _WRITTEN = "read", "written"
"""What the disk may not let be done with the users: a full or read-only one lets them be read."""

_NO_DESCRIPTOR = (errno.EMFILE, errno.ENFILE)
_WRITE_CODES = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN)

_QUEUED = 10.0
"""Seconds that writers of this process may wait for each other."""


class UsersFile:
    """The SQLite file `path`, or memory when it is None; a `Database`.

    Args:
        path: The file.
        patience: Seconds to wait for others who write to it.
    """

    among = "IN (SELECT value FROM json_each(?))"

    def __init__(self, path: Path | None, patience: float) -> None:
        self.place = path
        # Also what is looked into while there is no file: it holds nobody.
        self._memory = sqlite3.connect(":memory:", check_same_thread=False, isolation_level=None)
        weakref.finalize(self, self._memory.close)
        schema.fill(self._memory)
        self._lock, self._writing = threading.Lock(), threading.Lock()
        self._connections = Connections(path, patience) if path else None
        if self._connections is not None:
            weakref.finalize(self, self._connections.close)
        self._found = False
        self._failing: set[str] = set()
        """What the disk does not let be done: `_READ`, `_WRITTEN`."""

    def closed(self) -> bool:
        """Whether there are users or ever were: a file that is there, whatever state it is in."""
        if self.place is None:
            with self.connection() as connection:
                return connection.execute("SELECT 1 FROM changes LIMIT 1").fetchone() is not None
        try:
            return self._is_there()
        except UsersUnavailable:
            return True

    @property
    def copy(self) -> Path | None:
        """Where the users are kept as they were, when those of an older server were taken over since the start."""
        return None if self._connections is None else self._connections.copy

    @contextlib.contextmanager
    def transaction(self, create: bool = False) -> Iterator[sqlite3.Connection]:
        """A connection within a transaction, which is undone when anything is raised."""
        with self._turn(), self.connection(create, _WRITTEN) as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

    @contextlib.contextmanager
    def _turn(self) -> Iterator[None]:
        """The turn to write: in this process they queue, where SQLite lets chance decide who waits too long."""
        if not self._writing.acquire(timeout=_QUEUED):
            raise UsersUnavailable(f"the user database {self.place} takes too long to write: see to its disk")
        try:
            yield
        finally:
            self._writing.release()

    @contextlib.contextmanager
    def connection(self, create: bool = False, what: str = _READ) -> Iterator[sqlite3.Connection]:
        """A connection to use from this thread, which sees what others changed.

        `create`: make the file when there is none. `what` is done with it, for the figure. UsersUnavailable.
        """
        try:
            in_memory = self._connections is None or not (self._is_there() or create)
        except UsersUnavailable:
            self._fails(_READ)
            raise
        if self._connections is None or in_memory:
            with self._lock:
                yield self._memory
            return
        try:
            if create:
                schema.create(self._connections.path)
            with self._connections.lend() as connection:
                yield connection
        except (sqlite3.Error, OSError, UnicodeDecodeError) as error:  # the last: of a damaged file, even its errors
            if not _passes(error):
                self._fails(what if _is_of_writes(error) else _READ)
            raise _unusable(self._connections.path, error) from error
        self._works(_READ, what)

    def _fails(self, what: str) -> None:
        self._failing.add(what)
        metrics.DISK_FAILING.child("users").value = 1

    def _works(self, *what: str) -> None:
        if self._failing:
            self._failing.difference_update(what)
            metrics.DISK_FAILING.child("users").value = int(bool(self._failing))

    def _is_there(self) -> bool:
        """Whether there is a file with something in it. UsersUnavailable."""
        assert self.place is not None
        try:
            size = self.place.stat().st_size
        except FileNotFoundError as error:
            # Moved away under a running server, or a link to a disk that is not there: nobody meant to open all doors.
            if self._found or self.place.is_symlink():
                raise UsersUnavailable(
                    f"the user database {self.place} is gone: put it back, or start the server anew without users"
                ) from error
            return False
        except OSError as error:
            raise _unusable(self.place, error) from error
        self._found = True
        if size == 0:
            raise _empty(self.place)
        return True


def users_in(path: Path) -> int:
    """How many users a file holds, 0 where there is none; nothing is changed, not even in one of an older server.

    Raises:
        UsersUnavailable: It cannot be used.
    """
    if not os.path.lexists(path):
        return 0
    source = f"{path.absolute().as_uri()}?mode=ro"
    try:
        if path.stat().st_size == 0:
            raise _empty(path)
        with contextlib.closing(sqlite3.connect(source, uri=True)) as connection:
            table = "accounts" if schema.version(connection, path) else "users"
            return int(connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0])  # noqa: S608 - constants
    except (sqlite3.Error, OSError, UnicodeDecodeError) as error:
        raise _unusable(path, error) from error


def _empty(path: Path) -> UsersUnavailable:
    return UsersUnavailable(
        f"the user database {path} is empty (0 bytes): put back a copy, or remove it to begin without users"
    )


def _passes(error: Exception) -> bool:
    """Whether it is no fault of the disk's: somebody holds the file, or this process has no descriptor left."""
    code = (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF
    return code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED) or getattr(error, "errno", None) in _NO_DESCRIPTOR


def _is_of_writes(error: Exception) -> bool:
    """Whether look-ups may go on, so that only the next change says that the disk works again."""
    code = (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF
    return code in _WRITE_CODES or getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)


def _unusable(path: Path, error: Exception) -> UsersUnavailable:
    """A sentence for the operator: what is wrong with the file, and what to do."""
    code = (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF
    reason = error.strerror if isinstance(error, OSError) and error.strerror else error
    remedy = "check its owner and rights, or name another with --users"
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        remedy = "another program holds it, so try again, or end that program"
    elif code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        remedy = "check that it is the right file, put back a copy, or name another with --users"
    elif code == sqlite3.SQLITE_FULL:
        remedy = "make room on its disk"
    elif code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR):
        remedy = "see to its disk, and check its owner and rights"
    return UsersUnavailable(f"the user database {path} cannot be used ({reason}): {remedy}")
