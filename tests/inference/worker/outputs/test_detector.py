"""A network that gives known boxes, from picture to answer: through every preparation, back to the picture's pixels."""

from __future__ import annotations

import json
from typing import Any

import cv2
import numpy as np
import pytest
from tests.inference.worker.outputs.making import Fake, context, manifest, picture

from imageserver.errors import ModelError
from imageserver.inference.shared import wire
from imageserver.inference.worker import batch, costly, decode, loader, tensors
from imageserver.inference.worker.decode import Picture
from imageserver.inference.worker.outputs.detector import Detector
from imageserver.inference.worker.outputs.vectors import Embedding, Regression
from imageserver.inference.worker.preprocessing import base

SIDE = 320


def place(width: int, height: int, preprocessing: str, box: tuple[float, ...]) -> list[float]:
    """A box of the picture (left, top, right, bottom) in pixels of the array, by the definition of the preparation."""
    if preprocessing == "stretch":
        return [box[0] * SIDE / width, box[1] * SIDE / height, box[2] * SIDE / width, box[3] * SIDE / height]
    if preprocessing == "crop":
        side = min(width, height)
        left, top = (width - side) / 2, (height - side) / 2
        return [(value - start) * SIDE / side for value, start in zip(box, (left, top) * 2, strict=True)]
    scale = SIDE / max(width, height)
    left, top = ((SIDE - width * scale) / 2, (SIDE - height * scale) / 2) if preprocessing == "letterbox" else (0, 0)
    return [value * scale + start for value, start in zip(box, (left, top) * 2, strict=True)]


