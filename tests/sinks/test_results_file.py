"""The results file: whole lines, whatever the disk does; never more than may wait."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from tests.running import PATIENCE, until

from imageserver import metrics
from imageserver.errors import SettingError
from imageserver.sinks import results_file
from imageserver.sinks.results_file import ResultsFile

STREAM: Any = SimpleNamespace(id="s1", user="alice")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system with 1 MiB of room."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1M", "tmpfs", disk], capture_output=True).returncode:
        pytest.skip("a small disk takes a user who may mount one")
    yield disk
    subprocess.run(["umount", "-l", disk], check=True)


def predict(results: ResultsFile, number: int, text: str = "") -> None:
    results.predicted(STREAM, cast(Any, None), {"seq": number, "text": text})


def numbers(path: Path) -> list[int]:
    """The predictions in a file; fails on a line that is not whole."""
    return [json.loads(line)["seq"] for line in path.read_text().splitlines()]


def test_every_prediction_is_a_line(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    path.write_text('{"seq": -1}\n')
    results = ResultsFile(str(path), 0, print)
    for number in range(1000):
        predict(results, number, "é")
    results.close(PATIENCE)
    assert numbers(path) == list(range(-1, 1000))
    assert json.loads(path.read_text().splitlines()[1]) == {"stream": "s1", "user": "alice", "seq": 0, "text": "é"}


def test_a_full_disk_takes_whole_lines_alone_and_the_file_goes_on_when_there_is_room(small_disk: Path) -> None:
    path, ballast, said = small_disk / "results.jsonl", small_disk / "ballast", []
    ballast.write_bytes(bytes(600 * 1024))
    dropped = metrics.RESULTS_DROPPED.child()
    before = dropped.value
    results = ResultsFile(str(path), 0, said.append)
    for number in range(200):
        predict(results, number, "x" * 5000)
    until(lambda: len(path.read_text().splitlines()) + dropped.value - before == 200, "the writer")
    ballast.unlink()
    predict(results, 1000)
    results.close(PATIENCE)
    found = numbers(path)
    lost = int(dropped.value - before)
    assert lost
    assert found == [*range(200 - lost), 1000]
    assert said == [
        f"--results {path} cannot be written: the disk is full",
        f"--results {path} can be written again; {lost} predictions are missing in it",
    ]


def test_what_waits_for_a_disk_that_hangs_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results_file, "WAITING_CHARACTERS", 10_000)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    results = ResultsFile(str(pipe), 0, print)
    before = metrics.RESULTS_DROPPED.child().value
    for number in range(500):
        predict(results, number, "x" * 1000)
        assert results._offered - results._taken <= 10_000
    assert metrics.RESULTS_DROPPED.child().value > before
    os.set_blocking(reader, True)
    thread = threading.Thread(target=lambda: [None for _ in iter(lambda: os.read(reader, 65536), b"")], daemon=True)
    thread.start()
    results.close(PATIENCE)
    assert not results._thread.is_alive()
    os.close(results._file._descriptor)
    thread.join(PATIENCE)
    os.close(reader)


def test_a_file_of_the_size_that_it_may_have_is_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    results = ResultsFile(str(path), 10_000, print)
    for number in range(30):
        predict(results, number, "x" * 1000)
        until(results._lines.empty, "the writer")
    results.close(PATIENCE)
    both = numbers(tmp_path / "results.jsonl.1") + numbers(path)
    assert both == list(range(both[0], 30))
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["results.jsonl", "results.jsonl.1"]
    assert all(entry.stat().st_size < 20_000 for entry in tmp_path.iterdir())


def test_what_cannot_be_opened_is_said(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="--results .*: Is a directory; give a file"):
        ResultsFile(str(tmp_path), 0, print)
