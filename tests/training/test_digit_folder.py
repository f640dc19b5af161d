"""A training set from a folder of labelled pictures, and the command that reports what it skipped and why."""

import os
import subprocess
import sys

import cv2
import numpy as np
import pytest
from tests.running import ROOT

from imageserver.errors import TrainingError
from imageserver.training import digit_folder, training_set
from imageserver.training.lenet import data as lenet_data
from imageserver.training.lenet.strokes import draw


def sheet(label, seed):
    """A digit drawn dark on light, 90 pixels square."""
    ink = draw(label, 90, np.random.default_rng(seed))
    return (235 - 200 * ink).astype(np.uint8)


@pytest.fixture
def folder(tmp_path):
    """Eleven good pictures of each digit, some of them in a folder below, and one of everything that is skipped."""
    pictures = tmp_path / "pictures"
    (pictures / "more").mkdir(parents=True)
    for seed in range(110):
        suffix = (".jpg", ".png", ".bmp", ".tiff")[seed % 4]
        cv2.imwrite(
            str(pictures / ("more" if seed > 100 else "") / f"{seed % 10}_{seed}{suffix}"), sheet(seed % 10, seed)
        )
    (pictures / "seven.png").write_bytes((pictures / "7_17.png").read_bytes())
    (pictures / "3_notes.txt").write_text("a note")
    (pictures / "3_broken.png").write_bytes(b"no picture")
    (pictures / "5_copy.png").write_bytes((pictures / "5_25.png").read_bytes())
    (pictures / "6_copy.png").write_bytes((pictures / "5_25.png").read_bytes())
    cv2.imwrite(str(pictures / "1_small.png"), np.full((20, 20), 200, np.uint8))
    cv2.imwrite(str(pictures / "1_blank.png"), np.full((90, 90), 200, np.uint8))
    (pictures / ".hidden").write_text("not looked at")
    return pictures


SKIPPED = {
    "seven.png": "does not begin with the digit",
    "3_notes.txt": "it is not one of",
    "3_broken.png": "no JPEG, PNG",
    "5_copy.png": "the same picture as 5_25.png",
    "6_copy.png": "under another digit",
    "1_small.png": "20x20 pixels",
    "1_blank.png": "nothing drawn",
}


def test_pictures_are_read_and_divided(folder):
    found = digit_folder.read(folder)
    assert {name for name, _reason in found.skipped} == set(SKIPPED)
    for name, reason in found.skipped:
        assert SKIPPED[name] in reason
    data = found.data
    assert (len(data.y_train), len(data.y_test)) == (80, 30)
    assert np.bincount(data.y_test).tolist() == [3] * 10
    assert data.x_train.dtype == np.uint8
    assert data.x_train.shape[1:] == (28, 28)
    again = digit_folder.read(folder).data
    assert np.array_equal(again.x_test, data.x_test)
    held_out, learnt = ({picture.tobytes() for picture in part} for part in (data.x_test, data.x_train))
    assert not held_out & learnt


def test_what_is_no_file_is_not_waited_for_and_too_many_files_are_refused(folder):
    os.mkfifo(folder / "7_pipe.png")
    (folder / "7_large.png").write_bytes(bytes(20_000_000))
    skipped = dict(digit_folder.read(folder).skipped)
    assert skipped["7_pipe.png"] == "it cannot be read: it is no regular file"
    assert "larger than" in skipped["7_large.png"]
    with pytest.raises(TrainingError, match=r"holds over 100 files or folders \(--training-pictures\): divide it"):
        digit_folder.read(folder, most=100)
    for number in range(101):
        (folder / "deep" / str(number)).mkdir(parents=True)
    with pytest.raises(TrainingError, match="holds over 100 files or folders"):
        digit_folder.read(folder / "deep", most=100)


def test_too_few_pictures_or_none_are_refused(folder, tmp_path):
    for path in folder.glob("4_*"):
        path.unlink()
    with pytest.raises(TrainingError, match="too few pictures of 4: at least 10"):
        digit_folder.read(folder)
    with pytest.raises(FileNotFoundError):
        digit_folder.read(tmp_path / "absent")


@pytest.mark.parametrize("command", ["src/training_set.py", "src/training/training_set.py"])
def test_the_command_reports_and_writes_what_mnist_looks_like(folder, tmp_path, command):
    output = tmp_path / "digits.npz"
    done = subprocess.run(
        [sys.executable, ROOT / command, folder, "-o", output],
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    for name, reason in SKIPPED.items():
        assert any(f"skipped {name}: " in line and reason in line for line in done.stdout.splitlines())
    assert "skipped: 7" in done.stdout
    assert len(lenet_data.load(output).y_train) == 80
    assert training_set.main([str(tmp_path / "absent")]) == 2
