"""Stateful models as the server process sees them: a worker process for each, and a `Line` for each session at each.

A line is one session at one model. Its calls (start, each frame, end) never overlap and come in order; lines are
spread over the worker's lanes (inference.session_worker), so sessions run side by side. A model that wants every
frame has a bounded queue for each line; otherwise a newer frame replaces the one that waits.

A call over the model's time limit, or a worker that dies, costs the calls that ran; a new worker starts and each
session there begins anew with a fresh `start` before its next frame.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import metrics
from errors import LimitExceeded, ModelUnavailable
from inference import deaths, wire
from inference.manifest import Manifest, State
from inference.pool import Log
from inference.process import Picture, WorkerProcess
from transport import hub

START_AGAIN_AFTER = 1.0
LIMIT_CHECK_EVERY = 0.1
KEEP_IDLE = 60.0
"""Seconds that a worker without sessions is kept for the next one."""


@dataclass(slots=True)
class Call:
    """One call of a model's method."""

    op: str
    timestamp: int
    picture: Picture = b""
    rotate: int = 0
    ticket: Any = None
    """Whatever the caller needs to know the frame again."""


class Hearer(Protocol):
    """Who hears what a line's model returned. Called in the loop; must not block."""

    def outcome(self, line: Line, call: Call, output: dict[str, Any] | None, error: str) -> None:
        """For each frame, and for the end; `error` is "" or one sentence."""


@dataclass(eq=False, slots=True)
class _Lane:
    number: int
    lines: set[Line] = field(default_factory=set)
    ready: deque[Line] = field(default_factory=deque)
    line: Line | None = None
    """The line whose call runs."""
    call: Call | None = None
    id: int = 0
    since: float = 0.0


class Line:
    """One session at one model; made by `StatefulModels.open`."""

    def __init__(self, model: StatefulProcess, sid: str, timestamp: int, hearer: Hearer) -> None:
        self.model, self.sid, self.hearer = model, sid, hearer
        self.started = False  # on the worker that runs now
        self.closed = False
        self.pending: deque[Call] = deque()
        self.first_timestamp = timestamp

    @property
    def name(self) -> str:
        return self.model.manifest.name

    def check_room(self) -> None:
        """LimitExceeded when the model wants every frame and its queue is full."""
        state = self.model.state
        if state.every_frame and len(self.pending) >= state.queue:
            metrics.LIMITS_HIT.inc("state.queue")
            raise LimitExceeded(f"{len(self.pending)} frames wait for the model {self.name!r} already: send fewer a second")

    def append(self, picture: Picture, timestamp: int, rotate: int, ticket: Any) -> Any:
        """Take a frame; returns the ticket of the waiting frame that it replaces, or None.

        LimitExceeded when the model wants every frame and its queue is full; ModelUnavailable when it is disabled.
        """
        self.model.check()
        self.check_room()
        replaced = self.pending.pop().ticket if self.pending and not self.model.state.every_frame else None
        self.pending.append(Call("frame", timestamp, picture, rotate, ticket))
        self.model.wants(self)
        return replaced

    def end(self, timestamp: int, *, drop: bool = False) -> None:
        """The session is over once what waits has run (`drop`: at once). `outcome` of op "end" follows."""
        if not self.closed:
            self.closed = True
            if drop:
                self.pending.clear()
            self.pending.append(Call("end", timestamp))
            self.model.wants(self)


