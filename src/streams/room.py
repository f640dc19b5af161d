"""What sources of frames have in common: room in the server's memory, the order they began in, when the next is due."""

from __future__ import annotations

import itertools
import time

from imageserver.errors import LimitExceeded
from imageserver.limits import hit, option
from imageserver.transport.budget import SMALL, Account

next_number = itertools.count(1).__next__
"""The number of a stream or session: whichever began later has the higher one."""


def too_large(what: str, size: int, most: int, owner: str) -> LimitExceeded:
    """The error for a file of `owner` over `--max-frame-bytes`, which is counted."""
    hit("max_frame_bytes", owner)
    return LimitExceeded(f"{what} has {size} bytes; at most {most} are allowed ({option('max_frame_bytes')})")


class FrameRate:
    """When a stream's next frame may run: at most `hz` do in a second, 0 for no cap."""

    __slots__ = ("_next_due", "hz")

    def __init__(self, hz: float) -> None:
        self.hz, self._next_due = hz, 0.0

    def began(self) -> None:
        """A frame runs now."""
        if self.hz:
            # One that comes a little early may run early, as long as the rate holds over two intervals.
            self._next_due = max(self._next_due, time.monotonic() - 1 / self.hz) + 1 / self.hz

    def wait(self) -> float:
        """Seconds until the next one may; not above 0: it may now."""
        return self._next_due - time.monotonic() if self.hz else 0.0


class FrameRoom:
    """Room for two frames of a stream, since one may wait while one runs. Small ones need none."""

    __slots__ = ("_charge", "largest")

    def __init__(self, account: Account) -> None:
        self._charge = account.charge("frames")
        self.largest = SMALL
        """Bytes of the largest frame that there is room for."""

    def grow(self, size: int) -> bool:
        """Make room for frames of `size` bytes; False when the client may not have so much waiting."""
        if not self._charge.set(2 * size):
            return False
        self.largest = size
        return True

    def give_back(self) -> None:
        """No frame waits or runs."""
        if self.largest > SMALL:
            self._charge.set(0)
            self.largest = SMALL
