"""The pictures of Snap in a folder that several servers write. Every method blocks, perhaps for ever: use a thread.

A picture is one file with its record (record.py), written under a name of its own, flushed to the disk, and then given
its place by a step that only one server can take (folder.py): it is there whole, or not at all, and no two servers need
a lock. Nothing says what there is but the names of the files; what they take is counted again and again (usage.py).
"""

from __future__ import annotations

import contextlib
import errno
import io
import itertools
import json
import os
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

from imageserver.errors import SettingError
from imageserver.protocols.snap import pictures
from imageserver.protocols.snap.pictures import (
    ALL,
    LAST,
    NOBODY,
    PIECE,
    Repaired,
    Room,
    Row,
    Sender,
    Sight,
    Slice,
    Usage,
)
from imageserver.protocols.snap.shared import record
from imageserver.protocols.snap.shared.folder import GONE, SharedFolder, blocks
from imageserver.protocols.snap.shared.reading import SharedReading
from imageserver.protocols.snap.shared.usage import SharedUsage
from imageserver.transport import threads

ATTEMPTS = 50
"""Times that a picture's place is taken by another server's until it is given up."""

_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK, errno.EXDEV)
_NOT_ALLOWED = (errno.EACCES, errno.EPERM, errno.ENOENT, errno.ENOTDIR)


