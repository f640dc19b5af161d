"""Room in the server's memory for the frames of one stream."""

from __future__ import annotations

from imageserver.transport.budget import SMALL, Account


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
