"""The default model on a real photograph of a face."""

import io

import numpy as np
import pytest
from PIL import Image
from skimage import data
from tests.inference.worker.worker_process import MODELS, WorkerProcess

EYES_AND_MOUTH = [(0.405, 0.20), (0.455, 0.20), (0.44, 0.28)]
"""In the photograph of Eileen Collins, as parts of its width and height."""


@pytest.fixture(scope="module")
def worker(tmp_path_factory):
    with WorkerProcess(tmp_path_factory.mktemp("cache")) as process:
        assert process.load(MODELS / "faces")["op"] == "loaded"
        yield process


def photograph(size=(512, 512), turn=None, kind="JPEG"):
    picture = Image.fromarray(data.astronaut()).resize(size)
    stream = io.BytesIO()
    (picture.transpose(turn) if turn is not None else picture).save(stream, kind)
    return stream.getvalue()


def assert_on_the_face(result):
    assert result["label"] == "face"
    [box] = result["boxes"]
    assert 0.5 <= box["score"] < 1
    assert result["score"] == box["score"]
    assert result["labels"] == [{"label": "face", "score": box["score"]}]
    width, height = result["size"]
    for x, y in EYES_AND_MOUTH:
        assert box["x"] < x * width < box["x"] + box["width"]
        assert box["y"] < y * height < box["y"] + box["height"]
    assert box["width"] < 0.3 * width


@pytest.mark.parametrize(
    "size", [(512, 512), (160, 120), (192, 144), (320, 240), (640, 480), (1280, 960), (3000, 3000)]
)
def test_a_box_on_the_face_at_any_size(worker, size):
    [result] = worker.run("faces", [photograph(size)])
    assert result["size"] == list(size)
    assert_on_the_face(result)


@pytest.mark.parametrize(("rotate", "stored"), [
    (90, Image.Transpose.ROTATE_90),
    (180, Image.Transpose.ROTATE_180),
    (270, Image.Transpose.ROTATE_270),
])  # fmt: skip
def test_a_camera_that_lies_on_its_side(worker, rotate, stored):
    lying = photograph((640, 480), stored)
    [result] = worker.run("faces", [lying], rotate=rotate)
    assert result["size"] == [640, 480]
    assert_on_the_face(result)
    if rotate != 180:
        assert worker.run("faces", [lying])[0]["label"] == "none"


def test_a_batch_and_no_face(worker):
    noise = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (240, 320, 3), np.uint8)).save(noise, "PNG")
    cat = io.BytesIO()
    Image.fromarray(data.chelsea()).save(cat, "PNG")
    first, nothing, cats, tiny = worker.run(
        "faces", [photograph(), noise.getvalue(), cat.getvalue(), photograph((3, 2), kind="PNG")]
    )
    assert_on_the_face(first)
    for result in (nothing, cats, tiny):
        assert (result["label"], result["score"], result["labels"], result["boxes"]) == ("none", 0.0, [], [])
    assert tiny["size"] == [3, 2]
