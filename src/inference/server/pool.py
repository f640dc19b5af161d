"""The shared workers: who runs which batch, and what happens when one dies.

- A worker has one batch at a time, and a second one in advance only when that is a full batch and the last one took
  less than `PREFETCH_BELOW` seconds: what is handed over can no longer be replaced by a newer frame.
- A worker that dies takes its batches with it: each source hears of it (`lost`), and a new worker takes its place.
- A batch that takes longer than `time_limit` seconds counts as a death: the worker is killed.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

from imageserver import metrics
from imageserver.inference.server.arena import Arena
from imageserver.inference.server.batching import Waiting
from imageserver.inference.server.child_process import ChildProcess
from imageserver.inference.server.crash_limit import Deaths
from imageserver.inference.shared import wire
from imageserver.inference.shared.manifest import Manifest
from imageserver.inference.shared.wire import Picture
from imageserver.transport import hub

PREFETCH_BELOW = 0.010
LIMIT_CHECK_EVERY = 0.5
START_AGAIN_AFTER = 1.0
"""Seconds before a worker that died without ever speaking is started again."""

Log = Callable[[str], None]


@dataclass(slots=True)
class Work:
    """One picture on its way: its bytes, their form (wire.CONTENT_…), the clockwise turn that makes it upright."""

    data: Picture
    content: str = wire.CONTENT_IMAGE
    rotate: int = 0
    ticket: Any = None
    """Whatever the source needs to know it again."""


class Source(Protocol):
    """Who submits pictures. All three are called in the loop and must not block."""

    def take(self, model: str) -> Work | None:
        """The picture to run now; None when there is nothing to run on this model any more."""

    def answered(self, work: Work, result: wire.Result) -> None:
        """What the model found, or `error` and `reason`."""

    def lost(self, work: Work, reason: str) -> None:
        """The worker died with it."""


@dataclass(slots=True)
class Model:
    """What the server process knows of a model."""

    manifest: Manifest
    waiting: Waiting[Source]
    state: str = "absent"
    """absent (nobody asked for it yet), loading, ready, failed, disabled"""
    error: str = ""
    runtime: str = ""
    deaths: Deaths = field(default_factory=Deaths)
    failed_at: float = 0.0
    warned: set[str] = field(default_factory=set)
    """the warnings that were given since it was to be loaded"""

    @property
    def name(self) -> str:
        return self.manifest.name

    @property
    def trouble(self) -> str:
        """Why a failed or disabled model cannot be used."""
        if repr(self.name) in self.error:
            return self.error
        return f"the model {self.name!r} {'does not load' if self.state == 'failed' else 'is disabled'}: {self.error}"


class Supervisor(Protocol):
    """Who hears of the models' fate."""

    def loaded(self, name: str, runtime: str, seconds: float, warnings: list[str]) -> None: ...

    def failed(self, name: str, error: str, served: bool) -> None:
        """`served`: an earlier version of it, or another worker, still serves."""

    def died(self, name: str) -> None:
        """A worker died while it ran or loaded this model."""


@dataclass(slots=True)
class _Batch:
    model: str
    slot: int
    works: list[tuple[Source, Work]]
    sent: float


@dataclass(slots=True, eq=False)
class _Worker:
    arena: Arena
    process: ChildProcess = field(init=False)
    loaded: set[str] = field(default_factory=set)
    loading: set[str] = field(default_factory=set)
    batches: dict[int, _Batch] = field(default_factory=dict)
    last_seconds: float = 1.0
    hello: bool = False


