"""What a network gives for a batch and for each picture alone: whether it takes batches, and whether it stays the same.

Exporters write a batch of 1 into shapes inside the network, or call it any where it is not; only its answers tell.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imageserver.inference.worker.backends.openvino import errors, library

Array = NDArray[Any]
Answers = list[list[Array]]
"""Of each picture its outputs, each (1, …) where the network gives a row for a picture."""

TOLERANCE = 1e-4
"""Of a batch's answers and those of each picture alone, relative to the largest number where that is above 1."""


def run_alone(model: Any, batch: Array) -> Answers:
    """What an `openvino.Model` that takes one picture gives for each of a batch."""
    run = _running(model)
    return [[np.array(found) for found in run(picture[np.newaxis])] for picture in batch]


def take_any_batch(model: Any, batch: Array, alone: Answers) -> Any:
    """The same network for any batch, or as it is where that would give something else.

    Args:
        model: an `openvino.Model` that takes one picture.
        batch: pictures.
        alone: what `run_alone` gives for them.
    """
    ov, free = library(), model.clone()
    try:
        free.reshape(ov.PartialShape([-1, *model.inputs[0].get_shape()[1:]]))
        together = split(_running(free)(batch), len(batch))
    except errors():
        return model
    return free if difference(alone, together) <= TOLERANCE else model


def split(outputs: list[Array], count: int) -> Answers:
    """The answers of a batch of `count` pictures, for each its rows; all to the first where they have no such rows."""
    if any(found.ndim == 0 or len(found) != count for found in outputs):
        return [outputs]
    return [[found[index : index + 1] for found in outputs] for index in range(count)]


def difference(one: Answers, other: Answers) -> float:
    """The largest, relative to the largest number of an output where that is above 1; infinite for other shapes."""
    if len(one) != len(other):
        return float("inf")
    return max(
        _difference(*pair) for mine, theirs in zip(one, other, strict=True) for pair in zip(mine, theirs, strict=True)
    )


def _difference(one: Array, other: Array) -> float:
    if one.shape != other.shape or not np.isfinite(other).all():
        return float("inf")
    largest = max(1.0, float(np.abs(one).max(initial=0.0)))
    return float(np.abs(one - other).max(initial=0.0)) / largest


def _running(model: Any) -> Callable[[Array], list[Array]]:
    """Runs it on the processor; what it gives is valid until the next call."""
    compiled = library().Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    request = compiled.create_infer_request()

    def run(batch: Array) -> list[Array]:
        found = request.infer([batch])
        return [found[index] for index in range(len(compiled.outputs))]

    return run
