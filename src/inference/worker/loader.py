"""From a model's folder to a model that is warm. Runs in a worker, and in the commands prepare and add_model."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from imageserver.errors import ManifestError, ModelError
from imageserver.inference.shared import manifest as manifests
from imageserver.inference.shared import weights
from imageserver.inference.shared.manifest import Manifest
from imageserver.inference.worker.backends.ensemble import Ensemble
from imageserver.inference.worker.decode import Limits
from imageserver.inference.worker.model_api import StatefulModel, load_code
from imageserver.inference.worker.predictor import Backend, Code, Network, Note, Serving


@dataclass(frozen=True, slots=True)
class Means:
    """What loading needs beside the folder. `cache`: where converted models are kept. `threads`: what a model may use."""

    cache: Path
    threads: int
    limits: Limits
    note: Note
    pool: ThreadPoolExecutor | None = None


def load(folder: Path, means: Means) -> Serving:
    """Read the manifest, check the weights, load and warm up.

    ManifestError, ModelError: a sentence for the operator. Whatever else a model's own code raises while it warms up becomes a ModelError.
    """
    manifest = manifests.read(folder)
    if manifest.stateful:
        raise ModelError(f"the model {manifest.name!r} keeps state from frame to frame, so it runs in sessions only")
    if manifest.members:
        serving: Serving = _ensemble(manifest, means)
    else:
        serving = _code(manifest, means) if manifest.runtime.runtime == "python" else _network(manifest, means)
    _warm(serving)
    return serving


def stateful(manifest: Manifest) -> StatefulModel:
    """A new object of a stateful model's class. ModelError."""
    if manifest.runtime.weights is not None:
        weights.check(manifest)
    model_class = getattr(load_code(manifest), "Model", None)
    if not callable(model_class) or not all(
        hasattr(model_class, name) for name in ("start", "forward_single_frame", "end")
    ):
        raise ModelError(
            f"{manifests.CODE} of the model {manifest.name!r} has no class Model with start, forward_single_frame and end"
        )
    try:
        model: StatefulModel = model_class(manifest.folder, manifest)
    except Exception as error:
        raise ModelError(f"the model {manifest.name!r} does not start: {type(error).__name__}: {error}") from error
    return model


def _warm(serving: Serving) -> None:
    try:
        serving.warm()
    except Exception as error:
        raise ModelError(
            f"the model {serving.manifest.name!r} fails on a blank picture: {type(error).__name__}: {error}"
        ) from error


def _code(manifest: Manifest, means: Means) -> Serving:
    if manifest.runtime.weights is not None:
        weights.check(manifest)
    model_class = getattr(load_code(manifest), "Model", None)
    if not callable(model_class) or not hasattr(model_class, "predict"):
        raise ModelError(f"{manifests.CODE} of the model {manifest.name!r} has no class Model with a method predict")
    try:
        model = model_class(manifest.folder, manifest)
    except Exception as error:
        raise ModelError(f"the model {manifest.name!r} does not start: {type(error).__name__}: {error}") from error
    return Code(manifest, model, means.limits, means.note, means.pool)


def _ensemble(manifest: Manifest, means: Means) -> Serving:
    """Its members from the folders beside its own. One that does not load leaves the others serving, with a warning."""
    members, warnings = [], []
    for name in manifest.members:
        try:
            member = _member(manifest, manifests.read(manifest.folder.parent / name), means)
            _warm(member)
            members.append(member)
        except (ManifestError, ModelError) as error:
            warnings.append(f"serves without its member {name!r}: {error}")
    if not members:
        raise ModelError(f"no member of the ensemble {manifest.name!r} loads; the last: {warnings[-1]}")
    serving = Ensemble(manifest, members, means.limits, means.note, means.pool)
    serving.warnings = warnings
    return serving


def _member(ensemble: Manifest, manifest: Manifest, means: Means) -> Network:
    if manifest.members or manifest.stateful or manifest.runtime.runtime == "python":
        raise ModelError(f"the model {manifest.name!r} is no network of its own")
    if sorted(manifest.output.labels) != sorted(ensemble.output.labels):
        raise ModelError(
            f"the model {manifest.name!r} has the labels {list(manifest.output.labels)}, not those of the ensemble"
        )
    return _network(manifest, means)


def _network(manifest: Manifest, means: Means) -> Network:
    digest = weights.check(manifest)
    warnings: list[str] = []
    backend: Backend
    if manifest.runtime.runtime == "tensorflow":
        from imageserver.inference.worker.backends.tensorflow import TensorFlow

        backend = TensorFlow(manifest, means.threads)
    else:
        from imageserver.inference.worker.backends import openvino

        backend = openvino.load(manifest, digest, means, warnings)
    serving = Network(manifest, backend, means.limits, means.note, means.pool)
    serving.warnings = warnings
    return serving
