"""What a model is, for whoever writes one. Put one of these into models/<name>/model.py, beside its model.toml:

- `class Model` with `__init__(folder, manifest)` and `predict(batch)`: a model that is code (runtime "python"), see
  `StatelessModel`.
- `class Model` with `start`, `forward_single_frame` and `end`, and a [state] table in the manifest: see
  `StatefulModel`.
- `def build() -> keras.Model`: an architecture in code, whose weights are a file beside it (runtimes "auto",
  "openvino", "tensorflow").

model.py runs in a worker process, in a jail (docs/models.md): it reads its folder, writes $TMPDIR, and has no network
unless its manifest asks for more. It is loaded under a module name of its own, as a package, so `from . import helper`
finds helper.py in the same folder. What it prints goes to standard error. docs/models.md has examples.
"""

from __future__ import annotations

import importlib.util
import itertools
import sys
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

from numpy.typing import NDArray

from imageserver.errors import ModelError
from imageserver.inference import old_names
from imageserver.inference.shared.manifest import CODE, Manifest
from imageserver.inference.shared.slim import tensorflow


class StatelessModel(Protocol):
    """One call for a batch of pictures that have nothing to do with each other. Never called twice at a time."""

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        """Load what is needed; `folder` is the model's own. An exception here is a failed load."""

    def predict(self, batch: list[NDArray[Any]]) -> list[dict[str, Any]]:
        """A result for each picture, in order.

        A picture is uint8 (height, width, channels), RGB or BGR as the manifest says, or float32 where the
        manifest's value range is not 0 to 255. A result is what the client gets, as JSON: usually `label`,
        `score` (0..1) and `labels` [{"label", "score"}, …] best first; a detection adds `boxes` [{"x", "y",
        "width", "height", "label", "score"}, …] in pixels of the array it was given, which the worker maps back
        to the picture. An exception fails the batch; it is then tried picture by picture.
        """


class StatefulModel(Protocol):
    """Keeps state from frame to frame of a session `sid`. For one session the calls never overlap and come in order.

    `timestamp` is the frame's, in milliseconds since the epoch. A dictionary returned goes to the client; None:
    nothing to say.
    """

    def __init__(self, folder: Path, manifest: Manifest) -> None: ...

    def start(self, sid: str, timestamp: int) -> None: ...

    def forward_single_frame(self, sid: str, frame: Any, timestamp: int) -> dict[str, Any] | None:
        """`frame`: the upright picture, uint8 RGB (height, width, 3), or a PIL image with `state.frame = "pil"`."""

    def end(self, sid: str, timestamp: int) -> dict[str, Any] | None: ...


_numbers = itertools.count(1)


def load_code(manifest: Manifest) -> ModuleType:
    """Run the model's model.py and return it as a module of a new name. ModelError when it is missing or raises."""
    # A new name for each load: the former version goes on serving while this one is tried.
    name = f"imageserver_model_{manifest.name.replace('-', '_')}_{next(_numbers)}"
    spec = importlib.util.spec_from_file_location(
        name, manifest.code, submodule_search_locations=[str(manifest.folder)]
    )
    if spec is None or spec.loader is None or not manifest.code.is_file():
        raise ModelError(f"the model {manifest.name!r} needs the file {CODE} in its folder")
    old_names.install()
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        if tensorflow.is_meant(error):
            raise ModelError(tensorflow.lacking(f"{CODE} of the model {manifest.name!r}")) from error
        raise ModelError(
            f"{CODE} of the model {manifest.name!r} does not load: {type(error).__name__}: {error}"
        ) from error
    return module
