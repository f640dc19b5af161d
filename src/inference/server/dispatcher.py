"""Hands waiting sources to the shared workers, a batch at a time.

A worker has one batch at a time (one whose model runs elsewhere several), and a second one in advance only when that
is a full batch and the last one took less than `PREFETCH_BELOW` seconds: what is handed over can no longer be replaced
by a newer frame.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from imageserver import metrics
from imageserver.inference.server.batching import QueuedSource, Work
from imageserver.inference.server.costly.isolation import Isolation
from imageserver.inference.server.model import SharedModel
from imageserver.inference.server.worker import RunningBatch, SharedWorker
from imageserver.inference.shared import wire
from imageserver.transport import hub

PREFETCH_BELOW = 0.010


class Dispatcher:
    """`models` and `workers` belong to others; the dispatcher reads them and pops from the models' waiting sources."""

    def __init__(
        self,
        models: Mapping[str, SharedModel],
        workers: Sequence[SharedWorker],
        isolation: Isolation,
        clock: Callable[[], float],
    ) -> None:
        self._models, self._workers, self._clock = models, workers, clock
        self._isolation = isolation
        self._wake = hub.Event()
        self._timer: hub.Timer | None = None
        self._batch_numbers = 0

    def wake(self) -> None:
        """Something waits that did not before, or a worker has room."""
        self._wake.set()

    def run(self) -> None:
        """For ever; spawn it."""
        while True:
            self._wake.wait()
            self._wake.clear()
            while self._dispatch_one():
                pass

    def _dispatch_one(self) -> bool:
        """Hand over one batch if a model is due and a worker has room, else set a timer for the next due time."""
        now = self._clock()
        soonest: float | None = None
        for model in sorted(
            (model for model in self._models.values() if len(model.waiting)), key=lambda model: model.waiting.since
        ):
            worker = self._room(model)
            due = model.waiting.due_in(now)
            if worker is None or due is None:
                continue
            if due == 0.0:
                self._hand_over(worker, model)
                return True
            soonest = due if soonest is None else min(soonest, due)
        if soonest is not None:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = hub.call_later(soonest, self._wake.set)
        return False

    def _idle(self, model: SharedModel) -> list[SharedWorker]:
        return [worker for worker in self._workers if model.name in worker.loaded and worker.idle]

    def _room(self, model: SharedModel) -> SharedWorker | None:
        able = self._idle(model)
        if not able and model.waiting.full:
            able = [
                worker
                for worker in self._workers
                if model.name in worker.loaded and worker.takes_ahead and worker.last_seconds < PREFETCH_BELOW
            ]
        return able[0] if able else None

    def _hand_over(self, worker: SharedWorker, model: SharedModel) -> None:
        # What waits is shared among the workers, and replicas of workers, that have nothing to do.
        share = -(-len(model.waiting) // max(1, sum(worker.free_places for worker in self._idle(model))))
        most = min(share, model.manifest.batch.max_batch)
        self._batch_numbers += 1
        number = self._batch_numbers
        batch = worker.begin(number, model.name)
        items: list[wire.Item] = []
        at = 0
        for turn, work in self._taken(model):
            if items and (turn.alone or at + len(work.data) > wire.SLOT_BYTES):
                # Full by bytes, or not to run with others: it leads the next batch, with the picture it has now.
                turn.since, turn.work = batch.sent, work
                model.waiting.put_back(turn)
                break
            batch.works.append((turn.source, work))
            worker.arena.write(batch.slot, at, work.data)
            items.append({"at": at, "size": len(work.data), "form": work.content, "rotate": work.rotate})
            at += len(work.data)
            batch.alone = turn.alone
            if turn.alone or len(items) >= most:
                break
        if worker not in self._workers:
            lose(batch)  # it died while a large picture was written
        elif items:
            metrics.BATCH_SIZE.observe(len(items), model.name)
            worker.process.send({"op": "run", "id": number, "model": model.name, "slot": batch.slot, "items": items})
        else:
            worker.finish(number)

    def _taken(self, model: SharedModel) -> Iterator[tuple[QueuedSource, Work]]:
        """The waiting sources in turn, each with its picture; those that have none any more are passed over."""
        while (turn := model.waiting.pop()) is not None:
            work = turn.take(model.name)
            if work is None:
                continue
            if len(work.data) > wire.SLOT_BYTES:
                error = f"the picture has {len(work.data)} bytes; at most {wire.SLOT_BYTES} fit"
                turn.source.answered(work, {"error": error, "reason": "picture"})
                continue
            if not self._isolation.admits(model, turn, work):
                continue
            yield turn, work


def lose(batch: RunningBatch, reason: str = "the worker process died") -> None:
    """Tell the sources of a batch that it will not be answered."""
    works, batch.works = batch.works, []
    for source, work in works:
        source.lost(work, reason)
