"""Stateful models as the server process sees them: a worker process for each, and a queue for each session at each.

When a model's folder changes, sessions that run keep the version they began with, in its own worker, and new ones get
the new version.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from imageserver.errors import ModelUnavailable
from imageserver.inference.server.jails.rights import Jails
from imageserver.inference.server.pool import Log
from imageserver.inference.server.stateful.queues import FrameBudget, ModelQueue, QueueSubscriber
from imageserver.inference.server.stateful.worker import StatefulWorker
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
        jails: Jails,
        slot_bytes: int,
        max_bytes: int,
        put_off_time: float,
        log: Log,
        warn: Log,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`find` gives a model's present manifest, or raises UnknownModel; `slot_bytes` is the largest picture.

        `max_bytes` bounds the pictures that wait, all together; `put_off_time` as in costly/put_off.py.
        """
        self._find, self._arguments, self._jails, self._slot_bytes = find, arguments, jails, slot_bytes
        self._log, self._warn, self._clock = log, warn, clock
        self.budget = FrameBudget(max_bytes)
        self._put_off_time = put_off_time
        self._workers: dict[str, StatefulWorker] = {}
        self._former: list[StatefulWorker] = []  # of models whose folder changed, until their last session has ended
        self._stopping = False

    def run(self) -> None:
        """Keep time limits and end workers that nobody needs, for ever; spawn it."""
        while not self._stopping:
            hub.sleep(LIMIT_CHECK_EVERY)
            for worker in self._all():
                worker.enforce_time_limit()
                if worker in self._former and worker.lanes.idle:
                    self._former.remove(worker)
                    worker.close()
                elif worker.pid and not worker.kept and worker.lanes.idle_for > KEEP_IDLE:
                    worker.rest()

    def preload(self, name: str) -> None:
        """Start the worker of `name` now, and keep it. UnknownModel, ModelUnavailable."""
        worker = self._worker(name)
        worker.kept = True
        worker.start()

    def open(
        self,
        name: str,
        sid: str,
        timestamp: int,
        subscriber: QueueSubscriber,
        frames: FrameBudget | None = None,
        owner: str = "",
    ) -> ModelQueue:
        """A session `sid` at model `name`, begun at `timestamp` ms; `frames` counts its frames, else `budget` does.

        `owner`: whose it is, as in batching.Work.

        UnknownModel; ModelUnavailable: it is not stateful, or disabled.
        """
        worker = self._worker(name)
        worker.check(owner)
        queue = ModelQueue(worker, sid, timestamp, subscriber, frames or self.budget, owner)
        worker.open(queue)
        return queue

    def state(self, name: str) -> tuple[str, str]:
        """The state of a model, in a word that people read, and why it cannot be used, "" when it can."""
        worker = self._workers.get(name)
        return (worker.state.name.lower(), worker.error) if worker else ("absent", "")

    @property
    def idle(self) -> bool:
        """Whether every session has ended at every model."""
        return all(worker.lanes.idle for worker in self._all())

    def stop(self) -> None:
        """End all workers. Sessions should have ended before."""
        self._stopping = True
        for worker in self._all():
            worker.close()

    def _all(self) -> list[StatefulWorker]:
        return [*self._workers.values(), *self._former]

    def _worker(self, name: str) -> StatefulWorker:
        manifest = self._find(name)
        worker = self._workers.get(name)
        if worker is not None and worker.manifest is manifest:
            return worker
        if manifest.state is None:
            raise ModelUnavailable(f"the model {name!r} keeps no state, so it is not for sessions")
        former = worker
        worker = self._workers[name] = StatefulWorker(
            manifest,
            self._arguments,
            self._jails,
            self._slot_bytes,
            put_off_time=self._put_off_time,
            log=self._log,
            warn=self._warn,
            clock=self._clock,
        )
        if former is not None:
            self._former.append(former)
            worker.kept, former.kept = former.kept, False
        return worker
