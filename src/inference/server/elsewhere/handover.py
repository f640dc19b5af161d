"""Room on a cluster that is full for a newer version of a model: the former one leaves it replicas, one after another.

It keeps one, and so answers until the newer version is loaded; then it goes as a whole and the rest is placed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from weakref import WeakSet

from imageserver.inference.server.jails.own_workers import newer_than
from imageserver.inference.server.worker import SharedWorker
from imageserver.inference.shared import wire

LEAVE_AFTER = 10.0
"""Seconds for which all replicas of a newer version wait for room before the former one leaves one, or one more."""
LAST = (
    "the new version of model {} finds no room on the cluster beside the last replica of the former one, which goes on "
    "serving: it is placed as soon as there is room for one replica more"
)


class Handover:
    """`warn` takes a sentence for the log. Times in seconds."""

    def __init__(self, warn: Callable[[str], None]) -> None:
        self._warn = warn
        self._told: WeakSet[SharedWorker] = WeakSet()

    def count(self, worker: SharedWorker, message: wire.Message, now: float) -> None:
        """What a worker tells of its replicas. LookupError, TypeError, ValueError: it is none."""
        placing, *further = (int(message["states"].get(state, 0)) for state in ("placing", "loading", "ready"))
        if not placing or any(further):
            worker.placing_since = None
        elif worker.placing_since is None:
            worker.placing_since = now

    def look(self, workers: Sequence[SharedWorker], now: float) -> None:
        """Tell the former ones how many replicas they leave; to be called now and then."""
        for worker in list(workers):
            if worker.kind.scaled and not worker.retired:
                newer = newer_than(worker, workers)
                leaves = self._leaves(worker, newer, now) if newer is not None else 0
                if leaves != worker.leaves:
                    worker.leaves = leaves
                    worker.process.send({"op": "leave", "replicas": leaves})

    def _leaves(self, worker: SharedWorker, newer: SharedWorker, now: float) -> int:
        if newer.placing_since is None or now - newer.placing_since < LEAVE_AFTER:
            return worker.leaves
        if worker.places > 1:
            newer.placing_since = now
            return worker.leaves + 1
        if worker.places and newer not in self._told:
            self._told.add(newer)
            self._warn(LAST.format(worker.own))
        return worker.leaves
