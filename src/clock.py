"""What time it is, to whoever counts how long a login lasts: a clock that does not jump where the machine's does.

Where seconds pass within the process `time.monotonic` counts them. What is kept over restarts has times of the wall
clock, and that may jump: by an hour where somebody sets it, or takes local time for UTC, and by months on a machine
without a clock of its own, once the network has told it the time.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime

LARGEST = 2 * 3600.0
"""Seconds of a jump that is followed slowly. Beyond, the clock was wrong before: it is followed at once."""
RATE = 0.1
"""How much faster or slower time passes meanwhile, of 1."""
SMALLEST = 5.0
"""Seconds of a jump of which the log has a line."""


def boot_time() -> float:
    """Seconds that no setting of the clock changes, and in which a laptop's sleep counts."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class SteadyClock:
    """Seconds since 1970; in any thread.

    Args:
        log: takes a line, in any thread.
        wall: the machine's clock, seconds since 1970.
        steady: seconds that never jump.
    """

    def __init__(
        self,
        log: Callable[[str], None],
        wall: Callable[[], float] = time.time,
        steady: Callable[[], float] = boot_time,
    ) -> None:
        self._log, self._wall, self._steady = log, wall, steady
        self._lock = threading.Lock()
        self._now, self._at = wall(), steady()
        self._apart = False

    def __call__(self) -> float:
        with self._lock:
            at, wall = self._steady(), self._wall()
            passed = at - self._at
            self._at = at
            now = self._now + passed
            jump = wall - now
            if abs(jump) > LARGEST:
                self._log(f"the clock of this machine was set from {_minute(now)} to {_minute(wall)}: logins follow it")
                self._now, self._apart = wall, False
            else:
                self._tell(jump)
                most = passed * RATE
                self._now = now + min(max(jump, -most), most)
            return self._now

    def _tell(self, jump: float) -> None:
        """Log that the clock has jumped, once until both agree again."""
        if not self._apart and abs(jump) >= SMALLEST:
            self._apart = True
            self._log(f"the clock of this machine jumped by {jump:+.0f} s: logins follow it slowly, none ends by it")
        elif self._apart and abs(jump) < SMALLEST:
            self._apart = False


def _minute(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M} UTC"
