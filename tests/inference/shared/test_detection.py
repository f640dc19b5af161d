"""[output] of a manifest whose network finds boxes."""

from pathlib import Path

import pytest

from imageserver.errors import ManifestError
from imageserver.inference.shared import manifest
from imageserver.inference.shared.outputs.detection import Detection

TEXT = """
kind = "detection"
[input]
width = 640
height = 480
[output]
format = "yolox"
labels = ["cat", "dog"]
[runtime]
weights = "net.keras"
"""


def read(folder: Path, old: str = "", new: str = "") -> manifest.Manifest:
    assert old in TEXT
    (folder / "net").mkdir()
    (folder / "net" / "model.toml").write_text(TEXT.replace(old, new, 1) if old else TEXT)
    return manifest.read(folder / "net")


def test_defaults(tmp_path: Path) -> None:
    found = read(tmp_path)
    assert found.output.detection == Detection("yolox", 0.25, 0.45, 100, False, False, "", (), 0, 3)
    assert found.output.activation == "none"


def test_all_of_it(tmp_path: Path) -> None:
    keys = """format = "detr"
confidence = 0.5
iou = 1
max_boxes = 7
class_agnostic = true
decoded = true
coordinates = "pixels"
tensors = ["boxes", "logits"]"""
    found = read(tmp_path, 'format = "yolox"', keys)
    assert found.output.detection == Detection("detr", 0.5, 1.0, 7, True, True, "pixels", ("boxes", "logits"), 0, 3)
    assert found.output.activation == "sigmoid"


def test_keypoints_are_those_of_coco(tmp_path: Path) -> None:
    (tmp_path / "net").mkdir()
    text = TEXT.replace("detection", "keypoints").replace("yolox", "yolov8")
    (tmp_path / "net" / "model.toml").write_text(text)
    found = manifest.read(tmp_path / "net").output
    assert found.detection is not None
    assert found.detection.keypoints == 17


def test_keypoints_of_all_boxes_are_bounded(tmp_path: Path) -> None:
    text = (
        TEXT.replace("detection", "keypoints")
        .replace("yolox", "yolov8")
        .replace("[runtime]", "keypoints = 21\n[runtime]")
    )
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "model.toml").write_text(text)
    found = manifest.read(tmp_path / "net").output.detection
    assert found is not None
    assert found.max_boxes == 95
    (tmp_path / "net" / "model.toml").write_text(text.replace("keypoints = 21", "keypoints = 21\nmax_boxes = 96"))
    with pytest.raises(ManifestError, match=r"output.max_boxes: is 96, with 21 keypoints each; .* so 95 boxes of them"):
        manifest.read(tmp_path / "net")


@pytest.mark.parametrize(("old", "new", "message"), [
    ('format = "yolox"', 'format = "yolov4"', "output.format: must be one of yolov5, yolov8, yolov10, yolox, ssd"),
    ('format = "yolox"', "iou = 0.4", "output.iou: needs output.format"),
    ('format = "yolox"', 'format = "ssd"\nmax_boxes = 1000000000', "max_boxes: must be a whole number from 1 to 500"),
    ('format = "yolox"', 'format = "ssd"\nconfidence = 0', "output.confidence: must be a number from 0.001 to 1"),
    ('format = "yolox"', 'format = "ssd"\nconfidence = nan', "output.confidence: must be a number from 0.001 to 1"),
    ('format = "yolox"', 'format = "ssd"\nthreshold = 0.5', "output.threshold: is for classification"),
    ('format = "yolox"', 'format = "ssd"\nkeypoints = 5', 'output.keypoints: needs kind = "keypoints"'),
    ('format = "yolox"', 'format = "ssd"\ntensors = ["boxen"]', "output.tensors: holds 'boxen'; known are boxes"),
    ('format = "yolox"', 'format = "yolox"\nactivation = "softmax"', 'activation: "softmax" is for format "detr"'),
    ('kind = "detection"', 'kind = "keypoints"', "output.format: must be one of yolov8, yolov10 for keypoints"),
    ('kind = "detection"', 'kind = "embedding"', "output.format: is for kind = \"detection\" and \"keypoints\""),
])  # fmt: skip
def test_what_is_wrong_is_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    with pytest.raises(ManifestError) as caught:
        read(tmp_path, old, new)
    assert message in str(caught.value)


def test_of_code_that_says_itself_what_it_found(tmp_path: Path) -> None:
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "model.py").write_text("")
    (tmp_path / "net" / "model.toml").write_text(TEXT.replace('weights = "net.keras"', 'runtime = "python"'))
    with pytest.raises(ManifestError, match=r"output.format: is for networks; model.py says itself"):
        manifest.read(tmp_path / "net")
