"""From candidates to answers: what overlaps a stronger one goes, the rest is mapped to the picture and named."""

from __future__ import annotations

import itertools
from typing import Any

import cv2
import numpy as np

from imageserver.inference.shared import wire
from imageserver.inference.shared.manifest import Output
from imageserver.inference.shared.outputs.detection import Detection
from imageserver.inference.worker.outputs.candidates import Array, Candidates, sound
from imageserver.inference.worker.preprocessing.base import Region
from imageserver.inference.worker.results import DIGITS, NONE, TOP


def split(found: Candidates, count: int, settings: Detection, suppress: bool) -> list[Candidates]:
    """What counts in each of `count` pictures, best first: at most `settings.max_boxes`."""
    found = sound(found)
    ends = np.searchsorted(found.pictures, np.arange(count + 1)).tolist()
    pictures = [found.of(slice(first, last)) for first, last in itertools.pairwise(ends)]
    if suppress:
        pictures = [suppressed(each, settings) for each in pictures]
    return [each.of(slice(settings.max_boxes)) for each in pictures]


def suppressed(found: Candidates, settings: Detection) -> Candidates:
    """Without boxes that overlap a stronger one of their class, or of any, by more than `settings.iou`."""
    if len(found.scores) < 2:
        return found
    sides = np.concatenate((found.boxes[:, :2], found.boxes[:, 2:] - found.boxes[:, :2]), axis=1).astype(np.float64)
    scores = found.scores.astype(np.float32)
    suppress: Any = cv2.dnn.NMSBoxes  # which takes arrays, though its types say lists
    if settings.class_agnostic:
        kept = suppress(sides, scores, 0.0, settings.iou)
    else:
        suppress = cv2.dnn.NMSBoxesBatched
        kept = suppress(sides, scores, found.classes.astype(np.int32), 0.0, settings.iou)
    return found.of(np.sort(np.asarray(kept, np.int64).ravel()))


def results(
    found: Candidates, output: Output, region: Region, array: tuple[int, int], size: tuple[int, int]
) -> wire.Result:
    """What is told of one picture.

    Args:
        found: Best first, in pixels of the array.
        region: The part of the picture that the array shows: x, y, width, height in the picture's pixels.
        array: Width and height of the array.
        size: Width and height of the picture.
    """
    scale = np.array([region[2] / array[0], region[3] / array[1]])
    start = np.array(region[:2])
    corners = np.clip(np.rint(found.boxes.reshape(-1, 2, 2) * scale + start), 0, size).astype(np.int64)
    sides = corners[:, 1] - corners[:, 0]
    inside = (sides > 0).all(axis=1)
    boxes: list[wire.Box] = [
        {"x": x, "y": y, "width": width, "height": height, "label": name(output, index), "score": round(score, DIGITS)}
        for (x, y), (width, height), index, score in zip(
            corners[inside, 0].tolist(),
            sides[inside].tolist(),
            found.classes[inside].tolist(),
            found.scores[inside].tolist(),
            strict=True,
        )
    ]
    if found.points is not None:
        _add_points(boxes, found.points[inside], scale, start, size)
    best: dict[str, float] = {}
    for box in boxes:
        best.setdefault(box["label"], box["score"])
    labels: list[wire.Label] = [{"label": label, "score": score} for label, score in list(best.items())[:TOP]]
    first: wire.Label = labels[0] if labels else {"label": NONE, "score": 0.0}
    return {"label": first["label"], "score": first["score"], "labels": labels, "boxes": boxes}


def _add_points(boxes: list[wire.Box], points: Array, scale: Array, start: Array, size: tuple[int, int]) -> None:
    """Keypoints of each box, in pixels of the picture; outside they lie at its border."""
    places = np.clip(np.rint(points[..., :2] * scale + start), 0, size).astype(np.int64).tolist()
    scores = np.round(points[..., 2:].astype(np.float64), DIGITS).tolist()
    for box, own, sure in zip(boxes, places, scores, strict=True):
        box["keypoints"] = [[*place, *score] for place, score in zip(own, sure, strict=True)]


def name(output: Output, index: int) -> str:
    """Of a class."""
    return output.labels[index] if 0 <= index < len(output.labels) else f"class {index}"
