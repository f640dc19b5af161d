"""Where the pictures lie. Under a running server that folder may go away, come back, or be another one.

A database that is open goes on in a file whose name is gone or another file's, and takes writes that nobody will ever
read. So it is looked at whether what is open still has its name. When it has not, the folder is opened anew as soon as
it is back: the same, or one that somebody has put in its place. An empty one is begun only in a data folder that is
there, and not in the mount point of a disk that is missing.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable
from pathlib import Path

from imageserver import files

SETTLED = 1.0
"""Seconds that nobody has written to a database that came back: it may be being copied there."""

ROOM = 256 * 2**10
"""Bytes below which a disk counts as full."""

Identity = tuple[int, int] | None


class SnapFolder:
    """The folder of the pictures.

    Args:
        folder: in the data folder.
        clock: seconds since 1970.
    """

    def __init__(self, folder: Path, clock: Callable[[], float] = time.time) -> None:
        self.folder, self._clock = folder, clock
        self.pictures, self.database = folder / "pictures", folder / "snippets.db"
        self.log = folder / "snippets.db-wal"
        self._opened: tuple[Identity, ...] = ()
        self._mount: Path | None = None
        self._first = True

    def prepare(self) -> None:
        """Make the folders before they are opened. OSError: they cannot be, or may not be now."""
        first, self._first = self._first, False
        if self._mount is not None:
            self._check_is_back(self._mount)
        if first:  # the data folder, where the server's lock could not make it: here it is told why
            self.folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.folder.mkdir(exist_ok=True, mode=0o700)
        self.pictures.mkdir(exist_ok=True)

    def opened(self) -> None:
        """What is here now was opened."""
        self._opened = self._identities()
        self._mount = files.mount_of(self.folder)

    def check(self) -> None:
        """Raise OSError when what was opened last has its names no more."""
        if self._identities() != self._opened:
            raise OSError(errno.ENOENT, "it was moved, removed or replaced under the running server", str(self.folder))

    def has_room(self) -> bool:
        """Whether its file system has room for anything at all."""
        status = os.statvfs(_nearest(self.folder))
        return status.f_bavail * status.f_frsize >= ROOM and (status.f_favail > 0 or not status.f_files)

    def is_read_only(self) -> bool:
        """Whether nobody can write to its file system."""
        return bool(os.statvfs(_nearest(self.folder)).f_flag & os.ST_RDONLY)

    def _identities(self) -> tuple[Identity, ...]:
        return tuple(_identity(path) for path in (self.database, self.log, self.pictures))

    def _check_is_back(self, mount: Path) -> None:
        if not self.database.exists():
            files.check_there(self.folder if self.folder.exists() else self.folder.parent, mount)
        elif 0 <= self._clock() - self.database.stat().st_mtime < SETTLED:
            raise OSError(errno.EBUSY, "somebody writes to it: it is opened when that has ended", str(self.database))


def _identity(path: Path) -> Identity:
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino


def _nearest(folder: Path) -> Path:
    """The folder, or the first one above it that is there."""
    while not folder.exists():
        folder = folder.parent
    return folder
