"""One stateful model: its worker process, the lanes in it, and the lines in them.

A call over the model's time limit, or a worker that dies, costs the calls that ran; a new worker starts and each
session there begins anew with a fresh `start` before its next frame.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from imageserver import metrics
from imageserver.errors import ModelUnavailable
from imageserver.inference.server import restart_limit
from imageserver.inference.server.arena import Arena
from imageserver.inference.server.child_process import ChildProcess
from imageserver.inference.server.pool import Log
from imageserver.inference.server.stateful.queues import Call, Lane, Line
from imageserver.inference.shared import wire
from imageserver.inference.shared.manifest import Manifest, State
from imageserver.transport import hub

START_AGAIN_AFTER = 1.0
LOAD_LIMIT = 300.0
"""Seconds that loading may take: weights of hundreds of megabytes from a slow disk do."""


class StatefulProcess:
    """Its worker is started with the first line, or by `start`."""

    def __init__(
        self,
        manifest: Manifest,
        arguments: list[str],
        slot_bytes: int,
        *,
        log: Log,
        warn: Log,
        clock: Callable[[], float],
    ) -> None:
        assert manifest.state is not None
        self.manifest = manifest
        self._state = manifest.state
        self._arguments, self._slot_bytes = arguments, slot_bytes
        self._log, self._warn, self._clock = log, warn, clock
        self._lanes = [Lane(0)]
        self._lane_of: dict[Line, Lane] = {}
        self._process: ChildProcess | None = None
        self._arena: Arena | None = None
        self._loaded = self._closed = False
        self._started_at = 0.0
        self._numbers = 0
        self._restart_limit = restart_limit.RestartLimit()
        self._too_slow: Lane | None = None
        self.error = ""
        """Why it cannot be used, "" when it can."""
        self.idle_since = clock()

    @property
    def name(self) -> str:
        return self.manifest.name

    @property
    def state(self) -> State:
        return self._state

    @property
    def idle(self) -> bool:
        """Whether no session is at it, and none that has to be ended there."""
        return not self._lane_of

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    def check(self) -> None:
        """ModelUnavailable when the model was disabled or does not load."""
        if self.error:
            raise ModelUnavailable(f"the model {self.name!r} cannot be used: {self.error}")

    def open(self, line: Line) -> None:
        """Assign a new line to the lane with the fewest, and call its `start`; starts the worker when there is none."""
        lane = min(self._lanes, key=lambda lane: len(lane.lines))
        if lane.lines and len(self._lanes) < self._state.parallel:
            lane = Lane(len(self._lanes))
            self._lanes.append(lane)
        lane.lines.add(line)
        self._lane_of[line] = lane
        self.start()
        self.wants(line)

    def start(self) -> None:
        """Start the worker if none runs."""
        if self._process is None and not self.error and not self._closed:
            slots = self._state.parallel
            geometry = [
                "--folder",
                str(self.manifest.folder),
                "--slots",
                str(slots),
                "--slot-bytes",
                str(self._slot_bytes),
            ]
            self._started_at = self._clock()
            arena = Arena(slots, self._slot_bytes)
            process: ChildProcess = ChildProcess(
                f"session worker {self.name}",
                "inference.worker.sessions",
                ["--arena", str(arena.descriptor), *self._arguments, *geometry],
                lambda message: self._on_message(process, message),
                lambda: self._on_exit(process),
                inherits=(arena.descriptor,),
            )
            self._process, self._arena = process, arena

    def rest(self) -> None:
        """End the worker; the next line starts another. Lines that are left hear nothing more of their calls."""
        process, self._process = self._process, None
        self._unload()
        if process is not None:
            hub.spawn(process.end)

    def close(self) -> None:
        """`rest`, for good."""
        self._closed = True
        self.rest()

    def wants(self, line: Line) -> None:
        """The line has a call to run."""
        lane = self._lane_of.get(line)
        if lane is None:
            return
        if line.dropped and not line.begun and line is not lane.line:
            if line.next_op == "end":
                self._finish(lane, line, line.pop(), None, "")
            return
        lane.queue(line)
        self._advance(lane)

    def enforce_time_limit(self) -> None:
        """Kill the worker when a call takes too long; to be called several times a second."""
        if self._process is None or self._too_slow is not None:
            return
        now = self._clock()
        if not self._loaded:
            if now - self._started_at > LOAD_LIMIT:
                self._kill(self._lanes[0])
            return
        for lane in self._lanes:
            if lane.line is not None and now - lane.since > (self._state.time_limit_s if lane.made else LOAD_LIMIT):
                metrics.LIMITS_HIT.inc("state.time_limit_s")
                self._kill(lane)
                return

    # ---- within -----------------------------------------------------------------------------------------------

    def _kill(self, lane: Lane) -> None:
        self._too_slow = lane
        assert self._process is not None
        self._process.kill()

    def _advance(self, lane: Lane) -> None:
        """Give an idle lane its next call."""
        while self._loaded and lane.line is None and lane.ready:
            line = lane.ready.popleft()
            line.queued = False
            if line not in self._lane_of:
                continue  # it has ended while it waited for its turn
            if line.begun:
                if line.next_op:
                    self._send(lane, line, line.pop())
            elif line.next_op == "end" and (line.dropped or not line.fresh):
                self._finish(lane, line, line.pop(), None, "")  # this worker knows nothing of it
            elif line.fresh or line.next_op:
                # A session begins with `start`, and begins anew where the worker is a new one.
                line.fresh = False
                self._send(lane, line, Call("start", line.first_timestamp))
        if self.error:
            self._fail(lane)

    def _send(self, lane: Lane, line: Line, call: Call) -> None:
        # They may be others once a large picture is written, and then this call is lost already.
        process, arena = self._process, self._arena
        assert process is not None
        assert arena is not None
        self._numbers += 1
        lane.line, lane.call, lane.id, lane.since = line, call, self._numbers, self._clock()
        message = {"op": call.op, "id": lane.id, "lane": lane.number, "sid": line.sid, "timestamp": call.timestamp}
        if call.op == "frame":
            arena.write(lane.number, 0, call.picture)
            message |= {"size": len(call.picture), "rotate": call.rotate}
        process.send(message)

    def _on_message(self, process: ChildProcess, message: wire.Message) -> None:
        if process is not self._process:
            return
        match message["op"]:
            case "loaded":
                self._log(f"model {self.name} is ready for sessions ({message['seconds']:.1f} s)")
                self._loaded = self._lanes[0].made = True
                for lane in self._lanes:
                    self._advance(lane)
            case "made":
                for lane in self._lanes:
                    if lane.number == message["lane"]:
                        lane.made, lane.since = True, self._clock()
            case "failed":
                self._disable(message["error"])
            case "outcome":
                for lane in self._lanes:
                    if lane.id == message["id"] and lane.line is not None and lane.call is not None:
                        self._outcome(lane, lane.line, lane.call, message)

    def _outcome(self, lane: Lane, line: Line, call: Call, message: wire.Message) -> None:
        lane.line = lane.call = None
        error = message.get("error", "")
        if call.op != "start":
            self._finish(lane, line, call, message.get("output"), error)
        elif not error:
            line.begun = True
        elif line.next_op:  # it could not begin: what it was to begin for fails with it
            self._finish(lane, line, line.pop(), None, error)
        if line.next_op:
            lane.queue(line)
        self._advance(lane)

    def _finish(self, lane: Lane, line: Line, call: Call, output: dict[str, Any] | None, error: str) -> None:
        if call.op == "end":
            lane.lines.discard(line)
            self._lane_of.pop(line, None)
            self.idle_since = self._clock()
        line.hearer.outcome(line, call, output, error)

    def _unload(self) -> None:
        """No worker runs that knows anything."""
        self._loaded = False
        self._too_slow = None
        for lane in self._lanes:
            lane.made = False
            for line in lane.lines:
                line.begun = False

    def _on_exit(self, process: ChildProcess) -> None:
        if process is not self._process:
            return  # stopped on purpose
        self._process = None
        loaded, slow = self._loaded, self._too_slow
        limit = self._state.time_limit_s if loaded and slow is not None and slow.made else LOAD_LIMIT
        why = (
            f"took longer than {limit:g} s and was started anew"
            if slow
            else "its worker process died and was started anew"
        )
        self._unload()
        metrics.WORKER_RESTARTS.inc()
        if not self.error:
            self._warn(f"{process.name} (process {process.pid}) ended by {process.exit_text}: {self.name} {why}")
            if self._restart_limit.add(self._clock()):
                self._disable(restart_limit.TEXT)
        for lane in self._lanes:
            line, call = lane.line, lane.call
            lane.line = lane.call = None
            if line is not None and call is not None:
                self._lost(lane, line, call, why, slow)
            self._advance(lane)
        if self._lane_of and not self.error:
            hub.spawn_later(0.0 if loaded else START_AGAIN_AFTER, self.start)

    def _lost(self, lane: Lane, line: Line, call: Call, why: str, slow: Lane | None) -> None:
        """The worker ended while it ran `call`."""
        if call.op != "start":
            metrics.FRAMES_LOST.inc("sessions", "worker died")
            self._finish(lane, line, call, None, why)
        else:
            line.fresh = True
            if (
                lane is slow and line.next_op
            ):  # the frame that it was to begin for hears of it; of another's fault it need not
                self._finish(lane, line, line.pop(), None, why)
        if line in self._lane_of and (line.next_op or line.fresh):
            lane.queue(line)

    def _disable(self, error: str) -> None:
        self.error = error
        self._warn(f"model {self.name} is disabled for sessions: {error}; change its folder to try again")
        self.rest()
        for lane in self._lanes:
            self._fail(lane)

    def _fail(self, lane: Lane) -> None:
        """Answer everything that waits with the reason for which the model cannot be used."""
        for line in list(lane.lines):
            while line.next_op:
                self._finish(lane, line, line.pop(), None, self.error)
        for line in lane.ready:
            line.queued = False
        lane.ready.clear()
