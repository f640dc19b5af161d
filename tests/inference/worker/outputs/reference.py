"""Detectors' outputs read slowly: plain loops over one picture, from the papers and the vendors' post-processing.

Nothing of it is shared with src/. A box found is (left, top, right, bottom, score, class), in pixels of the array.
"""

from __future__ import annotations

import math
from typing import Any

Found = tuple[float, float, float, float, float, int]


def logistic(value: float) -> float:
    return 1.0 / (1.0 + math.exp(-value)) if value >= 0 else math.exp(value) / (1.0 + math.exp(value))


def best_of(scores: Any) -> tuple[float, int]:
    best, place = -math.inf, -1
    for index, score in enumerate(scores):
        if score > best:
            best, place = float(score), index
    return best, place


def around(x: float, y: float, width: float, height: float) -> tuple[float, float, float, float]:
    return x - width / 2, y - height / 2, x + width / 2, y + height / 2


def overlap(one: Found, other: Found) -> float:
    across = min(one[2], other[2]) - max(one[0], other[0])
    down = min(one[3], other[3]) - max(one[1], other[1])
    if across <= 0 or down <= 0:
        return 0.0
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return across * down / (sum(areas) - across * down)


def suppressed(found: list[Found], iou: float, agnostic: bool = False) -> list[Found]:
    """Greedy, best first: what overlaps one that is kept goes."""
    kept: list[Found] = []
    for box in sorted(found, key=lambda box: -box[4]):
        if all(overlap(box, other) <= iou for other in kept if agnostic or other[5] == box[5]):
            kept.append(box)
    return kept


def yolov5(rows: Any, confidence: float) -> list[Found]:
    found: list[Found] = []
    for row in rows:
        score, place = best_of(row[5:])
        score *= float(row[4])
        if score >= confidence:
            found.append((*around(*map(float, row[:4])), score, place))
    return found


def yolov8(channels: Any, confidence: float, classes: int) -> list[Found]:
    found: list[Found] = []
    for column in range(len(channels[0])):
        score, place = best_of(channels[4 + index][column] for index in range(classes))
        if score >= confidence:
            found.append((*around(*(float(channels[index][column]) for index in range(4))), score, place))
    return found


def yolox(rows: Any, confidence: float, width: int, height: int, strides: tuple[int, ...]) -> list[Found]:
    found: list[Found] = []
    number = 0
    for stride in strides:
        for down in range(height // stride):
            for across in range(width // stride):
                row = rows[number]
                number += 1
                score, place = best_of(row[5:])
                score *= float(row[4])
                if score < confidence:
                    continue
                x, y = (float(row[0]) + across) * stride, (float(row[1]) + down) * stride
                wide, high = math.exp(float(row[2])) * stride, math.exp(float(row[3])) * stride
                found.append((*around(x, y, wide, high), score, place))
    assert number == len(rows)
    return found


def nanodet(
    rows: Any, confidence: float, width: int, height: int, strides: tuple[int, ...], classes: int, middle: float
) -> list[Found]:
    found: list[Found] = []
    number = 0
    for stride in strides:
        for down in range(math.ceil(height / stride)):
            for across in range(math.ceil(width / stride)):
                row = [float(value) for value in rows[number]]
                number += 1
                score, place = best_of(row[:classes])
                if score < confidence:
                    continue
                bins = (len(row) - classes) // 4
                reach = []
                for side in range(4):
                    powers = [math.exp(value) for value in row[classes + side * bins : classes + (side + 1) * bins]]
                    reach.append(sum(index * power for index, power in enumerate(powers)) / sum(powers) * stride)
                x, y = (across + middle) * stride, (down + middle) * stride
                box = (x - reach[0], y - reach[1], x + reach[2], y + reach[3])
                limits = (width, height, width, height)
                found.append(
                    (*(min(max(0.0, side), limit) for side, limit in zip(box, limits, strict=True)), score, place)
                )  # type: ignore[arg-type]
    assert number == len(rows)
    return found


def detr(boxes: Any, logits: Any, confidence: float, width: int, height: int, softmax: bool = False) -> list[Found]:
    found: list[Found] = []
    for box, row in zip(boxes, logits, strict=True):
        x, y, wide, high = (float(value) for value in box)
        corners = around(x * width, y * height, wide * width, high * height)
        if softmax:
            powers = [math.exp(float(value)) for value in row]
            score, place = best_of([power / sum(powers) for power in powers][:-1])
            pairs = [(place, score)]
        else:
            pairs = [(place, logistic(float(value))) for place, value in enumerate(row)]
        found += [(*corners, score, place) for place, score in pairs if score >= confidence]
    return found


def listed(
    boxes: Any, scores: Any, classes: Any, confidence: float, scale: tuple[float, ...] = (1, 1, 1, 1)
) -> list[Found]:
    found: list[Found] = []
    for box, score, place in zip(boxes, scores, classes, strict=True):
        if score >= confidence:
            corners = [float(value) * factor for value, factor in zip(box, scale, strict=True)]
            found.append((corners[0], corners[1], corners[2], corners[3], float(score), int(place)))
    return found
