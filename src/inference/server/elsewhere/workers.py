"""The workers of models that run elsewhere: their program, and what they tell of the endpoints."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from imageserver import metrics
from imageserver.inference.server.elsewhere.handover import Handover
from imageserver.inference.server.jails.rights import Jails
from imageserver.inference.server.model import SharedModel
from imageserver.inference.server.worker import LOCAL, SharedWorker, WorkerKind
from imageserver.inference.shared import wire
from imageserver.inference.shared.elsewhere.cluster import ClusterAddress
from imageserver.inference.shared.manifest import Manifest
from imageserver.limits import Limits

REPLICA_STATES = ("placing", "loading", "ready", "draining")
"""Of a model on the cluster (worker/cluster/fleet.py), as figures tell them."""
PART_OF_TIMEOUT = 0.8
"""Of --model-timeout, after which a worker counts as stuck: its batches have to end before."""


@dataclass(slots=True)
class _Counted:
    """What a worker has told so far, since it counts from its start on."""

    model: str
    batches: dict[tuple[str, str], int] = field(default_factory=dict)
    retried: int = 0
    ended: int = 0


class RemoteWorkers:
    """Says of which kind a worker has to be, keeps the figures that they tell, and tells them what they need.

    Args:
        limits: Of batches.
        jails: Say whether there is a cluster, for models that may run there.
        warn: Takes a sentence for the log.
    """

    def __init__(self, limits: Limits, jails: Jails, warn: Callable[[str], None]) -> None:
        given = {
            "seconds": min(limits.remote_seconds, limits.model_timeout * PART_OF_TIMEOUT),
            "batches": limits.remote_batches,
            "answer-bytes": limits.remote_answer_bytes,
            "retries": limits.remote_retries,
            "look-every": limits.remote_look_every,
        }
        arguments = tuple(word for name, value in given.items() for word in (f"--remote-{name}", str(value)))
        batches = limits.remote_batches
        self._remote = WorkerKind("inference.worker.remote.main", arguments, slots=batches, batches=batches)
        self._limits, self._jails, self._handover = limits, jails, Handover(warn)
        self._counted: dict[SharedWorker, _Counted] = {}

    def kind(self, manifest: Manifest) -> WorkerKind:
        """Which program runs a model that has a worker of its own."""
        if manifest.runtime.remote is not None:
            return self._remote
        cluster = self._jails.cluster_of(manifest)
        return self._of_cluster(manifest, cluster) if cluster else LOCAL

    def tell(self, workers: Sequence[SharedWorker], models: Mapping[str, SharedModel], now: float) -> None:
        """Tell those of which there can be more for how long the oldest picture has waited, and what they are to leave
        to newer versions."""
        self._handover.look(workers, now)
        for worker in list(workers):
            if worker.kind.scaled and worker.reads and (model := models.get(worker.own)) is not None:
                seconds = round(now - model.waiting.since, 3) if len(model.waiting) else 0.0
                if seconds or worker.told_waiting:
                    worker.told_waiting = seconds
                    worker.process.send({"op": "waiting", "seconds": seconds})

    def count(self, worker: SharedWorker, message: wire.Message, now: float) -> None:
        """Add what is new in a message `endpoints` or `cluster` to the figures.

        LookupError, TypeError, ValueError: it is none.
        """
        if message["op"] == "cluster":
            self._count_replicas(worker, message)
            self._handover.count(worker, message, now)
            return
        known = self._counted.setdefault(worker, _Counted(message["model"]))
        for endpoint, up, answered, failed in message["endpoints"]:
            metrics.REMOTE_UP.child(known.model, endpoint).value = int(up)
            for result, count in (("answered", answered), ("failed", failed)):
                new = count - known.batches.get((endpoint, result), 0)
                metrics.REMOTE_BATCHES.child(known.model, endpoint, result).inc(new)
                known.batches[endpoint, result] = count
        metrics.REMOTE_RETRIES.child(known.model).inc(message["retried"] - known.retried)
        known.retried = message["retried"]

    def _of_cluster(self, manifest: Manifest, cluster: ClusterAddress) -> WorkerKind:
        limits, batches = self._limits, manifest.placement.most * wire.SLOTS
        given = {
            "": cluster,
            "-slots": batches,
            "-memory": limits.worker_memory,
            "-seconds": limits.model_timeout * PART_OF_TIMEOUT,
            "-wait": limits.cluster_wait,
            "-idle": limits.cluster_idle,
            "-cache": limits.cluster_cache,
        }
        arguments = [word for name, value in given.items() for word in (f"--cluster{name}", str(value))]
        arguments += () if self._jails.enforced else ("--cluster-open",)
        return WorkerKind("inference.worker.cluster.main", tuple(arguments), batches, batches, scaled=True)

    def _count_replicas(self, worker: SharedWorker, message: wire.Message) -> None:
        known = self._counted.setdefault(worker, _Counted(message["model"]))
        worker.places = min(max(0, int(message["places"])), worker.kind.slots)
        worker.room = min(max(0, int(message["batches"])), worker.kind.slots)
        for state in REPLICA_STATES:
            metrics.CLUSTER_REPLICAS.child(known.model, state).value = int(message["states"].get(state, 0))
        for result in ("answered", "lost"):
            new = int(message[result]) - known.batches.get(("", result), 0)
            metrics.CLUSTER_BATCHES.child(known.model, result).inc(new)
            known.batches["", result] = int(message[result])
        metrics.CLUSTER_ENDED.child(known.model).inc(int(message["ended"]) - known.ended)
        known.ended = int(message["ended"])

    def forget(self, worker: SharedWorker) -> None:
        """It has ended: of its endpoints nothing is known, unless another one of the model tells of them."""
        known = self._counted.pop(worker, None)
        if known is not None and all(other.model != known.model for other in self._counted.values()):
            for state in REPLICA_STATES:
                metrics.CLUSTER_REPLICAS.children.pop((known.model, state), None)
            for endpoint, _result in known.batches:
                metrics.REMOTE_UP.children.pop((known.model, endpoint), None)
