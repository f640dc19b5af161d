"""Records and pictures of the shared folder, read from a file for each. Every method blocks, perhaps for ever."""

from __future__ import annotations

import contextlib
import errno
import heapq
import os
import time
from collections.abc import Callable, Iterable, Iterator
from typing import BinaryIO

from imageserver.protocols.snap import pictures
from imageserver.protocols.snap.pictures import Row, Sight, Slice
from imageserver.protocols.snap.shared import record
from imageserver.protocols.snap.shared.folder import GONE, SharedFolder
from imageserver.protocols.snap.shared.record import RecordHead

PAGE_TIME = 1.0
"""Seconds after which a page of a list ends: each row is a file of its own."""

TRIES = 20
"""Times that what was listed is gone before it can be read, until that is what is said."""

_BUFFER = 64 * 2**10
_NO_FILE = (*GONE, errno.EISDIR, errno.ELOOP)


class SharedReading:
    """What is in `folder`. `clock`: seconds, which nobody sets."""

    def __init__(self, folder: SharedFolder, clock: Callable[[], float] = time.monotonic) -> None:
        self._folder, self._clock = folder, clock

    def newest(self, after: int, most: int, sight: Sight) -> Slice:
        """As PictureStore.newest."""
        looks = pictures.looks(most, sight)
        ids = heapq.nsmallest(looks + 1, (identity for identity in self._folder.ids() if identity > after))
        rows = (self.latest(identity) for identity in ids)
        found = self._page(rows, most, sight, lambda row: row.id)
        if found.following is None and len(ids) > looks:  # some have gone, and there may be more behind them
            return Slice(found.rows, ids[-1])
        return found

    def history(self, identity: int, before: int, most: int, sight: Sight) -> Slice:
        """As PictureStore.history."""
        for _ in range(TRIES):
            numbers = [number for number in self._folder.numbers(identity) if number < before]
            rows = (self.first(identity, [number]) for number in numbers)
            found = self._page(rows, most, sight, lambda row: row.number)
            if found.rows or found.following is not None or not numbers or self.first(identity, numbers):
                break
        return found

    def latest(self, identity: int) -> Row | None:
        """The record of the newest picture of an id."""
        for _ in range(TRIES):
            numbers = self._folder.numbers(identity)
            found = self.first(identity, numbers)
            if found or not numbers:
                break  # or others took their places since
        return found

    def first(self, identity: int, numbers: Iterable[int]) -> Row | None:
        """The record of the first of these pictures that is there."""
        for number in numbers:
            with self._opened(identity, number) as found:
                if found is not None:
                    return self._row(identity, number, *found)
        return None

    def unreadable(self, identity: int) -> int:
        """As PictureStore.unreadable."""
        numbers = self._folder.numbers(identity)
        for _once_more in range(2):  # a network says of a file that is there, once, that it is gone
            if not numbers or self.first(identity, numbers) or self._folder.numbers(identity) != numbers:
                return 0
        # What others have removed is not there again. So this one was there all the while, and what is behind it still
        # is: the oldest go first.
        return numbers[0] if os.path.lexists(self._folder.path(identity, numbers[0])) else 0

    def picture(self, row: Row) -> bytes:
        """The picture of a record. FileNotFoundError: another took its place."""
        with self._opened(row.id, row.number) as found:
            if found is None or self._row(row.id, row.number, *found) != row:
                raise FileNotFoundError(errno.ENOENT, "another took its place", row.file)
            file, head = found
            file.seek(head.picture)
            return file.read(head.size)

    def _page(self, rows: Iterable[Row | None], most: int, sight: Sight, place: Callable[[Row], int]) -> Slice:
        """A page of those `rows` that are still there."""
        end, looks = self._clock() + PAGE_TIME, pictures.looks(most, sight)
        there = (row for row in rows if row)
        return pictures.page_of(there, most, looks, place, sight.shows, lambda: self._clock() > end)

    def _row(self, identity: int, number: int, file: BinaryIO, head: RecordHead) -> Row:
        file.seek(head.start)
        text = file.read(head.prediction).decode(errors="replace")
        path = str(self._folder.path(identity, number).relative_to(self._folder.root))
        return Row(number, identity, head.kind, head.size, head.received, path, head.owner, head.camera, text)

    @contextlib.contextmanager
    def _opened(self, identity: int, number: int) -> Iterator[tuple[BinaryIO, RecordHead] | None]:
        """A picture's file; None where it is gone, or none that a server has written whole."""
        with contextlib.ExitStack() as stack:
            found = None
            try:
                path = self._folder.path(identity, number)
                file = stack.enter_context(open(path, "rb", buffering=_BUFFER, opener=_open))
                head = record.parse(file.read(record.LINE_BYTES))
                if os.fstat(file.fileno()).st_size == head.end:
                    found = file, head
            except ValueError:
                pass
            except OSError as error:
                if error.errno not in _NO_FILE:
                    raise
            yield found


def _open(path: str, flags: int) -> int:
    """Open what is a file; a FIFO would be waited for."""
    return os.open(path, flags | os.O_NONBLOCK | os.O_NOFOLLOW)