@pytest.mark.parametrize("preprocessing", ["stretch", "crop", "letterbox", "letterbox-corner"])
@pytest.mark.parametrize("size", [(640, 480), (480, 640), (320, 320), (333, 777), (1921, 1081), (61, 47)])
def test_boxes_come_back_within_a_pixel(preprocessing: str, size: tuple[int, int]) -> None:
    """What is drawn into a picture is found in the array by its colour, as a perfect network would."""
    width, height = size
    middle = (round(width * 0.3), round(height * 0.4))
    box = (middle[0] // 2 + width // 5, middle[1] // 2 + height // 5, width // 2 + 9, height // 2 + 7)
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[box[1] : box[3], box[0] : box[2]] = 255

    def perfect(batch: np.ndarray) -> list[np.ndarray]:
        """The edges at half brightness, between pixels."""
        grey = batch[0, :, :, 0].copy()
        grey[grey == base.PADDING] = 0
        across, down = grey.max(axis=0) / 255, grey.max(axis=1) / 255
        edges = []
        for line in (across, down):
            bright = np.flatnonzero(line >= 0.5)
            first, last = bright[0], bright[-1]
            before = line[first - 1] if first else 0.0
            after = line[last + 1] if last + 1 < len(line) else 0.0
            edges.append((first + 1 - line[first] - before, last + line[last] + after))
        (left, right), (top, bottom) = edges
        return [np.array([[[left, top, right, bottom, 0.9, 0]]], np.float32)]

    detector = Detector(
        manifest(SIDE, SIDE, 1, format="yolov10", preprocessing=preprocessing), Fake(perfect), context()
    )
    [found] = detector._predict([Picture(pixels, size)])
    [got] = found["boxes"]
    ours = (got["x"], got["y"], got["x"] + got["width"], got["y"] + got["height"])
    assert ours == pytest.approx(box, abs=1.01), found


@pytest.mark.parametrize("preprocessing", ["stretch", "crop", "letterbox", "letterbox-corner"])
@pytest.mark.parametrize("reduced", [1, 2, 4, 8])
def test_pictures_decoded_smaller(preprocessing: str, reduced: int) -> None:
    width, height = 2000, 1504
    box = (700.0, 400.0, 1300.0, 1000.0)
    row = np.array([[[*place(width, height, preprocessing, box), 0.9, 0]]], np.float32)
    network = Fake(lambda batch: [np.repeat(row, len(batch), axis=0)])
    detector = Detector(manifest(SIDE, SIDE, 1, format="yolov10", preprocessing=preprocessing), network, context())
    small = np.zeros((-(-height // reduced), -(-width // reduced), 3), np.uint8)
    [found] = detector._predict([Picture(small, (width, height))])
    [got] = found["boxes"]
    ours = (got["x"], got["y"], got["x"] + got["width"], got["y"] + got["height"])
    # The picture lies in whole pixels of the array, which is what the answer is exact to.
    assert ours == pytest.approx(box, abs=1 + 0.5 * width / SIDE)


@pytest.mark.parametrize("size", [(2001, 1507)])
@pytest.mark.parametrize("rotate", [0, 90, 180, 270])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_jpeg_at_an_eighth_is_shown_where_it_is(size: tuple[int, int], rotate: int, orientation: int) -> None:
    """Its last column is eight wide, whatever is left of the picture there: found by its edges, after every turn."""
    stored = np.zeros((size[1], size[0]), np.uint8)
    stored[640:1280, 560:1440] = 255
    upright = decode.turn(stored, orientation, rotate)
    across, down = np.flatnonzero(upright.any(axis=0)), np.flatnonzero(upright.any(axis=1))
    small = cv2.imdecode(cv2.imencode(".jpg", stored)[1], cv2.IMREAD_REDUCED_GRAYSCALE_8)
    part = decode._part(size, 8, orientation, rotate)
    pixels = decode.turn(small, orientation, rotate)
    taken = Picture(pixels, upright.shape[::-1], part=part)
    left, top, width, height = base.shown_part(base.find("none"), taken, manifest(64, 64, 1, format="yolox").input)
    bright = pixels > 127
    columns, rows = np.flatnonzero(bright.any(axis=0)), np.flatnonzero(bright.any(axis=1))
    found = [left + columns[0] * width / pixels.shape[1], left + (columns[-1] + 1) * width / pixels.shape[1]]
    found += [top + rows[0] * height / pixels.shape[0], top + (rows[-1] + 1) * height / pixels.shape[0]]
    assert found == pytest.approx([across[0], across[-1] + 1, down[0], down[-1] + 1], abs=0.01)


@pytest.mark.parametrize(("rotate", "reduced"), [(0, 8), (90, 8), (180, 4), (270, 2), (0, 1)])
def test_a_jpeg_from_the_process_for_costly_pictures_is_shown_where_it_is(rotate: int, reduced: int) -> None:
    """Boxes of what came over the wall as pixels lie where they would if the worker had decoded the file itself."""
    width, height = 1793, 1537  # one more than whole blocks at every reduction
    box = (640, 560, 1280, 1440)
    stored = np.zeros((height, width), np.uint8)
    stored[box[1] : box[3], box[0] : box[2]] = 255
    upright = decode.turn(stored, 1, rotate)
    columns, rows = np.flatnonzero(upright.any(axis=0)), np.flatnonzero(upright.any(axis=1))
    file = cv2.imencode(".jpg", stored)[1].tobytes()
    arena = bytearray(8 * 2**20)
    arena[: len(file)] = file
    asked = {"form": wire.CONTENT_IMAGE, "size": len(file), "rotate": rotate, "channels": 1, "least": height // reduced}
    said = costly.decoded(asked, memoryview(arena), decode.PictureLimits())
    item: wire.Item = {"at": 0, "size": said["size"], "form": said["form"], "rotate": 0}
    taken = batch._job(item, memoryview(arena)[: said["size"]]).picture
    assert taken is not None
    assert taken.size == upright.shape[::-1]
    assert taken.pixels.shape == tuple(-(-side // reduced) for side in upright.shape)
    left, top, across, down = base.shown_part(base.find("none"), taken, manifest(64, 64, 1, format="yolox").input)
    bright = taken.pixels > 127
    wide, high = np.flatnonzero(bright.any(axis=0)), np.flatnonzero(bright.any(axis=1))
    found = [left + edge * across / bright.shape[1] for edge in (wide[0], wide[-1] + 1)]
    found += [top + edge * down / bright.shape[0] for edge in (high[0], high[-1] + 1)]
    assert found == pytest.approx([columns[0], columns[-1] + 1, rows[0], rows[-1] + 1], abs=0.01)


def yolov10(rows: Any, **settings: Any) -> tuple[Detector, Fake]:
    network = Fake(lambda batch: [np.repeat(np.array([rows], np.float32), len(batch), axis=0)])
    return Detector(manifest(100, 100, 2, format="yolov10", **settings), network, context()), network


def test_one_documented_shape() -> None:
    rows = [[10, 20, 30, 60, 0.8, 1], [50, 50, 70, 80, 0.91234567, 0], [0, 0, 5, 5, 0.7, 1], [1, 1, 9, 9, 0.2, 1]]
    detector, _network = yolov10(rows)
    [found] = detector._predict([picture(100, 200)])
    assert found == {
        "label": "thing 0",
        "score": 0.91235,
        "labels": [{"label": "thing 0", "score": 0.91235}, {"label": "thing 1", "score": 0.8}],
        "boxes": [
            {"x": 50, "y": 100, "width": 20, "height": 60, "label": "thing 0", "score": 0.91235},
            {"x": 10, "y": 40, "width": 20, "height": 80, "label": "thing 1", "score": 0.8},
            {"x": 0, "y": 0, "width": 5, "height": 10, "label": "thing 1", "score": 0.7},
        ],
    }
    json.dumps(found, allow_nan=False)


def test_nothing_found() -> None:
    for rows in (np.zeros((0, 6)), np.zeros((3, 6)), np.full((3, 6), np.nan)):
        detector, _network = yolov10(rows)
        [found] = detector._predict([picture(9, 9)])
        assert found == {"label": "none", "score": 0.0, "labels": [], "boxes": []}


def test_what_is_no_number_or_lies_outside() -> None:
    nan, inf = float("nan"), float("inf")
    rows = [
        [nan, 1, 9, 9, 0.9, 0],
        [1, 1, inf, 9, 0.9, 0],
        [-inf, 1, 5, 9, 0.9, 0],
        [1, 1, 9, 9, nan, 0],
        [1, 1, 9, 9, inf, 0],
        [9, 9, 1, 1, 0.9, 0],
        [5, 5, 5, 9, 0.9, 0],
        [200, 200, 300, 300, 0.9, 0],
        [-50, -50, -10, -10, 0.9, 0],
        [-1e30, -1e30, 1e30, 1e30, 1.5, nan],
        [90, 90, 300, 300, 0.85, 77],
        [1, 1, 9, 9, 0.8, -3],
    ]
    detector, _network = yolov10(rows)
    [found] = detector._predict([picture(100, 100)])
    assert [(box["label"], box["score"]) for box in found["boxes"]] == [
        ("class -1", 1.0), ("class 77", 0.85), ("class -3", 0.8),
    ]  # fmt: skip
    assert found["boxes"][0] == {"x": 0, "y": 0, "width": 100, "height": 100, "label": "class -1", "score": 1.0}
    json.dumps(found, allow_nan=False)


def test_a_batch_is_filled_up_and_each_picture_gets_its_own() -> None:
    def by_brightness(batch: np.ndarray) -> list[np.ndarray]:
        edge = batch[:, 0, 0, 0]
        return [np.stack([np.array([[0, 0, value, value, 0.9, 0]]) for value in edge]).astype(np.float32)]

    network = Fake(by_brightness)
    detector = Detector(manifest(100, 100, 1, format="yolov10", max_batch=12), network, context())
    pictures = [Picture(np.full((100, 100, 3), 10 + index, np.uint8), (100, 100)) for index in range(11)]
    assert [found["boxes"][0]["width"] for found in detector._predict(pictures)] == list(range(10, 21))
    assert len(network.batches[0]) == 12


def test_a_network_that_takes_one_picture_gets_one() -> None:
    network = Fake(
        lambda batch: [np.array([[1, 1, 9, 9]]), np.array([0]), np.array([0.9])],
        ("boxes", "labels", "scores"),
        single=True,
    )
    detector = Detector(manifest(100, 100, 1, format="boxes"), network, context())
    assert [len(found["boxes"]) for found in detector._predict([picture(9, 9)] * 3)] == [1, 1, 1]
    assert [len(batch) for batch in network.batches] == [1, 1, 1]


@pytest.mark.parametrize("size", [(1, 1), (3, 2000), (8191, 1)])
@pytest.mark.parametrize("preprocessing", ["stretch", "crop", "letterbox", "letterbox-corner"])
def test_pictures_of_any_proportions(size: tuple[int, int], preprocessing: str) -> None:
    detector, _network = yolov10([[0, 0, 100, 100, 0.9, 0]], preprocessing=preprocessing)
    [found] = detector._predict([picture(*size)])
    for box in found["boxes"]:
        assert 0 <= box["x"] < box["x"] + box["width"] <= size[0]
        assert 0 <= box["y"] < box["y"] + box["height"] <= size[1]


@pytest.mark.parametrize("everything", [False, True])
def test_a_hundred_thousand_candidates_are_bounded(everything: bool) -> None:
    """All of them above the confidence, all at one place or none at another's."""
    numbers = np.arange(100_000, dtype=np.float32)
    cells = np.empty((1, 6, 100_000), np.float32)
    cells[0, 0], cells[0, 1] = (50, 50) if everything else (numbers % 316 * 2, numbers // 316 * 2)
    cells[0, 2:4], cells[0, 4:] = 1.5, 0.5 + numbers / 1e6
    network = Fake(lambda batch: [np.repeat(cells, len(batch), axis=0)])
    detector = Detector(manifest(640, 640, 2, format="yolov8", max_boxes=1000), network, context())
    [found] = detector._predict([picture(640, 640)])
    assert len(found["boxes"]) == (1 if everything else 1000)
    assert found["boxes"][0]["score"] == pytest.approx(0.6, abs=1e-4)
    assert len(json.dumps(found)) < 150_000


def test_labels_with_markup_are_text() -> None:
    network = Fake(lambda batch: [np.full((len(batch), 1, 6), (1, 1, 9, 9, 0.9, 0), np.float32)])
    detector = Detector(manifest(100, 100, 1, format="yolov10", labels=("<img src=x onerror=1>",)), network, context())
    [found] = detector._predict([picture(100, 100)])
    assert found["boxes"][0]["label"] == "<img src=x onerror=1>"


def test_labels_that_do_not_fit_are_told_when_it_is_loaded() -> None:
    network = Fake(lambda batch: [np.zeros((len(batch), 84, 8400), np.float32)])
    detector = Detector(manifest(640, 640, 79, format="yolov8"), network, context())
    with pytest.raises(ModelError, match="'net' does not fit its manifest: .* 80 classes apart, .* 79 labels"):
        loader._warm(detector)


def test_it_answers_inference_requests_as_a_model_of_code_does() -> None:
    detector, _network = yolov10([[10, 10, 30, 30, 0.75, 1]])
    pixels = np.zeros((1, 50, 100, 3), np.uint8)
    request = {
        "inputs": [{"name": "image", "shape": [1, 50, 100, 3], "datatype": "UINT8", "data": pixels.ravel().tolist()}]
    }
    answer = tensors.infer(detector, memoryview(json.dumps(request).encode()), 0)
    assert isinstance(answer, tuple)
    [output] = json.loads(answer[0])["outputs"]
    found = json.loads(output["data"][0])
    assert (output["name"], found["boxes"][0]["height"], found["size"]) == ("result", 10, [100, 50])
    request["inputs"][0] |= {"datatype": "FP32", "shape": [1, 100, 100, 3], "data": [0.0] * 30_000}
    refused = tensors.infer(detector, memoryview(json.dumps(request).encode()), 0)
    assert isinstance(refused, dict)
    assert "gives no scores and takes pictures" in refused["error"]


def test_embeddings_have_the_length_one() -> None:
    rows = np.array([[3.0, 4.0], [0.0, 0.0], [np.nan, 1.0], [1e-30, 0.0]], np.float32)
    network = Embedding(
        manifest(8, 8, 0, kind="embedding"), Fake(lambda batch: [rows[: len(batch), :, None]]), context()
    )
    found = network._predict([picture(8, 8)] * 4)
    assert found[0] == {"embedding": [0.6, 0.8]}
    assert found[3] == {"embedding": [1.0, 0.0]}
    assert found[1]["reason"] == found[2]["reason"] == "model"


def test_values_have_the_names_of_the_labels() -> None:
    rows = np.array([[31.4567891, -2.0], [np.inf, 1.0]], np.float32)
    fake = Fake(lambda batch: [rows[: len(batch)]])
    network = Regression(manifest(8, 8, 0, kind="regression", labels=("age", "height"), max_batch=2), fake, context())
    found = network._predict([picture(8, 8)] * 2)
    assert found[0] == {"values": {"age": 31.4568, "height": -2.0}}
    assert found[1]["reason"] == "model"
    wrong = Regression(manifest(8, 8, 0, kind="regression", labels=("age", "age")), fake, context())
    with pytest.raises(ModelError, match="gives 2 values, the manifest 1 different labels"):
        loader._warm(wrong)


def test_an_answer_of_too_many_numbers_is_refused_when_it_is_loaded() -> None:
    network = Fake(lambda batch: [np.ones((len(batch), 9000), np.float32)])
    with pytest.raises(ModelError, match="gives 9000 numbers for a picture; at most 4096"):
        loader._warm(Embedding(manifest(8, 8, 0, kind="embedding"), network, context()))
