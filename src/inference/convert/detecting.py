"""What the shapes of a detector leave open, by the numbers that it gives for a few pictures. For add_model."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from imageserver.inference.convert.inspect import Findings

Array = NDArray[Any]

SMALL = 2.0
"""What fractions stay below; coordinates in pixels do not, on the whole."""

MOST_LOGIT = 30.0
"""Above it are pixels, not logits: a sigmoid is 1 long before."""


def look_at_outputs(findings: Findings, answers: list[list[Array]]) -> None:
    """Put into the findings whether places are pixels or fractions, a grid is to be added, scores are logits.

    Args:
        findings: with `output.format` in `output_keys`, as `recognise` found it.
        answers: of each picture the network's outputs, in its order.
    """
    outputs = [_together([picture[index] for picture in answers]) for index in range(len(answers[0]))]
    style = findings.output_keys["format"]
    if not all(np.isfinite(output).all() for output in outputs):
        findings.warnings.append(
            "it gives values that are no numbers on test pictures; its range of pixel values is probably another"
        )
        return
    if style == "yolox":
        _look_at_grid(findings, outputs)
    if style in ("yolov5", "yolov8", "yolov10", "boxes"):
        _look_at_places(findings, outputs)
    scores = _scores(findings, outputs)
    if scores is None or not scores.size:
        return
    if style == "yolov8" and scores.max() > MOST_LOGIT and scores.min() >= 0.0:
        findings.warnings.append(
            'some of its scores look like places: if it finds keypoints, say kind = "keypoints", and how many, in '
            "model.toml, and give the labels of the boxes alone"
        )
    elif scores.min() < -0.01 or scores.max() > 1.01:
        if findings.activation == "none":
            findings.activation = "sigmoid"
            findings.took.append("its scores are no probabilities: a sigmoid is applied to them")
    elif findings.activation == "sigmoid":
        findings.activation = "none"
        findings.took.append("its scores are between 0 and 1 already: no sigmoid is applied")


def _together(parts: list[Array]) -> Array:
    """One output for all pictures; for the one that has most where it lists more for one than for another."""
    parts = [np.atleast_1d(part) for part in parts]
    if len({part.shape[1:] for part in parts}) > 1:
        return max(parts, key=np.size)
    return np.concatenate(parts)


def _look_at_grid(findings: Findings, outputs: list[Array]) -> None:
    """YOLOX: where the network adds its grid itself, centres lie all over the array."""
    if len(outputs) != 1:
        return
    findings.output_keys["decoded"] = bool(outputs[0][..., :2].max() > min(findings.width, findings.height) / 2)
    how = "adds its grid itself" if findings.output_keys["decoded"] else "leaves its grid to be added"
    findings.took.append(f"by the numbers it gives, it {how}: decoded = {findings.output_keys['decoded']}".lower())
    if findings.output_keys["decoded"] and findings.values.get("order") == "bgr":
        findings.warnings.append(
            "YOLOv6 gives the same: if it is one, say --range 0,1 --order rgb --preprocessing letterbox"
        )


def _look_at_places(findings: Findings, outputs: list[Array]) -> None:
    """Whether places are pixels or fractions."""
    roles = findings.output_keys.get("tensors", [])
    if findings.output_keys["format"] == "boxes":
        given = outputs[roles.index("boxes")][..., :4] if "boxes" in roles else outputs[0][..., 3:]
    else:
        given = outputs[0]
        given = given[:, :4] if findings.output_keys["format"] == "yolov8" else given[..., :4]
    if not given.size or not given.max() > 0:
        findings.warnings.append("it finds nothing in test pictures, so output.coordinates could not be looked at")
        return
    fractions = bool(given.max() <= SMALL)
    findings.output_keys["coordinates"] = "fractions" if fractions else "pixels"
    if fractions:
        findings.took.append("its boxes are fractions of the picture's sides, by the numbers it gives")


def _scores(findings: Findings, outputs: list[Array]) -> Array | None:
    """What ought to be between 0 and 1; None where the layout does not tell."""
    style, roles = findings.output_keys["format"], findings.output_keys.get("tensors", [])
    if style == "detr":
        return outputs[roles.index("logits")] if "logits" in roles else None
    if style == "yolov8":
        return outputs[0][:, 4 : 4 + findings.classes]
    if style in ("yolov5", "yolox"):
        return np.concatenate([_cells(output)[..., 4:].reshape(-1) for output in outputs])
    if style == "nanodet":
        if roles:
            return np.concatenate([out.ravel() for out, role in zip(outputs, roles, strict=True) if role == "scores"])
        return outputs[0][..., : findings.classes]
    return None


def _cells(output: Array) -> Array:
    """With the numbers of a cell last."""
    return output.transpose(0, 2, 3, 1) if output.ndim == 4 else output
