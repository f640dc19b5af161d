"""When a model's worker died too often, by the model's own fault, to be started again; and when it is tried again."""

from __future__ import annotations

from collections import deque

MOST = 5
WINDOW = 60.0
OWNERS = 3
FIRST, LONGEST = 30.0, 3600.0
TEXT = f"its worker died {MOST} times within {WINDOW:.0f} s"


class RestartLimit:
    """Counts the times at which workers died of one model. Pure: time comes in as an argument, in seconds.

    What one sender's pictures do is not yet the model's fault: `MOST` deaths count when they are of `OWNERS` senders
    at least, or of nobody's pictures, as when it loads.
    """

    def __init__(self) -> None:
        self._deaths: deque[tuple[float, str]] = deque(maxlen=MOST * 10)

    def add(self, now: float, owner: str = "") -> bool:
        """One more, on a picture of `owner`; returns whether the model is at fault."""
        self._deaths.append((now, owner))
        recent = [owner for time, owner in self._deaths if now - time <= WINDOW]
        of_nobody = recent.count("")
        of_many = len(recent) >= MOST and len(set(recent)) >= OWNERS
        return of_nobody >= MOST or of_many

    def forget(self) -> None:
        """Begin anew: the model was changed, or has another trial."""
        self._deaths.clear()


class TrialPause:
    """How long a disabled model waits for its next trial: `FIRST` seconds, then twice as long each time. Pure."""

    def __init__(self) -> None:
        self._pause, self._until = 0.0, 0.0

    def next(self, now: float) -> float:
        """The next pause, in seconds; the first again where the last one ended `LONGEST` seconds ago."""
        quiet = now - self._until > LONGEST
        self._pause = FIRST if quiet or not self._pause else min(self._pause * 2, LONGEST)
        self._until = now + self._pause
        return self._pause

    def over(self, now: float) -> bool:
        """Whether the pause has passed."""
        return now >= self._until

    def forget(self) -> None:
        """Begin anew: the model was changed."""
        self._pause = 0.0
