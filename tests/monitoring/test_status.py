"""The status lines: one for each stream that gets frames, and never thousands."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest

from imageserver.monitoring import status
from imageserver.monitoring.status import StatusLines


@dataclass
class Counted:
    """What the lines read of a stream."""

    name: str
    received: int = 0
    answered_count: int = 0
    dropped: int = 0
    refused: int = 0
    last_prediction: Any = None


def lines_of(streams: dict[str, Counted], most: int) -> StatusLines:
    found: Any = SimpleNamespace(open_streams=streams)
    return StatusLines(found, most, print)


def test_streams_with_frames_have_a_line() -> None:
    streams = {"1": Counted("alice", received=10, answered_count=5), "2": Counted("idle")}
    lines = lines_of(streams, 10)
    assert list(lines.lines(5.0)) == ["alice: 2.0 frames/s in, 1.0 answered, 0 dropped"]
    assert list(lines.lines(5.0)) == []
    streams["1"].received, streams["2"].received = 15, 5
    assert len(list(lines.lines(5.0))) == 2


def test_of_thousands_only_the_sums_are_told_and_the_loop_has_its_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses = []
    monkeypatch.setattr(status.fairness, "pause", lambda: pauses.append(1))
    streams = {str(number): Counted(f"user {number}", received=10, answered_count=5) for number in range(5000)}
    found = list(lines_of(streams, 100).lines(5.0))
    assert len(found) == 101
    assert found[-1] == "4900 further streams: 9800.0 frames/s in, 4900.0 answered (--status-lines)"
    assert len(pauses) == 25
