"""How a network's boxes are read: the keys of a manifest's [output] for detection and keypoints. docs/models.md."""

from __future__ import annotations

from dataclasses import dataclass

from imageserver.inference.shared.checked_table import CheckedTable

FORMATS = ("yolov5", "yolov8", "yolov10", "yolox", "ssd", "detr", "nanodet", "boxes")
"""Layouts of outputs; worker/outputs/ reads them."""

WITH_POINTS = ("yolov8", "yolov10")
"""Those of them that can have keypoints."""

MOST_BOXES = 500
"""In an answer: it is sent for every frame, and nobody could tell more of them apart."""
COCO_POINTS = 17
"""Keypoints of a person in COCO, which networks that find some are mostly trained on."""
MOST_POINTS = 2000
"""Keypoints of a box, and of all boxes in an answer: it is read where nothing may take long."""

ROLES = ("boxes", "scores", "labels", "count", "logits", "distances", "other")
"""What a tensor can be in a layout that has several."""

KEYS = (
    "format", "confidence", "iou", "max_boxes", "class_agnostic", "decoded", "coordinates", "tensors", "keypoints",
    "keypoint_values",
)  # fmt: skip


@dataclass(frozen=True)
class Detection:
    """How boxes are read from what a network gives, and which of them count."""

    format: str  # one of FORMATS
    confidence: float = 0.25  # 0..1; boxes with a lower score are left out
    iou: float = 0.45  # 0..1; of two boxes that overlap by more the one with the lower score is left out
    max_boxes: int = 100
    class_agnostic: bool = False  # True: boxes of different labels push each other out as well
    decoded: bool = False  # yolox: True: the network itself has added its grid
    coordinates: str = ""  # "pixels" of the array, or "fractions" of its sides; "": as the format has them
    tensors: tuple[str, ...] = ()  # roles of the outputs in their order; empty: by names and shapes
    keypoints: int = 0  # of a box
    keypoint_values: int = 3  # x, y, score; 2: without a score


def read(table: CheckedTable, kind: str) -> Detection | None:
    """From a manifest's [output]. None where it has no `format`: the model's own code says what it found.

    Args:
        table: [output]; what is wrong is noted in it.
        kind: The model's.
    """
    given = [key for key in KEYS if table.has(key)]
    points = table.integer("keypoints", 1, MOST_POINTS, COCO_POINTS if kind == "keypoints" else 0)
    usual = min(100, MOST_POINTS // points) if points else 100
    found = Detection(
        format=table.choice("format", FORMATS, ""),
        confidence=table.number("confidence", 0.001, 1.0, 0.25),
        iou=table.number("iou", 0.0, 1.0, 0.45),
        max_boxes=table.integer("max_boxes", 1, MOST_BOXES, usual),
        class_agnostic=table.boolean("class_agnostic", False),
        decoded=table.boolean("decoded", False),
        coordinates=table.choice("coordinates", ("pixels", "fractions"), ""),
        tensors=table.texts("tensors"),
        keypoints=points,
        keypoint_values=table.integer("keypoint_values", 2, 3, 3),
    )
    if kind not in ("detection", "keypoints"):
        for key in given:
            table.wrong(key, f'is for kind = "detection" and "keypoints", not {kind!r}')
        return None
    if not found.format:
        for key in given:
            table.wrong(key, "needs output.format, which says how the network's boxes are read")
        return None
    _check(table, found, kind)
    return found


def activation(found: Detection | None) -> str:
    """That of a manifest that names none."""
    return "sigmoid" if found is not None and found.format == "detr" else "none"


def _check(table: CheckedTable, found: Detection, kind: str) -> None:
    if table.has("threshold"):
        table.wrong("threshold", "is for classification; boxes have confidence")
    if kind == "keypoints" and found.format not in WITH_POINTS:
        table.wrong("format", f"must be one of {', '.join(WITH_POINTS)} for keypoints, not {found.format!r}")
    if kind == "detection" and found.keypoints:
        table.wrong("keypoints", 'needs kind = "keypoints"')
    if found.keypoints * found.max_boxes > MOST_POINTS:
        most = f"at most {MOST_POINTS} keypoints can be in an answer, so {MOST_POINTS // found.keypoints} boxes of them"
        table.wrong("max_boxes", f"is {found.max_boxes}, with {found.keypoints} keypoints each; {most}")
    if unknown := [role for role in found.tensors if role not in ROLES]:
        table.wrong("tensors", f"holds {unknown[0][:50]!r}; known are {', '.join(ROLES)}")
