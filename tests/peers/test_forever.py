"""What runs for ever goes on after an error, which is told."""

from __future__ import annotations

import pytest

from imageserver.peers import forever
from imageserver.transport import hub


def test_an_error_is_told_once_and_it_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forever, "AGAIN", 0.001)
    calls: list[int] = []
    lines: list[str] = []

    def run() -> None:
        calls.append(1)
        if len(calls) < 4:
            raise KeyError("nobody expected it")

    with hub.Timeout(60):
        hub.spawn(forever.go_on, run, lines.append).wait()
    assert len(calls) == 4
    assert len(lines) == 1 and "KeyError: 'nobody expected it'" in lines[0]


def test_who_ends_it_ends_it() -> None:
    lines: list[str] = []
    task = hub.spawn(forever.go_on, lambda: hub.sleep(3600), lines.append)
    hub.sleep(0)
    task.kill()
    assert not task and not lines
