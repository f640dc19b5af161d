"""What a network gives for a batch and for each picture alone: whether it takes batches, and whether it stays the same.

Exporters write a batch of 1 into shapes inside the network, or call it any where it is not; only its answers tell.
"""

from __future__ import annotations

import importlib
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
    for written in (False, True):
        free = model.clone()
        try:
            if written:
                _follow_the_batch(free)
            free.reshape(library().PartialShape([-1, *model.inputs[0].get_shape()[1:]]))
            together = split(_running(free)(batch), len(batch))
        except errors():
            continue
        if difference(alone, together) <= TOLERANCE:
            return free
    return model


def _follow_the_batch(model: Any) -> None:
    """Have what reshapes to a batch of 1, since it was written with one, keep the batch that comes."""
    ops = importlib.import_module("openvino.opset13")
    for node in model.get_ops():
        if node.get_type_name() != "Reshape" or node.input_value(1).get_node().get_type_name() != "Constant":
            continue
        sides = np.array(node.input_value(1).get_node().get_data())
        came = node.input_value(0).get_partial_shape()
        if sides.size > 1 and sides[0] == 1 and 0 not in sides and len(came) and came[0] == 1:
            sides[0] = 0  # the batch of what comes in
            free = ops.reshape(node.input_value(0), sides, special_zero=True)
            names = set(node.output(0).get_names())
            node.output(0).replace(free.output(0))
            free.output(0).get_tensor().set_names(names)


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
