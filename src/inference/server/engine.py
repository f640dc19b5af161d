"""The engine as the server process sees it: submit a source of pictures, get results.

Nothing here looks into a picture or runs a model: the catalogue knows the models, the pool runs them in worker
processes, and `ask` is one request from start to end.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from imageserver.errors import LimitExceeded, ModelError, ModelUnavailable, Stopping, WorkerLost
from imageserver.inference.server.batching import Source, Work
from imageserver.inference.server.catalogue import ModelCatalogue
from imageserver.inference.server.jails.rights import Jails
from imageserver.inference.server.model import SharedModel
from imageserver.inference.server.pool import LOAD_LIMIT, Log, Pool
from imageserver.inference.shared import wire
from imageserver.inference.shared.manifest import Manifest
from imageserver.inference.shared.registry import Registry
from imageserver.inference.shared.wire import Picture
from imageserver.limits import Limits, hit
from imageserver.transport import hub

NOTHING_SET = Limits()
"""Every limit as it is by default."""


class Engine:
    """Shared workers for stateless models. Construct, then `start`; `stop` ends every worker.

    Args:
        registry: the folders of the models.
        workers: how many processes run them.
        worker_arguments: for each worker's command line.
        jails: for each worker.
        time_limit: the longest a batch may take, in seconds.
        max_requests: how many single requests (`ask`) may wait at the same time.
        limits: those of pictures.
        load_limit: the longest a load may take, in seconds, beside a conversion (pool.py).
    """

    def __init__(
        self,
        registry: Registry,
        *,
        workers: int,
        worker_arguments: list[str],
        jails: Jails,
        time_limit: float,
        max_requests: int,
        log: Log,
        warn: Log,
        limits: Limits = NOTHING_SET,
        load_limit: float = LOAD_LIMIT,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._max_requests, self._clock = max_requests, clock
        self.models: dict[str, SharedModel] = {}
        self._pool = Pool(
            self.models,
            workers=workers,
            arguments=worker_arguments,
            jails=jails,
            time_limit=time_limit,
            limits=limits,
            load_limit=load_limit,
            warn=warn,
            clock=clock,
        )
        self.catalogue = ModelCatalogue(self.models, registry, self._pool, log=log, warn=warn, clock=clock)
        self.prepare = self.catalogue.prepare
        self.wait_ready = self.catalogue.wait_ready
        self.worker_pids = self._pool.pids
        self._requests = 0
        self._requests_of: dict[str, int] = {}

    def start(self, preload: Iterable[str]) -> None:
        """Read the registry, start the workers and the loading of `preload`. UnknownModel for a wrong name."""
        self.catalogue.start(preload)
        self._pool.start(self.catalogue)
        hub.spawn(self.catalogue.watch)

    def stop(self, timeout: float) -> None:
        """Take nothing new, let what runs finish for at most `timeout` seconds, end the workers."""
        self.catalogue.stop()
        self._pool.stop(timeout)

    def check(self, name: str) -> Manifest:
        """The manifest of a model that exists. UnknownModel when there is none of that name."""
        return self.catalogue.find(name).manifest

    def submit(self, source: Source, name: str) -> None:
        """Queue `source` for model `name`; its `take` is called when a worker has room.

        UnknownModel, ModelUnavailable (disabled or failed to load) or Stopping when it cannot be served.
        """
        self.prepare(name).waiting.add(source, self._clock())
        self._pool.wake()

    def ask(
        self,
        name: str,
        data: Picture,
        *,
        content: str = wire.CONTENT_IMAGE,
        rotate: int = 0,
        owner: str = "",
        deadline: float = 30.0,
    ) -> wire.Result:
        """One picture, one answer; waits green for at most `deadline` seconds.

        A worker that dies under it costs one more try. A picture that cannot be decoded is no exception but a result
        with `error` and `reason`.

        Raises:
            UnknownModel, Stopping, LimitExceeded (too many requests wait).
            ModelUnavailable: it is disabled, does not load, or the deadline has passed.
            WorkerLost: the worker died, and the next one as well.
        """
        own = self._requests_of.get(owner, 0)
        if self._requests >= self._max_requests or self._crowds(owner, own):
            hit("max_requests", owner)
            whose = " of yours" if self._requests < self._max_requests else ""
            raise LimitExceeded(
                f"{own if whose else self._requests} requests{whose} wait already; try again in a moment"
            )
        request = _Request(self, name, Work(data, content, rotate, owner=owner))
        self._requests += 1
        self._requests_of[owner] = own + 1
        try:
            self.submit(request, name)
            if not request.finished.wait(deadline):
                raise ModelUnavailable(f"the model {name!r} did not answer within {deadline:g} s")
        finally:
            self._requests -= 1
            self._requests_of[owner] -= 1
            if not self._requests_of[owner]:
                del self._requests_of[owner]
            request.finished.set()
            if request.result is None and name in self.models:
                self.models[name].waiting.discard(request)
        if request.result is None:
            raise request.failure or WorkerLost(f"the model {name!r} gave no answer")
        return request.result

    def loss(self, name: str, reason: str) -> ModelError:
        """What somebody is told whose picture was lost twice."""
        model = self.models.get(name)
        if model is not None and model.elsewhere:
            return ModelUnavailable(f"the model {name!r} did not answer: {reason}")
        return WorkerLost(f"{reason} while {name!r} ran on this picture, twice")

    def _crowds(self, owner: str, own: int) -> bool:
        """Whether the requests of one owner leave too little room for others, once half of the room is taken."""
        return bool(owner) and own * 4 >= self._max_requests and self._requests * 2 >= self._max_requests


class _Request:
    """A single request as a source: one picture, one more try when a worker dies under it."""

    def __init__(self, engine: Engine, name: str, work: Work) -> None:
        self._engine, self._name, self._work = engine, name, work
        self._tries = 0
        self.finished = hub.Event()
        """It was answered, or nobody waits for its answer any more."""
        self.result: wire.Result | None = None
        self.failure: Exception | None = None

    @property
    def wanted(self) -> bool:
        return not self.finished.is_set()

    def take(self, model: str) -> Work | None:
        return self._work

    def answered(self, work: Work, result: wire.Result) -> None:
        self.result = result
        self.finished.set()

    def lost(self, work: Work, reason: str) -> None:
        if self.finished.is_set():
            return
        self._tries += 1
        try:
            if self._tries > 1:
                raise self._engine.loss(self._name, reason)
            self._engine.submit(self, self._name)
        except (ModelError, Stopping) as error:
            self.failure = error
            self.finished.set()
