"""Memory that the server shares with one of its processes: pictures go over in it, large answers come back."""

from __future__ import annotations

import mmap
import os

from imageserver.inference.shared.wire import Picture
from imageserver.transport import hub

COPY_CHUNK = 2**20
"""Bytes copied before the loop gets a turn: about 0.2 ms."""
KEPT = 2**20
"""Bytes of a slot that stay the arena's once they were used: what cameras send fits."""
IDLE = 5.0
"""Seconds after a large picture until what it took of its slot is the system's again, unless the slot is in use."""


class Arena:
    """`slots` slots of `slot_bytes` bytes each; untouched pages cost nothing, and what a large picture took goes back.

    `descriptor` (a memfd) is for one ChildProcess, which closes it here once the process has it. OSError: the
    system has no descriptor or no memory for it.
    """

    def __init__(self, slots: int, slot_bytes: int) -> None:
        self.free_slots = list(range(slots))
        self._slot_bytes, self.size = slot_bytes, slots * slot_bytes
        self._large: set[int] = set()  # slots that hold more than is kept
        self._giving_back: hub.Timer | None = None
        self.descriptor = os.memfd_create("imageserver-arena")
        try:
            os.ftruncate(self.descriptor, self.size)
            self._map = mmap.mmap(self.descriptor, self.size)
        except BaseException:
            os.close(self.descriptor)
            raise
        self._view = memoryview(self._map)

    def take(self) -> int:
        """A free slot, which is then in use. IndexError: there is none."""
        return self.free_slots.pop()

    def release(self, slot: int) -> None:
        """The slot is free again."""
        self.free_slots.append(slot)
        if slot in self._large and self._giving_back is None:
            self._giving_back = hub.call_later(IDLE, self._give_back)

    def write(self, slot: int, at: int, picture: Picture) -> None:
        """Copy `picture` into `slot` at byte `at`; gives the loop turns when it is large. ValueError: no room."""
        size = len(picture)
        if at + size > self._slot_bytes:
            raise ValueError(f"{size} bytes at {at} exceed a slot of {self._slot_bytes}")
        start = slot * self._slot_bytes + at
        if at + size > KEPT:
            self._large.add(slot)
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
        if at + size > KEPT:
            self._large.add(slot)
        return bytes(self._view[start : start + size])

    def _give_back(self) -> None:
        """Return what one free slot holds beyond what is kept; for the next one a moment later."""
        self._giving_back = None
        for slot in self._large & set(self.free_slots):
            self._large.remove(slot)
            if hasattr(mmap, "MADV_REMOVE"):
                self._map.madvise(mmap.MADV_REMOVE, slot * self._slot_bytes + KEPT, self._slot_bytes - KEPT)
            break
        if self._large & set(self.free_slots):
            self._giving_back = hub.call_later(IDLE / 10, self._give_back)
