"""The workers of models that run elsewhere: their program, and what they tell of the endpoints."""

from __future__ import annotations

from dataclasses import dataclass, field

from imageserver import metrics
from imageserver.inference.server.worker import LOCAL, SharedWorker, WorkerKind
from imageserver.inference.shared import wire
from imageserver.inference.shared.manifest import Manifest
from imageserver.limits import Limits

PART_OF_TIMEOUT = 0.8
"""Of --model-timeout, after which a worker counts as stuck: its batches have to end before."""


@dataclass(slots=True)
class _Counted:
    """What a worker has told so far, since it counts from its start on."""

    model: str
    batches: dict[tuple[str, str], int] = field(default_factory=dict)
    retried: int = 0


class RemoteWorkers:
    """Says of which kind a worker has to be, and keeps the figures of those that are told of."""

    def __init__(self, limits: Limits) -> None:
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
        self._counted: dict[SharedWorker, _Counted] = {}

    def kind(self, manifest: Manifest) -> WorkerKind:
        """Which program runs a model that has a worker of its own."""
        return LOCAL if manifest.runtime.remote is None else self._remote

    def count(self, worker: SharedWorker, message: wire.Message) -> None:
        """Add what is new in a message `endpoints` to the figures. LookupError, TypeError, ValueError: it is none."""
        known = self._counted.setdefault(worker, _Counted(message["model"]))
        for endpoint, up, answered, failed in message["endpoints"]:
            metrics.REMOTE_UP.child(known.model, endpoint).value = int(up)
            for result, count in (("answered", answered), ("failed", failed)):
                new = count - known.batches.get((endpoint, result), 0)
                metrics.REMOTE_BATCHES.child(known.model, endpoint, result).inc(new)
                known.batches[endpoint, result] = count
        metrics.REMOTE_RETRIES.child(known.model).inc(message["retried"] - known.retried)
        known.retried = message["retried"]

    def forget(self, worker: SharedWorker) -> None:
        """It has ended: of its endpoints nothing is known, unless another one of the model tells of them."""
        known = self._counted.pop(worker, None)
        if known is not None and all(other.model != known.model for other in self._counted.values()):
            for endpoint, _result in known.batches:
                metrics.REMOTE_UP.children.pop((known.model, endpoint), None)
