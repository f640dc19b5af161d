"""Waiting within the test's own loop, for tests that run parts of the server in their process."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from tests.running import PATIENCE

from imageserver.transport import hub


def until(condition: Callable[[], Any]) -> None:
    """Let the loop turn until `condition()` holds."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        hub.sleep(0.005)
