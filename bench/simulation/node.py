"""One machine: a front end, which is one thread, and its workers. Frames come in, answers go out.

It does what streams/stream.py, inference/server/batching.py and dispatcher.py do, and nothing else: a stream has one
frame that runs and one that waits, which a newer one replaces until its batch is formed; streams wait in turn; a worker
that has nothing to do is given its share of what waits, and a second batch in advance when that is full and the last
one was quick.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import Enum, auto
from random import Random
from typing import Any

from bench.simulation.events import Events, Histogram
from bench.simulation.parts import FrontEndTimes, ModelTimes

SLOTS = 2
"""Batches that a worker may have at once (inference/shared/wire.py)."""
PREFETCH_BELOW = 0.010
"""Seconds that the last batch took, for a second one in advance (inference/server/dispatcher.py)."""
MOST_TRAVELLING = 8
"""Frames of a camera that the network holds: one whose front end does not keep up sends no more meanwhile."""
COLD_AFTER = 0.005
"""Seconds without work after which it takes a worker `ModelTimes.wake` longer."""


class StreamState(Enum):
    """Of a stream; without a frame it is idle, as in streams/stream.py."""

    IDLE = auto()
    QUEUED = auto()
    RUNNING = auto()


_IDLE, _QUEUED, _RUNNING = StreamState


@dataclass(slots=True)
class Counts:
    """What became of frames: `sent` is the sum of all others, down to `lost`."""

    sent: int = 0
    travelling: int = 0
    """Sent, and not yet looked at by a front end."""
    waiting: int = 0
    running: int = 0
    answered: int = 0
    replaced: int = 0
    lost: int = 0
    withheld: int = 0
    """Not sent, since too many of the camera's were on their way."""
    ages: Histogram = field(default_factory=Histogram)
    """From when a front end had a frame until its answer left, as `age_ms` says it."""
    trips: Histogram = field(default_factory=Histogram)
    """From when a camera sent a frame until it had the answer."""


@dataclass(slots=True)
class Frame:
    """When it left its camera, and when a front end had it."""

    sent: float
    received: float


@dataclass(slots=True, eq=False)
class Stream:
    """One camera at one front end. `travelling`: its frames on their way. `answered`: when it last was."""

    state: StreamState = _IDLE
    waiting: Frame | None = None
    travelling: int = 0
    answered: float = -1.0


Batch = list[tuple[Stream, Frame]]


@dataclass(slots=True, eq=False)
class Worker:
    """Of its batches the front end knows when each was sent; the process itself has those that are not finished."""

    sent: deque[float] = field(default_factory=deque)
    at_process: deque[Batch] = field(default_factory=deque)
    last: float = 1.0
    """Seconds that its last batch took."""
    rests_since: float = -1.0


_Task = tuple[float, Callable[..., None], tuple[Any, ...]]


