"""The models that the shared workers run, from the registry's folder: what becomes of each, and what has to follow.

Loaded at the start or on first use, loaded anew when their folder changes, disabled when their worker dies too often
by their own fault; then they are tried, with growing pauses (trial.py). `model.py` draws the states.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable

from imageserver import metrics, news
from imageserver.errors import ModelUnavailable, Stopping, UnknownModel
from imageserver.inference.server import restart_limit
from imageserver.inference.server.batching import Waiting
from imageserver.inference.server.jails.rights import granted
from imageserver.inference.server.model import ModelState, SharedModel
from imageserver.inference.server.pool import Log, Pool
from imageserver.inference.shared.manifest import Manifest
from imageserver.inference.shared.registry import Changes, Registry
from imageserver.news import NewsKind
from imageserver.transport import hub

SCAN_EVERY = 2.0
RETRY_FAILED_AFTER = 10.0
_VERDICTS = {
    (False, True): "does not load",
    (False, False): "is unreachable",
    (True, True): "does not load anew and its former version goes on serving",
    (True, False): "is not loaded anew yet and its former version goes on serving",
}
"""Of a load that failed: whether something serves, and whether it is what did not load."""


class ModelCatalogue:
    """`models` by name, the stateful ones among them: of those it keeps the manifest only. A `pool.Supervisor`."""

    def __init__(
        self,
        models: dict[str, SharedModel],
        registry: Registry,
        pool: Pool,
        *,
        log: Log,
        warn: Log,
        clock: Callable[[], float],
    ) -> None:
        self._models, self._registry, self._pool = models, registry, pool
        self._log, self._warn, self._clock = log, warn, clock
        self._changed = hub.Event()
        self._stopping = False

    def read(self) -> None:
        """Read the registry: before this nothing is known. Blocks, so it is for the start alone."""
        self._follow(self._registry.scan())

    def start(self, preload: Iterable[str]) -> None:
        """Read the registry and begin with the loading of `preload`. UnknownModel for a wrong name."""
        self.read()
        for name in preload:
            self._want(self.find(name))

    def watch(self) -> None:
        """Follow the changes of the registry's folders until `stop`; spawn it."""
        hub.in_thread(self._registry.clean)
        while not self._stopping:
            hub.sleep(SCAN_EVERY)
            look = hub.in_thread(self._registry.look)
            if not self._stopping:
                self._follow(self._registry.adopt(look))
                self.begin_trials()

    def find(self, name: str) -> SharedModel:
        """A model that exists. UnknownModel."""
        if not self._models:
            self._follow(self._registry.scan())  # the start asks for models before it starts them
        try:
            return self._models[name]
        except KeyError:
            raise UnknownModel(f"there is no model {name!r}; there are: {', '.join(sorted(self._models))}") from None

    def prepare(self, name: str) -> SharedModel:
        """Have `name` loaded if it is not yet, without waiting for it.

        Raises:
            UnknownModel, Stopping.
            ModelUnavailable: it keeps state, is disabled, or has just failed to load.
        """
        if self._stopping:
            raise Stopping("the server is stopping; try again in a moment")
        model = self.find(name)
        if model.state is ModelState.READY:
            return model
        if model.manifest.stateful:
            raise ModelUnavailable(f"the model {name!r} keeps state from frame to frame, so it runs in sessions only")
        retried = model.state is ModelState.FAILED and self._clock() - model.failed_at >= RETRY_FAILED_AFTER
        if model.unusable and not retried:
            raise ModelUnavailable(model.trouble)
        self._want(model)
        return model

    def reload(self, name: str) -> bool:
        """Have a model loaded anew, as when its folder changes; False: it is being loaded already. UnknownModel.

        What serves goes on until the new one is loaded; sessions that run keep what they began with.
        """
        model = self.find(name)
        if model.replacing or model.state is ModelState.LOADING:
            return False
        self._adopt(dataclasses.replace(model.manifest))  # another object, by which sessions know that it is new
        if model.state is ModelState.ABSENT and not model.manifest.stateful:
            self._want(model)
        return True

    def wait_ready(self, name: str) -> bool:
        """Wait until `name` is ready, has failed or was removed; returns whether it is ready."""
        while (model := self._models.get(name)) and model.state in (ModelState.ABSENT, ModelState.LOADING):
            self._changed.clear()
            self._changed.wait()
        return model is not None and model.state is ModelState.READY

    def stop(self) -> None:
        """Take nothing new, and answer everything that waits with the reason."""
        self._stopping = True
        for model in self._models.values():
            _refuse(model, "the server is stopping", "busy")

    # ---- what becomes of them (pool.Supervisor) ---------------------------------------------------------------

    def loaded(self, name: str, runtime: str, seconds: float, warnings: list[str], former: bool = False) -> None:
        model = self._models[name]
        if model.state is not ModelState.READY:
            for warning in warnings:
                self._warn(f"model {name}: {warning}")
            self._log(f"model {name} is ready ({runtime}, {seconds:.1f} s){granted(model.manifest)}")
        elif model.replacing and not former:
            news.tell(NewsKind.MODEL_REPLACED, f"model {name} serves in its new version ({runtime}, {seconds:.1f} s)")
        if model.state is ModelState.UNREACHABLE:
            model.warned.clear()
        metrics.MODEL_WARNINGS.child(name).value = len(warnings)
        model.runtime = runtime
        self._change(model, ModelState.READY)
        model.replacing = former

    def failed(self, name: str, error: str, served: bool, reached: bool = True) -> None:
        model = self._models[name]
        model.replacing = served and not reached  # who was not reached goes on trying
        self._warn_once(model, f"model {name} {_VERDICTS[served, reached]}: {error}")
        if not served:
            self._change(model, ModelState.FAILED if reached else ModelState.UNREACHABLE, error)

    def died(self, name: str, owner: str) -> None:
        model = self._models.get(name)
        if model is not None and model.restart_limit.add(self._clock(), owner):
            self._pool.unload(name)
            self._disable(model, restart_limit.TEXT)

    def begin_trials(self) -> None:
        """Begin with the trials that are due; to be called now and then."""
        now = self._clock()
        for model in self._models.values():
            if model.state is ModelState.DISABLED and model.trial_pause.over(now):
                self._change(model, ModelState.TRIAL, model.error.partition(";")[0])
                hub.spawn(self._try, model)

    def _try(self, model: SharedModel) -> None:
        manifest = model.manifest
        error = self._pool.trials.run(manifest)
        if self._stopping or model.manifest is not manifest or model.state is not ModelState.TRIAL:
            return  # changed, removed or stopped meanwhile
        if error:
            self._disable(model, f"at its trial {error}")
        else:
            self._log(f"model {model.name} has answered at its trial and is loaded again")
            model.restart_limit.forget()
            self._want(model)

    def _disable(self, model: SharedModel, reason: str) -> None:
        pause = model.trial_pause.next(self._clock())
        again = f"it is tried again after {pause:g} s"
        self._warn(f"model {model.name} is disabled: {reason}; {again}, or when its folder changes")
        news.tell(NewsKind.MODEL_FAILED, f"model {model.name} is disabled: {reason}; {again}", model.name)
        self._change(model, ModelState.DISABLED, f"{reason}; {again}")

    def _warn_once(self, model: SharedModel, warning: str) -> None:
        """Every worker tells of the same trouble: once for each time that the model was to be loaded is enough."""
        if warning not in model.warned:
            model.warned.add(warning)
            self._warn(warning)
            news.tell(NewsKind.MODEL_FAILED, warning)

    def _follow(self, changes: Changes) -> None:
        for error in changes.errors:
            self._warn(error)
        for name in changes.added | changes.changed:
            self._adopt(self._registry.manifests[name])
        for name in changes.removed:
            model = self._models.pop(name)
            self._pool.unload(name)
            _refuse(model, f"the model {name!r} was removed")
            self._changed.set()

    def _adopt(self, manifest: Manifest) -> None:
        """A new model, or a new version of one; the running version serves until the new one is loaded."""
        waiting = Waiting(manifest.batch.max_batch, manifest.batch.max_delay_ms / 1000)
        model = self._models.get(manifest.name)
        if model is None:
            self._models[manifest.name] = SharedModel(manifest, waiting)
            return
        waiting.take_over(model.waiting)
        model.manifest, model.waiting = manifest, waiting
        model.restart_limit.forget()
        model.trial_pause.forget()
        model.warned.clear()
        if model.unusable and model.state is not ModelState.UNREACHABLE:
            self._change(model, ModelState.ABSENT)
        elif model.state is not ModelState.ABSENT:
            model.replacing = True
            self._pool.load(manifest)

    def _want(self, model: SharedModel) -> None:
        if model.state is not ModelState.LOADING:
            model.warned.clear()
            self._change(model, ModelState.LOADING)
            self._pool.load(model.manifest)

    def _change(self, model: SharedModel, state: ModelState, error: str = "") -> None:
        model.state, model.error, model.replacing = state, error, False
        if model.unusable:
            model.failed_at = self._clock()
            _refuse(model, model.trouble)
        self._changed.set()


def _refuse(model: SharedModel, sentence: str, reason: str = "model") -> None:
    for turn in model.waiting.drain():
        work = turn.take(model.name)
        if work is not None:
            turn.source.answered(work, {"error": sentence, "reason": reason})
