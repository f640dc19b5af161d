"""Connections that are refused, as the log tells of them."""

from __future__ import annotations

import pytest

from imageserver.transport import hub
from imageserver.transport.listener import QUIET, Refusals


def test_each_limit_that_refuses_is_named_once_and_the_end_of_all_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[str] = []
    later: list[float] = []
    now = 0.0
    monkeypatch.setattr(hub, "call_later", lambda seconds, _look: later.append(seconds))
    refusals = Refusals(lines.append, lambda: now)
    for second in range(3):
        now = float(second)
        refusals.add("9 connections are open", "max_connections")
        refusals.add("there are too many files", "spare_descriptors")
    assert lines == ["9 connections are open (--max-connections)", "there are too many files (--spare-descriptors)"]
    now = QUIET
    refusals.add("9 connections are open", "max_connections")
    refusals._look()
    assert later == [QUIET, QUIET], "one look for both"
    now = 2 * QUIET - 1
    refusals.add("there are too many files", "spare_descriptors")
    assert len(lines) == 3, "that was over for a while"
    now = 3 * QUIET
    refusals._look()
    assert lines[3:] == ["connections are taken again; 8 were refused or had to wait"]
    refusals.add("9 connections are open", "max_connections")
    assert len(lines) == 5
