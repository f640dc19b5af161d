"""The engine as the server process sees it: submit a source of pictures, get results.

Nothing here looks into a picture or runs a model: `pool.py` hands waiting sources to worker processes, and this
module knows the models: found in the registry's folder, loaded at start or on first use, replaced when their folder
changes, disabled when their worker dies too often (until their folder changes).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from imageserver import metrics
from imageserver.errors import LimitExceeded, ModelError, ModelUnavailable, Stopping, UnknownModel, WorkerLost
from imageserver.inference.server import crash_limit
from imageserver.inference.server.batching import Waiting
from imageserver.inference.server.pool import Log, Model, Pool, Source, Work
from imageserver.inference.shared import wire
from imageserver.inference.shared.manifest import Manifest
from imageserver.inference.shared.registry import Registry
from imageserver.inference.shared.wire import Picture
from imageserver.transport import hub

SCAN_EVERY = 2.0
RETRY_FAILED_AFTER = 10.0


class Engine:
    """Shared workers for stateless models. Construct, then `start`; `stop` ends every worker.

    `worker_arguments` go to each worker's command line; `time_limit` is the longest a batch may take, in seconds;
    `max_requests` bounds the single requests (`ask`) that wait at the same time.
    """

    def __init__(
        self,
        registry: Registry,
        *,
        workers: int,
        worker_arguments: list[str],
        time_limit: float,
        max_requests: int,
        log: Log,
        warn: Log,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._registry = registry
        self._max_requests = max_requests
        self._log, self._warn, self._clock = log, warn, clock
        self.models: dict[str, Model] = {}
        self._pool = Pool(
            self.models,
            self,
            workers=workers,
            arguments=worker_arguments,
            time_limit=time_limit,
            warn=warn,
            clock=clock,
        )
        self._requests = 0
        self._stopping = False
        self._changed = hub.Event()

    # ---- life -------------------------------------------------------------------------------------------------

    def start(self, preload: Iterable[str]) -> None:
        """Read the registry, start the workers and the loading of `preload`. UnknownModel for a wrong name."""
        self._scan()
        for name in preload:
            self._want(self._find(name))
        self._pool.start()
        hub.spawn(self._watch_registry)

    def stop(self, timeout: float) -> None:
        """Take nothing new, let what runs finish for at most `timeout` seconds, end the workers."""
        self._stopping = True
        for model in self.models.values():
            self._refuse_waiting(model, "the server is stopping")
        self._pool.stop(timeout)

    def wait_ready(self, name: str) -> bool:
        """Wait until `name` is ready or has failed; returns whether it is ready."""
        while self.models[name].state in ("absent", "loading"):
            self._changed.clear()
            self._changed.wait()
        return self.models[name].state == "ready"

    def worker_pids(self) -> list[int]:
        return self._pool.pids()

    # ---- what the server asks ---------------------------------------------------------------------------------

    def check(self, name: str) -> Manifest:
        """The manifest of a model that exists. UnknownModel when there is none of that name."""
        return self._find(name).manifest

    def submit(self, source: Source, name: str) -> None:
        """Queue `source` for model `name`; its `take` is called when a worker has room.

        UnknownModel, ModelUnavailable (disabled or failed to load) or Stopping when it cannot be served.
        """
        self.prepare(name).waiting.add(source, self._clock())
        self._pool.wake()

    def prepare(self, name: str) -> Model:
        """Have `name` loaded if it is not yet, without waiting for it. Raises as `submit` does."""
        if self._stopping:
            raise Stopping("the server is stopping; try again in a moment")
        model = self._find(name)
        if model.manifest.stateful:
            raise ModelUnavailable(f"the model {name!r} keeps state from frame to frame, so it runs in sessions only")
        if model.state != "ready":
            if model.state == "disabled" or (
                model.state == "failed" and self._clock() - model.failed_at < RETRY_FAILED_AFTER
            ):
                raise ModelUnavailable(model.trouble)
            self._want(model)
        return model

    def ask(
        self, name: str, data: Picture, *, content: str = wire.CONTENT_IMAGE, rotate: int = 0, deadline: float = 30.0
    ) -> wire.Result:
        """One picture, one answer; waits green for at most `deadline` seconds.

        A worker that dies under it costs one more try. Raises UnknownModel, ModelUnavailable (also when the deadline
        passes), Stopping, LimitExceeded (too many requests wait), WorkerLost. A picture that cannot be decoded is
        no exception but a result with `error` and `reason`.
        """
        if self._requests >= self._max_requests:
            metrics.LIMITS_HIT.inc("max-requests")
            raise LimitExceeded(f"{self._requests} requests wait already; try again in a moment")
        request = _Request(self, name, Work(data, content, rotate))
        self._requests += 1
        try:
            self.submit(request, name)
            if not request.finished.wait(deadline):
                raise ModelUnavailable(f"the model {name!r} did not answer within {deadline:g} s")
        finally:
            self._requests -= 1
            request.abandoned = True
        if request.result is None:
            raise request.failure or WorkerLost(f"the model {name!r} gave no answer")
        return request.result

    # ---- the models' fate (pool.Supervisor) -------------------------------------------------------------------

    def loaded(self, name: str, runtime: str, seconds: float, warnings: list[str]) -> None:
        model = self.models[name]
        if model.state != "ready":
            for warning in warnings:
                self._warn(f"model {name}: {warning}")
            self._log(f"model {name} is ready ({runtime}, {seconds:.1f} s)")
        metrics.MODEL_WARNINGS.child(name).value = len(warnings)
        model.runtime = runtime
        self._set_state(model, "ready")

    def failed(self, name: str, error: str, served: bool) -> None:
        model = self.models.get(name)
        if model is None:
            return
        if served:
            self._warn_once(model, f"model {name} does not load anew and its former version goes on serving: {error}")
        else:
            self._warn_once(model, f"model {name} does not load: {error}")
            self._set_state(model, "failed", error)

    def died(self, name: str) -> None:
        model = self.models.get(name)
        if model is None:
            return
        if model.deaths.add(self._clock()):
            self._warn_once(model, f"model {name} is disabled: {crash_limit.TEXT}; change its folder to try again")
            self._pool.unload(name)
            self._set_state(model, "disabled", crash_limit.TEXT)

    def _warn_once(self, model: Model, warning: str) -> None:
        """Every worker tells of the same trouble: once for each time that the model was to be loaded is enough."""
        if warning not in model.warned:
            model.warned.add(warning)
            self._warn(warning)

    # ---- models -----------------------------------------------------------------------------------------------

    def _find(self, name: str) -> Model:
        if name not in self.models:
            self._scan()
        try:
            return self.models[name]
        except KeyError:
            raise UnknownModel(f"there is no model {name!r}; there are: {', '.join(sorted(self.models))}") from None

    def _watch_registry(self) -> None:
        while not self._stopping:
            hub.sleep(SCAN_EVERY)
            self._scan()

    def _scan(self) -> None:
        changes = self._registry.scan()
        for error in changes.errors:
            self._warn(error)
        for name in changes.added | changes.changed:
            self._adopt(self._registry.manifests[name])
        for name in changes.removed:
            model = self.models.pop(name)
            self._refuse_waiting(model, f"the model {name!r} was removed")
            self._pool.unload(name)

    def _adopt(self, manifest: Manifest) -> None:
        """A new model, or a new version of one; the running version serves until the new one is loaded."""
        waiting: Waiting[Source] = Waiting(manifest.batch.max_batch, manifest.batch.max_delay_ms / 1000)
        model = self.models.get(manifest.name)
        if model is None:
            self.models[manifest.name] = Model(manifest, waiting)
            return
        for source in model.waiting.drain():
            waiting.add(source, self._clock())
        model.manifest, model.waiting = manifest, waiting
        model.deaths.forget()
        model.warned.clear()
        if model.state in ("failed", "disabled"):
            self._set_state(model, "absent")
        elif model.state != "absent":
            self._pool.load(manifest.name)

    def _want(self, model: Model) -> None:
        if model.state != "loading":
            model.warned.clear()
            self._set_state(model, "loading")
            self._pool.load(model.name)

    def _set_state(self, model: Model, state: str, error: str = "") -> None:
        model.state, model.error = state, error
        if state == "failed":
            model.failed_at = self._clock()
        if state in ("failed", "disabled"):
            self._refuse_waiting(model, model.trouble)
        self._changed.set()

    def _refuse_waiting(self, model: Model, reason: str) -> None:
        for source in model.waiting.drain():
            work = source.take(model.name)
            if work is not None:
                source.answered(work, {"error": reason, "reason": "model"})


class _Request:
    """A single request as a source: one picture, one more try when a worker dies under it."""

    def __init__(self, engine: Engine, name: str, work: Work) -> None:
        self._engine, self._name, self._work = engine, name, work
        self._tries = 0
        self.abandoned = False
        self.finished = hub.Event()
        self.result: wire.Result | None = None
        self.failure: Exception | None = None

    def take(self, model: str) -> Work | None:
        return None if self.abandoned else self._work

    def answered(self, work: Work, result: wire.Result) -> None:
        self.result = result
        self.finished.set()

    def lost(self, work: Work, reason: str) -> None:
        self._tries += 1
        try:
            if self._tries > 1:
                raise WorkerLost(f"{reason} while {self._name!r} ran on this picture, twice")
            self._engine.submit(self, self._name)
        except (ModelError, Stopping) as error:
            self.failure = error
            self.finished.set()
