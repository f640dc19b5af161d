"""One model on pictures or a video, without a server."""

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from tests.generators.watching import MODELS

from imageserver.inference import try_model

SOURCE = Path(try_model.__file__)
MANIFEST = (
    'kind = "custom"\n[input]\nwidth = 8\nheight = 8\npreprocessing = "none"\n[runtime]\nruntime = "python"\n[state]\n'
)

BODY = """
class Model:
    def __init__(self, *_): ...
    def start(self, *_): {start}
    def forward_single_frame(self, *_): {frame}
    def end(self, *_): ...
"""


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(3):
        cv2.imwrite(str(folder / f"{number}.png"), np.full((24, 32, 3), (number * 50, 0, 0), np.uint8))
    (folder / "notes.txt").write_text("not a picture")
    return folder


def model(tmp_path: Path, body: str, state: str = "") -> Path:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "model.toml").write_text(MANIFEST + state)
    (folder / "model.py").write_text(body)
    return folder


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_pictures_come_in_order_with_times_and_end_closes(pictures: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert try_model.main([str(MODELS / "mock_fast"), str(pictures), "--fps", "4"]) == 0
    found = lines(capsys)
    assert [entry["timestamp"] for entry in found] == [0, 250, 500, 500]
    assert [entry["mock_fast_frames"] for entry in found] == [1, 2, 3, 3]
    assert [entry.get("mock_fast_brightness") for entry in found] == [0.0, 16.7, 33.3, None]


def test_a_video_keeps_its_own_times(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = str(tmp_path / "video.avi")
    writer = cv2.VideoWriter(file, cv2.VideoWriter.fourcc(*"MJPG"), 20, (64, 48))
    for _ in range(5):
        writer.write(np.full((48, 64, 3), 90, np.uint8))
    writer.release()
    assert try_model.main([str(MODELS / "mock_fast"), file, "--limit", "4"]) == 0
    assert [entry["timestamp"] for entry in lines(capsys)] == [0, 50, 100, 150, 150]


def test_quiet_prints_the_last_result_only(pictures: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert try_model.main([str(MODELS / "mock_fast"), str(pictures), "--quiet"]) == 0
    assert lines(capsys) == [{"timestamp": 200, "mock_fast_frames": 3}]


def test_a_model_without_state_gets_each_picture(pictures: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert try_model.main([str(MODELS / "faces"), str(pictures), "--limit", "1"]) == 0
    (found,) = lines(capsys)
    assert found["boxes"] == []


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (
            "class Model:\n    def start(self, sid, timestamp): ...",
            "has no class Model with start, forward_single_frame, end",
        ),
        ("x = 1", "has no class Model with start, forward_single_frame, end"),
        ("def broken(:", "does not load: SyntaxError"),
    ],
)
def test_a_model_that_cannot_run_is_told_in_a_sentence(
    tmp_path: Path, pictures: Path, body: str, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert try_model.main([str(model(tmp_path, body)), str(pictures)]) == 1
    assert sentence in capsys.readouterr().err


@pytest.mark.parametrize(("result", "sentence"), [("7", "returned int"), ("{'x': object()}", "cannot become JSON")])
def test_a_result_that_no_session_could_send_is_refused(
    tmp_path: Path, pictures: Path, result: str, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    body = BODY.format(start="...", frame=f"return {result}")
    assert try_model.main([str(model(tmp_path, body)), str(pictures)]) == 1
    assert sentence in capsys.readouterr().err


def test_what_the_model_raises_is_shown_to_its_author(tmp_path: Path, pictures: Path) -> None:
    body = BODY.format(start="1 / 0", frame="...")
    with pytest.raises(ZeroDivisionError):
        try_model.main([str(model(tmp_path, body)), str(pictures)])


@pytest.mark.parametrize(("source", "sentence"), [("nowhere.mp4", "no file or folder"), ("empty", "no frames")])
def test_a_source_without_frames_is_told_in_a_sentence(
    tmp_path: Path, source: str, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    assert try_model.main([str(MODELS / "mock_fast"), str(tmp_path / source)]) == 1
    assert sentence in capsys.readouterr().err


def test_it_runs_as_a_file_from_any_folder(tmp_path: Path, pictures: Path) -> None:
    command = [sys.executable, str(SOURCE), str(MODELS / "mock_fast"), str(pictures), "--quiet"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"timestamp": 200, "mock_fast_frames": 3}
    assert done.stderr.startswith("3 frames; ms a frame")