class StatefulProcess:
    """One stateful model: its worker process, its lanes, its lines."""

    def __init__(
        self, manifest: Manifest, arguments: list[str], slot_bytes: int, *, log: Log, warn: Log, clock: Callable[[], float]
    ) -> None:
        assert manifest.state is not None
        self.manifest, self.state = manifest, manifest.state
        self._arguments, self._slot_bytes = arguments, slot_bytes
        self._log, self._warn, self._clock = log, warn, clock
        self._lanes = [_Lane(0)]
        self._lane_of: dict[Line, _Lane] = {}
        self._process: WorkerProcess | None = None
        self._loaded = False
        self._numbers = 0
        self._deaths = deaths.Deaths()
        self._too_slow = ""
        self.error = ""
        """Why it cannot be used, "" when it can."""
        self.idle_since = clock()

    @property
    def idle(self) -> bool:
        return not self._lane_of

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    def check(self) -> None:
        """ModelUnavailable when the model was disabled or does not load."""
        if self.error:
            raise ModelUnavailable(f"the model {self.manifest.name!r} cannot be used: {self.error}")

    def open(self, line: Line) -> None:
        """Assign a new line to the lane with the fewest; starts the worker when there is none."""
        lane = min(self._lanes, key=lambda lane: len(lane.lines))
        if lane.lines and len(self._lanes) < self.state.parallel:
            lane = _Lane(len(self._lanes))
            self._lanes.append(lane)
        lane.lines.add(line)
        self._lane_of[line] = lane
        self.start()

    def start(self) -> None:
        """Start the worker if none runs."""
        if self._process is None and not self.error:
            slots = self.state.parallel
            geometry = ["--folder", str(self.manifest.folder), "--slots", str(slots), "--slot-bytes", str(self._slot_bytes)]
            self._process = WorkerProcess(
                f"session worker {self.manifest.name}",
                [*self._arguments, *geometry],
                self._on_message,
                self._on_exit,
                module="inference.session_worker",
                slots=slots,
                slot_bytes=self._slot_bytes,
            )

    def stop(self) -> None:
        """End the worker; the lines hear nothing more."""
        process, self._process = self._process, None
        if process is not None:
            process.send({"op": "stop"})
            hub.spawn(_end, process)

    def wants(self, line: Line) -> None:
        """The line has a call to run."""
        lane = self._lane_of.get(line)
        if lane is not None and line is not lane.line and line not in lane.ready:
            lane.ready.append(line)
            self._advance(lane)

    def enforce_time_limit(self) -> None:
        """Kill the worker when a call takes too long; called every `LIMIT_CHECK_EVERY` seconds."""
        limit = self.state.time_limit_s
        for lane in self._lanes:
            if lane.line is not None and self._loaded and self._clock() - lane.since > limit and not self._too_slow:
                metrics.LIMITS_HIT.inc("state.time_limit_s")
                self._too_slow = f"took longer than {limit:g} s and was started anew"
                assert self._process is not None
                self._process.kill()

    # ---- within -----------------------------------------------------------------------------------------------

    def _advance(self, lane: _Lane) -> None:
        """Give an idle lane its next call."""
        while self._loaded and lane.line is None and lane.ready:
            line = lane.ready.popleft()
            if not line.pending:
                continue
            if line.pending[0].op == "end" and not line.started:
                self._finish(lane, line, line.pending.popleft(), None, "")  # the worker knows nothing of it
                continue
            # A session begins with `start`, and begins anew where the worker is a new one.
            call = line.pending.popleft() if line.started else Call("start", line.first_timestamp)
            self._send(lane, line, call)
        if self.error:
            self._fail(lane)

    def _send(self, lane: _Lane, line: Line, call: Call) -> None:
        process = self._process  # it may be another one once a large picture is written, and then this call is lost already
        assert process is not None
        self._numbers += 1
        lane.line, lane.call, lane.id, lane.since = line, call, self._numbers, self._clock()
        message = {"op": call.op, "id": lane.id, "lane": lane.number, "sid": line.sid, "timestamp": call.timestamp}
        if call.op == "frame":
            process.write(lane.number, 0, call.picture)
            message |= {"size": len(call.picture), "rotate": call.rotate}
        process.send(message)

    def _on_message(self, process: WorkerProcess, message: wire.Message) -> None:
        match message["op"]:
            case "loaded":
                self._log(f"model {self.manifest.name} is ready for sessions ({message['seconds']:.1f} s)")
                self._loaded = True
                for lane in self._lanes:
                    self._advance(lane)
            case "failed":
                self._disable(message["error"])
            case "outcome":
                for lane in self._lanes:
                    if lane.id == message["id"] and lane.line is not None and lane.call is not None:
                        self._outcome(lane, lane.line, lane.call, message)

    def _outcome(self, lane: _Lane, line: Line, call: Call, message: wire.Message) -> None:
        lane.line = lane.call = None
        error = message.get("error", "")
        if call.op == "start":
            if error and line.pending:  # it could not begin: what it was to begin for fails with it
                self._finish(lane, line, line.pending.popleft(), None, error)
            else:
                line.started = not error
        else:
            self._finish(lane, line, call, message.get("output"), error)
        if line.pending and line not in lane.ready:
            lane.ready.append(line)
        self._advance(lane)

    def _finish(self, lane: _Lane, line: Line, call: Call, output: dict[str, Any] | None, error: str) -> None:
        if call.op == "end":
            lane.lines.discard(line)
            self._lane_of.pop(line, None)
            self.idle_since = self._clock()
        line.hearer.outcome(line, call, output, error)

    def _on_exit(self, process: WorkerProcess) -> None:
        if process is not self._process:
            return  # stopped on purpose
        loaded, self._process, self._loaded = self._loaded, None, False
        why, self._too_slow = self._too_slow or "its worker process died and was started anew", ""
        metrics.WORKER_RESTARTS.inc()
        if not self.error:
            self._warn(f"{process.name} (process {process.pid}) ended by {process.exit_text}: {self.manifest.name} {why}")
            if self._deaths.add(self._clock()):
                self._disable(deaths.TEXT)
        for lane in self._lanes:
            line, call = lane.line, lane.call
            lane.line = lane.call = None
            for other in lane.lines:
                other.started = False
            if line is not None and call is not None:
                if call.op == "start":  # its frame waits still, and gets another start
                    lane.ready.appendleft(line)
                else:
                    metrics.FRAMES_LOST.inc("sessions", "worker died")
                    self._finish(lane, line, call, None, why)
                    if line.pending and line not in lane.ready:
                        lane.ready.append(line)
            self._advance(lane)
        if self._lane_of and not self.error:
            hub.spawn_later(0.0 if loaded else START_AGAIN_AFTER, self.start)

    def _disable(self, error: str) -> None:
        self.error = error
        self._warn(f"model {self.manifest.name} is disabled for sessions: {error}; change its folder to try again")
        self.stop()
        for lane in self._lanes:
            self._fail(lane)

    def _fail(self, lane: _Lane) -> None:
        """Answer everything that waits with the reason for which the model cannot be used."""
        for line in list(lane.lines):
            while line.pending:
                self._finish(lane, line, line.pending.popleft(), None, self.error)


