"""A clock and its timers for tests: time moves when the test says so."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from imageserver.transport import hub


def replace_in_hub(monkeypatch: pytest.MonkeyPatch, *modules: ModuleType, **names: Any) -> None:
    """Have these modules alone see other functions in the hub.

    Not in the hub itself: servers that former tests left in this process go on in its loop, and a call that one of
    them wants later, or waits for, would be lost in a test's stand-in for ever.
    """
    for module in modules:
        monkeypatch.setattr(module, "hub", SimpleNamespace(**{**vars(hub), **names}))


class Later:
    """Stands in for `hub.call_later`, `hub.spawn_later` and, with `clock`, for `time.monotonic`."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.timers: list[LaterTimer] = []

    def __call__(self, seconds: float, function: Callable[..., Any], *args: Any) -> LaterTimer:
        timer = LaterTimer(self, self.now + seconds, lambda: function(*args))
        self.timers.append(timer)
        return timer

    def clock(self) -> float:
        return self.now

    def move(self, seconds: float) -> None:
        """Let time pass; what is due then is called, in the order in which it was set."""
        self.now += seconds
        for timer in [timer for timer in self.timers if timer.when <= self.now]:
            if timer in self.timers:  # not cancelled by one before it
                self.timers.remove(timer)
                timer.function()


class LaterTimer:
    """A call to come."""

    def __init__(self, later: Later, when: float, function: Callable[[], Any]) -> None:
        self._later, self.when, self.function = later, when, function

    def cancel(self) -> None:
        """Harmless when it was called already."""
        if self in self._later.timers:
            self._later.timers.remove(self)
