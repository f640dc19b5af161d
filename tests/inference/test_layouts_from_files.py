"""Each layout from a file on: recognised, converted, and its known boxes back in the picture's own pixels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("onnx")
pytestmark = pytest.mark.long

from tests.inference import foreign

from imageserver.inference import add_model, adding
from imageserver.inference.worker.predictor import PictureJob

Outputs = dict[str, np.ndarray]

WIDTH, HEIGHT = 416, 320
"""Of the array."""
PICTURE = (1001, 747)
"""Width and height; odd on purpose."""
THINGS = (((96.0, 64.0, 224.0, 160.0), 1, 0.9), ((256.0, 128.0, 352.0, 256.0), 0, 0.8))
"""Left, top, right, bottom in pixels of the array, class of 3, score."""
SMALL, LARGE = (8, 16, 32), (8, 16, 32, 64)


def cells(strides: tuple[int, ...], values: int) -> np.ndarray:
    return np.zeros((1, sum(-(-WIDTH // stride) * -(-HEIGHT // stride) for stride in strides), values))


def centred(box: tuple[float, ...]) -> list[float]:
    return [(box[0] + box[2]) / 2, (box[1] + box[3]) / 2, box[2] - box[0], box[3] - box[1]]


def logit(score: float) -> float:
    return float(np.log(score / (1 - score)))


def rows(count: int, values: int, *, objectness: bool) -> np.ndarray:
    """A candidate for each thing, and a weaker one of the same class beside it, which has to go."""
    found = np.zeros((1, count, values))
    for number, (box, label, score) in enumerate(THINGS):
        for weaker in (0, 1):
            row = found[0, 7 + number * 50 + weaker]
            row[:4] = np.add(centred(box), 2 * weaker)
            row[4 + objectness + label] = 1.0 if objectness else score - weaker * 0.1
            if objectness:
                row[4] = score - weaker * 0.1
    return found


def yolox(decoded: bool) -> Outputs:
    if decoded:
        return {"output": rows(cells(SMALL, 8).shape[1], 8, objectness=True)}
    found, stride, across = cells(SMALL, 8), 8, WIDTH // 8
    for box, label, score in THINGS:
        x, y, width, height = centred(box)
        row = found[0, int(y // stride) * across + int(x // stride)]
        row[:5] = (x / stride) % 1, (y / stride) % 1, np.log(width / stride), np.log(height / stride), score
        row[5 + label] = 1.0
    return {"output": found}


def nanodet() -> Outputs:
    """Distances of whole strides from the corner of a cell of 16 pixels: all of a distribution in one bin."""
    found = cells(LARGE, 3 + 32)
    first, across = (WIDTH // 8) * (HEIGHT // 8), WIDTH // 16
    for box, label, score in THINGS:
        x, y = round((box[0] + box[2]) / 32), round((box[1] + box[3]) / 32)
        row = found[0, first + y * across + x]
        row[label] = score
        reach = (x - box[0] / 16, y - box[1] / 16, box[2] / 16 - x, box[3] / 16 - y)
        for side, distance in enumerate(reach):
            row[3 + 8 * side + int(distance)] = 60.0
    return {"output": found}


def lists(names: tuple[str, str, str], *, top_first: bool = False, count: str = "") -> Outputs:
    boxes, scores, labels = np.zeros((1, 20, 4)), np.zeros((1, 20)), np.zeros((1, 20))
    for number, (box, label, score) in enumerate(THINGS):
        boxes[0, number] = np.array(box)[[1, 0, 3, 2]] / ([HEIGHT, WIDTH] * 2) if top_first else box
        scores[0, number], labels[0, number] = score, label
    found = dict(zip(names, (boxes, scores, labels), strict=True))
    return {**found, count: np.array([2.0])} if count else found


def rf_detr() -> Outputs:
    boxes, logits = np.full((1, 30, 4), 0.5), np.full((1, 30, 3), -9.0)
    for number, (box, label, score) in enumerate(THINGS):
        boxes[0, number] = np.array(centred(box)) / ([WIDTH, HEIGHT] * 2)
        logits[0, number, label] = logit(score)
    return {"dets": boxes, "labels": logits}


def corners() -> Outputs:
    found = np.zeros((1, 300, 6))
    for number, (box, label, score) in enumerate(THINGS):
        found[0, number] = [*box, score, label]
    return {"output0": found}


Case = tuple[str, str, Callable[[], Outputs], dict[str, Any]]
CASES: list[Case] = [
    ("yolov5", "letterbox", lambda: {"output": rows(3 * cells(SMALL, 1).shape[1], 8, objectness=True)}, {}),
    ("yolov8", "letterbox",
     lambda: {"output0": rows(cells(SMALL, 1).shape[1], 7, objectness=False).transpose(0, 2, 1)}, {}),
    ("yolov10", "letterbox", corners, {}),
    ("yolox", "corner", lambda: yolox(decoded=False), {}),
    ("yolox", "corner", lambda: yolox(decoded=True), {}),
    ("nanodet", "stretch", nanodet, {}),
    ("ssd", "stretch",
     lambda: lists(("boxes", "scores", "classes"), top_first=True, count="count"),
     {"shape": ("n", HEIGHT, WIDTH, 3), "kind": "u8"}),
    ("detr", "stretch", lambda: lists(("boxes", "scores", "labels")),
     {"inputs": [foreign.value("orig_target_sizes", ("n", 2), "i64")]}),
    ("detr", "stretch", rf_detr, {}),
    ("boxes", "stretch", lambda: lists(("boxes", "scores", "labels")), {}),
]  # fmt: skip


def in_the_picture(box: tuple[float, ...], preparation: str) -> list[float]:
    """A box of the array in pixels of the picture, by the definition of the preparation."""
    across, down = WIDTH, HEIGHT
    if preparation != "stretch":
        scale = min(WIDTH / PICTURE[0], HEIGHT / PICTURE[1])
        across, down = round(PICTURE[0] * scale), round(PICTURE[1] * scale)
    left, top = ((WIDTH - across) // 2, (HEIGHT - down) // 2) if preparation == "letterbox" else (0, 0)
    found = [(value - start) for value, start in zip(box, (left, top) * 2, strict=True)]
    return [value * side / part for value, side, part in zip(found, PICTURE * 2, (across, down) * 2, strict=True)]


@pytest.mark.parametrize(("style", "preparation", "make", "more"), CASES)
def test_known_boxes_come_back(
    tmp_path: Path, style: str, preparation: str, make: Callable[[], Outputs], more: dict[str, Any]
) -> None:
    shape = {"shape": ("n", 3, HEIGHT, WIDTH), **more}
    foreign.save(foreign.constant(make(), **shape), tmp_path / "net.onnx")
    (tmp_path / "labels.txt").write_text("circle\nsquare\nstar\n")
    options = add_model.parser().parse_args([f"{tmp_path}/net.onnx", "--labels", f"{tmp_path}/labels.txt"])
    said: list[str] = []
    folder = tmp_path / "net"
    folder.mkdir()
    adding.build(options, folder, said.append)
    assert f'format = "{style}"' in (folder / "model.toml").read_text(), said
    serving = adding._load(folder, tmp_path / "cache", said.append)
    jpeg = cv2.imencode(".jpg", np.zeros((PICTURE[1], PICTURE[0], 3), np.uint8))[1].tobytes()
    [found] = serving.run([PictureJob(memoryview(jpeg), 0)])
    assert [box["label"] for box in found["boxes"]] == ["square", "circle"], found
    for got, (box, _label, score) in zip(found["boxes"], THINGS, strict=True):
        ours = [got["x"], got["y"], got["x"] + got["width"], got["y"] + got["height"]]
        assert ours == pytest.approx(in_the_picture(box, preparation), abs=1.0), said
        assert got["score"] == pytest.approx(score, abs=1e-4)
