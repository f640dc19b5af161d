"""What ends the detectors of TensorFlow in TFLite, an operation that OpenVINO lacks: TFLite_Detection_PostProcess.

It makes boxes of distances from anchors and leaves out those that overlap a stronger one. What it gives here is what
it gives there: boxes (1, most, 4), top, left, bottom, right as fractions; labels and scores (1, most); how many there
are. Of several classes for one box (`max_classes_per_detection`) the best counts alone.

Source: tensorflow/lite/kernels/detection_postprocess.cc.
"""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np

from imageserver.inference.worker.backends.openvino import errors

OPERATION = "TFLite_Detection_PostProcess"
ROLES = ("boxes", "labels", "scores", "count")
"""Of its outputs, in its order."""
_OURS = f"{OPERATION} "
"""What the names of the nodes begin with that give them."""

DAMAGED = f"a damaged {OPERATION}"
"""What is raised, and stands in what the front end raises then, where its settings or inputs are none."""

PER_CLASS = 100
"""Boxes of a class at most, where the file does not say."""
MOST = 10_000
"""Boxes of a picture."""


def extend(front_end: Any) -> None:
    """Have the front end of TFLite read files with that operation."""
    extension = importlib.import_module("openvino.frontend").ConversionExtension
    failures: tuple[type[Exception], ...] = (*errors(), ValueError, TypeError, IndexError, OverflowError, MemoryError)

    def translate(node: Any) -> list[Any]:
        try:
            return _translate(node)
        except failures:
            raise ValueError(DAMAGED) from None  # what is raised is told, with its lines of code

    front_end.add_extension(extension(OPERATION, translate))


def name_outputs(model: Any) -> None:
    """Name what it gives in an `openvino.Model`: the converter numbers the outputs in any order."""
    for result in model.get_results():
        value = result.input_value(0)
        name = value.get_node().get_friendly_name()
        if name.startswith(_OURS):
            for each in (value, result.output(0)):
                each.get_tensor().set_names({name.removeprefix(_OURS)})


def _translate(node: Any) -> list[Any]:
    """The outputs of the operation, as OpenVINO computes them. ValueError, and whatever OpenVINO raises."""
    ops = importlib.import_module("openvino.opset13")
    encoded, scores, anchors = (_floats(ops, node.get_input(index)) for index in range(3))
    boxes = _decoded(ops, node, encoded, anchors)
    most, classes = int(node.get_attribute("max_detections")), int(node.get_attribute("num_classes"))
    background = scores.get_partial_shape()[2].get_length() - classes
    if not 0 < most <= MOST or classes < 1 or background not in (0, 1):
        raise ValueError
    scores = ops.slice(scores, np.array([background]), np.array([background + classes]), np.array([1]), np.array([2]))
    each = ops.transpose(scores, np.array([0, 2, 1]))  # (1, classes, anchors)
    regular = bool(node.get_attribute("use_regular_nms", False))
    found = ops.non_max_suppression(
        boxes,
        each if regular else ops.reduce_max(each, np.array([1]), keep_dims=True),
        np.int64(node.get_attribute("detections_per_class", PER_CLASS) if regular else most),
        np.float32(node.get_attribute("nms_iou_threshold")),
        np.float32(node.get_attribute("nms_score_threshold")),
        box_encoding="corner",
        sort_result_descending=True,
    )
    numbers = found.output(0)  # of each box that is left: picture, class, anchor
    places = _column(ops, numbers, 2)
    best = ops.topk(each, np.int64(1), axis=1, mode="max", sort="none").output(1)
    labels = _column(ops, numbers, 1) if regular else ops.gather(ops.reshape(best, [-1], False), places, np.int64(0))
    lists = (
        ops.gather(ops.squeeze(boxes, np.array([0])), places, np.int64(0)),
        ops.convert(labels, "f32"),
        _column(ops, found.output(1), 2),
    )
    filled = [_filled(ops, values, most) for values in lists]
    count = ops.minimum(ops.convert(found.output(2), "f32"), np.float32(most))
    outputs = [node.output(0) for node in (*filled, count)]
    for role, output in zip(ROLES, outputs, strict=True):
        output.get_node().set_friendly_name(f"{_OURS}{role}")
    return outputs


def _floats(ops: Any, value: Any) -> Any:
    return value if value.get_element_type().to_string() == "f32" else ops.convert(value, "f32").output(0)


def _decoded(ops: Any, node: Any, encoded: Any, anchors: Any) -> Any:
    """Boxes (1, anchors, 4) of what the network says of each anchor: y, x, height, width, as of the anchors."""
    scales = [float(node.get_attribute(f"{side}_scale")) for side in "yxhw"]
    halves = [
        ops.slice(value, start, start + 2, np.array([1]), np.array([-1]))
        for value in (ops.divide(encoded, np.array(scales, np.float32)), anchors)
        for start in (np.array([0]), np.array([2]))
    ]
    moved, grown, middles, sides = halves
    centres = ops.add(ops.multiply(moved, sides), middles)
    reach = ops.multiply(ops.multiply(ops.exp(grown), sides), np.float32(0.5))
    return ops.concat([ops.subtract(centres, reach), ops.add(centres, reach)], 2)


def _column(ops: Any, table: Any, index: int) -> Any:
    return ops.gather(table, np.int64(index), np.int64(1))


def _filled(ops: Any, values: Any, most: int) -> Any:
    """(1, most, …) of a list of boxes, or of a number for each; noughts behind the last."""
    sides = values.get_output_partial_shape(0)[1:]
    noughts = np.zeros((most, *(side.get_length() for side in sides)), np.float32)
    longer = ops.concat([values, ops.constant(noughts)], 0)
    first = ops.slice(longer, np.array([0]), np.array([most]), np.array([1]), np.array([0]))
    return ops.unsqueeze(first, np.array([0]))