class Pool:
    """`models` is the engine's own dictionary; the pool reads it and pops from its waiting sources."""

    def __init__(
        self,
        models: dict[str, Model],
        supervisor: Supervisor,
        *,
        workers: int,
        arguments: list[str],
        time_limit: float,
        warn: Log,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._models, self._supervisor = models, supervisor
        self._count, self._arguments, self._time_limit = workers, arguments, time_limit
        self._warn, self._clock = warn, clock
        self._workers: list[_Worker] = []
        self._wanted: list[str] = []
        self._wake = hub.Event()
        self._timer: hub.Timer | None = None
        self._batch_numbers = 0
        self._stopping = False

    def start(self) -> None:
        for number in range(self._count):
            self._start_worker(f"worker {number + 1}")
        hub.spawn(self._schedule)
        hub.spawn(self._enforce_time_limit)

    def stop(self, timeout: float) -> None:
        """Let what runs finish for at most `timeout` seconds, then end the workers (about a second more at most)."""
        self._stopping = True
        end = self._clock() + timeout
        while any(worker.batches for worker in self._workers) and self._clock() < end:
            hub.sleep(0.01)
        for ending in [hub.spawn(worker.process.end) for worker in self._workers]:
            ending.wait()

    def wake(self) -> None:
        """Something waits that did not before."""
        self._wake.set()

    def load(self, name: str) -> None:
        """Load `name` on every worker, now and in those that replace them; one that has it loads it anew."""
        if name not in self._wanted:
            self._wanted.append(name)
        for worker in self._workers:
            self._load(worker, name)

    def unload(self, name: str) -> None:
        """Forget `name` on every worker."""
        self._wanted = [wanted for wanted in self._wanted if wanted != name]
        for worker in self._workers:
            worker.loaded.discard(name)
            worker.process.send({"op": "unload", "model": name})

    def pids(self) -> list[int]:
        """The process numbers of the workers, for the log and the figures."""
        return [worker.process.pid for worker in self._workers]

    # ---- scheduling -------------------------------------------------------------------------------------------

    def _schedule(self) -> None:
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

    def _idle(self, model: Model) -> list[_Worker]:
        return [worker for worker in self._workers if model.name in worker.loaded and not worker.batches]

    def _room(self, model: Model) -> _Worker | None:
        for worker in self._idle(model):
            return worker
        able = [worker for worker in self._workers if model.name in worker.loaded and worker.arena.free_slots]
        if model.waiting.full:
            for worker in able:
                if worker.last_seconds < PREFETCH_BELOW:
                    return worker
        return None

    def _hand_over(self, worker: _Worker, model: Model) -> None:
        # What waits is shared among the workers that have nothing to do.
        share = -(-len(model.waiting) // max(1, len(self._idle(model))))
        most = min(share, model.manifest.batch.max_batch)
        self._batch_numbers += 1
        number = self._batch_numbers
        batch = worker.batches[number] = _Batch(model.name, worker.arena.free_slots.pop(), [], self._clock())
        items: list[wire.Item] = []
        at = 0
        for source, work in self._taken(model):
            if at + len(work.data) > wire.SLOT_BYTES and items:
                # Full by bytes: it leads the next batch, with the picture it has now.
                model.waiting.put_back(_Taken(source, work), batch.sent)
                break
            batch.works.append((source, work))
            worker.arena.write(batch.slot, at, work.data)
            items.append({"at": at, "size": len(work.data), "form": work.content, "rotate": work.rotate})
            at += len(work.data)
            if len(items) >= most:
                break
        if worker not in self._workers:
            self._lose(batch)  # it died while a large picture was written
        elif items:
            metrics.BATCH_SIZE.observe(len(items), model.name)
            worker.process.send({"op": "run", "id": number, "model": model.name, "slot": batch.slot, "items": items})
        else:
            self._finish(worker, number)

    def _taken(self, model: Model) -> Iterator[tuple[Source, Work]]:
        """The waiting sources in turn, each with its picture; those that have none any more are passed over."""
        while (source := model.waiting.pop()) is not None:
            work = source.take(model.name)
            if work is None:
                continue
            if len(work.data) > wire.SLOT_BYTES:
                error = f"the picture has {len(work.data)} bytes; at most {wire.SLOT_BYTES} fit"
                source.answered(work, {"error": error, "reason": "picture"})
                continue
            yield source, work

    def _finish(self, worker: _Worker, number: int) -> _Batch:
        batch = worker.batches.pop(number)
        worker.arena.free_slots.append(batch.slot)
        return batch

    # ---- workers ----------------------------------------------------------------------------------------------

    def _start_worker(self, name: str) -> None:
        if self._stopping:
            return
        worker = _Worker(Arena(wire.SLOTS, wire.SLOT_BYTES))
        descriptor = worker.arena.descriptor
        worker.process = ChildProcess(
            name,
            "inference.worker.main",
            ["--arena", str(descriptor), *self._arguments],
            functools.partial(self._on_message, worker),
            functools.partial(self._on_exit, worker),
            inherits=(descriptor,),
        )
        self._workers.append(worker)

    def _load(self, worker: _Worker, name: str) -> None:
        if worker.hello:
            worker.loading.add(name)
            worker.process.send({"op": "load", "model": name, "folder": str(self._models[name].manifest.folder)})

    def _on_message(self, worker: _Worker, message: wire.Message) -> None:
        match message["op"]:
            case "done":
                batch = self._finish(worker, message["id"])
                worker.last_seconds = self._clock() - batch.sent
                for (source, work), result in zip(batch.works, message["results"], strict=True):
                    if answer := result.get("answer"):
                        result["body"] = worker.arena.read(batch.slot, answer["at"], answer["size"])
                    source.answered(work, result)
            case "hello":
                worker.hello = True
                for name in self._wanted:
                    self._load(worker, name)
            case "loaded":
                name = message["model"]
                worker.loading.discard(name)
                if name in self._wanted:
                    worker.loaded.add(name)
                    self._supervisor.loaded(name, message["runtime"], message["seconds"], message["warnings"])
                else:  # removed or disabled meanwhile
                    worker.process.send({"op": "unload", "model": name})
            case "failed":
                name = message["model"]
                worker.loading.discard(name)
                served = any(name in other.loaded for other in self._workers)
                self._supervisor.failed(name, message["error"], served)
        self._wake.set()

    def _on_exit(self, worker: _Worker) -> None:
        process = worker.process
        self._workers.remove(worker)
        if not self._stopping:
            metrics.WORKER_RESTARTS.inc()
            # The batch that ran is the first: one sent in advance is not to blame. Else what was being loaded.
            guilty = next((batch.model for batch in worker.batches.values()), next(iter(worker.loading), None))
            lost = sum(len(batch.works) for batch in worker.batches.values())
            self._warn(
                f"{process.name} (process {process.pid}) ended by {process.exit_text}"
                + (f" while it ran {guilty}" if guilty else "")
                + f"; pictures lost: {lost}; a new worker starts"
            )
            if guilty is not None:
                self._supervisor.died(guilty)
            hub.spawn_later(0.0 if worker.hello else START_AGAIN_AFTER, self._start_worker, process.name)
        for batch in worker.batches.values():
            self._lose(batch)
        worker.batches.clear()

    def _lose(self, batch: _Batch) -> None:
        works, batch.works = batch.works, []
        for source, work in works:
            source.lost(work, "the worker process died")

    def _enforce_time_limit(self) -> None:
        while not self._stopping:
            hub.sleep(LIMIT_CHECK_EVERY)
            now = self._clock()
            for worker in self._workers:
                if any(now - batch.sent > self._time_limit for batch in worker.batches.values()):
                    metrics.LIMITS_HIT.inc("model-timeout")
                    self._warn(f"{worker.process.name} is killed: a batch took longer than {self._time_limit:g} s")
                    worker.process.kill()


class _Taken:
    """A source whose picture was taken but did not fit into the batch; it stands for that picture."""

    def __init__(self, source: Source, work: Work) -> None:
        self._source, self._work = source, work

    def take(self, model: str) -> Work | None:
        return self._work

    def answered(self, work: Work, result: wire.Result) -> None:
        self._source.answered(work, result)

    def lost(self, work: Work, reason: str) -> None:
        self._source.lost(work, reason)
