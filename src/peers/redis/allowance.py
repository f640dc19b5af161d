"""So many bytes a second, with a second's worth of them at once. Pure."""

from __future__ import annotations

import time
from collections.abc import Callable


class Allowance:
    """What is left of `rate` bytes a second. `clock`: monotonic seconds."""

    def __init__(self, rate: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate, self._clock = rate, clock
        self._left, self._at = float(rate), clock()

    @property
    def lacking(self) -> float:
        """Seconds until there is anything; 0: there is."""
        self._earn()
        return max(0.0, -self._left / self._rate)

    def take(self, size: int) -> bool:
        """Take `size` bytes where there is anything left; it may go beyond that, once. Whether there was."""
        self._earn()
        if self._left < 0:
            return False
        self._left -= size
        return True

    def _earn(self) -> None:
        now = self._clock()
        self._left = min(self._rate, self._left + (now - self._at) * self._rate)
        self._at = now
