"""Which sources run together, and when. Pure: time comes in as an argument.

A *source* is whoever has a picture waiting: a stream with its newest frame, or a single request. Sources wait in
the order in which they came and each waits once, so streams take turns whatever their rate.
"""

from __future__ import annotations

from collections import deque
from typing import Generic, TypeVar

S = TypeVar("S")


class Waiting(Generic[S]):
    """The sources that wait for one model.

    `max_batch` sources run together at most; a smaller batch goes once its first has waited `max_delay` seconds.
    """

    def __init__(self, max_batch: int, max_delay: float) -> None:
        self.max_batch = max_batch
        self.max_delay = max_delay
        self._queue: deque[tuple[float, S]] = deque()

    def __len__(self) -> int:
        return len(self._queue)

    def add(self, source: S, now: float) -> None:
        self._queue.append((now, source))

    @property
    def since(self) -> float:
        """When the first in the queue came. IndexError when nobody waits."""
        return self._queue[0][0]

    @property
    def full(self) -> bool:
        return len(self._queue) >= self.max_batch

    def due_in(self, now: float) -> float | None:
        """Seconds until a batch should go: 0.0 at once, None when nobody waits."""
        if not self._queue:
            return None
        if self.full:
            return 0.0
        return max(0.0, self.since + self.max_delay - now)

    def pop(self) -> S | None:
        """The next in turn, None when nobody waits."""
        return self._queue.popleft()[1] if self._queue else None

    def put_back(self, source: S, since: float) -> None:
        """Return a popped source to the front: it did not fit into the batch."""
        self._queue.appendleft((since, source))

    def drain(self) -> list[S]:
        """All of them, in order; the queue is empty afterwards."""
        sources = [source for _since, source in self._queue]
        self._queue.clear()
        return sources
