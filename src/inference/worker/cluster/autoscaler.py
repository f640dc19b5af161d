"""How many replicas a model should have: more while pictures wait too long, fewer while there is little to do. Pure.

Time comes in as an argument, in seconds.
"""

from __future__ import annotations

from collections import deque

RISE_AFTER = 1.0
"""Seconds that pictures have to have waited too long: a moment's crowd goes by itself."""
FASTEST = 2.0
"""Times as many replicas at once."""
SPARE = 0.7
"""Part of its batches that a replica fewer may be busy with, at the most, before there is one fewer."""


class Autoscaler:
    """`wanted` is asked now and then.

    Args:
        least: replicas.
        most: replicas.
        wait: seconds that a picture may wait.
        idle: seconds of little to do before there is one fewer.
    """

    def __init__(self, least: int, most: int, wait: float, idle: float) -> None:
        self._least, self._most, self._wait, self._idle = least, most, wait, idle
        self._number = least
        self._late_since: float | None = None
        self._busy: deque[tuple[float, float]] = deque()
        self._changed = 0.0

    def wanted(self, now: float, ready: int, age: float, busy: float) -> int:
        """How many there should be, those that are being started included.

        Args:
            now: the time.
            ready: replicas that answer.
            age: seconds for which the oldest picture has waited.
            busy: replicas' worth of batches under way.
        """
        self._busy.append((now, busy))
        while now - self._busy[0][0] > self._idle:
            self._busy.popleft()
        if age <= self._wait:
            self._late_since = None
        elif self._late_since is None:
            self._late_since = now
        late = self._late_since is not None and now - self._late_since >= RISE_AFTER
        if late and ready >= self._number < self._most:
            # Twice as late wants twice as many, as far as the age says anything: it has no end while none keeps up.
            factor = min(FASTEST, age / self._wait)
            self._change(now, min(self._most, max(self._number + 1, int(self._number * factor))))
            self._late_since = None
        elif self._number > self._least and self._quiet(now):
            self._change(now, self._number - 1)
        return self._number

    def _quiet(self, now: float) -> bool:
        """Whether one fewer would have had enough room all the time since `idle` seconds."""
        if now - self._changed < self._idle or self._late_since is not None:
            return False
        return max(busy for _time, busy in self._busy) <= (self._number - 1) * SPARE

    def _change(self, now: float, number: int) -> None:
        self._number, self._changed = number, now
