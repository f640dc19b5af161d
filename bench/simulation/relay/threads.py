"""What works through what it is given, and what sleeps between two steps."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator
from typing import Any

from bench.simulation.events import Events

Steps = Generator[float, None, None]
"""What `Task` runs: it yields for how many seconds it sleeps."""
BRISK, DROWSY = 0.005, 0.02
"""Seconds between two things, as they were when the parts were measured: at first, and where what it takes longer after
a pause was measured. Between them it is straight, and behind them no longer."""


class Thread:
    """One processor, or a cable: one thing after the other, what is urgent first.

    Args:
        events: When it happens.
        wake: Seconds that something takes longer after a pause: others have had the caches.

    Attributes:
        busy: Seconds that it has worked, or will have when what it does now is done.
    """

    def __init__(self, events: Events, wake: float = 0.0) -> None:
        self._events, self._wake, self.busy, self._rested = events, wake, 0.0, 0.0
        self._urgent: deque[tuple[float, Callable[..., None], tuple[Any, ...]]] = deque()
        self._others: deque[tuple[float, Callable[..., None], tuple[Any, ...]]] = deque()
        self._working = False

    def __len__(self) -> int:
        """How much waits."""
        return len(self._urgent) + len(self._others)

    def do(self, seconds: float, then: Callable[..., None], *arguments: Any, urgent: bool = False) -> None:
        """Work for so long when its turn has come, and call `then`."""
        (self._urgent if urgent else self._others).append((seconds, then, arguments))
        if not self._working:
            self._begin()

    def clear(self) -> None:
        """Forget what waits."""
        self._urgent.clear()
        self._others.clear()

    def _begin(self) -> None:
        seconds, then, arguments = (self._urgent or self._others).popleft()
        pause = self._events.now - self._rested
        if self._wake and seconds and pause > BRISK:
            seconds += self._wake * min(1.0, (pause - BRISK) / (DROWSY - BRISK))
        self._working = True
        self.busy += seconds
        self._events.after(seconds, self._end, then, arguments)

    def _end(self, then: Callable[..., None], arguments: tuple[Any, ...]) -> None:
        self._working, self._rested = False, self._events.now
        then(*arguments)
        if not self._working and len(self):
            self._begin()


class Task:
    """A green thread, for ever."""

    def __init__(self, events: Events, steps: Steps) -> None:
        self._events, self._steps, self._turn = events, steps, 0
        self._go_on(0)

    def wake(self) -> None:
        """End its sleep."""
        self._go_on(self._turn)

    def _go_on(self, turn: int) -> None:
        if turn == self._turn:  # else it was woken meanwhile
            self._turn += 1
            self._events.after(next(self._steps), self._go_on, self._turn)
