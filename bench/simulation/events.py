"""What happens when: events in the order of their times, and a histogram of what is counted by the million.

simpy runs a generator for each process; of a million frames that is most of the time, so this is a heap and functions.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Callable
from typing import Any


class Events:
    """Runs functions at their times, in seconds; those of one time in the order in which they were asked for."""

    def __init__(self) -> None:
        self.now = 0.0
        self.done = 0
        """How many have happened."""
        self._waiting: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._numbers = itertools.count()

    def __len__(self) -> int:
        return len(self._waiting)

    def after(self, delay: float, function: Callable[..., None], *arguments: Any) -> None:
        """Call it `delay` seconds from now."""
        heapq.heappush(self._waiting, (self.now + delay, next(self._numbers), function, arguments))

    def run(self, until: float) -> None:
        """Let happen what does up to a time."""
        waiting, pop = self._waiting, heapq.heappop
        while waiting and waiting[0][0] <= until:
            self.now, _number, function, arguments = pop(waiting)
            self.done += 1
            function(*arguments)
        self.now = until


class Histogram:
    """Durations in classes of 2 %, from a microsecond to hours: its memory is the same however many there are."""

    _STEP = math.log(1.02)
    _LEAST = 1e-6
    _CLASSES = 1200

    def __init__(self) -> None:
        self._counts = [0] * self._CLASSES
        self.count, self.total = 0, 0.0

    def add(self, seconds: float) -> None:
        at = int(math.log(seconds / self._LEAST) / self._STEP) if seconds > self._LEAST else 0
        self._counts[min(at, self._CLASSES - 1)] += 1
        self.count += 1
        self.total += seconds

    @property
    def mean(self) -> float:
        """0.0 of none."""
        return self.total / self.count if self.count else 0.0

    def quantile(self, share: float) -> float:
        """The duration that `share` of all are not above, to 2 %; 0.0 of none."""
        left = share * self.count
        for at, count in enumerate(self._counts):
            left -= count
            if count and left <= 0:
                return self._LEAST * math.exp((at + 0.5) * self._STEP)
        return 0.0
