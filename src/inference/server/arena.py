"""Memory that the server shares with one of its processes: pictures go over in it, large answers come back."""

from __future__ import annotations

import mmap
import os

from imageserver.inference.shared.wire import Picture
from imageserver.transport import hub

COPY_CHUNK = 2**20
"""Bytes copied before the loop gets a turn: about 0.2 ms."""


class Arena:
    """`slots` slots of `slot_bytes` bytes each; untouched pages cost nothing.

    `descriptor` (a memfd) is for one ChildProcess, which closes it here once the process has it. OSError: the
    system has no descriptor or no memory for it.
    """

    def __init__(self, slots: int, slot_bytes: int) -> None:
        self.free_slots = list(range(slots))
        self._slot_bytes, self.size = slot_bytes, slots * slot_bytes
        self.descriptor = os.memfd_create("imageserver-arena")
        try:
            os.ftruncate(self.descriptor, self.size)
            self._view = memoryview(mmap.mmap(self.descriptor, self.size))
        except BaseException:
            os.close(self.descriptor)
            raise

    def write(self, slot: int, at: int, picture: Picture) -> None:
        """Copy `picture` into `slot` at byte `at`; gives the loop turns when it is large. ValueError: no room."""
        size = len(picture)
        if at + size > self._slot_bytes:
            raise ValueError(f"{size} bytes at {at} exceed a slot of {self._slot_bytes}")
        start = slot * self._slot_bytes + at
        if size <= COPY_CHUNK:
            self._view[start : start + size] = picture
            return
        source = memoryview(picture)
        for done in range(0, size, COPY_CHUNK):
            piece = source[done : done + COPY_CHUNK]
            self._view[start + done : start + done + len(piece)] = piece
            hub.sleep(0)

    def read(self, slot: int, at: int, size: int) -> bytes:
        """What the process put into `slot` at byte `at`. ValueError: it lies outside the slot."""
        if at < 0 or at + size > self._slot_bytes:
            raise ValueError(f"{size} bytes at {at} exceed a slot of {self._slot_bytes}")
        start = slot * self._slot_bytes + at
        return bytes(self._view[start : start + size])
