"""One stateful model: its worker process, started and ended as sessions need it, and the states of its life.

               a session, or preload           loaded
    RESTING ────────────────────────▶ LOADING ────────▶ READY
      ▲ ▲                              │   │            │ │ │
      │ └──── no session for a minute ─┼───┼────────────┘ │ │
      │                                │   │  too slow    │ │
      │                                │   └──▶ KILLED ◀──┘ │
      └─ the process ended ────────────┴─────────┴──────────┘

    DISABLED: it does not load, or its worker died too often by its own fault. RESTING again after a pause, when
    somebody asks; pauses grow. CLOSED: its folder changed, or the server stops. Both are entered from anywhere, and
    CLOSED for good.

A call over the model's time limit, or a worker that dies, costs the calls that ran; a new worker starts and each
session there begins anew with a fresh `start` before its next frame. When several calls ran, one runs at a time then,
until it is known whose it was. What ended the worker is put off, and who sends several such, before it is the model's
fault: see restart_limit.py.
"""

from __future__ import annotations

import enum
from collections.abc import Callable

from imageserver import metrics, news
from imageserver.errors import ModelUnavailable
from imageserver.inference.server import restart_limit
from imageserver.inference.server.arena import Arena
from imageserver.inference.server.child_process import START_AGAIN_AFTER, ChildProcess, Starts
from imageserver.inference.server.costly.put_off import PutOff
from imageserver.inference.server.jails.rights import Jails, granted
from imageserver.inference.server.pool import LOAD_LIMIT, Log
from imageserver.inference.server.restart_limit import RestartLimit, TrialPause
from imageserver.inference.server.stateful.lanes import Lanes, LaneSchedule
from imageserver.inference.server.stateful.queues import Call, ModelQueue
from imageserver.inference.shared import wire
from imageserver.inference.shared.manifest import Manifest
from imageserver.inference.shared.wire import Picture
from imageserver.news import NewsKind
from imageserver.transport import hub


class WorkerState(enum.Enum):
    """The state of a stateful model's worker."""

    RESTING = enum.auto()
    LOADING = enum.auto()
    READY = enum.auto()
    KILLED = enum.auto()
    """a call took too long; its end will be told in a moment"""
    DISABLED = enum.auto()
    CLOSED = enum.auto()


