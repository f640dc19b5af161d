"""From a model's numbers to what the client reads. Pure but for numpy."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imageserver.inference.shared import wire
from imageserver.inference.shared.manifest import Output
from imageserver.inference.shared.outputs.input_check import UNLIKE

TOP = 5
"""Labels in an answer."""

DIGITS = 5
"""Decimals of a score: finer than any model is right, and short on the wire."""

NONE = "none"
"""The label when nothing reached the threshold, or nothing was found."""

NOT_A_NUMBER: wire.Result = {"error": "the model answered with something that is no number", "reason": "model"}


@dataclass(frozen=True, slots=True)
class Scores:
    """What a classifier says of n pictures."""

    values: NDArray[Any]
    """float32 (n, columns), after the manifest's activation."""
    unlike: NDArray[Any] | None
    """bool (n,): whose picture is unlike those that it was trained on; None where it does not look at that."""


def activate(scores: NDArray[Any], activation: str) -> NDArray[Any]:
    """Logits (n, classes) to scores 0..1 where the manifest says that the model itself does not."""
    if activation == "softmax":
        powers = np.exp(scores - scores.max(axis=1, keepdims=True))
        scores = powers / powers.sum(axis=1, keepdims=True)
    elif activation == "sigmoid":
        scores = 0.5 * (1.0 + np.tanh(0.5 * scores))  # the logistic function, without overflow
    return scores


def classify(found: Scores, output: Output) -> list[wire.Result]:
    """Scores of n pictures to n results with the best five labels.

    One column and two labels: the column is the score of the second. ValueError when labels and columns do not fit.
    """
    results = _labelled(columns(found.values, output), output)
    if found.unlike is not None:
        for result, unlike in zip(results, found.unlike.tolist(), strict=True):
            if unlike and "error" not in result:
                result["input"] = UNLIKE
    return results


def _labelled(scores: NDArray[Any], output: Output) -> list[wire.Result]:
    labels = output.labels
    best = np.argsort(-scores, axis=1, kind="stable")[:, :TOP]
    values = np.take_along_axis(scores, best, axis=1).tolist()
    threshold = output.threshold
    results: list[wire.Result] = []
    for indices, row in zip(best.tolist(), values, strict=True):
        if not math.isfinite(row[0]):
            results.append({**NOT_A_NUMBER})
            continue
        found: list[wire.Label] = [
            {"label": labels[index] if labels else f"class {index}", "score": round(value, DIGITS)}
            for index, value in zip(indices, row, strict=True)
            if threshold is None or value >= threshold
        ]
        best_one: wire.Label = found[0] if found else {"label": NONE, "score": 0.0}
        results.append({"label": best_one["label"], "score": best_one["score"], "labels": found})
    return results


def columns(scores: NDArray[Any], output: Output) -> NDArray[Any]:
    """Scores (n, labels), a column for each label; see `classify`."""
    labels = output.labels
    if scores.shape[1] == 1 and len(labels) == 2:
        scores = np.concatenate((1.0 - scores, scores), axis=1)
    if labels and len(labels) != scores.shape[1]:
        raise ValueError(f"the model gives {scores.shape[1]} scores, the manifest {len(labels)} labels")
    return scores


def plain(value: Any) -> Any:
    """What a model returned as something JSON can hold.

    NumPy's types become Python's, numbers that are none become None. TypeError on what JSON cannot hold.
    """
    if value is None or isinstance(value, bool | str | int):
        return value
    if isinstance(value, float | np.floating):
        number = float(value)
        return number if math.isfinite(number) else None
    if isinstance(value, np.integer | np.bool_):
        return value.item()
    if isinstance(value, dict):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in value]
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    raise TypeError(f"a result holds a {type(value).__name__}, which JSON cannot")


def map_boxes(
    boxes: list[Any], shape: tuple[int, ...], region: tuple[float, float, float, float], size: tuple[int, int]
) -> list[Any]:
    """Boxes in pixels of the model's array to pixels of the upright picture, cut at its borders.

    Args:
        boxes: dictionaries with x, y, width and height; what else they hold is kept.
        shape: of the array, height and width first.
        region: the part of the picture that the array shows: x, y, width, height in its pixels.
        size: width and height of the picture.

    Returns:
        Those that lie in the picture at least in part, in whole pixels.
    """
    left, top, across, down = region[0], region[1], region[2] / shape[1], region[3] / shape[0]
    mapped = []
    for box in boxes:
        x, y = max(0, round(left + box["x"] * across)), max(0, round(top + box["y"] * down))
        width = min(size[0], round(left + (box["x"] + box["width"]) * across)) - x
        height = min(size[1], round(top + (box["y"] + box["height"]) * down)) - y
        if width > 0 and height > 0:
            mapped.append({**box, "x": x, "y": y, "width": width, "height": height})
    return mapped
