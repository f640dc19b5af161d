"""Which call runs next in each lane of a stateful worker.

A lane is a thread of the worker with a model object of its own (inference/worker/sessions.py). Sessions are spread
over the lanes, so they run side by side; in a lane one call runs at a time, and sessions take turns.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from imageserver import metrics
from imageserver.inference.server.stateful.queues import Call, ModelQueue, QueueState
from imageserver.inference.shared import wire
from imageserver.inference.shared.manifest import State

CAUTIOUS = 10.0
"""Seconds at most for which calls run one at a time."""


class Runner(Protocol):
    """What lanes need of their worker."""

    error: str
    """Why the model cannot be used, "" when it can."""

    @property
    def ready(self) -> bool:
        """Whether it takes calls."""

    def run(self, lane: int, number: int, queue: ModelQueue, call: Call) -> None:
        """Send a call to the worker; its outcome comes under `number`."""


@dataclass(slots=True)
class RunningCall:
    """What a lane does now."""

    queue: ModelQueue
    call: Call
    number: int
    since: float


@dataclass(eq=False, slots=True)
class LaneSchedule:
    """The sessions assigned to a lane, those of them that have something to run, and the call that runs."""

    number: int
    queues: set[ModelQueue] = field(default_factory=set)
    ready: dict[ModelQueue, None] = field(default_factory=dict)
    """In the order of their turns."""
    running: RunningCall | None = None
    made: bool = False
    """Its model object exists, so what it does now counts against the model's time limit."""

    def enqueue(self, queue: ModelQueue) -> None:
        """The queue has a call to run, once its turn comes; it waits for one turn at most."""
        if self.running is None or queue is not self.running.queue:
            self.ready[queue] = None