class StatefulWorker:
    """Its process is started with the first session, or by `start`. A `queues.QueueOwner` and a `lanes.Runner`."""

    def __init__(
        self,
        manifest: Manifest,
        arguments: list[str],
        jails: Jails,
        slot_bytes: int,
        *,
        put_off_time: float,
        log: Log,
        warn: Log,
        clock: Callable[[], float],
    ) -> None:
        assert manifest.state is not None
        self.manifest, self.settings = manifest, manifest.state
        self.name = manifest.name
        self._arguments, self._jails, self._slot_bytes = arguments, jails, slot_bytes
        self._log, self._warn, self._clock = log, warn, clock
        self.lanes = Lanes(self.settings, self, clock)
        self.error = ""
        self.kept = False
        """Whether it is wanted without a session, too."""
        self.state = WorkerState.RESTING
        self._process: ChildProcess | None = None
        self._arena: Arena | None = None
        self._started_at = 0.0
        self._restart_limit, self._trial_pause = RestartLimit(), TrialPause()
        self._put_off = PutOff(put_off_time)
        self._starts = Starts(warn)
        self._overrun: tuple[str, LaneSchedule | None] | None = None
        """Why it was killed, and the lane whose call took too long."""

    @property
    def ready(self) -> bool:
        return self.state is WorkerState.READY

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    def check(self, owner: str = "", picture: Picture = b"") -> None:
        """ModelUnavailable when the model was disabled or does not load, or ended of what `owner` sends."""
        now = self._clock()
        if self.error and self.state is WorkerState.DISABLED and self._trial_pause.over(now):
            self._log(f"model {self.name} is tried again for sessions")
            self.error = ""
            self._change(WorkerState.RESTING)
            self.start()
        if self.error:
            raise ModelUnavailable(f"the model {self.name!r} cannot be used: {self.error}")
        left = max(self._put_off.picture(picture, now), self._put_off.owner(owner, now))
        if left:
            sentence = f"the model {self.name!r} ended with what you sent; it takes this again in {left:.0f} s"
            raise ModelUnavailable(sentence)

    def open(self, queue: ModelQueue) -> None:
        """Take a new session, and call its `start`; starts the worker when there is none."""
        self.lanes.open(queue)
        self.start()
        self.wants(queue)

    def wants(self, queue: ModelQueue) -> None:
        self.lanes.wants(queue)

    def start(self) -> None:
        """Start the worker if none runs."""
        if self.state is not WorkerState.RESTING:
            return
        name = f"session worker {self.name}"
        process = self._starts.attempt(name, lambda: self._start_process(name), self._start_again)
        if process is not None:
            self._process, self._started_at = process, self._clock()
            self._change(WorkerState.LOADING)

    def rest(self) -> None:
        """End the worker; the next session starts another."""
        self._change(WorkerState.RESTING)

    def close(self) -> None:
        """End the worker, for good. Sessions that are left hear nothing more of their calls."""
        self._change(WorkerState.CLOSED)

    def enforce_time_limit(self) -> None:
        """Kill the worker when a call takes too long; to be called several times a second."""
        if self.state is WorkerState.LOADING and self._clock() - self._started_at > LOAD_LIMIT:
            self._kill(None, LOAD_LIMIT)
        elif self.state is WorkerState.READY and (found := self.lanes.too_slow(LOAD_LIMIT)):
            metrics.LIMITS_HIT.inc("state.time_limit_s")
            self._kill(*found)

    def run(self, lane: int, number: int, queue: ModelQueue, call: Call) -> None:
        # They may be others once a large picture is written, and then this call is lost already.
        process, arena = self._process, self._arena
        assert process is not None
        assert arena is not None
        message = {"op": call.op, "id": number, "lane": lane, "sid": queue.sid, "timestamp": call.timestamp}
        if call.op == "frame":
            arena.write(lane, 0, call.picture)
            message |= {"size": len(call.picture), "rotate": call.rotate}
        process.send(message)

    # ---- within -----------------------------------------------------------------------------------------------

    def _start_process(self, name: str) -> ChildProcess:
        slots = self.settings.parallel
        arena = self._arena = Arena(slots, self._slot_bytes)
        geometry = ["--slots", str(slots), "--slot-bytes", str(self._slot_bytes)]
        process: ChildProcess = ChildProcess(
            name,
            "inference.worker.sessions",
            [*self._arguments, "--folder", str(self.manifest.folder), *geometry],
            lambda message: self._on_message(process, message),
            lambda: self._on_exit(process),
            jail=self._jails.own(self.manifest),
            arena=arena,
        )
        return process

    def _start_again(self) -> None:
        if self.kept or not self.lanes.idle:
            self.start()

    def _change(self, state: WorkerState) -> None:
        """Enter a state; in those without a process the one that runs is ended, and what it knew is forgotten."""
        self.state = state
        if state in (WorkerState.RESTING, WorkerState.DISABLED, WorkerState.CLOSED):
            process, self._process, self._arena = self._process, None, None
            self.lanes.forget()
            if process is not None:
                hub.spawn(process.end)

    def _kill(self, lane: LaneSchedule | None, limit: float) -> None:
        assert self._process is not None
        self._overrun = f"took longer than {limit:g} s and was started anew", lane
        self._process.kill()
        self._change(WorkerState.KILLED)

    def _on_message(self, process: ChildProcess, message: wire.Message) -> None:
        if process is not self._process:
            return
        match message["op"]:
            case "loaded" if self.state is WorkerState.LOADING:
                ready = f"model {self.name} is ready for sessions ({message['seconds']:.1f} s)"
                self._log(ready + granted(self.manifest))
                self._change(WorkerState.READY)
                self.lanes.made(0)
                self.lanes.advance()
            case "made":
                self.lanes.made(message["lane"])
            case "failed":
                self._disable(message["error"])
            case "outcome":
                self.lanes.outcome(message)

    def _on_exit(self, process: ChildProcess) -> None:
        if process is not self._process:
            return  # ended on purpose
        wait = START_AGAIN_AFTER if self.state is WorkerState.LOADING else 0.0
        reason, culprit = self._overrun or ("its worker process died and was started anew", None)
        self._process = self._overrun = None
        metrics.WORKER_RESTARTS.inc()
        end = f"ended by {process.exit_text}: {self.name} {reason}"
        self._warn(f"{process.name} (process {process.pid}) {end}")
        news.tell(NewsKind.WORKER_RESTARTED, f"{process.name} {end}")
        self._change(WorkerState.RESTING)
        at_fault = self._find_fault(culprit)
        self.lanes.lose(reason, culprit)
        if at_fault:
            self._disable(restart_limit.TEXT)
        if not self.lanes.idle:
            hub.spawn_later(wait, self.start)

    def _find_fault(self, culprit: LaneSchedule | None) -> bool:
        """Put off what the worker ended of, where that is known; returns whether it is the model's own fault."""
        running, now = self.lanes.running, self._clock()
        if culprit is not None and culprit.running is not None:
            running = [culprit.running]
        if len(running) > 1:
            self.lanes.suspect()
            return False
        owner = running[0].queue.owner if running else ""
        if running:
            self._put_off.blame(owner, running[0].call.picture, now)
        return self._restart_limit.add(now, owner)

    def _disable(self, error: str) -> None:
        pause = self._trial_pause.next(self._clock())
        self._restart_limit.forget()
        self.error = f"{error}; it is tried again after {pause:g} s"
        news.tell(NewsKind.MODEL_FAILED, f"model {self.name} is disabled for sessions: {self.error}", self.name)
        self._warn(f"model {self.name} is disabled for sessions: {self.error}, or when its folder changes")
        self._change(WorkerState.DISABLED)
        self.lanes.advance()
