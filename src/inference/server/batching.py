"""Which sources run together, and when. Pure: time comes in as an argument, in seconds.

A *source* is whoever has a picture waiting: a stream with its newest frame, or a single request. Sources wait in
the order in which they came and each waits once, so streams take turns whatever their rate.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any, Protocol

from imageserver.inference.shared import wire


@dataclass(slots=True)
class Work:
    """One picture on its way: its bytes, what they hold (wire.CONTENT_…), the clockwise turn that makes it upright."""

    data: wire.Picture
    content: str = wire.CONTENT_IMAGE
    rotate: int = 0
    ticket: Any = None
    """Whatever the source needs to know it again."""
    owner: str = ""
    """Who sent it: "user anna", or "address 10.0.0.7" where nobody has logged in; "" is nobody in particular."""
    original: wire.Picture = b""
    """The picture as it came, where `data` is what it was decoded to (server/costly/)."""


class Source(Protocol):
    """Who submits pictures. All is called in the loop and must not block."""

    @property
    def wanted(self) -> bool:
        """Whether anybody still waits for what was taken."""

    def take(self, model: str) -> Work | None:
        """The picture to run now; None when there is nothing to run on this model any more."""

    def answered(self, work: Work, result: wire.Result) -> None:
        """What the model found, or `error` and `reason`."""

    def lost(self, work: Work, reason: str) -> None:
        """The worker died with it."""


@dataclass(slots=True, eq=False)
class QueuedSource:
    """A source in the queue."""

    source: Source
    since: float
    """When it came."""
    work: Work | None = None
    """Its picture, where that was taken already and then did not fit into the batch."""
    alone: bool = False
    """It runs in a batch of its own, as it may be the one that ends the worker."""

    def take(self, model: str) -> Work | None:
        """The picture to run now, None when there is none any more."""
        return self.work or self.source.take(model)


class Waiting:
    """The sources that wait for one model.

    `max_batch` sources run together at most; a smaller batch goes once its first has waited `max_delay` seconds.
    """

    def __init__(self, max_batch: int, max_delay: float) -> None:
        self.max_batch = max_batch
        self.max_delay = max_delay
        self._queue: deque[QueuedSource] = deque()

    def __len__(self) -> int:
        return len(self._queue)

    def add(self, source: Source, now: float) -> None:
        self._queue.append(QueuedSource(source, now))

    def discard(self, source: Source) -> None:
        """Take it out, and its picture with it. Harmless when it does not wait."""
        self._queue = deque(turn for turn in self._queue if turn.source is not source)

    @property
    def since(self) -> float:
        """When the first in the queue came. IndexError when nobody waits."""
        return self._queue[0].since

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

    def pop(self) -> QueuedSource | None:
        """The next in turn, None when nobody waits."""
        return self._queue.popleft() if self._queue else None

    def put_back(self, turn: QueuedSource) -> None:
        """Return it to the front: it did not fit into the batch."""
        self._queue.appendleft(turn)

    def add_taken(self, source: Source, work: Work, now: float, *, first: bool = False) -> None:
        """Queue a source whose picture was taken already; `first`: before all others."""
        turn = QueuedSource(source, now, work)
        if first:
            self._queue.appendleft(turn)
        else:
            self._queue.append(turn)

    def take_over(self, others: Waiting) -> None:
        """Queue all who wait in `others` behind those who wait here."""
        self._queue.extend(others.drain())

    def drain(self) -> list[QueuedSource]:
        """All of them, in order; the queue is empty afterwards."""
        turns = list(self._queue)
        self._queue.clear()
        return turns