class StatefulModels:
    """All stateful models; a worker is started with a model's first session, or by `preload`."""

    def __init__(
        self,
        find: Callable[[str], Manifest],
        *,
        arguments: list[str],
        slot_bytes: int,
        log: Log,
        warn: Log,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`find` gives a model's present manifest, or raises UnknownModel; `slot_bytes` is the largest picture."""
        self._find, self._arguments, self._slot_bytes = find, arguments, slot_bytes
        self._log, self._warn, self._clock = log, warn, clock
        self._processes: dict[str, StatefulProcess] = {}
        self._stopping = False

    def run(self) -> None:
        """Keep time limits and end workers that nobody needs, for ever; spawn it."""
        while not self._stopping:
            hub.sleep(LIMIT_CHECK_EVERY)
            for process in self._processes.values():
                process.enforce_time_limit()
                if process.idle and process.pid and self._clock() - process.idle_since > KEEP_IDLE:
                    process.stop()

    def preload(self, name: str) -> None:
        """Start the worker of `name` before its first session. UnknownModel, ModelUnavailable."""
        self._process(name).start()

    def open(self, name: str, sid: str, timestamp: int, hearer: Hearer) -> Line:
        """A session `sid` at model `name`, begun at `timestamp` ms. UnknownModel; ModelUnavailable: not stateful, or disabled."""
        process = self._process(name)
        process.check()
        line = Line(process, sid, timestamp, hearer)
        process.open(line)
        return line

    def pids(self) -> list[int]:
        """The process numbers of the workers."""
        return [process.pid for process in self._processes.values() if process.pid]

    def stop(self) -> None:
        """End all workers. Sessions should have ended before."""
        self._stopping = True
        for process in self._processes.values():
            process.stop()

    def _process(self, name: str) -> StatefulProcess:
        manifest = self._find(name)
        process = self._processes.get(name)
        if process is not None and process.manifest is not manifest and process.idle:
            process.stop()  # its folder changed, and no session holds on to the former version
            process = None
        if process is None:
            if not isinstance(manifest.state, State):
                raise ModelUnavailable(f"the model {name!r} keeps no state, so it is not for sessions")
            process = self._processes[name] = StatefulProcess(
                manifest, self._arguments, self._slot_bytes, log=self._log, warn=self._warn, clock=self._clock
            )
        return process


def _end(process: WorkerProcess) -> None:
    if not process.wait(0.5):
        process.kill()
        process.wait(1.0)
