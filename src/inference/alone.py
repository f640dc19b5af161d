"""One model in this process, without a server: for whoever writes it, or wants to know what it costs.

It runs the code that a worker runs, though in no jail: who types its name trusts it.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imageserver import folders
from imageserver.errors import ManifestError, ModelError
from imageserver.inference import prepare
from imageserver.inference.shared import conversion_cache
from imageserver.inference.shared import manifest as manifests
from imageserver.inference.shared.manifest import Manifest
from imageserver.inference.worker import results

Pixels = NDArray[np.uint8]

HELP = "the model's folder, with its model.toml; or the name of one of the server's"
_SESSION = "alone"


def hush() -> None:
    """Before a library is loaded: what it says of itself is of no use to who reads the answers."""
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")


def manifest(model: str) -> Manifest:
    """Of a folder, or of one of the server's models by its name. ManifestError with a sentence."""
    folder = Path(model)
    if folder.is_dir():
        return manifests.read(folder.resolve())
    known = [entry.parent.name for entry in sorted(folders.MODELS.glob(f"*/{manifests.FILE}"))]
    if model not in known:
        names = ", ".join(known)
        raise ManifestError(f"{model!r} is no folder and none of the server's models: {names}")
    return manifests.read(folders.MODELS / model)


def load(manifest: Manifest, threads: int = 0) -> Model:
    """The model, ready for its first frame. ModelError with a sentence.

    Args:
        threads: processors that a model without state may keep busy; 0 is all.
    """
    if manifest.state is not None:
        return Stateful(manifest, manifest.state.frame == "pil")
    return Stateless(manifest, threads or os.cpu_count() or 1)


class Stateless:
    """A model that answers each picture by itself, as a worker serves it."""

    def __init__(self, manifest: Manifest, threads: int) -> None:
        import cv2

        from imageserver.inference.worker import loader
        from imageserver.inference.worker.context import LoadContext

        cv2.setNumThreads(threads)
        note = lambda text: print(text, file=sys.stderr)  # noqa: E731
        cache = conversion_cache.cache_folder()
        convert = lambda found: prepare.prepare(found, cache)  # noqa: E731
        context = LoadContext(note, threads, cache, convert=convert)
        self.serving = loader.load(manifest.folder, context)

    def run(self, timestamp: int, frame: Pixels) -> dict[str, Any] | None:
        import cv2

        from imageserver.inference.worker.predictor import PictureJob

        _, data = cv2.imencode(".png", frame[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 1])
        return dict(self.serving.run([PictureJob(memoryview(data.tobytes()), 0)])[0])

    def end(self, timestamp: int) -> None:
        """It has nothing more to say."""


class Stateful:
    """A model that keeps state, in one session; the frames are Pillow images where `pillow` is true."""

    def __init__(self, manifest: Manifest, pillow: bool) -> None:
        from PIL import Image

        from imageserver.inference.worker import loader

        self._model = loader.stateful(manifest)
        self._picture = Image.fromarray if pillow else np.asarray
        self._started = False

    def run(self, timestamp: int, frame: Pixels) -> dict[str, Any] | None:
        if not self._started:
            self._started = True
            self._model.start(_SESSION, timestamp)
        return _checked(self._model.forward_single_frame(_SESSION, self._picture(frame), timestamp))

    def end(self, timestamp: int) -> dict[str, Any] | None:
        return _checked(self._model.end(_SESSION, timestamp)) if self._started else None


def _checked(found: Any) -> dict[str, Any] | None:
    """What a session would send. ModelError where it could not."""
    if found is None:
        return None
    if not isinstance(found, dict):
        raise ModelError(
            f"the model returned {type(found).__name__}; it must return a dictionary, or None for nothing to say"
        )
    try:
        plain: dict[str, Any] = results.plain(found)
    except TypeError as error:
        raise ModelError(f"the model's result cannot become JSON: {error}") from error
    return plain


Model = Stateless | Stateful
