"""What the whole numbers that a quantised network takes and gives stand for, as its own graph says.

TFLite's front end makes FakeQuantize of them, ONNX's a subtraction and a multiplication (QuantizeLinear again a
FakeQuantize). One scale and one zero point for all channels; with others nothing is said.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np


def output_quantisation(value: Any) -> tuple[float, float] | None:
    """Scale and zero point of a quantised output: it stands for (number - zero) * scale."""
    node = value.get_node()
    if node.get_type_name() != "Convert":
        return None
    limits = _fake_quantize(node.input_value(0).get_node())
    if limits is None:
        return None
    low, high, number_low, number_high = limits
    scale = (high - low) / (number_high - number_low)
    return scale, number_low - low / scale


def input_quantisation(port: Any) -> tuple[float, float] | None:
    """Scale and zero point of a quantised input of an `openvino.Model`, the same for all colours; None: it has none."""
    for target in _behind(port.get_node(), ("Transpose", "Reshape", "Convert")):
        limits = _fake_quantize(target)
        if limits is not None:
            number_low, number_high, low, high = limits
            scale = (high - low) / (number_high - number_low)
            return scale, number_low - low / scale
        zero = 0.0
        if target.get_type_name() == "Subtract":
            found = _number(target.input_value(1))
            target = next(iter(_behind(target, ())), target)
            if found is None:
                return None
            zero = found
        if target.get_type_name() == "Multiply":
            factor = _number(target.input_value(1))
            return None if not factor else (factor, zero)
    return None


def _behind(node: Any, through: tuple[str, ...]) -> list[Any]:
    """The nodes that take what a node gives, behind those of the types `through`."""
    nodes = [target.get_node() for target in node.output(0).get_target_inputs()]
    if len(nodes) == 1 and nodes[0].get_type_name() in through:
        return _behind(nodes[0], through)
    return nodes


def _fake_quantize(node: Any) -> tuple[float, float, float, float] | None:
    """What such a node maps from and to, the same for all channels."""
    if node.get_type_name() != "FakeQuantize":
        return None
    limits = [_number(node.input_value(index)) for index in range(1, 5)]
    low, high, to_low, to_high = limits
    if low is None or high is None or to_low is None or to_high is None or low >= high or to_low >= to_high:
        return None
    return low, high, to_low, to_high


def _number(value: Any) -> float | None:
    """A constant number, converted or not."""
    node = value.get_node()
    if node.get_type_name() == "Convert":
        node = node.input_value(0).get_node()
    if node.get_type_name() != "Constant" or math.prod(node.get_output_shape(0)) != 1:
        return None
    return float(np.asarray(node.get_data()).reshape(-1)[0])
