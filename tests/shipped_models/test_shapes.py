"""The shipped detector of shapes through a real worker: file bytes in, boxes out."""

import hashlib
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from tests.inference.worker.worker_process import MODELS, ROOT, WorkerProcess

from imageserver.inference.shared import manifest
from imageserver.training.shapes import figures
from imageserver.training.shapes.pictures import LABELS
from imageserver.training.shapes.scores import overlaps

FOLDER = MODELS / "shapes"
SAMPLES = ROOT / "clients" / "samples" / "shapes"
TRUTH = json.loads((SAMPLES / "shapes.json").read_text("utf-8"))


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What the model says of an encoded picture."""
    with WorkerProcess(tmp_path_factory.mktemp("cache")) as worker:
        assert worker.load(FOLDER)["op"] == "loaded"
        yield lambda data: worker.run("shapes", [data])[0]


def corners(boxes):
    return np.array([[box["x"], box["y"], box["x"] + box["width"], box["y"] + box["height"]] for box in boxes], float)


def assert_found(answer, truth):
    """Each shape is found at its place with its label; what else is found is little."""
    boxes = answer["boxes"]
    shared = overlaps(corners(truth), corners(boxes))
    for shape, row in zip(truth, shared, strict=True):
        assert row.max() > 0.5, shape
        assert boxes[row.argmax()]["label"] == shape["label"], shape
    assert len(boxes) <= len(truth) + 5


def test_what_is_shipped_is_small_and_what_the_manifest_names():
    read = manifest.read(FOLDER)
    path = FOLDER / Path(read.runtime.weights).name
    assert path.suffix == ".onnx"
    assert path.stat().st_size < 1_500_000
    assert read.runtime.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert read.output.labels == LABELS


@pytest.mark.parametrize("name", sorted(TRUTH))
def test_the_samples_are_read(found, name):
    assert_found(found((SAMPLES / name).read_bytes()), TRUTH[name])


def test_a_sample_is_read_turned_and_as_another_file(found):
    picture = cv2.imread(str(SAMPLES / "1.jpg"))
    width = picture.shape[1]
    mirrored = [{**shape, "x": width - shape["x"] - shape["width"]} for shape in TRUTH["1.jpg"]]
    assert_found(found(cv2.imencode(".png", picture[:, ::-1])[1].tobytes()), mirrored)
    larger = cv2.resize(picture, None, fx=3, fy=3, interpolation=cv2.INTER_CUBIC)
    sides = ("x", "y", "width", "height")
    assert_found(
        found(cv2.imencode(".jpg", larger)[1].tobytes()),
        [{**shape, **{side: 3 * shape[side] for side in sides}} for shape in TRUTH["1.jpg"]],
    )


def test_a_picture_without_shapes_has_none(found):
    grey = np.full((240, 320, 3), 128, np.uint8)
    assert found(cv2.imencode(".png", grey)[1].tobytes())["label"] == "none"
    assert not found((ROOT / "clients/samples/photos/chelsea.jpg").read_bytes())["boxes"]


@pytest.mark.long
def test_the_mean_average_precision_on_pictures_not_seen(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    model = figures.serving(FOLDER)
    drawn = list(figures.scenes(500, seed=31_000))
    *_, mean = figures.precision(drawn, [figures.found_by(model, scene) for scene in drawn], figures.everything)
    assert mean >= 0.97
