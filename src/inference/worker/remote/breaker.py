"""When an endpoint is left alone, and how often a batch may be sent again. Pure: time comes in as an argument.

An endpoint's states:

    CLOSED ── fails FAILURES times in a row, or LOOKS looks do ──▶ OPEN
       ▲                                                            │ a look finds it well, and the pause is over
       └──────────── a batch is answered ──── HALF_OPEN ◀───────────┘
                                                  └── a batch fails ──▶ OPEN, for a pause twice as long
"""

from __future__ import annotations

import enum

FAILURES, LOOKS = 3, 2
FIRST, LONGEST = 1.0, 30.0
"""Seconds of a pause."""
LEAST_BURST = 10.0


class BreakerState(enum.StrEnum):
    """Of an endpoint. `Breaker` changes it."""

    CLOSED = "closed"
    """it is asked"""
    OPEN = "open"
    """it is left alone"""
    HALF_OPEN = "half open"
    """it is asked, and left alone again at the first failure"""


class Breaker:
    """Of one endpoint; open at first, until a look has found it well. Times in seconds."""

    def __init__(self) -> None:
        self.state = BreakerState.OPEN
        self._failures = self._looks = 0
        self._pause, self._until = 0.0, 0.0

    @property
    def allows(self) -> bool:
        """Whether the endpoint may be asked."""
        return self.state is not BreakerState.OPEN

    def succeeded(self) -> None:
        """A batch was answered."""
        self._failures = 0
        if self.state is BreakerState.HALF_OPEN:
            self._pause = 0.0
            self._change(BreakerState.CLOSED)

    def failed(self, now: float) -> None:
        """A batch was not."""
        self._failures += 1
        if self.state is BreakerState.HALF_OPEN or self._failures >= FAILURES:
            self._open(now)

    def looked(self, well: bool, now: float) -> None:
        """A look at the endpoint found it well, or not."""
        self._looks = 0 if well else self._looks + 1
        if well and self.state is BreakerState.OPEN and now >= self._until:
            self._change(BreakerState.HALF_OPEN)
        elif self._looks >= LOOKS and self.state is not BreakerState.OPEN:
            self._open(now)

    def _open(self, now: float) -> None:
        if self.state is not BreakerState.OPEN:
            self._pause = min(max(FIRST, self._pause * 2), LONGEST)
            self._until = now + self._pause
        self._change(BreakerState.OPEN)

    def _change(self, state: BreakerState) -> None:
        self.state, self._failures = state, 0


class RetryBudget:
    """Each batch brings `share` of a second try, and `burst` of them may be saved up."""

    def __init__(self, share: float, burst: float) -> None:
        self._share, self._burst = share, max(burst, LEAST_BURST) if share else 0.0
        self._left = self._burst

    def add(self) -> None:
        """A batch began."""
        self._left = min(self._burst, self._left + self._share)

    def take(self) -> bool:
        """Whether one may be sent again."""
        if self._left < 1.0:
            return False
        self._left -= 1.0
        return True
