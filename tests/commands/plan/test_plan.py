"""`imageserver plan`: what was measured or given, the plan made of it, and a sentence for whatever is wrong."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from imageserver.commands.plan import cameras, figures, main, measuring, pictures
from imageserver.commands.plan.figures import FrontEndCost, Known, ModelCost
from imageserver.errors import SettingError

FRONT = FrontEndCost(0.25, 70.5, 31.5, 355, 1200, "2026-11-22 on a machine")
MODEL = ModelCost(1.6, 140, 800, 8, "2026-11-22 on a machine")
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    path = tmp_path / "plan.json"
    figures.write(path, Known({40_960: FRONT}, {"lenet": MODEL}))
    return path


@pytest.fixture
def plan(kept: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """The command in this process, with figures of `lenet` at 40K."""

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["imageserver plan", "--figures", str(kept), *arguments])
        try:
            code = main.main()
        except SystemExit as ended:
            code = int(str(ended.code))
        return (code, *capsys.readouterr())

    return run


DEMAND = ("--cameras", "1000", "--model", "lenet", "--processors", "8", "--memory", "16G")


def test_lines_that_a_person_can_check(plan: Run) -> None:
    code, out, err = plan(*DEMAND)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    said = "1,000 cameras, 10 frames a second each, 40,960 bytes a frame, model lenet: 5 machines, 1 of them to spare;"
    assert lines[0] == f"{said} processors decide."
    rows = {words[0]: words[1] for line in lines if len(words := re.split("  +", line)) == 3}
    assert rows["frames"] == "10,000 a second"
    assert rows["workers' work"] == "16 processors"
    assert rows["processors"] == "28.46"  # (2.5 + 16) / 0.65
    assert rows["machines by processors"] == "4"
    assert lines[-2].endswith("2026-11-22 on a machine.") and "(8 at a time)" in lines[-1]


def test_and_for_programs(plan: Run) -> None:
    made = json.loads(plan(*DEMAND, "--json", "--spare", "2")[1])
    assert (made["machines"], made["needed"], made["decided_by"]) == (6, 4, "processors")
    assert made["demand"] == {"cameras": 1000, "hz": 10.0, "size": 40_960, "model": "lenet"}
    assert made["lines"][0] == {
        "name": "frames",
        "value": 10_000.0,
        "unit": "a second",
        "formula": "1,000 cameras x 10",
    }
    assert made["front_end"]["measured"] == made["model"]["measured"] == "2026-11-22 on a machine"


def test_smaller_frames_are_planned_with_larger_ones(plan: Run) -> None:
    assert plan(*DEMAND, "--size", "8K")[0] == 0


def test_what_is_given_stands_in_place_of_what_was_measured(plan: Run) -> None:
    given = ("--model-ms", "20", "--model-memory", "300", "--front-ms", "0.5")
    code, out, _err = plan("--cameras", "10", "--model", "yolox-s", "--memory", "16G", *given)
    assert code == 0 and "300 MB a process: --model-ms, --model-memory as given." in out
    assert "0.5 ms a frame, 70.5 MB" in out and "--front-ms as given; else 2026-11-22 on a machine." in out


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--model", "yolox-s"),
         "there are no figures of the model 'yolox-s' in {kept} (of lenet there are): measure it with --measure on a "
         "machine that has it, or give --model-ms and --model-memory"),
        (("--size", "150K"),
         "there are no figures of a front end at frames of 153,600 bytes in {kept} (but of 40,960, which is less): "
         "measure it here with --measure, or give --front-ms and --front-memory"),
        (("--measure", "--model", "yolox-s"), "there is no model 'yolox-s' to be measured in "),
        (("--measure", "--model", "pulse"), "'pulse' keeps state for a session, and has a worker of its own: "),
        (("--measure", "--models", "/nowhere"), "there is no models folder "),
        (("--accelerator", "--model", "yolox-s"), "--model-ms and --model-memory and --model-pictures"),
        (("--cameras", "none"), "argument --cameras: 'none' is not a whole number from 1 to 100,000,000"),
        (("--cameras", "0"), "argument --cameras: '0' is not a whole number"),
        (("--hz", "nan"), "argument --hz: 'nan' is not a number from 0.001 to 1000"),
        (("--size", "40KB/s"), "argument --size: '40KB/s' is not a size from 1000 to 16M, such as 1500000"),
        (("--utilisation", "100"), "argument --utilisation: '100' is not a number from 10 to 95"),
        (("--memory", "256M"), "a machine of 0.268435 GB has no room for cameras"),
        (("--figures", "/dev/null"), "the figures in /dev/null cannot be read: it is no regular file"),
    ],
)  # fmt: skip
def test_a_sentence_for_each_wrong_input(arguments: tuple[str, ...], sentence: str, plan: Run, kept: Path) -> None:
    code, out, err = plan(*DEMAND, *arguments)
    assert (code, out) == (2, "")
    assert sentence.format(kept=kept) in err
    assert err.splitlines()[-1].startswith("imageserver plan: ") and "Traceback" not in err


def test_without_cameras_or_figures(plan: Run, kept: Path) -> None:
    assert "the following arguments are required: --cameras" in plan("--model", "lenet")[2]
    kept.unlink()
    code, _out, err = plan(*DEMAND)
    assert code == 2 and "there are no figures of a front end" in err


def test_figures_come_back_as_they_were_kept(kept: Path) -> None:
    assert figures.read(kept) == Known({40_960: FRONT}, {"lenet": MODEL})
    assert figures.read(kept.with_name("none")) == Known()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[]", "is no file of figures: name another with --figures"),
        ("{", "is no file of figures"),
        ("[" * 100_000, "is no file of figures"),
        ("\xff", "is no file of figures"),
        ('{"model": {}}', "model: unknown key; did you mean 'models'?"),
        ('{"models": 7}', "models: must be a table"),
        ('{"models": {"lenet": 7}}', "models.lenet.processor_ms: missing, as all else is"),
        ('{"models": {"lenet": {"processor_ms": NaN, "memory_mb": -1}}}', "models.lenet.memory_mb: must be a number"),
        ('{"front_ends": {"big": {}}}', "front_ends.big.big: must be the bytes of a frame"),
        (json.dumps({"models": dict.fromkeys(map(str, range(1001)), 0)}), "models: holds 1001 entries, at most 1000"),
        (" " * (figures.MOST_BYTES + 1), "cannot be read: it is larger than 1048576 bytes"),
    ],
)
def test_files_that_hold_no_figures(text: str, sentence: str, tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(SettingError) as raised:
        figures.read(path)
    assert sentence in str(raised.value)


def test_a_file_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SettingError, match="the figures cannot be kept in .*: name another file with --figures"):
        figures.write(tmp_path / "file" / "plan.json", Known())


@pytest.mark.parametrize("size", [1000, 40_960, 300_000])
def test_pictures_have_as_many_bytes_as_wanted(size: int) -> None:
    drawn = pictures.padded(pictures.digit(), size)
    photograph = bytes(cv2.imencode(".jpg", np.full((16, 16, 3), 90, np.uint8))[1])
    for data, shape in ((drawn, (28, 28)), (pictures.padded(photograph, size), (16, 16))):
        assert len(data) == size
        assert cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE).shape == shape
    assert pictures.padded(photograph, 10) == photograph and pictures.padded(b"GIF89a", 999) == b"GIF89a"


@pytest.mark.parametrize("size", [5, 300, 70_000])
def test_a_frame_of_a_camera_is_masked(size: int) -> None:
    payload = bytes(at % 251 for at in range(size))
    data = cameras.masked(2, payload)
    key, hidden = data[-size - 4 : -size], data[-size:]
    assert bytes(byte ^ key[at % 4] for at, byte in enumerate(hidden)) == payload != hidden


def test_processor_time_of_a_process() -> None:
    assert measuring.processor_time(0) == 0.0 < measuring.processor_time(1) + 1


@pytest.mark.long
def test_it_is_measured_with_real_processes(plan: Run, kept: Path) -> None:
    kept.unlink()
    code, out, err = plan(*DEMAND, "--measure", "--seconds", "0.3")
    assert code == 0, err
    assert err.splitlines()[0] == "Measuring lenet: for 0.3 s at each size of batches …"
    measured = figures.read(kept)
    front, model = measured.front_ends[40_960], measured.models["lenet"]
    assert 0 < front.processor_ms < 50 and 20 < front.memory_mb < 500 and 0 < front.camera_kb < 500
    assert 100 < front.answer_bytes < 2000 and front.answered > 1
    assert 0 < model.processor_ms < 100 and model.pictures > 1 and model.memory_mb > 30
    assert plan(*DEMAND)[1] == out
