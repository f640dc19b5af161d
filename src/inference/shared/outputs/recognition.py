"""What a network is, by the names and shapes of what it takes and gives: a pure function, `recognise`.

Layouts are told by their own sources: Ultralytics (YOLOv5, v8, v10, 11, 12, 26), Megvii (YOLOX), RangiLyu (NanoDet),
lyuwenyu and Peterande (RT-DETR, D-FINE), Roboflow (RF-DETR), TensorFlow's and torchvision's detectors. docs/models.md
has the table. What shapes cannot tell, numbers may: `refine` looks at what the network gives for a few pictures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from imageserver.errors import ModelError
from imageserver.inference.shared.outputs import grids
from imageserver.inference.shared.outputs.detection import COCO_POINTS
from imageserver.inference.shared.outputs.tensor import ANY, Tensor

MOST_LISTED = 1000
"""Boxes of a network that lists them; one that has a candidate in each cell of a grid has more."""

BINS = 8
"""Numbers of NanoDet's distribution for each of the four distances (reg_max 7)."""

MOST_POSED = 5
"""Labels of a network that finds keypoints; with more, another number of classes is a wrong list of labels."""

POSE = 4 + 1 + COCO_POINTS * 3
IMAGENET: dict[str, Any] = {"range": [0.0, 1.0], "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
UNIT: dict[str, Any] = {"range": [0.0, 1.0]}


@dataclass
class Recognised:
    """What a network seems to be.

    Args:
        kind: For the manifest.
        picture: The input that takes the picture.
        input: Keys of [input], but for width and height where the file leaves them open.
        output: Keys of [output].
        classes: How many labels there are; 0: it does not show.
        why: What was taken, and by which sign: sentences for whoever adds the model.
        unsure: What could be otherwise, and the key that says so.
    """

    kind: str
    picture: Tensor
    input: dict[str, Any] = field(default_factory=dict)
    output: dict[str, Any] = field(default_factory=dict)
    classes: int = 0
    why: list[str] = field(default_factory=list)
    unsure: list[str] = field(default_factory=list)


def recognise(
    inputs: Sequence[Tensor], outputs: Sequence[Tensor], classes: int = 0, size: tuple[int, int] | None = None
) -> Recognised:
    """What the network is that takes and gives these.

    Args:
        inputs: What it takes.
        outputs: What it gives, in its order.
        classes: How many labels there are; 0: not known.
        size: Width and height of its picture where the file leaves them open.

    Raises:
        ModelError: It is none that can be read, with what it has.
    """
    found = Recognised("", _picture(inputs))
    _read_picture(found, size)
    _constants(found, inputs)
    for rule in (_lists, _levels, _logits, _one):
        if rule(found, outputs, classes):
            break
    else:
        raise ModelError(
            f"it gives {_listed(outputs)}, which is no layout that is known: classification is one row of scores; "
            "for detection see the table of formats in docs/models.md, or write a model.py"
        )
    _prepare(found, {each.name for each in outputs})
    return found


# ---- the picture ------------------------------------------------------------------------------------------------


def _picture(inputs: Sequence[Tensor]) -> Tensor:
    fitting = [each for each in inputs if len(each.shape) == 4 and ({1, 3} & {each.shape[1], each.shape[3]})]
    if not fitting:
        raise ModelError(
            f"it takes {_listed(inputs)}; needed is a picture: (batch, height, width, 1 or 3) or channels first"
        )
    return fitting[0]


def _read_picture(found: Recognised, size: tuple[int, int] | None) -> None:
    shape = found.picture.shape
    first = shape[1] in (1, 3) and shape[3] not in (1, 3)
    height, width = shape[2:] if first else shape[1:3]
    if size is not None:
        width, height = (width if width != ANY else size[0]), (height if height != ANY else size[1])
    found.input["channels"] = shape[1] if first else shape[3]
    found.input["layout"] = "nchw" if first else "nhwc"
    found.input |= {key: side for key, side in (("width", width), ("height", height)) if side != ANY}
    found.why.append(f"the picture is {found.picture}: channels {'first' if first else 'last'}")


def _constants(found: Recognised, inputs: Sequence[Tensor]) -> None:
    """RT-DETR and D-FINE are told the size that their boxes are to have: that of the array, as for all others."""
    for each in inputs:
        if each is found.picture:
            continue
        if len(each.shape) != 2 or each.shape[1] not in (2, ANY):
            raise ModelError(f"beside the picture it takes {each}, of which nothing is known: export it without")
        if "width" not in found.input or "height" not in found.input:
            raise ModelError(f"it takes pictures of any size, and {each}; say which with --size WIDTHxHEIGHT")
        found.input["constants"] = {each.name: [found.input["width"], found.input["height"]]}
        found.why.append(f"{each} takes the size of the array, so boxes come back in its pixels")


def _prepare(found: Recognised, names: set[str]) -> None:
    """How the format's own source prepares pictures."""
    style = found.output.get("format", "")
    values = PREPARED.get(style, {})
    if style == "detr" and "dets" in names:
        values = IMAGENET  # RF-DETR
    elif style in ("detr", "boxes") and "constants" not in found.input:
        found.unsure.append(
            "how its pictures are prepared does not show, so 0 to 1 is assumed; if it was trained otherwise, say so "
            "with --range, --mean and --std"
        )
    if style == "ssd" and found.picture.dtype != "uint8":
        values = {"range": [-1.0, 1.0]}
    if found.input["channels"] == 1:
        values = {key: value for key, value in values.items() if key in ("range", "preprocessing")}
    found.input |= values
    if style and values:
        told = ", ".join(f"{key} {value}" for key, value in values.items())
        found.why.append(f"pictures are prepared as {style} has them: {told}")


TFLITE_1, TFLITE_2 = ("boxes", "labels", "scores", "count"), ("scores", "boxes", "count", "labels")
"""The order of a detector's outputs in a TFLite file made by TensorFlow 1 or 2, whose names tell nothing."""

PREPARED: dict[str, dict[str, Any]] = {
    "yolov5": {**UNIT, "preprocessing": "letterbox"},
    "yolov8": {**UNIT, "preprocessing": "letterbox"},
    "yolov10": {**UNIT, "preprocessing": "letterbox"},
    "yolox": {"order": "bgr", "range": [0.0, 255.0], "preprocessing": "letterbox-corner"},
    "nanodet": {
        "order": "bgr",
        "range": [0.0, 255.0],
        "mean": [103.53, 116.28, 123.675],
        "std": [57.375, 57.12, 58.395],
    },
    "ssd": {"range": [0.0, 255.0]},
    "detr": UNIT,
    "boxes": UNIT,
}
"""Keys of [input] by format; what is not named is as a manifest has it by default."""


# ---- outputs, a rule each -----------------------------------------------------------------------------------------


def _lists(found: Recognised, outputs: Sequence[Tensor], classes: int) -> bool:
    """Boxes, scores and labels, a tensor each: what post-processing inside the network leaves."""
    roles = [_role(each) for each in outputs]
    by_name = {"boxes", "labels"} <= set(roles)
    count = sum(len(each.shape) <= 1 or each.shape[1:] == (1,) for each in outputs)
    first = [_is_boxes(each) for each in outputs]
    if not by_name and len(outputs) == 4 and count == 1 and sum(first) == 1 and (first[0] or first[1]):
        roles, by_name = list(TFLITE_1 if first[0] else TFLITE_2), True
        found.unsure.append(f"its outputs are taken by their order as {', '.join(roles)}; see output.tensors")
    joined = [each for each in outputs if each.shape[-1:] == (5,)]
    if not by_name or ("scores" not in roles and not joined):
        return _seven(found, outputs)
    found.kind = "detection"
    style = "ssd" if "count" in roles and not joined else "detr" if "constants" in found.input else "boxes"
    if style == "ssd" and any("det_" in each.name for each in outputs):
        style = "boxes"  # of TensorRT's plug-in: pixels, left and top first
    found.output |= {"format": style, "tensors": roles}
    found.why.append(f"it lists boxes: {_listed(outputs)}, read as {', '.join(roles)}: {style}")
    if style == "boxes":
        found.output["coordinates"] = "pixels"
    return True


def _seven(found: Recognised, outputs: Sequence[Tensor]) -> bool:
    """OpenVINO's DetectionOutput: (1, 1, boxes, 7)."""
    if len(outputs) != 1 or len(outputs[0].shape) != 4 or outputs[0].shape[-1] != 7:
        return False
    found.kind = "detection"
    found.output |= {"format": "boxes", "coordinates": "fractions"}
    found.why.append(f"{outputs[0]} lists boxes as OpenVINO's DetectionOutput does")
    return True


def _levels(found: Recognised, outputs: Sequence[Tensor], classes: int) -> bool:
    """A tensor, or a pair of them, for each stride."""
    shapes = [each.shape for each in outputs]
    if len(outputs) > 1 and len({shape[1] for shape in shapes if len(shape) == 4}) == 1 and _all_rank(outputs, 4):
        inner = shapes[0][1]
        if inner < 6 or any(shape[2] == ANY for shape in shapes):
            return False
        found.kind, found.classes = "detection", inner - 5
        found.output |= {"format": "yolox", "decoded": False}
        found.why.append(f"{_listed(outputs)} are the levels of a grid, 5 numbers and {inner - 5} classes in a cell")
        return True
    return _pairs(found, outputs)


def _pairs(found: Recognised, outputs: Sequence[Tensor]) -> bool:
    """NanoDet's scores and distances, by their names, or where these tell nothing by the length of a distribution."""
    if len(outputs) not in (6, 8) or not _all_rank(outputs, 3):
        return False
    roles = [_role(each) for each in outputs]
    if set(roles) != {"scores", "distances"}:
        roles = ["distances" if each.shape[2] == 4 * BINS else "scores" for each in outputs]
    classes = {each.shape[2] for each, role in zip(outputs, roles, strict=True) if role == "scores"}
    if roles.count("scores") != roles.count("distances") or len(classes) != 1:
        return False
    found.kind, found.classes = "detection", classes.pop()
    found.output |= {"format": "nanodet", "tensors": roles}
    found.why.append(f"{_listed(outputs)} are NanoDet's scores and distances, a pair for each stride")
    return True


def _logits(found: Recognised, outputs: Sequence[Tensor], classes: int) -> bool:
    """Two tensors of a transformer: boxes (batch, queries, 4) and logits (batch, queries, classes)."""
    if len(outputs) == 2 and {len(each.shape) for each in outputs} == {3, 4}:
        raise ModelError(
            f"it gives {_listed(outputs)}, boxes and masks: segmentation is not supported; export a network that "
            "detects, or write a model.py"
        )
    boxes = [index for index, each in enumerate(outputs) if _is_boxes(each)]
    if len(outputs) != 2 or not _all_rank(outputs, 3) or not boxes:
        return False
    index = next((index for index in boxes if _role(outputs[index]) == "boxes"), boxes[0])
    logits = outputs[1 - index]
    counts = {outputs[index].shape[1], logits.shape[1]} - {ANY}
    if len(counts) > 1 or max(counts, default=0) > MOST_LISTED:
        raise ModelError(
            f"it gives {_listed(outputs)}, boxes and scores of every candidate apart; "
            "export it with the step that leaves out those that overlap (NMS), or write a model.py"
        )
    found.kind, found.classes = "detection", max(logits.shape[2], 0)
    found.output |= {
        "format": "detr",
        "activation": "sigmoid",
        "tensors": ["boxes", "logits"] if index == 0 else ["logits", "boxes"],
    }
    found.why.append(f"{_listed(outputs)} are boxes and logits of a transformer: detr, with a sigmoid")
    found.unsure.append(
        'a DETR of 2020 ends with a softmax and a last class that is none: output.activation is then "softmax"'
    )
    return True


def _one(found: Recognised, outputs: Sequence[Tensor], classes: int) -> bool:
    """One tensor that holds all."""
    if len(outputs) != 1:
        return False
    shape = outputs[0].shape
    if len(shape) == 2 or (len(shape) == 4 and shape[2:] == (1, 1)):
        found.kind, found.classes = "classification", max(shape[1], 0)
        found.why.append(f"{outputs[0]} is one row of numbers for a picture: scores of labels")
        return True
    if len(shape) != 3:
        return False
    return _columns(found, outputs[0], *shape[1:], classes) or _rows(found, outputs[0], *shape[1:], classes)


def _columns(found: Recognised, tensor: Tensor, inner: int, count: int, classes: int) -> bool:
    """(batch, 4 + classes, candidates): YOLOv8 and what came after it."""
    if inner == ANY or inner < 5 or (count != ANY and count <= inner):
        return False
    found.why.append(f"{tensor} has {inner} numbers for each of {_some(count)} candidates, channels first: yolov8")
    found.output["format"] = "yolov8"
    few = 0 < classes <= MOST_POSED and classes < inner - 4 and (inner - 4 - classes) % 3 == 0
    if few or (not classes and inner == POSE):
        found.kind, found.classes = "keypoints", classes or 1
        found.output["keypoints"] = (inner - 4 - found.classes) // 3
        found.why.append(f"4 + {found.classes} + 3 x {found.output['keypoints']}: boxes with keypoints")
        return True
    found.kind, found.classes = "detection", inner - 4
    return True


def _rows(found: Recognised, tensor: Tensor, count: int, inner: int, classes: int) -> bool:
    """(batch, candidates, numbers)."""
    if inner == ANY or inner < 6:
        return False
    found.kind = "detection"
    width, height = found.input.get("width", 0), found.input.get("height", 0)
    levels = grids.find(width, height, count)
    strides = ", ".join(str(grid.stride) for grid in levels)
    if not levels and (count == ANY or count <= MOST_LISTED) and (inner - 6) % 3 == 0 and inner <= POSE + 1:
        found.output["format"] = "yolov10"
        found.why.append(f"{tensor} lists {_some(count)} boxes of two corners, score and class: yolov10")
        if inner > 6:
            found.kind, found.output["keypoints"] = "keypoints", (inner - 6) // 3
        return True
    if levels and inner > 4 * BINS and (levels[-1].stride == 64 or inner - 4 * BINS == classes):
        found.classes = inner - 4 * BINS
        found.output["format"] = "nanodet"
        found.why.append(f"{tensor} has a candidate in each cell of the strides {strides}: nanodet")
        return True
    found.classes = inner - 5
    if levels:
        found.output |= {"format": "yolox", "decoded": False}
        found.why.append(f"{tensor} has 5 + {inner - 5} numbers in each cell of the strides {strides}: yolox")
        return True
    found.output["format"] = "yolov5"
    found.why.append(f"{tensor} has 5 + {inner - 5} numbers for each of {_some(count)} candidates: yolov5")
    if count % 3 or not grids.find(width, height, count // 3):
        found.unsure.append("its number of candidates is not that of three anchors in a cell; see output.format")
    return True


# ---- words --------------------------------------------------------------------------------------------------------


def role_of(name: str, rank: int = 0) -> str:
    """What a tensor seems to be by its name and number of sides, one of detection.ROLES; "other": it does not show."""
    name = name.lower()
    for words, role in (
        (("raw_", "multiclass", "anchor"), "other"),  # of TensorFlow's detectors, beside what counts
        (("num", "count"), "count"),
        (("dis", "reg_pred"), "distances"),
        (("box", "dets", "loc"), "boxes"),
        (("score", "conf", "prob"), "scores"),
        (("cls_pred",), "scores"),
        (("label", "class"), "labels"),
        (("logit",), "logits"),
    ):
        if any(word in name for word in words):
            return "logits" if role == "labels" and rank == 3 else role
    return "other"


def _role(tensor: Tensor) -> str:
    return role_of(tensor.name, len(tensor.shape))


def _is_boxes(tensor: Tensor) -> bool:
    return len(tensor.shape) >= 2 and tensor.shape[-1] == 4


def _all_rank(tensors: Sequence[Tensor], rank: int) -> bool:
    return all(len(each.shape) == rank for each in tensors)


def _listed(tensors: Sequence[Tensor]) -> str:
    return ", ".join(str(each)[:80] for each in tensors[:9]) or "nothing"


def _some(count: int) -> str:
    return "any number of" if count == ANY else str(count)
