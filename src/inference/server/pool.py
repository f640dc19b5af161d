"""The shared workers: all of them load what is wanted, and what dies or hangs is replaced.

- A worker that dies takes its batches with it: each source hears of it (`lost`), and a new worker takes its place.
- A batch that takes longer than `time_limit` seconds counts as a death: the worker is killed.
- What a worker died of is taken apart (costly/isolation.py): only a picture that ends a worker on its own counts
  against the model, for its sender. A picture that costs more than a batch may is decoded apart (costly/decoder.py).
- A load that takes longer than `load_limit` says is given up, on every worker, until somebody asks for the model again;
  the worker that hangs in it is killed, and the new one loads the others.
- A model that asks for more than the others' jail gives has a worker of its own (jails/own_workers.py).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Protocol

from imageserver import metrics, news
from imageserver.inference.server.child_process import START_AGAIN_AFTER, Starts
from imageserver.inference.server.costly.isolation import Isolation
from imageserver.inference.server.dispatcher import Dispatcher, lose
from imageserver.inference.server.elsewhere.workers import RemoteWorkers
from imageserver.inference.server.jails.conversions import Conversions
from imageserver.inference.server.jails.own_workers import OwnWorkers, newer_than
from imageserver.inference.server.jails.rights import Jails
from imageserver.inference.server.model import SharedModel
from imageserver.inference.server.overdue import Overdue
from imageserver.inference.server.trial import Trials
from imageserver.inference.server.worker import LOCAL, RunningBatch, SharedWorker
from imageserver.inference.shared import wire
from imageserver.inference.shared.manifest import Manifest
from imageserver.limits import Limits, hit
from imageserver.news import NewsKind
from imageserver.transport import hub

LOAD_LIMIT = 300.0
"""Seconds that loading may take: weights of hundreds of megabytes from a slow disk do."""
LIMIT_CHECK_EVERY = 0.5

Log = Callable[[str], None]


class Supervisor(Protocol):
    """Who is told what becomes of the models."""

    def loaded(self, name: str, runtime: str, seconds: float, warnings: list[str], former: bool = False) -> None:
        """`former`: an earlier version of it serves again, and a newer one is still to come."""

    def failed(self, name: str, error: str, served: bool, reached: bool = True) -> None:
        """`served`: an earlier version of it, or another worker, still serves.

        `reached`: False of one that runs elsewhere, where nobody answers; it is `loaded` once somebody does.
        """

    def died(self, name: str, owner: str) -> None:
        """A worker died while it loaded this model (`owner` is ""), or ran it on a single picture of `owner`."""


class Pool:
    """Construct, then `start`; `stop` ends every worker.

    Args:
        models: the catalogue's own dictionary, whose waiting sources are served.
        workers, arguments: how many, and for the command line of each.
        jails: for each worker and each conversion.
        time_limit: the longest a batch may take, in seconds.
        limits: those of pictures.
        load_limit: the longest a load may take, in seconds; a model that may have to be converted first has
            `conversion_cache.LIMIT` seconds more, an ensemble for each of its members.
    """

    def __init__(
        self,
        models: Mapping[str, SharedModel],
        *,
        workers: int,
        arguments: list[str],
        time_limit: float,
        limits: Limits,
        jails: Jails,
        load_limit: float = LOAD_LIMIT,
        warn: Log,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._models, self._count, self._arguments = models, workers, arguments
        self._warn, self._clock = warn, clock
        self._overdue = Overdue(time_limit, load_limit, self._give_up, warn, clock)
        self._jails, self._conversions = jails, Conversions(jails, warn)
        self._remote = RemoteWorkers(limits, jails, warn)
        self.trials = Trials(arguments, jails, self._conversions, self._remote.kind, self._overdue.load_limit, clock)
        self._own, self._starts = OwnWorkers(jails), Starts(warn)
        self._workers: list[SharedWorker] = []
        self._wanted: dict[str, Manifest] = {}
        self._isolation = Isolation(models, arguments, limits, jails.pictures(), wake=self.wake, warn=warn, clock=clock)
        self._dispatcher = Dispatcher(models, self._workers, self._isolation, clock)
        self._started = self._stopping = False

    def start(self, supervisor: Supervisor) -> None:
        """Start the workers; `supervisor` is told what becomes of the models."""
        self._supervisor = supervisor
        for number in range(self._count):
            self._start_worker(f"worker {number + 1}")
        for name in filter(self._own.alone, self._wanted):
            self._start_worker(f"worker of {name}", name)
        self._started = True
        for run in (self._dispatcher.run, self._enforce_limits, self._isolation.costly.run):
            hub.spawn(run)

    def stop(self, timeout: float) -> None:
        """Let what runs finish for at most `timeout` seconds, then end the workers (about a second more at most)."""
        self._stopping = True
        self._conversions.stop()
        self.trials.stop()
        end = self._clock() + timeout
        while any(worker.batches for worker in self._workers) and self._clock() < end:
            hub.sleep(0.01)
        ends = self._isolation.costly.stop, *(worker.process.end for worker in self._workers)
        for ending in [hub.spawn(end) for end in ends]:
            ending.wait()

    def load(self, manifest: Manifest) -> None:
        """Load a model, anew where it runs: on every worker and those that replace them, or in one of its own."""
        self._wanted[manifest.name] = manifest
        if not self._own.choose(manifest, self._workers):
            for worker in self._workers:
                if not worker.own:
                    worker.load(manifest)
        elif self._started:
            self._start_worker(f"worker of {manifest.name}", manifest.name)

    def unload(self, name: str) -> None:
        """Forget a model on every worker."""
        self._wanted.pop(name, None)
        for worker in self._workers:
            worker.unload(name)

    def wake(self) -> None:
        """Something waits that did not before."""
        self._dispatcher.wake()

    def pids(self) -> list[int]:
        """The process numbers of the workers, for the log and the figures."""
        return [worker.process.pid for worker in self._workers]

    # ---- workers ----------------------------------------------------------------------------------------------

    def _start_worker(self, name: str, own: str = "") -> None:
        """`own`: the model that it is for; "": for all that have none of their own."""
        if not self._stopping and (not own or (own in self._wanted and self._own.alone(own))):
            jail = self._jails.own(self._wanted[own]) if own else self._jails.shared()
            kind = self._remote.kind(self._wanted[own]) if own else LOCAL
            told = (self._on_message, self._on_exit)
            make = partial(SharedWorker, name, self._arguments, *told, self._clock, jail, own, kind)
            if worker := self._starts.attempt(name, make, lambda: self._start_worker(name, own)):
                self._own.leave_unserved(own, self._workers)
                self._workers.append(worker)

    def _on_message(self, worker: SharedWorker, message: wire.Message) -> None:
        newer = newer_than(worker, self._workers)
        match message["op"]:
            case "done":
                self._answer(worker, message)
            case "loaded" | "failed" | "unreachable" if worker.retired:
                return  # what it has to say of its model holds no longer
            case "hello":
                worker.reads = True
                for manifest in self._wanted.values():
                    if self._own.takes(worker, manifest.name):
                        worker.load(manifest)
            case "loaded":
                name = message["model"]
                if name in self._wanted and self._own.takes(worker, name):
                    self._own.serve(name, worker, self._workers)
                    self._models[name].decoded_as = tuple(message["decoded_as"])
                    about = message["runtime"], message["seconds"], message["warnings"]
                    self._supervisor.loaded(name, *about, former=newer is not None)
                else:  # removed or disabled meanwhile
                    worker.unload(name)
                worker.end_load()
            case "convert":
                hub.spawn(self._conversions.answer, worker.process, worker.network(message["folder"]))
            case "failed" | "unreachable" as how:
                name, reached = message["model"], how == "failed"
                if worker.own:
                    worker.loaded.discard(name)
                if name in self._wanted:
                    served = any(name in other.loaded for other in self._workers)
                    self._supervisor.failed(name, message["error"], served, reached and newer is None)
                worker.end_load()
                if worker.own and reached:
                    worker.retire()  # when it is asked for again it gets another
            case "endpoints" | "cluster":
                self._remote.count(worker, message, self._clock())
        self.wake()

    def _answer(self, worker: SharedWorker, message: wire.Message) -> None:
        batch = worker.finish(message["id"])
        worker.last_seconds = self._clock() - batch.sent
        if "lost" in message:
            self._blame(worker, [batch] if message.get("ended") else ())
            lose(batch, message["lost"])
            return
        works, results = batch.works, message["results"]
        if "aside" in message:
            works, results = self._isolation.set_aside(batch, dict(message["aside"]), results)
        for (source, work), result in zip(works, results, strict=True):
            if answer := result.get("answer"):
                result["body"] = worker.arena.read(batch.slot, answer["at"], answer["size"])
            source.answered(work, result)
        if self._isolation.active:
            self._isolation.clear(works)
        if "costs" in message:
            self._isolation.charge(batch, message["costs"])
        for index, name in message.get("limits", ()):
            _source, work = batch.works[index]
            hit(name, work.owner)

    def _on_exit(self, worker: SharedWorker) -> None:
        newer = newer_than(worker, self._workers)
        self._workers.remove(worker)
        self._remote.forget(worker)
        if not self._stopping and not worker.retired:
            metrics.WORKER_RESTARTS.inc()
            self._find_culprit(worker)
            if newer is None or not newer.begins:
                wait = 0.0 if worker.reads else START_AGAIN_AFTER
                hub.spawn_later(wait, self._start_worker, worker.process.name, worker.own)
        for batch in worker.batches.values():
            lose(batch)
        worker.batches.clear()

    def _find_culprit(self, worker: SharedWorker) -> None:
        """Tell what the worker died of, and see to it that it does not happen again and again."""
        ran, what, end = worker.last_words()
        self._warn(f"{worker.process.name} (process {worker.process.pid}) {end}")
        news.tell(NewsKind.WORKER_RESTARTED, f"{worker.process.name} {end}", f"{worker.process.name}{what}")
        if worker.loading and not ran:
            self._supervisor.died(worker.loading.name, "")
        self._blame(worker, ran)

    def _blame(self, worker: SharedWorker, ran: Iterable[RunningBatch]) -> None:
        """It, or a replica of it, ended while it ran these."""
        for batch in ran:
            if found := self._isolation.ended(batch):
                self._supervisor.died(worker.own or batch.model, found.owner)

    def _enforce_limits(self) -> None:
        while not self._stopping:
            hub.sleep(LIMIT_CHECK_EVERY)
            self._isolation.refresh()
            self._remote.tell(self._workers, self._models, self._clock())
            for worker in list(self._workers):
                self._overdue.look(worker)

    def _give_up(self, manifest: Manifest, error: str) -> None:
        if self._wanted.get(manifest.name) is manifest:
            self.unload(manifest.name)
            self._supervisor.failed(manifest.name, error, served=False)
