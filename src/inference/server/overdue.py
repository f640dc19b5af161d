"""Workers that take too long over a batch or a load are killed: whoever waits for them is told, and another starts."""

from __future__ import annotations

from collections.abc import Callable

from imageserver import metrics
from imageserver.inference.server.worker import SharedWorker
from imageserver.inference.shared import conversion_cache
from imageserver.inference.shared.manifest import Manifest
from imageserver.limits import note


class Overdue:
    """Times in seconds.

    Args:
        batch_limit: of a batch.
        load_limit: of a load, beside a conversion.
        give_up: told of a model whose load took too long, with a sentence.
        warn: takes a sentence for the log.
        clock: monotonic.
    """

    def __init__(
        self,
        batch_limit: float,
        load_limit: float,
        give_up: Callable[[Manifest, str], None],
        warn: Callable[[str], None],
        clock: Callable[[], float],
    ) -> None:
        self._batch_limit, self._load_limit = batch_limit, load_limit
        self._give_up, self._warn, self._clock = give_up, warn, clock

    def look(self, worker: SharedWorker) -> None:
        """Kill it if it is; to be called now and then."""
        if worker.overdue(self._batch_limit):
            sentence = f"{worker.process.name} is killed: a batch took longer than {self._batch_limit:g} s"
            self._warn(note(sentence, "model_timeout"))
            worker.process.kill()
        elif worker.loading is not None:
            self._look_at_load(worker, worker.loading)

    def load_limit(self, manifest: Manifest) -> float:
        """For loading this model, and converting what it needs."""
        return self._load_limit + conversion_cache.LIMIT * conversions(manifest)

    def _look_at_load(self, worker: SharedWorker, manifest: Manifest) -> None:
        limit = self.load_limit(manifest)
        if self._clock() - worker.loading_since > limit:
            metrics.LIMITS_HIT.inc("load-limit")
            worker.loading = None  # what it hangs in is told now and is no death of the model's worker
            self._warn(f"{worker.process.name} is killed: loading {manifest.name} took longer than {limit:g} s")
            worker.process.kill()
            self._give_up(manifest, f"loading took longer than {limit:g} s")


def conversions(manifest: Manifest) -> int:
    """How many networks may have to be converted before the model runs."""
    if manifest.members:
        return len(manifest.members)
    return int(manifest.runtime.runtime in ("auto", "openvino"))
