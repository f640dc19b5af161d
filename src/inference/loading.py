"""From a model's folder to a model that is warm. Runs in a worker, and in the commands prepare and add_model."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from errors import ModelError
from inference import manifest as manifests
from inference.images import Limits
from inference.manifest import Manifest
from inference.model import load_code
from inference.serving import Backend, Code, Network, Note, Serving


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
    serving = _code(manifest, means) if manifest.runtime.runtime == "python" else _network(manifest, means)
    try:
        serving.warm()
    except Exception as error:
        raise ModelError(f"the model {manifest.name!r} fails on a blank picture: {type(error).__name__}: {error}") from error
    return serving


def _code(manifest: Manifest, means: Means) -> Serving:
    if manifest.runtime.weights is not None:
        check_weights(manifest)
    model_class = getattr(load_code(manifest), "Model", None)
    if not callable(model_class) or not hasattr(model_class, "predict"):
        raise ModelError(f"{manifests.CODE} of the model {manifest.name!r} has no class Model with a method predict")
    try:
        model = model_class(manifest.folder, manifest)
    except Exception as error:
        raise ModelError(f"the model {manifest.name!r} does not start: {type(error).__name__}: {error}") from error
    return Code(manifest, model, means.limits, means.note, means.pool)


def _network(manifest: Manifest, means: Means) -> Serving:
    digest = check_weights(manifest)
    warnings: list[str] = []
    backend: Backend
    if manifest.runtime.runtime == "tensorflow":
        from inference.backends.tensorflow import TensorFlow

        backend = TensorFlow(manifest, means.threads)
    else:
        from inference.backends import openvino

        backend = openvino.load(manifest, digest, means, warnings)
    serving = Network(manifest, backend, means.limits, means.note, means.pool)
    serving.warnings = warnings
    return serving


def check_weights(manifest: Manifest) -> str:
    """The SHA-256 of the weights. ModelError when they are missing or not those that the manifest names."""
    runtime = manifest.runtime
    assert runtime.weights is not None
    if not runtime.weights.exists():
        hint = f" {runtime.weights_hint}" if runtime.weights_hint else ""
        raise ModelError(f"the model {manifest.name!r} lacks its weights: put {runtime.weights.name!r} into its folder.{hint}")
    try:
        digest = weights_digest(runtime.weights)
    except OSError as error:
        raise ModelError(f"the weights {runtime.weights.name!r} of the model {manifest.name!r} cannot be read: {error.strerror}") from error
    if runtime.sha256 is not None and digest != runtime.sha256:
        raise ModelError(
            f"the weights {runtime.weights.name!r} of the model {manifest.name!r} have the SHA-256 {digest}, not the one in {manifests.FILE}: "
            "put the right file there, or its SHA-256 into runtime.sha256"
        )
    return digest


def weights_digest(path: Path) -> str:
    """SHA-256 in hexadecimal: of a file, what sha256sum prints; of a folder, of the digests and names of its files in order."""
    if path.is_dir():
        files = sorted(entry for entry in path.rglob("*") if entry.is_file())
        listing = "".join(f"{weights_digest(entry)}  {entry.relative_to(path).as_posix()}\n" for entry in files)
        return hashlib.sha256(listing.encode()).hexdigest()
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
