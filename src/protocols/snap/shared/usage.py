"""What all pictures of the shared folder take, as far as one of its servers knows.

A server counts all of them again and again, and between adds what it puts and removes itself. So what it knows is less
than it is by what others put since it counted, and by what came while it counted it may be more.
"""

from __future__ import annotations

import heapq
import threading

from imageserver.protocols.snap.pictures import Usage
from imageserver.protocols.snap.shared.folder import PictureFile

OLDEST = 4096
"""The oldest pictures that are remembered, to give way first."""


class Count:
    """Made of all pictures, one after the other."""

    def __init__(self) -> None:
        self.files = self.disk = self.latest = 0
        self._oldest: list[tuple[int, PictureFile]] = []  # a heap, the newest of them first

    def add(self, found: PictureFile) -> None:
        """A picture."""
        self.files += 1
        self.disk += found.disk
        self.latest = max(self.latest, found.time)
        heapq.heappush(self._oldest, (-found.time, found))
        if len(self._oldest) > OLDEST:
            heapq.heappop(self._oldest)

    def oldest(self) -> list[PictureFile]:
        """The oldest, the oldest of them last; never the newest of all."""
        found = [found for _time, found in sorted(self._oldest)]
        return found[1:] if len(found) == self.files else found


class SharedUsage:
    """Kept by any thread.

    Args:
        max_bytes: what all pictures may take of the disk.
        max_files: how many there may be.
    """

    def __init__(self, max_bytes: int, max_files: int) -> None:
        self._max_bytes, self._max_files = max_bytes, max_files
        self._lock = threading.Lock()
        self._files = self._disk = self._latest = 0
        self._since = (0, 0)  # files and bytes that were added since the count began
        self._oldest: list[PictureFile] = []

    def now(self) -> Usage:
        """As far as it is known."""
        with self._lock:
            return Usage(self._files, self._disk)

    def changed(self, files: int, disk: int) -> None:
        """So many came, or went where it is less than 0."""
        with self._lock:
            self._files += files
            self._disk += disk
            self._since = self._since[0] + files, self._since[1] + disk

    def stamp(self, time: int) -> int:
        """The time by which a picture is to be older and newer than others, though the clock was set back."""
        with self._lock:
            self._latest = max(time, self._latest + 1)
            return self._latest

    def begin(self) -> Count:
        """Count anew."""
        with self._lock:
            self._since = 0, 0
        return Count()

    def counted(self, count: Count) -> None:
        """All were counted."""
        with self._lock:
            self._files, self._disk = count.files + self._since[0], count.disk + self._since[1]
            self._latest = max(self._latest, count.latest)
            self._oldest = count.oldest()

    def next(self) -> tuple[PictureFile, str] | None:
        """The picture that is to give way, and to which limit (a field of `Limits`); it counts no more."""
        with self._lock:
            limit = ""
            if self._disk > self._max_bytes:
                limit = "snippet_disk"
            if self._files > self._max_files:
                limit = "snippet_files"
            if not limit or not self._oldest:
                return None
            found = self._oldest.pop()
            self._files -= 1
            self._disk -= found.disk
            self._since = self._since[0] - 1, self._since[1] - found.disk
            return found, limit
