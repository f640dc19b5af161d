"""How good a detector is: mean average precision at an overlap of one half, as COCO counts it (Lin et al., 2014)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from imageserver.training.shapes.pictures import Floats, Whole

OVERLAP = 0.5
"""Intersection over union from which a box counts as found."""

_RECALLS = np.linspace(0, 1, 101)


@dataclass(frozen=True)
class Truth:
    """What is on a picture: boxes (n, 4) left, top, right, bottom; labels (n,).

    `counted`, bool (n,): shapes that are judged. One that is not may be found and may be missed, as COCO's crowds.
    """

    boxes: Floats
    labels: Whole
    counted: Any


@dataclass(frozen=True)
class Detections:
    """What a detector says is on a picture: boxes (n, 4) as `Truth`'s, labels (n,), scores (n,)."""

    boxes: Floats
    labels: Whole
    scores: Floats


def overlaps(first: Floats, second: Floats) -> Floats:
    """Intersection over union of each of `first` (n, 4) with each of `second` (m, 4): (n, m)."""
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    both = np.clip(high - low, 0, None).prod(axis=-1)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(axis=-1) for boxes in (first, second)]
    shared: Floats = both / np.maximum(areas[0][:, None] + areas[1][None] - both, 1e-9)
    return shared


def average_precision(truths: Sequence[Truth], founds: Sequence[Detections], label: int) -> float:
    """Of one class over all pictures, 0 to 1: precision, made monotonic, at 101 recalls. NaN where there is none."""
    marks = [_matched(truth, found, label) for truth, found in zip(truths, founds, strict=True)]
    total = sum(int((truth.counted & (truth.labels == label)).sum()) for truth in truths)
    if not total:
        return float("nan")
    scores = np.concatenate([score for score, _ in marks])
    right = np.concatenate([hit for _, hit in marks])
    right = right[np.argsort(-scores, kind="stable")]
    hits = np.cumsum(right)
    precision = hits / np.arange(1, len(hits) + 1)
    precision = np.maximum.accumulate(precision[::-1])[::-1]
    at = np.searchsorted(hits / total, _RECALLS, side="left")
    return float(np.where(at < len(hits), np.append(precision, 0.0)[np.minimum(at, len(hits))], 0.0).mean())


def _matched(truth: Truth, found: Detections, label: int) -> tuple[Floats, Any]:
    """Scores of the boxes of a class in a picture, and which of them are right; those of uncounted shapes left out.

    From the surest to the least sure each takes the shape that it overlaps most, of those that are still free.
    """
    mine, theirs = found.labels == label, truth.labels == label
    scores, boxes = found.scores[mine], found.boxes[mine]
    order = np.argsort(-scores, kind="stable")
    scores, shared = scores[order], overlaps(boxes[order], truth.boxes[theirs])
    counted = truth.counted[theirs]
    free = np.ones(len(counted), bool)
    right, kept = np.zeros(len(scores), bool), np.ones(len(scores), bool)
    for row in range(len(scores)):
        best = _best(shared[row], free & counted)
        if best >= 0:
            free[best], right[row] = False, True
        else:
            kept[row] = _best(shared[row], ~counted) < 0
    return scores[kept], right[kept]


def _best(shared: Floats, among: Any) -> int:
    """The column with the largest overlap, of those `among`; -1 where none reaches `OVERLAP`."""
    if not among.any():
        return -1
    column = int(np.where(among, shared, -1.0).argmax())
    return column if shared[column] >= OVERLAP else -1


def mean_average_precision(truths: Sequence[Truth], founds: Sequence[Detections], classes: int) -> float:
    """The mean over the classes that there are."""
    return float(np.nanmean([average_precision(truths, founds, label) for label in range(classes)]))
