"""The process that draws for viewers: what it draws, and what it does to nobody else."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import cv2
import numpy as np
import pytest
from tests.running import alive, picture

from imageserver.errors import ModelUnavailable, PictureError, Stopping
from imageserver.inference.server.costly import drawing
from imageserver.inference.server.costly import process as processes
from imageserver.inference.server.costly.drawing import DrawingProcess
from imageserver.inference.server.jails.rights import Jails
from imageserver.limits import Limits
from imageserver.transport import hub

LINES: list[str] = []


def drawing_process(folder: Path) -> DrawingProcess:
    jail = Jails([folder], folder).pictures()
    arguments = ["--max-pixels", str(10**7)]
    return DrawingProcess(arguments, Limits(), jail, warn=LINES.append, clock=time.monotonic)


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DrawingProcess]:
    found = drawing_process(tmp_path_factory.mktemp("models"))
    yield found
    found.stop()


def pixels(jpeg: bytes) -> Any:
    return cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)


def boxed(*boxes: Any) -> dict[str, Any]:
    return {"boxes": list(boxes), "size": [640, 480], "model": "faces"}


def test_boxes_stand_where_they_are_in_the_upright_picture(process: DrawingProcess) -> None:
    box = {"x": 100, "y": 200, "width": 50, "height": 60, "label": "face", "score": 0.97}
    plain = pixels(process.draw(picture(0, 640, 480), 0, boxed()))
    found = pixels(process.draw(picture(0, 640, 480), 0, boxed(box)))
    assert plain.shape == found.shape == (480, 640, 3)
    assert plain.max() < 10
    for x, y in ((100, 230), (150, 230), (125, 260), (125, 200)):
        blue, green, red = found[y, x].astype(int)
        assert green > 120 > max(blue, red), (x, y)
    assert found[230, 125].max() < 60, "within the box is the picture"
    turned = pixels(process.draw(picture(0, 480, 640), 90, boxed(box)))
    assert turned.shape == (480, 640, 3)
    assert turned[230, 100, 1] > 120


def test_keypoints_are_dots(process: DrawingProcess) -> None:
    box = {"x": 100, "y": 200, "width": 90, "height": 90, "label": "person", "score": 0.97}
    box["keypoints"] = [[140, 240, 0.9], [150, 260], [None, 3], "x", [1e300, -1e300], []]
    found = pixels(process.draw(picture(0, 640, 480), 0, boxed(box)))
    assert found[240, 140, 1] > 120
    assert found[260, 150, 1] > 120
    assert found[250, 120].max() < 60
    box["keypoints"] = [[140, 240, 0.9]] * 100_000
    assert process.draw(picture(0, 640, 480), 0, boxed(box))


def test_small_pictures_are_enlarged_and_large_ones_made_smaller(process: DrawingProcess) -> None:
    assert pixels(process.draw(picture(9, 28, 28), 0, {"label": "7", "score": 0.9, "model": "lenet"})).shape[0] == 320
    box = {"x": 2000, "y": 1000, "width": 400, "height": 400, "label": "face", "score": 1}
    found = pixels(process.draw(picture(0, 3000, 2000), 0, boxed(box)))
    assert found.shape == (853, 1280, 3)
    assert found[int(1200 * 1280 / 3000), int(2000 * 1280 / 3000), 1] > 100


@pytest.mark.parametrize(
    "prediction",
    [
        {"boxes": "none"},
        {"boxes": [None, 7, {}, {"x": "1", "y": 2, "width": 3, "height": 4}, {"x": None}]},
        {"boxes": [{"x": 1e30, "y": -1e300, "width": 1e9, "height": 5, "label": ["x"], "score": "high"}]},
        {"boxes": [{"x": 0, "y": 0, "width": 1, "height": 1}] * 100_000},
        {"label": "x" * 100_000, "score": None, "model": {"a": 1}},
        {"label": "Tür ✓", "score": True},
        {"label": {"deep": [1]}, "score": [2]},
    ],
)
def test_whatever_a_models_code_says_is_drawn_or_left_out(process: DrawingProcess, prediction: dict[str, Any]) -> None:
    assert pixels(process.draw(picture(), 0, prediction)).shape == (240, 320, 3)
    assert LINES == []


@pytest.mark.parametrize(
    ("data", "why"), [(b"no picture", "no JPEG"), (picture()[:-50], "cut short"), (picture(0, 4000, 3000), "pixels")]
)
def test_a_picture_that_cannot_be_decoded_is_an_error_and_costs_no_process(
    process: DrawingProcess, data: bytes, why: str
) -> None:
    pid = process._processes.started().process.pid
    with pytest.raises(PictureError, match=why):
        process.draw(data, 0, {})
    assert alive(pid)


def test_it_gives_way_to_the_workers(process: DrawingProcess) -> None:
    process.draw(picture(), 0, {})
    mine = os.getpriority(os.PRIO_PROCESS, 0)
    assert os.getpriority(os.PRIO_PROCESS, process._processes.started().process.pid) == min(mine + 10, 19)


def test_a_picture_that_ends_it_is_put_off_and_others_are_drawn(process: DrawingProcess) -> None:
    running = process._processes.started()
    kill = mock.Mock(side_effect=lambda *_picture: os.kill(running.process.pid, signal.SIGSEGV))
    with mock.patch.object(running._arena, "write", kill), pytest.raises(PictureError, match="too long to decode"):
        process.draw(picture(3), 0, {})
    assert "ended its process by signal SIGSEGV" in LINES.pop()
    with pytest.raises(PictureError, match="tried again in"):
        process.draw(picture(3), 0, {})
    assert process.draw(picture(4), 0, {})


def test_it_ends_when_nobody_asks_and_comes_back(process: DrawingProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drawing, "KEEP_IDLE", 0.01)
    process.draw(picture(), 0, {})
    pid = process._processes.started().process.pid
    while alive(pid):
        hub.sleep(0.01)
    monkeypatch.undo()
    assert process.draw(picture(), 0, {})


def test_one_that_cannot_be_started_is_told_once_and_none_is_after_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = drawing_process(tmp_path)
    monkeypatch.setattr(processes, "PictureProcess", mock.Mock(side_effect=OSError(24, "Too many open files")))
    for _time in range(2):
        with pytest.raises(ModelUnavailable, match="nothing can be drawn"):
            found.draw(picture(), 0, {})
    assert LINES == ["the process that draws for viewers cannot be started (Too many open files)"]
    LINES.clear()
    found.stop()
    with pytest.raises(Stopping):
        found.draw(picture(), 0, {})