class SharedStore:
    """The pictures in a folder of several servers, as PictureStore.

    Args:
        folder: that of --shared.
        history: pictures of each id that are kept, the newest.
        max_bytes: what all of them may take of the disk, in whole blocks; the oldest go first.
        max_files: how many there may be.
        clock: seconds, which nobody sets.
        overdue: whether who asked for what this thread does was told that it failed; then nothing more is changed.
    """

    others = True
    copy = None

    def __init__(
        self,
        folder: Path,
        *,
        history: int,
        max_bytes: int,
        max_files: int,
        clock: Callable[[], float] = time.monotonic,
        overdue: Callable[[], bool] = threads.overdue,
    ) -> None:
        self._history, self._max_bytes = history, max_bytes
        self._folder = SharedFolder(folder, clock, overdue)
        self._reading = SharedReading(self._folder, clock)
        self._usage = SharedUsage(max_bytes, max_files)
        self._closed = False

    # ---- one picture ------------------------------------------------------------------------------------------

    def put(
        self,
        identity: int,
        kind: str,
        picture: bytes | bytearray | memoryview,
        received: str,
        prediction: dict[str, Any],
        sender: Sender = NOBODY,
    ) -> Room:
        """As PictureStore.put."""
        self.check(len(picture))
        self._there()
        text = json.dumps(prediction, ensure_ascii=False, separators=(",", ":")).encode()
        made = self._folder.incoming / uuid.uuid4().hex
        try:
            head = record.head(kind, len(picture), received, sender.owner, sender.camera, text)
            status = _write(made, head, picture)
            stamp = self._usage.stamp(status.st_mtime_ns)
            if stamp != status.st_mtime_ns:
                os.utime(made, ns=(stamp, stamp))
            self._publish(identity, made, stamp // 10**6, sender)
        finally:
            with contextlib.suppress(OSError):  # what is left is removed by `repair`
                made.unlink()
        self._usage.changed(1, blocks(status))
        room, long = Room(more=True), True
        with contextlib.suppress(OSError):  # it is kept all the same; `tidy` tells what is wrong
            long = self._shorten(identity)
            room = self._make_room()
        return replace(room, more=room.more or long)

    def check(self, size: int) -> None:
        """As PictureStore.check."""
        pictures.check_size(size, self._max_bytes)

    def open(self, row: Row) -> BinaryIO:
        """As PictureStore.open: all of it, since of a file that is open elsewhere another server may take the rest."""
        self._there()
        return io.BytesIO(self._reading.picture(row))

    def _publish(self, identity: int, made: Path, first: int, sender: Sender) -> None:
        """Give a picture its place behind the newest one, which its sender may follow. `first`: where there is none."""
        taken, beside = 0, False  # known to be there, though a list that the network remembers may lack it
        for _ in range(ATTEMPTS):
            with self._folder.opened(identity) as folder:
                numbers = sorted({taken, *self._folder.numbers(identity)} - {0}, reverse=True)
                newest = self._reading.first(identity, numbers)
                unread = bool(numbers) and newest is None and self._reading.unreadable(identity) != numbers[0]
                if numbers and (folder is None or unread):
                    taken = 0  # others put further ones since
                    continue
                sender.check(newest)
                try:
                    if numbers and folder is not None:
                        taken = numbers[0] + 1
                        self._folder.link(made, folder, taken)
                    elif beside:
                        self._folder.link_first(made, identity)
                    else:
                        self._folder.begin(made, identity, first)
                    return
                except FileExistsError:
                    beside = not numbers  # another's picture, or something that is none
                except OSError as error:
                    if error.errno not in GONE:
                        raise
                    self._there()
                    taken, beside = 0, False
        raise OSError(errno.EBUSY, f"others put pictures under the number {identity} all the time")

    # ---- lists ------------------------------------------------------------------------------------------------

    def newest(self, after: int = -1, most: int = PIECE, sight: Sight = ALL) -> Slice:
        """As PictureStore.newest."""
        self._there()
        found = self._reading.newest(after, most, sight)
        self._there()  # or it would be a list of what was left
        return found

    def history(self, identity: int, before: int = LAST, most: int = 1, sight: Sight = ALL) -> Slice:
        """As PictureStore.history."""
        self._there()
        return self._reading.history(identity, before, most, sight)

    def unreadable(self, identity: int) -> int:
        """As PictureStore.unreadable."""
        self._there()
        return self._reading.unreadable(identity)

    def usage(self) -> Usage:
        """What all pictures take, as far as it is known here."""
        return self._usage.now()

    # ---- removing, a piece at a time --------------------------------------------------------------------------

    def delete(self, identity: int, newest: int) -> bool:
        """As PictureStore.delete."""
        self._there()
        numbers = [number for number in self._folder.numbers(identity) if number <= newest][-PIECE:]
        self._remove(identity, numbers)
        self._folder.drop(identity)
        return len(numbers) == PIECE

    def tidy(self, identity: int) -> bool:
        """As PictureStore.tidy."""
        self._there()
        long = self._shorten(identity)
        return self._make_room().more or long

    def repair(self) -> Iterator[Repaired]:
        """As PictureStore.repair: what is there is counted."""
        self._there()
        yield Repaired(files=self._folder.clear())
        count, found = self._usage.begin(), self._folder.all()
        while piece := list(itertools.islice(found, PIECE)):
            for picture in piece:
                count.add(picture)
            self._there()
            yield Repaired()
        self._usage.counted(count)

    def close(self) -> None:
        """As PictureStore.close."""
        self._closed = True

    def _there(self) -> None:
        """OSError: the folder cannot be used."""
        if self._closed:
            raise OSError(errno.ESHUTDOWN, "the server is stopping")
        self._folder.check()

    def _shorten(self, identity: int) -> bool:
        """Forget a piece of an id's history that is longer than it may be; returns whether there is more of it."""
        old = self._folder.numbers(identity)[self._history :][-PIECE:]
        self._remove(identity, old)
        return len(old) == PIECE

    def _make_room(self) -> Room:
        """Forget a piece of what is over the limits of space and files, as far as it is known here."""
        freed, count, limit = 0, 0, ""
        while count < PIECE and (following := self._usage.next()):
            found, limit = following
            self._folder.in_time()
            with contextlib.suppress(FileNotFoundError):  # another server was first
                self._folder.path(found.identity, found.number).unlink()
            self._folder.drop(found.identity)
            freed, count = freed + found.disk, count + 1
        return Room(count == PIECE, freed, limit)

    def _remove(self, identity: int, numbers: Sequence[int]) -> None:
        """Remove pictures, the oldest first; another server may be at it, too."""
        for number in reversed(numbers):
            path = self._folder.path(identity, number)
            with contextlib.suppress(FileNotFoundError):
                disk = blocks(os.stat(path, follow_symlinks=False))
                self._folder.in_time()
                path.unlink()
                self._usage.changed(-1, -disk)


def _write(path: Path, *parts: bytes | bytearray | memoryview) -> os.stat_result:
    """Write a new file and have it on the disk; returns what it is there."""
    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    with open(descriptor, "wb") as file:
        file.writelines(parts)
        file.flush()
        os.fsync(descriptor)
        return os.fstat(descriptor)


def try_out(shared: Path) -> None:
    """See whether pictures can be kept in the folder of --shared; what may pass by itself is no fault.

    Raises:
        SettingError: they never can.
    """
    folder = SharedFolder(shared)
    made = folder.incoming / uuid.uuid4().hex
    second = made.with_name(f"{made.name}.2")
    try:
        folder.check()
        _write(made)
        _link(made, second, shared)
    except OSError as error:
        if error.errno in _NOT_ALLOWED:
            remedy = "give a folder that is there and can be written"
            why = f"pictures cannot be kept there ({error.strerror}): {remedy}"
            raise SettingError(f"--shared {shared}: {why}") from error
    finally:
        for path in (made, second):
            with contextlib.suppress(OSError):
                path.unlink()


def _link(made: Path, second: Path, shared: Path) -> None:
    """SettingError: the file system cannot give a file a second name."""
    try:
        os.link(made, second)
    except OSError as error:
        if error.errno in _NO_LINKS:
            why = "its file system has no hard links: give a folder on another, such as NFS"
            raise SettingError(f"--shared {shared}: {why}") from error
        raise
