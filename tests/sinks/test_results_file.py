"""The results file; how its lines are written, tests/test_lines.py has."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from tests.running import PATIENCE

from imageserver import metrics
from imageserver.errors import SettingError
from imageserver.sinks.results_file import ResultsFile

STREAM: Any = SimpleNamespace(id="s1", user="alice")


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


def test_a_file_of_the_size_that_it_may_have_is_begun_anew_and_the_limit_is_counted(tmp_path: Path) -> None:
    path, hits = tmp_path / "results.jsonl", metrics.LIMITS_HIT.child("results-bytes")
    path.write_text('{"seq": -1}\n')
    before = hits.value
    results = ResultsFile(str(path), 5, print)
    predict(results, 0)
    results.close(PATIENCE)
    assert (numbers(tmp_path / "results.jsonl.1"), numbers(path)) == ([-1], [0])
    assert hits.value == before + 1


def test_predictions_that_cannot_be_written_are_counted() -> None:
    dropped = metrics.RESULTS_DROPPED.child()
    before = dropped.value
    results = ResultsFile("/dev/full", 0, lambda _line: None)
    predict(results, 0)
    results.close(PATIENCE)
    assert dropped.value == before + 1


def test_what_cannot_be_opened_is_said(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="--results .*: Is a directory; give a file"):
        ResultsFile(str(tmp_path), 0, print)
