"""What the server looks for every second or two it looks for often here: the loop runs in the test's own thread."""

from __future__ import annotations

import pytest

from imageserver.inference.server import catalogue, child_process, pool


@pytest.fixture(autouse=True)
def _looks_are_frequent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogue, "SCAN_EVERY", 0.2)
    monkeypatch.setattr(child_process, "LOOK_EVERY", 0.2)
    monkeypatch.setattr(pool, "LIMIT_CHECK_EVERY", 0.1)