class Lanes:
    """The lanes of one worker, made as sessions need them."""

    def __init__(self, settings: State, runner: Runner, clock: Callable[[], float]) -> None:
        self._settings, self._runner, self._clock = settings, runner, clock
        self._lanes = [LaneSchedule(0)]
        self._lane_of: dict[ModelQueue, LaneSchedule] = {}
        self._suspects: set[ModelQueue] = set()
        """Sessions that ran when the worker ended: until each has had an answer, one call runs at a time."""
        self._cautious_until = 0.0
        self._held_back = False
        """A lane waits for that."""
        self._numbers = 0
        self._idle_since = clock()

    @property
    def idle(self) -> bool:
        """Whether no session is at the model, and none that has to be ended there."""
        return not self._lane_of

    @property
    def idle_for(self) -> float:
        """Seconds since the last session ended; 0 while there is one."""
        return self._clock() - self._idle_since if self.idle else 0.0

    def open(self, queue: ModelQueue) -> None:
        """Assign a new session to the lane with the fewest; `wants` calls its `start`."""
        lane = min(self._lanes, key=lambda lane: len(lane.queues))
        if lane.queues and len(self._lanes) < self._settings.parallel:
            lane = LaneSchedule(len(self._lanes))
            self._lanes.append(lane)
        lane.queues.add(queue)
        self._lane_of[queue] = lane

    def wants(self, queue: ModelQueue) -> None:
        """The queue has a call to run."""
        lane = self._lane_of.get(queue)
        if lane is None:
            return
        if queue.state is QueueState.FORGOTTEN and queue.next_op == "end":
            self._finish(lane, queue, queue.pop(), None, "")  # no worker knows of it
            return
        lane.enqueue(queue)
        self._advance(lane)

    def made(self, number: int) -> None:
        """The lane of this number has its model object; the first has it when the model is loaded."""
        lane = self._lanes[number]
        lane.made = True
        if lane.running is not None:
            lane.running.since = self._clock()

    def advance(self) -> None:
        """Give each idle lane its next call; where the model cannot be used, answer all that waits with the reason."""
        for lane in self._lanes:
            self._advance(lane)

    def outcome(self, message: wire.Message) -> None:
        """What a call came to."""
        for lane in self._lanes:
            running = lane.running
            if running is None or running.number != message["id"]:
                continue
            queue, call, error = running.queue, running.call, message.get("error", "")
            lane.running = None
            self._suspects.discard(queue)
            if call.op != "start":
                self._finish(lane, queue, call, message.get("output"), error)
            elif not error:
                queue.change(QueueState.BEGUN)
            else:
                self._not_begun(lane, queue, error)
            if queue.next_op:
                lane.enqueue(queue)
            self._advance(lane)
        if self._held_back:
            self._held_back = False
            self.advance()

    @property
    def running(self) -> list[RunningCall]:
        """What runs now."""
        return [lane.running for lane in self._lanes if lane.running is not None]

    def suspect(self) -> None:
        """The worker ended, and each of the calls that ran may be why."""
        self._suspects = {running.queue for running in self.running}
        self._cautious_until = self._clock() + CAUTIOUS

    def too_slow(self, loading_limit: float) -> tuple[LaneSchedule, float] | None:
        """A lane whose call takes longer than it may, and how long that is in seconds."""
        now = self._clock()
        for lane in self._lanes:
            limit = self._settings.time_limit_s if lane.made else loading_limit
            if lane.running is not None and now - lane.running.since > limit:
                return lane, limit
        return None

    def forget(self) -> None:
        """No worker runs any more that knows anything."""
        for lane in self._lanes:
            lane.made = False
            for queue in lane.queues:
                if queue.state is QueueState.BEGUN:
                    queue.change(QueueState.FORGOTTEN)

    def lose(self, reason: str, culprit: LaneSchedule | None) -> None:
        """The worker ended under the calls that ran. `culprit`: the lane whose call took too long, if one did."""
        for lane in self._lanes:
            running, lane.running = lane.running, None
            if running is not None:
                queue, call = running.queue, running.call
                if call.op != "start":
                    metrics.FRAMES_LOST.inc("sessions", "worker died")
                    self._finish(lane, queue, call, None, reason)
                elif lane is culprit:
                    self._not_begun(lane, queue, reason)
                else:  # another's fault: it begins once more
                    queue.change(QueueState.NEW)
                if queue in self._lane_of:
                    lane.enqueue(queue)
            self._advance(lane)

    # ---- within -----------------------------------------------------------------------------------------------

    def _advance(self, lane: LaneSchedule) -> None:
        while self._runner.ready and lane.running is None and lane.ready:
            if self._suspects and self.running and self._clock() < self._cautious_until:
                self._held_back = True
                return  # one at a time, until it is known whose call ends the worker
            queue = next(iter(lane.ready))
            del lane.ready[queue]
            if queue not in self._lane_of:
                continue  # it has ended while it waited for its turn
            if queue.state is QueueState.BEGUN:
                if queue.next_op:
                    self._run(lane, queue, queue.pop())
            elif queue.state is QueueState.NEW or queue.next_op == "frame":
                # A session begins with `start`, and begins anew where the worker is a new one.
                queue.change(QueueState.STARTING)
                self._run(lane, queue, Call("start", queue.first_timestamp))
            elif queue.next_op:
                self._finish(lane, queue, queue.pop(), None, "")  # this worker knows nothing of it
        if self._runner.error:
            self._fail(lane)

    def _run(self, lane: LaneSchedule, queue: ModelQueue, call: Call) -> None:
        if call.op == "end":
            queue.change(QueueState.ENDING)
        self._numbers += 1
        lane.running = RunningCall(queue, call, self._numbers, self._clock())
        self._runner.run(lane.number, self._numbers, queue, call)

    def _not_begun(self, lane: LaneSchedule, queue: ModelQueue, error: str) -> None:
        """It could not begin: what it was to begin for fails with it."""
        queue.change(QueueState.FORGOTTEN)
        if queue.next_op:
            self._finish(lane, queue, queue.pop(), None, error)

    def _finish(
        self, lane: LaneSchedule, queue: ModelQueue, call: Call, output: dict[str, Any] | None, error: str
    ) -> None:
        if call.op == "end":
            queue.change(QueueState.ENDED)
            lane.queues.discard(queue)
            self._lane_of.pop(queue, None)
            self._suspects.discard(queue)
            self._idle_since = self._clock()
        queue.subscriber.outcome(queue, call, output, error)

    def _fail(self, lane: LaneSchedule) -> None:
        for queue in list(lane.queues):
            while queue.next_op:
                self._finish(lane, queue, queue.pop(), None, self._runner.error)
        lane.ready.clear()
