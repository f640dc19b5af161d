"""Models executed by OpenVINO: from the graph beside their weights, or made once from Keras' and others' files.

What was made is compared with the original, then kept; either way they run without TensorFlow.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from imageserver.errors import ModelError
from imageserver.inference.shared import conversion_cache
from imageserver.inference.shared.conversion_cache import Entry
from imageserver.inference.shared.formats import kinds
from imageserver.inference.shared.manifest import Manifest
from imageserver.inference.shared.slim import tensorflow
from imageserver.inference.worker.backends import features, graph

if TYPE_CHECKING:
    from imageserver.inference.worker.context import LoadContext
    from imageserver.inference.worker.predictor import Backend

# The package's converter reports to its makers by default, also when nobody was asked. Without this module it does not.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]

PRECISION = {"float32": "f32", "bfloat16": "bf16"}


def library() -> Any:
    """OpenVINO, imported. Its front ends' errors do not share a base; `errors` has them all."""
    return importlib.import_module("openvino")


def errors() -> tuple[type[Exception], ...]:
    """What OpenVINO raises: RuntimeErrors, and the failures of its front ends."""
    found = vars(importlib.import_module("openvino.frontend"))
    return (RuntimeError, *(found[name] for name in sorted(found) if name.endswith("Failure")))


class OpenVINO:
    """A `Backend`.

    Args:
        model: a model.xml, or an openvino.Model, with a free batch size or for a single picture at a time.
        watched: tensors inside it whose means become its last output (features.add).
    """

    def __init__(self, model: Path | Any, precision: str, threads: int, watched: Sequence[str] = ()) -> None:
        core = library().Core()
        # Without the hint a processor that has bfloat16 uses it, whatever the model was trained in.
        settings = {
            "INFERENCE_PRECISION_HINT": PRECISION[precision],
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
            "PERFORMANCE_HINT": "LATENCY",
            # Pinned, every worker process would take the first processor, and the others would idle.
            "ENABLE_CPU_PINNING": False,
        }
        if isinstance(model, Path):
            model = core.read_model(model)
        self.features = features.add(model, watched)
        compiled = core.compile_model(model, "CPU", settings)
        self._request = compiled.create_infer_request()
        self.outputs: tuple[str, ...] = tuple(
            output.get_any_name() if output.get_names() else "" for output in compiled.outputs
        )
        self.single = compiled.inputs[0].partial_shape[0].is_static
        used = str(compiled.get_property("INFERENCE_PRECISION_HINT").to_string())
        self.text = f"openvino {'bfloat16' if used in ('bf16', 'bfloat16') else 'float32'}"

    def run(self, batch: NDArray[Any]) -> NDArray[Any]:
        return self.run_all(batch)[0]

    def run_all(self, batch: NDArray[Any]) -> list[NDArray[Any]]:
        if self.single and len(batch) > 1:
            each = [[np.array(found) for found in self.run_all(picture[np.newaxis])] for picture in batch]
            return [np.concatenate(parts) for parts in zip(*each, strict=True)]
        # Nothing is copied in or out: the caller is done with both before the next batch.
        found = self._request.infer([batch], share_inputs=True, share_outputs=True)
        return [found[index] for index in range(len(self.outputs))]


def load(manifest: Manifest, weights_digest: str, context: LoadContext, warnings: list[str]) -> Backend:
    """The model in OpenVINO; with runtime "auto" in TensorFlow, and a sentence in `warnings`, where that does not work.

    ModelError when neither does, or the manifest insists on OpenVINO.
    """
    note = lambda text: context.note(f"{manifest.name}: {text}")  # noqa: E731
    precision, watched = manifest.runtime.precision, manifest.input_check.features if manifest.input_check else ()
    if (model := graph.load(manifest, note)) is not None:
        return OpenVINO(model, precision, context.threads, watched)
    try:
        entry = _entry(manifest, weights_digest, context)
        if entry.report.good:
            return OpenVINO(entry.model, precision, context.threads, watched)
        reason = entry.report.reason
    except (RuntimeError, OSError, ModelError) as error:  # OpenVINO's own errors are RuntimeErrors
        context.note(f"{manifest.name}: {type(error).__name__}: {error}")
        reason = str(error) if isinstance(error, ModelError) else "OpenVINO cannot load it"
    weights = manifest.runtime.weights
    if manifest.runtime.runtime == "openvino" or (weights is not None and kinds.of(weights) is not None):
        raise ModelError(f"the model {manifest.name!r} cannot run in OpenVINO: {reason}")
    tensorflow.require(f"the model {manifest.name!r}")
    from imageserver.inference.worker.backends.tensorflow import TensorFlow

    backend = TensorFlow(manifest, context.threads)
    warnings.append(f"it runs in TensorFlow, which is slower and takes more memory: {reason}")
    return backend


def _entry(manifest: Manifest, weights_digest: str, context: LoadContext) -> Entry:
    """From the cache, or made now, elsewhere, so that TensorFlow never comes into this process."""
    folder = conversion_cache.entry_folder(context.cache, manifest, weights_digest)
    note = lambda text: context.note(f"{manifest.name}: {text}")  # noqa: E731
    entry = conversion_cache.find(folder, note)
    if entry is not None:
        return entry
    if tensorflow.is_needed(manifest):
        tensorflow.require(f"converting the model {manifest.name!r}")
    context.note(f"{manifest.name}: converting to OpenVINO, once")
    said = context.convert(manifest)
    entry = conversion_cache.find(folder, note)
    if entry is None:
        raise ModelError(said or "the converted model is not in the cache")
    return entry
