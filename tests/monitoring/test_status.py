"""The status lines: one for each stream that gets frames, and never thousands."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from imageserver.limits import Limits
from imageserver.monitoring.status import StatusLines
from imageserver.streams import overview
from imageserver.streams.overview import Overview
from imageserver.streams.stream import Stream, Streams, StreamSubscriber


def streams_of(*counts: tuple[str, int, int]) -> tuple[Overview, list[Stream]]:
    """Streams by name, frames received and answered."""
    engine: Any = None
    streams = Streams(engine, Limits())
    found = []
    for index, (name, received, answered) in enumerate(counts):
        options: dict[str, Any] = {"protocol": "test", "model": "m", "hz": 0.0, "rotate": 0}
        stream = streams.open(str(index), name, subscriber=StreamSubscriber(), **options)
        stream.received, stream.answered_count = received, answered
        found.append(stream)
    sessions: Any = SimpleNamespace(open_sessions={})
    return Overview(streams, sessions), found


def test_streams_with_frames_have_a_line() -> None:
    seen, streams = streams_of(("alice", 10, 5), ("idle", 0, 0))
    lines = StatusLines(seen, 10, print)
    assert list(lines.lines(5.0)) == ["alice: 2.0 frames/s in, 1.0 answered, 0 dropped"]
    assert list(lines.lines(5.0)) == []
    streams[0].received, streams[1].received = 15, 5
    assert len(list(lines.lines(5.0))) == 2


def test_of_thousands_only_the_sums_are_told_and_the_loop_has_its_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses = []
    monkeypatch.setattr(overview.fairness, "pause", lambda: pauses.append(1))
    seen, _streams = streams_of(*((f"user {number}", 10, 5) for number in range(5000)))
    found = list(StatusLines(seen, 100, print).lines(5.0))
    assert len(found) == 101
    assert found[-1] == "4900 further streams: 9800.0 frames/s in, 4900.0 answered (--status-lines)"
    assert len(pauses) == 25
