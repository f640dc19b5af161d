"""Whether TensorFlow is here, and the one sentence for whoever wants what nothing else does.

Without it run: what `graph.zip` holds, what was converted before, models that are code and do not import it.
"""

from __future__ import annotations

import functools
import importlib.util

from imageserver import folders
from imageserver.errors import ModelError
from imageserver.inference.shared.formats import kinds
from imageserver.inference.shared.manifest import Manifest
from imageserver.inference.shared.slim import graph

PACKAGES = ("tensorflow", "keras")


@functools.cache
def is_here() -> bool:
    """Whether it is installed; it is not imported."""
    return all(importlib.util.find_spec(name) is not None for name in PACKAGES)


def lacking(what: str) -> str:
    """What is told where it is not here.

    Args:
        what: what needs it, as the sentence begins.
    """
    return f"{what} needs TensorFlow, which is not installed here; {folders.ADD_TENSORFLOW} adds it"


def require(what: str) -> None:
    """ModelError unless it is here, with the sentence of `lacking`."""
    if not is_here():
        raise ModelError(lacking(what))


def is_needed(manifest: Manifest) -> bool:
    """Whether nothing else can run the model, or convert it so that something else can."""
    weights = manifest.runtime.weights
    if weights is None or manifest.runtime.runtime == "python" or kinds.of(weights) is not None:
        return False
    return not graph.is_current(manifest)


def is_meant(error: BaseException) -> bool:
    """Whether an import failed because it is not here."""
    return isinstance(error, ModuleNotFoundError) and (error.name or "").split(".")[0] in PACKAGES and not is_here()
