"""Whether bytes come, or go, fast enough: what was fast at first must not buy a pause later."""

from __future__ import annotations

import math
from collections.abc import Callable

from imageserver.limits import Limits


class Pace:
    """At least `rate * seconds` bytes, one at the least, in each window of `seconds`.

    A window ends when that many have been counted, and the next one begins.
    """

    __slots__ = ("_begun_at", "_clock", "_least", "_seconds", "end")

    def __init__(self, rate: float, seconds: float, clock: Callable[[], float]) -> None:
        self._least, self._seconds, self._clock = max(1, int(rate * seconds)) if rate else 1, seconds, clock
        self.begin(0)

    def begin(self, count: int) -> None:
        """Begin a window, `count` bytes being there already."""
        self._begun_at = count
        self.end = self._clock() + self._seconds
        """When as many must have been counted."""

    def reached(self, count: int) -> None:
        """So many bytes are there now, those of former windows included."""
        if count - self._begun_at >= self._least:
            self.begin(count)


def of_arrival(limits: Limits, clock: Callable[[], float]) -> Pace:
    """What is demanded of bytes that a client sends: `min_body_rate` in each `body_grace`, nothing where that is 0."""
    return Pace(limits.min_body_rate, limits.body_grace if limits.min_body_rate else math.inf, clock)
