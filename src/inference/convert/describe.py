"""What a foreign network expects and gives, as far as its file shows: for add_model. Imports OpenVINO.

A file tells sizes, layout and numbers. How its pictures were scaled in training shows where the first operations
scale them, or in the quantisation of its input; otherwise it is guessed, and said.
"""

from __future__ import annotations

import ast
import math
from typing import Any

import numpy as np

from imageserver.errors import ModelError
from imageserver.inference.convert import fitting
from imageserver.inference.convert.inspect import AS_CLASSIFIER, FAMILIES, Findings, Values, check_size
from imageserver.inference.convert.network import ForeignNetwork, TensorPort, name_of
from imageserver.inference.convert.quantisation import input_quantisation
from imageserver.inference.shared import labels as label_files
from imageserver.inference.shared.formats import tflite
from imageserver.inference.shared.outputs import recognition
from imageserver.inference.shared.outputs.detection import MOST_POINTS, WITH_POINTS
from imageserver.inference.shared.outputs.recognition import Recognised
from imageserver.inference.shared.outputs.tensor import ANY, Tensor

IMAGENET: Values = {"range": [0.0, 1.0], "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
"""How PyTorch's classifiers want their pictures."""

TRAINED_IN = ((0.0, 1.0), (-1.0, 1.0), (0.0, 255.0))
"""Ranges of pixel values that are usual in training."""

FIRST = 4
"""Operations after the input among which those that scale must be, to count."""
CENTRED = 20.0
"""What scaled pixels of 0 to 255 stay below; unscaled ones and those of 0 to 1 do not."""


def describe(
    network: ForeignNetwork, size: tuple[int, int] | None, constants: dict[str, list[float]], classes: int = 0
) -> Findings:
    """Look at inputs, outputs and the first operations.

    Args:
        network: its model is not changed.
        size: width and height, where the file leaves them open.
        constants: what inputs beside the picture are given.
        classes: how many labels there are; 0: as many as the file names, if it does.

    Raises:
        ModelError: it is none that can be served.
    """
    port = fitting.picture_port(network, "", constants)
    _check_task(network)
    findings = _picture(network, port, size)
    findings.labels = _labels(network)
    if len(network.inputs) > 1:
        constants = {**_known_constants(network, findings), **constants}
        findings.input_keys["name"] = port.name
    rows = [each for each in network.outputs if _row_length(each)]
    if len(rows) == 1:
        _scores(network, rows[0], findings)
        _values(network, port, findings)
    else:
        _recognise(network, port, findings, constants, classes or len(findings.labels))
    if constants:
        findings.input_keys["constants"] = constants
    return findings


def _known_constants(network: ForeignNetwork, findings: Findings) -> dict[str, list[float]]:
    """What Paddle's detectors want to know beside the picture: its size, and by how much it was scaled."""
    known = {"im_shape": [float(findings.height), float(findings.width)], "scale_factor": [1.0, 1.0]}
    return {each.name: known[each.name] for each in network.inputs if each.name in known}


def _recognise(
    network: ForeignNetwork, port: TensorPort, findings: Findings, constants: dict[str, list[float]], classes: int
) -> None:
    """What it finds, by its outputs' names and shapes; adds to `constants`. ModelError."""
    size = (findings.width, findings.height)
    inputs = [_tensor(each) for each in network.inputs if each.name not in constants]
    try:
        found = recognition.recognise(inputs, list(map(_tensor, network.outputs)), classes, size)
    except ModelError as error:
        raise ModelError(f"{network.name}: {error}") from error
    constants.update(found.input.get("constants", {}))
    _read_points(network, found)
    findings.take(found)
    picture = next(each for each in network.model.inputs if name_of(each) == port.name)
    told = _told_range(port, picture, findings)
    if told:
        findings.values = {"order": findings.values.get("order", "rgb"), "range": told}


def _check_task(network: ForeignNetwork) -> None:
    """ModelError for what Ultralytics' files say that they find, where it cannot be shown."""
    what = {"obb": "turned boxes", "segment": "outlines"}.get(network.texts.get("task", ""))
    if what is not None:
        raise ModelError(
            f"{network.name} finds {what}, which are not supported: export a network that detects, or write a model.py"
        )


def _read_points(network: ForeignNetwork, found: Recognised) -> None:
    """How many keypoints a box has, where the file says so (`kpt_shape` of Ultralytics)."""
    told = _value(network, "kpt_shape")
    shape = _tensor(network.outputs[0]).shape
    style = found.output.get("format")
    if not isinstance(told, list | tuple) or [type(each) for each in told] != [int, int] or style not in WITH_POINTS:
        return
    count, values = told
    last = shape[1 if style == "yolov8" else 2] - count * values
    if values not in (2, 3) or not 0 < count <= MOST_POINTS or last < 5:
        return
    found.kind = "keypoints"
    found.classes = last - 4 if style == "yolov8" else 0
    found.output |= {"keypoints": count, "keypoint_values": values}
    found.why.append(f"its file says that each box has {count} keypoints of {values} numbers")


def _tensor(port: TensorPort) -> Tensor:
    shape = tuple(ANY if side is None else side for side in port.shape or ())
    return Tensor(port.name, shape, DTYPES.get(port.kind, port.kind))


DTYPES = {"u8": "uint8", "i8": "int8", "f32": "float32", "f16": "float16", "i32": "int32", "i64": "int64"}


def _picture(network: ForeignNetwork, port: TensorPort, size: tuple[int, int] | None) -> Findings:
    """Size and layout. ModelError."""
    shape = port.shape or ()
    first = shape[1] in (1, 3) and shape[3] not in (1, 3)
    both = shape[1] in (1, 3) and shape[3] in (1, 3)
    height, width = shape[2:] if first else shape[1:3]
    channels = shape[1] if first else shape[3]
    assert channels is not None
    open_ = width is None or height is None
    if size is not None:
        width, height = width or size[0], height or size[1]
    check_size(network.name, width, height)
    assert width is not None
    assert height is not None
    findings = Findings(network, height, width, channels, "nchw" if first else "nhwc", 0)
    colours = "grey" if channels == 1 else "colours"
    findings.took.append(f"its input {port} is a picture of {width}x{height} in {colours}, {_order(first)}")
    if both:
        findings.warnings.append('channels are taken as last; if they come first, write layout = "nchw"')
    if open_:
        findings.took.append(f"it takes any size: {width}x{height} is what was asked for")
    if size is not None and size != (width, height):
        findings.warnings.append(f"--size counts for what a file leaves open: this one says {width}x{height}")
    return findings


def _order(first: bool) -> str:
    return "channels first" if first else "channels last"


def _scores(network: ForeignNetwork, port: TensorPort, findings: Findings) -> None:
    """A classifier's output."""
    findings.classes = _row_length(port)
    findings.took.append(f"its output {port} is a row of {findings.classes} scores{AS_CLASSIFIER}")
    if port.kind in fitting.WHOLE:
        findings.exact = 0.05
    if len(network.outputs) > 1:
        findings.output_keys["name"] = port.name


def _row_length(port: TensorPort) -> int:
    """How many numbers there are for a picture, where they are in a row; 0 where they are not."""
    if not port.shape or any(side is None for side in port.shape[1:]):
        return 0
    inner = [side or 1 for side in (port.shape[1:] if len(port.shape) > 1 else port.shape)]
    return math.prod(inner) if sum(side > 1 for side in inner) <= 1 else 0


def _labels(network: ForeignNetwork) -> list[str]:
    """The labels that a file says of itself: Ultralytics writes `names`, as Python writes a dictionary."""
    names = _value(network, "names")
    if isinstance(names, dict):
        by_number = {str(number): name for number, name in names.items()}
        names = [by_number.get(str(number)) for number in range(len(names))]
    elif names is None:
        names = [line.strip() for line in network.texts.get(tflite.LABELS, "").splitlines() if line.strip()]
    if not isinstance(names, list) or not all(isinstance(name, str) and name for name in names):
        return []
    return [] if label_files.fault(tuple(names)) else names


def _value(network: ForeignNetwork, key: str) -> Any:
    """What a file says of itself under a key, in Python's words; None where it does not, or says something else."""
    try:
        return ast.literal_eval(network.texts.get(key, ""))
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return None


# ---- the range of pixel values ------------------------------------------------------------------------------------


def _values(network: ForeignNetwork, port: TensorPort, findings: Findings) -> None:
    picture = next(found for found in network.model.inputs if name_of(found) == port.name)
    told = _told_range(port, picture, findings)
    if told:
        findings.values = {"range": told}
    else:
        _guess(network, findings)


def _told_range(port: TensorPort, picture: Any, findings: Findings) -> list[float]:
    """The range of pixel values that the file itself tells; empty where it does not."""
    if port.kind in fitting.WHOLE:
        return _whole_numbers(port, picture, findings)
    if port.kind != "f32":
        findings.took.append(f"it takes {port.kind}: what it is given is converted")
    scaled = _scaled(picture)
    if scaled is None:
        return []
    findings.scales_itself = True
    top = 255.0 if abs(scaled) <= CENTRED else 1.0
    findings.took.append(f"its first operations scale pixels of 0 to {top:g}")
    return [0.0, top]


def _whole_numbers(port: TensorPort, picture: Any, findings: Findings) -> list[float]:
    low, high = fitting.WHOLE[port.kind]
    if port.kind != "i8":
        low, high = 0, 255
    whole = [float(low), float(high)]
    quantised = input_quantisation(picture)
    if quantised is None:
        findings.took.append(f"it takes {port.kind}: pixels of {low} to {high}")
        return whole
    scale, zero = quantised
    least, most = (low - zero) * scale, (high - zero) * scale
    for trained in TRAINED_IN:
        width = trained[1] - trained[0]
        if abs(least - trained[0]) < 0.1 * width and abs(most - trained[1]) < 0.1 * width:
            given = [round(value / scale + zero, 2) for value in trained]
            exact = abs(given[0] - low) < 1 and abs(given[1] - high) < 1
            low_text, high_text = f"{trained[0]:g}", f"{trained[1]:g}"
            findings.took.append(
                f"its quantised {port.kind} stand for {least:.3g} to {most:.3g}: trained on {low_text} to {high_text}"
            )
            return whole if exact else given
    findings.took.append(f"it takes quantised {port.kind}, which stand for {least:.3g} to {most:.3g}")
    findings.warnings.append(
        f"that is no usual range: pixels are given as {low} to {high}; if it was trained otherwise, say so with --range"
    )
    return whole


def _scaled(picture: Any) -> float | None:
    """What a pixel of 255 becomes in the first operations; None where these do not scale."""
    node, value, scales = picture.get_node(), 255.0, False
    for _ in range(FIRST):
        targets = list(node.output(0).get_target_inputs())
        if len(targets) != 1:
            break
        node = targets[0].get_node()
        kind = node.get_type_name()
        if kind in ("Transpose", "Convert", "Reshape"):
            continue
        number = _mean(node.input_value(1 - targets[0].get_index())) if kind in ARITHMETIC else None
        if number is None or (kind == "Divide" and not number):
            break
        value, scales = ARITHMETIC[kind](value, number), True
    return value if scales and math.isfinite(value) else None


ARITHMETIC = {
    "Add": lambda value, number: value + number,
    "Subtract": lambda value, number: value - number,
    "Multiply": lambda value, number: value * number,
    "Divide": lambda value, number: value / number,
}


def _mean(value: Any) -> float | None:
    """Of a constant with a number for each channel, or one."""
    node = value.get_node()
    if node.get_type_name() == "Convert":
        node = node.input_value(0).get_node()
    if node.get_type_name() != "Constant" or math.prod(node.get_output_shape(0)) > 4:
        return None
    return float(np.mean(node.get_data()))


def _guess(network: ForeignNetwork, findings: Findings) -> None:
    """How it was trained, by who makes such files."""
    if "ultralytics" in f"{network.texts.get('author', '')} {network.texts.get('description', '')}".lower():
        findings.took.append("it is Ultralytics': pixels of 0 to 1, in the order rgb")
        return
    plain = network.name.lower().replace("_", "").replace("-", "")
    known = next(((title, values) for part, title, values in FAMILIES if part in plain), None)
    if findings.layout == "nchw":
        findings.values = {key: value for key, value in IMAGENET.items() if findings.channels == 3 or key == "range"}
        how = (
            "by the mean and deviation of ImageNet, as PyTorch's mostly are" if findings.channels == 3 else "to 0 to 1"
        )
        findings.warnings.append(
            f"nothing in the network scales its pixels, so they are scaled {how}; "
            "if it was trained otherwise, say so with --range, --mean and --std"
        )
    elif known is not None:
        title, values = known
        findings.values = {key: value for key, value in values.items() if findings.channels == 3 or key == "range"}
        findings.warnings.append(
            f"by its name it is a {title}: pixels are prepared as keras.applications does for it; see --range"
        )
    else:
        findings.warnings.append(
            "nothing in the network scales its pixels, so 0 to 1 is assumed; "
            "if it was trained on 0 to 255 or -1 to 1, say so with --range"
        )
