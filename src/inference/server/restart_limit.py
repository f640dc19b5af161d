"""When a model's worker died too often to be started again."""

from __future__ import annotations

from collections import deque

MOST = 5
WINDOW = 60.0
TEXT = f"its worker died {MOST} times within {WINDOW:.0f} s"


class RestartLimit:
    """Counts the times at which workers died of one model. Pure: time comes in as an argument, in seconds."""

    def __init__(self) -> None:
        self._times: deque[float] = deque(maxlen=MOST)

    def add(self, now: float) -> bool:
        """One more; returns whether that makes `MOST` within `WINDOW` seconds."""
        self._times.append(now)
        return len(self._times) == MOST and now - self._times[0] <= WINDOW

    def forget(self) -> None:
        """Begin anew: the model was changed."""
        self._times.clear()
