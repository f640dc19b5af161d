"""Layouts that list boxes, each thing once: what is doubled has been left out in the network, or never arises."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from imageserver.inference.shared.manifest import Manifest
from imageserver.inference.shared.outputs.recognition import role_of
from imageserver.inference.worker import results
from imageserver.inference.worker.outputs.candidates import Array, Candidates, from_centres, strongest
from imageserver.inference.worker.outputs.dense import Channels, Dense, Distances, Grids, Rows


class Corners(Dense):
    """YOLOv10 and 26, and others exported with their suppression: (n, boxes, 6 + keypoints).

    Left, top, right, bottom, score, class. Source: THU-MIG YOLOv10, Ultralytics' exports with `nms`.
    """

    suppress = False

    def read(self, outputs: list[Array]) -> Candidates:
        each, values = self._settings.keypoints, self._settings.keypoint_values
        if len(outputs) != 1 or outputs[0].ndim != 3 or outputs[0].shape[2] != 6 + each * values:
            raise self._wrong(outputs, f"one output (n, boxes, {6 + each * values})")
        [rows] = outputs
        pictures, places = strongest(rows[..., 4], self._settings.confidence)
        chosen = rows[pictures, places]
        points = None
        if each:
            points = chosen[:, 6:].reshape(-1, each, values)
            if self._fractions:
                points[..., :2] *= (self._width, self._height)
        return Candidates(pictures, self._sized(chosen[:, :4]), chosen[:, 4], _numbers(chosen[:, 5]), points)


class Named(Dense):
    """Boxes, scores and labels in a tensor each, as post-processing in a network leaves them.

    RT-DETR and D-FINE (`detr`), torchvision, TensorRT's plug-in (`boxes`): left, top, right, bottom in pixels;
    TensorFlow's SSD (`ssd`): top, left, bottom, right as fractions. MMDetection's boxes have their score as a fifth
    number. A batch of one may lack its side.

    Args:
        names: Of what the network gives, in its order.
    """

    suppress = False

    def __init__(self, manifest: Manifest, names: Sequence[str]) -> None:
        super().__init__(manifest)
        self._roles = self._settings.tensors or tuple(role_of(name) for name in names)
        self._top_first = self._settings.format == "ssd"
        self._fractions = self._fractions or (self._top_first and not self._settings.coordinates)

    def read(self, outputs: list[Array]) -> Candidates:
        boxes, scores, labels = self._parts(outputs)
        pictures, places = strongest(scores, self._settings.confidence)
        chosen = boxes[pictures, places]
        if self._top_first:
            chosen = chosen[:, [1, 0, 3, 2]]
        return Candidates(pictures, self._sized(chosen), scores[pictures, places], _numbers(labels[pictures, places]))

    def _parts(self, outputs: list[Array]) -> tuple[Array, Array, Array]:
        """Boxes (n, count, 4), scores and labels (n, count)."""
        if len(outputs) == 1 and outputs[0].ndim == 4 and outputs[0].shape[3] == 7:
            return _seven(outputs[0])
        by_role = dict(zip(self._roles, outputs, strict=False))
        if len(self._roles) != len(outputs) or not {"boxes", "labels"} <= by_role.keys():
            raise self._wrong(outputs, f"boxes, scores and labels, not {', '.join(self._roles)} (output.tensors)")
        boxes = by_role["boxes"].astype(np.float32, copy=False)
        boxes = boxes.reshape(len(boxes) if boxes.ndim > 2 else 1, *boxes.shape[-2:])
        scores = by_role["scores"] if "scores" in by_role else boxes[..., 4:]
        scores = scores.reshape(boxes.shape[:2]).astype(np.float32)
        if "count" in by_role:
            scores[np.arange(boxes.shape[1]) >= by_role["count"].reshape(-1, 1)] = 0.0
        return boxes[..., :4], scores, by_role["labels"].reshape(boxes.shape[:2])


class Queries(Dense):
    """DETR and what came of it: boxes (n, queries, 4) and logits (n, queries, classes).

    Centre, width and height as fractions. With a sigmoid each query can be several classes (RF-DETR, RT-DETR); with a
    softmax it is one, and the last class means none (DETR). Source: `PostProcess` of facebookresearch/detr, rf-detr.
    """

    suppress = False
    coordinates = "fractions"

    def __init__(self, manifest: Manifest, names: Sequence[str]) -> None:
        super().__init__(manifest)
        self._roles = self._settings.tensors or tuple(role_of(name) for name in names)

    def read(self, outputs: list[Array]) -> Candidates:
        by_role = dict(zip(self._roles, outputs, strict=False))
        boxes, logits = by_role.get("boxes"), by_role.get("logits", by_role.get("labels"))
        if boxes is None or logits is None or boxes.ndim != 3 or logits.ndim != 3 or boxes.shape[2] != 4:
            raise self._wrong(outputs, "boxes (n, queries, 4) and logits (n, queries, classes)")
        one_class = self._output.activation == "softmax"
        scores: Array = results.activate(logits.reshape(-1, logits.shape[-1]), self._output.activation).reshape(
            logits.shape
        )
        if one_class:
            scores = scores[..., :-1]
            scores = np.where(scores == scores.max(axis=-1, keepdims=True), scores, 0.0)
        classes = int(scores.shape[-1])
        self._check_classes(classes)
        flat = scores.reshape(len(scores), -1)
        pictures, places = strongest(flat, self._settings.confidence)
        chosen = from_centres(self._sized(boxes[pictures, places // classes]))
        return Candidates(pictures, chosen, flat[pictures, places], places % classes)


def make(manifest: Manifest, names: Sequence[str]) -> Dense:
    """What reads the outputs of this network.

    Args:
        manifest: With `output.detection`.
        names: Of what it gives, in its order.
    """
    assert manifest.output.detection is not None
    style = manifest.output.detection.format
    roles = manifest.output.detection.tensors or [role_of(name) for name in names]
    if style == "detr" and "scores" not in roles:
        return Queries(manifest, names)
    if style in NAMED:
        return Named(manifest, names)
    return LAYOUTS[style](manifest)


LAYOUTS: dict[str, type[Dense]] = {
    "yolov5": Rows,
    "yolov8": Channels,
    "yolov10": Corners,
    "yolox": Grids,
    "nanodet": Distances,
}
MOST_PICTURES = 256
"""In a batch."""
NAMED = ("ssd", "detr", "boxes")


def _seven(rows: Array) -> tuple[Array, Array, Array]:
    """OpenVINO's DetectionOutput, (1, 1, boxes, 7): picture, class, score, left, top, right, bottom.

    A picture of -1 ends the list. The boxes of a batch stand in one list.
    """
    flat = rows.reshape(-1, 7)
    ends = np.flatnonzero(flat[:, 0] < 0)
    if len(ends):
        flat = flat[: ends[0]]
    numbers = _numbers(flat[:, 0])
    pictures = np.arange(min(int(numbers.max(initial=0)) + 1, MOST_PICTURES))[:, None]
    shape = (len(pictures), len(flat))
    scores = np.where(numbers == pictures, flat[:, 2], 0.0)
    return np.broadcast_to(flat[:, 3:], (*shape, 4)), scores, np.broadcast_to(flat[:, 1], shape)


def _numbers(classes: Array) -> Array:
    """Whole numbers of classes; what is none becomes -1."""
    if classes.dtype.kind != "f":
        return classes.astype(np.int64)
    good = np.isfinite(classes) & (np.abs(classes) < 2**31)
    return np.where(good, classes, -1.0).round().astype(np.int64)
