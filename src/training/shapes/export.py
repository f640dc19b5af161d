"""The trained network as an ONNX file, laid out as YOLOX's own export is.

Input `images` float32 (n, 3, SERVED, SERVED), BGR, 0..255; output `output` (n, cells, OUTPUTS), with objects and
classes after the sigmoid and the boxes still in strides (`decode_in_inference=False`). Batch normalisation is folded.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from imageserver import files
from imageserver.training.shapes import network
from imageserver.training.shapes.network import EPSILON, OUTPUTS, SCALE, SERVED

OPSET = 13
IR_VERSION = 8
"""Of 2021: what reads ONNX files at all reads these."""

Real = np.ndarray[Any, np.dtype[Any]]
Weights = dict[str, list[Real]]
"""By the layer's name: a convolution's kernel (and bias), a normalisation's gamma, beta, mean and variance."""


def by_layer(model: Any) -> Weights:
    """The weights of a Keras model."""
    return {layer.name: [np.asarray(weight) for weight in layer.get_weights()] for layer in model.layers}


class OnnxLayers:
    """Lays the network as a graph of ONNX; tensors are names."""

    def __init__(self, weights: Weights) -> None:
        from onnx import helper, numpy_helper

        self._make, self._array = helper.make_node, numpy_helper.from_array
        self._weights = weights
        self.nodes: list[Any] = []
        self.constants: dict[str, Any] = {}

    def _node(self, kind: str, inputs: list[str], **attributes: Any) -> str:
        name = f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(self._make(kind, inputs, [name], **attributes))
        return name

    def _constant(self, name: str, value: Any) -> str:
        self.constants.setdefault(name, self._array(np.ascontiguousarray(value), name))
        return name

    def _convolution(self, x: str, name: str, kernel: Real, bias: Real, stride: int = 1) -> str:
        """`kernel` as Keras has it: (height, width, in, out)."""
        inputs = [
            x,
            self._constant(f"{name}.weight", kernel.transpose(3, 2, 0, 1)),
            self._constant(f"{name}.bias", bias),
        ]
        side = kernel.shape[0]
        return self._node(
            "Conv", inputs, kernel_shape=[side, side], pads=[side // 2] * 4, strides=[stride, stride], group=1
        )

    def unit(self, x: str, width: int, name: str, kernel: int = 3, stride: int = 1) -> str:
        [weight] = self._weights[name]
        gamma, beta, mean, variance = self._weights[f"{name}_norm"]
        factor = gamma / np.sqrt(variance + EPSILON)
        scale = factor * SCALE if name == "stem" else factor
        return self._node("Relu", [self._convolution(x, name, weight * scale, beta - mean * factor, stride)])

    def _plain(self, x: str, name: str) -> str:
        kernel, bias = self._weights[name]
        return self._convolution(x, name, kernel, bias)

    def add(self, first: str, second: str) -> str:
        return self._node("Add", [first, second])

    def beside(self, coarse: str, fine: str) -> str:
        scales = self._constant("twice", np.array([1, 1, 2, 2], np.float32))
        modes = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
        return self._node("Concat", [self._node("Resize", [coarse, "", scales], **modes), fine], axis=1)

    def tower(self, x: str, width: int, name: str) -> str:
        return self._node("Relu", [self._plain(x, name)])

    def last(self, x: str, width: int, name: str, start: float = 0.0) -> str:
        return self._plain(x, name)

    def cells(self, box: str, thing: str, kind: str) -> str:
        sure = self._node("Sigmoid", [self._node("Concat", [thing, kind], axis=1)])
        flat = self._constant("flat", np.array([0, OUTPUTS, -1], np.int64))
        return self._node("Reshape", [self._node("Concat", [box, sure], axis=1), flat])

    def joined(self, grids: list[str]) -> str:
        self.nodes.append(self._make("Transpose", [self._node("Concat", grids, axis=2)], ["output"], perm=[0, 2, 1]))
        return "output"


def onnx(weights: Weights) -> bytes:
    """The file's content."""
    from onnx import TensorProto, checker, helper

    layers = OnnxLayers(weights)
    network.lay(layers, "images")
    graph = helper.make_graph(
        layers.nodes,
        "shapes",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", 3, SERVED, SERVED])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["batch", network.cells(SERVED), OUTPUTS])],
        list(layers.constants.values()),
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    checker.check_model(model, full_check=True)
    content: bytes = model.SerializeToString()
    return content


def save(path: Path, weights: Weights) -> None:
    """Write the file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    files.replace(path, onnx(weights))