class Node:
    """A front end and its workers. One that has failed stays so: what comes back is another.

    Args:
        events: when it happens.
        front: what the front end takes.
        model: what runs on each frame.
        workers: how many.
        random: by which times are drawn.
        counts: where frames are counted, which nodes may share.
        network: seconds from a camera to the front end, and back.
    """

    def __init__(
        self,
        events: Events,
        front: FrontEndTimes,
        model: ModelTimes,
        workers: int,
        random: Random,
        counts: Counts,
        network: float = 0.0,
    ) -> None:
        self._events, self._front, self._model, self._random = events, front, model, random
        self.counts, self._network = counts, network
        self.workers = [Worker() for _number in range(workers)]
        self.alive = True
        self.busy = 0.0
        """Seconds that the front end's one thread worked."""
        self._queue: deque[Stream] = deque()
        self._tasks: deque[_Task] = deque()
        self._working = self._woken = False

    def arrive(self, stream: Stream, sent: float) -> None:
        """The bytes of a frame are here, which left the camera at `sent`. Where nobody is any more, they are lost."""
        if self.alive:
            self._do(self._front.receive, self._offer, stream, sent)
        else:
            stream.travelling -= 1
            self.counts.travelling -= 1
            self.counts.lost += 1

    def connect(self, then: Callable[[], None]) -> None:
        """A camera connects; `then` is called when it may send."""
        self._do(self._front.connect, self._connected, then)

    def _connected(self, then: Callable[[], None]) -> None:
        then()

    def fail(self, streams: Iterable[Stream]) -> None:
        """Front end and workers are gone, with all frames of `streams`, which are those of this node.

        Who was about to connect is told, too, and sees that it is not alive.
        """
        self.alive, counts = False, self.counts
        waited = 0
        for stream in streams:
            waited += stream.waiting is not None
            stream.waiting, stream.state = None, _IDLE
        ran = sum(len(task[2][1]) for task in self._tasks if task[1] in (self._handed, self._answered))
        ran += sum(len(batch) for worker in self.workers for batch in worker.at_process)
        came = sum(1 for task in self._tasks if task[1] == self._offer)
        counts.waiting -= waited
        counts.running -= ran
        counts.travelling -= came
        counts.lost += waited + ran + came
        connecting = [task[2][0] for task in self._tasks if task[1] == self._connected]
        self._tasks.clear()
        self._queue.clear()
        for then in connecting:
            then()

    # ---- the front end's thread -------------------------------------------------------------------------------

    def _do(self, cost: float, effect: Callable[..., None], *arguments: Any) -> None:
        """`effect` happens when all before it is done, and `cost` seconds later."""
        self._tasks.append((cost, effect, arguments))
        if not self._working:
            self._begin()

    def _begin(self) -> None:
        cost = self._tasks[0][0]
        self._working = True
        self.busy += cost
        self._events.after(cost, self._end)

    def _end(self) -> None:
        if not self.alive:
            return
        tasks = self._tasks
        while True:
            _cost, effect, arguments = tasks.popleft()
            effect(*arguments)
            if not tasks:
                self._working = False
                return
            if tasks[0][0] > 0:
                self._begin()
                return

    def _offer(self, stream: Stream, sent: float) -> None:
        stream.travelling -= 1
        self.counts.travelling -= 1
        if stream.waiting is not None:
            self.counts.replaced += 1
        else:
            self.counts.waiting += 1
        stream.waiting = Frame(sent, self._events.now)
        if stream.state is _IDLE:
            self._submit(stream)

    def _submit(self, stream: Stream) -> None:
        stream.state = _QUEUED
        self._queue.append(stream)
        self._wake()

    def _wake(self) -> None:
        """The dispatcher has its turn behind what waits for the thread already."""
        if not self._woken:
            self._woken = True
            self._tasks.append((0.0, self._dispatch, ()))

    def _dispatch(self) -> None:
        self._woken = False
        self._hand_over()

    def _hand_over(self) -> None:
        """Form a batch, if a worker has room; it is the thread's next task to send it."""
        worker = self._room()
        if worker is None:
            return
        idle = sum(1 for each in self.workers if not each.sent)
        batch: Batch = []
        for _number in range(min(-(-len(self._queue) // max(1, idle)), self._model.max_batch)):
            stream = self._queue.popleft()
            assert stream.waiting is not None
            batch.append((stream, stream.waiting))
            stream.waiting, stream.state = None, _RUNNING
        self.counts.waiting -= len(batch)
        self.counts.running += len(batch)
        worker.sent.append(self._events.now)
        self._tasks.appendleft((self._front.batch / 2, self._handed, (worker, batch)))

    def _room(self) -> Worker | None:
        """As Dispatcher._room."""
        if not self._queue:
            return None
        for worker in self.workers:
            if not worker.sent:
                return worker
        if len(self._queue) >= self._model.max_batch:
            for worker in self.workers:
                if len(worker.sent) < SLOTS and worker.last < PREFETCH_BELOW:
                    return worker
        return None

    def _handed(self, worker: Worker, batch: Batch) -> None:
        worker.at_process.append(batch)
        if len(worker.at_process) == 1:
            self._run(worker, cold=self._events.now - worker.rests_since > COLD_AFTER)
        self._hand_over()

    def _answered(self, worker: Worker, batch: Batch) -> None:
        now, counts, each = self._events.now, self.counts, self._front.answer
        worker.last = now - len(batch) * each - worker.sent.popleft()
        counts.running -= len(batch)
        counts.answered += len(batch)
        left = now - len(batch) * each
        for stream, frame in batch:
            left += each
            counts.ages.add(left - frame.received)
            counts.trips.add(left - frame.sent + self._network)
            stream.answered, stream.state = left, _IDLE
            if stream.waiting is not None:
                self._submit(stream)
        self._wake()

    # ---- workers ----------------------------------------------------------------------------------------------

    def _run(self, worker: Worker, *, cold: bool) -> None:
        batch = worker.at_process[0]
        took = self._model.draw(len(batch), self._random)
        if cold:
            took += self._model.wake.draw(self._random)
        self._events.after(took, self._finished, worker)

    def _finished(self, worker: Worker) -> None:
        if not self.alive:
            return
        batch = worker.at_process.popleft()
        self._do(self._front.batch / 2 + len(batch) * self._front.answer, self._answered, worker, batch)
        if worker.at_process:
            self._run(worker, cold=False)
        else:
            worker.rests_since = self._events.now
