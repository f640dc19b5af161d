"""What add_model sees in the numbers that a detector gives, where its shapes leave it open."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from imageserver.inference.convert.detecting import look_at_outputs
from imageserver.inference.convert.inspect import Findings


def findings(**keys: Any) -> Findings:
    found = Findings(None, 64, 64, 3, "nchw", 2)
    found.output_keys = keys
    return found


def grid(decoded: bool) -> np.ndarray:
    random = np.random.default_rng(2)
    rows = random.uniform(0, 1, (8, 84, 7)).astype(np.float32)
    if decoded:
        rows[..., :4] = random.uniform(0, 64, (8, 84, 4))
    return rows


@pytest.mark.parametrize("decoded", [False, True])
def test_a_grid_that_is_added_or_not(decoded: bool) -> None:
    found = findings(format="yolox", decoded=not decoded)
    found.values = {"order": "bgr"}
    look_at_outputs(found, [[grid(decoded)]])
    assert found.output_keys["decoded"] is decoded
    assert found.activation == "none"
    assert any("grid" in sentence for sentence in found.took)
    assert any("YOLOv6" in sentence for sentence in found.warnings) is decoded


@pytest.mark.parametrize(("scale", "coordinates"), [(1.0, "pixels"), (1 / 64, "fractions")])
def test_pixels_or_fractions(scale: float, coordinates: str) -> None:
    channels = grid(decoded=True)[..., :6].transpose(0, 2, 1)
    channels[:, :4] *= scale
    found = findings(format="yolov8")
    look_at_outputs(found, [[each] for each in np.split(channels, 8)])
    assert found.output_keys["coordinates"] == coordinates


def test_boxes_by_their_role() -> None:
    found = findings(format="boxes", tensors=["labels", "boxes"], coordinates="pixels")
    look_at_outputs(found, [[np.zeros((1, 5)), np.full((1, 5, 5), 0.7)], [np.zeros((1, 3)), np.full((1, 3, 5), 0.7)]])
    assert found.output_keys["coordinates"] == "fractions"


def test_logits_get_a_sigmoid_and_scores_none() -> None:
    rows = grid(decoded=False)
    rows[..., 4:] = rows[..., 4:] * 20 - 10
    found = findings(format="yolox", decoded=False)
    look_at_outputs(found, [[rows]])
    assert found.activation == "sigmoid"
    found = findings(format="detr", tensors=["boxes", "logits"])
    found.activation = "sigmoid"
    look_at_outputs(found, [[np.full((8, 5, 4), 0.5), np.full((8, 5, 3), 0.5)]])
    assert found.activation == "none"


def test_keypoints_that_were_taken_for_classes() -> None:
    channels = np.concatenate((grid(decoded=True)[..., :5], np.full((8, 84, 9), 40.0)), axis=2).transpose(0, 2, 1)
    found = findings(format="yolov8")
    found.classes = 10
    look_at_outputs(found, [[channels]])
    assert found.activation == "none"
    assert "if it finds keypoints" in found.warnings[-1]


@pytest.mark.parametrize(("style", "outputs"), [
    ("yolov10", [np.zeros((8, 300, 6))]),
    ("boxes", [np.zeros((1, 1, 0, 7))]),
    ("yolox", [np.full((1, 84, 7), np.nan)]),
    ("nanodet", [np.zeros((8, 84, 34))]),
    ("ssd", [np.zeros((8, 10, 4))]),
])  # fmt: skip
def test_nothing_to_be_seen_is_a_warning_at_most(style: str, outputs: list[np.ndarray]) -> None:
    found = findings(format=style)
    look_at_outputs(found, [outputs])
    assert found.activation == "none"
