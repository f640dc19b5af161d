"""What a network's inner layers say of a picture, as one more output of it, so that nothing has to run twice."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

MOST = 512
"""Features of a picture: a distance between them takes the square of their number."""


def add(model: Any, names: Sequence[str]) -> int:
    """Have a network give, as its last output, the means of inner tensors over their rows and columns.

    Args:
        model: an openvino.Model. A tensor of it is (n, channels) or (n, channels, rows, columns), as OpenVINO has
            them whatever the layout of the pictures.
        names: of tensors, as the network's file has them, or else of the operations that they come from.

    Returns:
        How many numbers of a picture there are; 0, and nothing is added, where they are not to be had.
    """
    ports = [_find(model, name) for name in names]
    if not ports or any(port is None for port in ports):
        return 0
    ops = importlib.import_module("openvino.opset13")
    means = [_means(ops, port) for port in ports]
    try:
        row = ops.concat(means, 1) if len(means) > 1 else means[0]
    except RuntimeError:  # their first sides differ: not all of them have a row for each picture
        return 0
    sides = row.get_output_partial_shape(0)
    if sides.rank.get_length() != 2 or sides[1].is_dynamic or sides[1].get_length() > MOST:
        return 0
    model.add_outputs(row.output(0))
    return int(sides[1].get_length())


def _find(model: Any, name: str) -> Any:
    """The output called so; None where there is none that has a channel for each picture."""
    found = [
        port
        for operation in model.get_ordered_ops()
        for port in operation.outputs()
        if name in port.get_names() or name == operation.get_friendly_name()
    ]
    fits = len(found) > 0 and found[0].get_partial_shape().rank.is_static
    return found[0] if fits and found[0].get_partial_shape().rank.get_length() in (2, 3, 4) else None


def _means(ops: Any, port: Any) -> Any:
    """(n, channels), float32."""
    value = ops.convert(port, "f32")
    sides = port.get_partial_shape().rank.get_length()
    return ops.reduce_mean(value, list(range(2, sides)), False) if sides > 2 else value
