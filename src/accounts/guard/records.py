"""Failures by whom they are of: an address, a user, or a user at an address. Pure; the clock is passed in.

A record is kept while it counts: its failures for a window, its pauses until nothing failed for a while. There are
at most so many; the oldest give way, and those that have no pause before those that have.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from imageserver.limits import hit

Key = TypeVar("Key", bound=Hashable)

WINDOW = 60.0
"""Seconds for which a failure counts."""
FIRST_PAUSE = 2.0
"""Seconds; each further one is twice as long."""


class FailureRecord:
    """The failures of one within the window, the oldest first, and the pauses that they brought."""

    __slots__ = ("pauses", "times", "until")

    def __init__(self) -> None:
        self.times: list[float] = []
        self.pauses = 0
        """How many pauses there were since it was last forgotten."""
        self.until = 0.0
        """The end of the last one."""

    @property
    def last(self) -> float:
        """When the last failure was."""
        return self.times[-1] if self.times else 0.0

    def within(self, now: float) -> int:
        """How many failures count now."""
        return sum(when > now - WINDOW for when in self.times)


class FailureRecords(Generic[Key]):
    """The records of one sort.

    Args:
        most: How many there may be.
        often: Failures within the window from which on each further one brings a pause.
        longest: Seconds; the bound of a pause, and how long nothing may fail until pauses are forgotten.
        strict: Whether pauses last at least until one failure less is within the window.
        clock: Monotonic seconds.
    """

    def __init__(
        self, most: int, often: int, longest: float, clock: Callable[[], float], *, strict: bool = False
    ) -> None:
        self._most, self._often, self._longest, self._clock = most, often, longest, clock
        self._strict = strict
        # Whose last failure is longest ago stands first.
        self._calm: OrderedDict[Key, FailureRecord] = OrderedDict()
        self._paused: OrderedDict[Key, FailureRecord] = OrderedDict()

    def __len__(self) -> int:
        return len(self._calm) + len(self._paused)

    def get(self, key: Key) -> FailureRecord | None:
        """The record, if there is one that counts."""
        record = self._paused.get(key) or self._calm.get(key)
        return None if record is None or self._over(record) else record

    def put(self, key: Key, record: FailureRecord) -> None:
        """Take a record that was kept elsewhere."""
        (self._paused if record.pauses else self._calm)[key] = record

    def fail(self, key: Key, *, pause: bool = False) -> tuple[FailureRecord, bool]:
        """Count a failure; a pause begins with it where there were too many, or where it shall, if there is none now.

        Returns:
            The record, and whether a pause begins.
        """
        now = self._clock()
        self._forget()
        record = self._calm.pop(key, None) or self._paused.pop(key, None)
        if record is None or self._over(record):
            record = FailureRecord()
        record.times = [*(when for when in record.times if when > now - WINDOW), now][-self._often :]
        before = record.pauses
        if pause or record.pauses or len(record.times) >= self._often:
            self._pause(record, now)
        (self._paused if record.pauses else self._calm)[key] = record
        self._make_room()
        return record, record.pauses > before

    def _pause(self, record: FailureRecord, now: float) -> None:
        if record.until <= now:
            record.until = now + min(FIRST_PAUSE * 2.0 ** min(record.pauses, 64), self._longest)
            record.pauses += 1
        if self._strict and len(record.times) >= self._often:
            record.until = max(record.until, record.times[0] + WINDOW)

    def _over(self, record: FailureRecord) -> bool:
        """Whether a record counts no more."""
        now = self._clock()
        if record.pauses:
            return now >= max(record.until, record.last + WINDOW) + self._longest
        return record.last <= now - WINDOW

    def _forget(self) -> None:
        """Drop those that count no more, from the oldest on."""
        for records in (self._calm, self._paused):
            while records and self._over(next(iter(records.values()))):
                records.popitem(last=False)

    def _make_room(self) -> None:
        if len(self) > self._most:
            (self._calm or self._paused).popitem(last=False)
            hit("login_records")
