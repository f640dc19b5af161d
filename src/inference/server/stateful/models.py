"""Stateful models as the server process sees them: a worker process for each, and a `Line` for each session at each.

Lines are spread over the worker's lanes (inference/worker/sessions.py), so sessions run side by side. When a model's folder
changes, sessions that run keep the version they began with, in its own worker, and new ones get the new version.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from imageserver.errors import ModelUnavailable
from imageserver.inference.server.pool import Log
from imageserver.inference.server.stateful.child import StatefulProcess
from imageserver.inference.server.stateful.queues import Hearer, Held, Line
from imageserver.inference.shared.manifest import Manifest
from imageserver.transport import hub

LIMIT_CHECK_EVERY = 0.1
KEEP_IDLE = 60.0
"""Seconds that a worker without sessions is kept for the next one."""


class StatefulModels:
    """All stateful models; a worker is started with a model's first session, or by `preload`."""

    def __init__(
        self,
        find: Callable[[str], Manifest],
        *,
        arguments: list[str],
        slot_bytes: int,
        max_bytes: int,
        log: Log,
        warn: Log,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`find` gives a model's present manifest, or raises UnknownModel; `slot_bytes` is the largest picture.

        `max_bytes` bounds the pictures that wait, all together.
        """
        self._find, self._arguments, self._slot_bytes = find, arguments, slot_bytes
        self._log, self._warn, self._clock = log, warn, clock
        self.held = Held(max_bytes)
        self._processes: dict[str, StatefulProcess] = {}
        self._former: list[StatefulProcess] = []  # of models whose folder changed, until their last session has ended
        self._kept: set[str] = set()
        self._stopping = False

    def run(self) -> None:
        """Keep time limits and end workers that nobody needs, for ever; spawn it."""
        while not self._stopping:
            hub.sleep(LIMIT_CHECK_EVERY)
            for process in self._all():
                process.enforce_time_limit()
                if process in self._former and process.idle:
                    self._former.remove(process)
                    process.close()
                elif (
                    process.idle
                    and process.pid
                    and process.name not in self._kept
                    and self._clock() - process.idle_since > KEEP_IDLE
                ):
                    process.rest()

    def preload(self, name: str) -> None:
        """Start the worker of `name` now, and keep it. UnknownModel, ModelUnavailable."""
        self._process(name).start()
        self._kept.add(name)

    def open(self, name: str, sid: str, timestamp: int, hearer: Hearer) -> Line:
        """A session `sid` at model `name`, begun at `timestamp` ms. UnknownModel; ModelUnavailable: not stateful, or disabled."""
        process = self._process(name)
        process.check()
        line = Line(process, sid, timestamp, hearer, self.held)
        process.open(line)
        return line

    @property
    def idle(self) -> bool:
        """Whether every session has ended at every model."""
        return all(process.idle for process in self._all())

    def pids(self) -> list[int]:
        """The process numbers of the workers."""
        return [process.pid for process in self._all() if process.pid]

    def stop(self) -> None:
        """End all workers. Sessions should have ended before."""
        self._stopping = True
        for process in self._all():
            process.close()

    def _all(self) -> list[StatefulProcess]:
        return [*self._processes.values(), *self._former]

    def _process(self, name: str) -> StatefulProcess:
        manifest = self._find(name)
        process = self._processes.get(name)
        if process is not None and process.manifest is manifest:
            return process
        if manifest.state is None:
            raise ModelUnavailable(f"the model {name!r} keeps no state, so it is not for sessions")
        if process is not None:
            self._former.append(process)
        process = self._processes[name] = StatefulProcess(
            manifest, self._arguments, self._slot_bytes, log=self._log, warn=self._warn, clock=self._clock
        )
        return process
