"""Connections to the file of the users, kept open for as long as nobody writes to it.

To open one costs ten times what a look-up does, since all definitions of tables are read.
"""

from __future__ import annotations

import contextlib
import errno
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

from imageserver.accounts.store import schema

_MOST = 4
"""Connections that are kept; more may be in use."""

_State = tuple[int, int, int, int]


class Connections:
    """Lends connections, each to one thread at a time.

    Args:
        path: The file.
        patience: Seconds to wait for others who write.
    """

    def __init__(self, path: Path, patience: float) -> None:
        self.path, self._patience = path, patience
        self.copy: Path | None = None
        """Where the file is kept as it was, when it was taken over from an older server just now."""
        self._lock = threading.Lock()
        self._kept: list[tuple[_State, sqlite3.Connection]] = []
        """Each with what the file was before it was opened or lent."""

    @contextlib.contextmanager
    def lend(self) -> Iterator[sqlite3.Connection]:
        """A connection to the file that is there now. UsersUnavailable, sqlite3.Error, OSError.

        The last also when another file has that name afterwards: what was written is lost with the one of before.
        """
        state = _state_of(self.path)
        connection = self._take(state) or schema.opened(self.path, self._patience, self._taken_over)
        try:
            yield connection
            if _state_of(self.path)[:2] != state[:2]:
                raise OSError(errno.ESTALE, "it was replaced at this moment", str(self.path))
        except BaseException:
            connection.close()
            raise
        with self._lock:
            if len(self._kept) < _MOST:
                self._kept.append((state, connection))
                return
        connection.close()

    def close(self) -> None:
        """Close those that are kept."""
        with self._lock:
            kept, self._kept = self._kept, []
        for _state, connection in kept:
            connection.close()

    def _taken_over(self, copy: Path) -> None:
        self.copy = copy

    def _take(self, state: _State) -> sqlite3.Connection | None:
        """One that is kept; those of before the last write are closed: the file may be another, copied over it."""
        with self._lock:
            if not self._kept:
                return None
            found, connection = self._kept.pop()
        if found == state:
            return connection
        connection.close()
        self.close()
        return None


def _state_of(path: Path) -> _State:
    status = path.stat()
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns
