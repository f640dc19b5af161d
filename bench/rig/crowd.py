"""All cameras: half of them of each generation of Socket.IO, through the proxy."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack

from tests.faults.load import Cameras, Figures
from tests.running import until

PATIENCE = 120.0


class Crowd:
    """Marked cameras of both generations, as a context.

    Args:
        port: Of the proxy.
        count: How many.
        hz: Frames a second of each.
        logins: Names and passwords of those of generation 3, and of those of generation 4, in turn.
    """

    def __init__(self, port: int, count: int, hz: float, logins: tuple[list[list[str]], list[list[str]]]) -> None:
        self.count = count
        self._port, self._hz, self._logins = port, hz, logins
        self._stack = ExitStack()
        self._cameras: list[Cameras] = []

    def __enter__(self) -> Crowd:
        elder = self.count // 2
        first = 1
        for generation, count, logins in zip((3, 4), (elder, self.count - elder), self._logins, strict=True):
            wishes = {"count": count, "hz": self._hz, "generation": generation, "marked": first, "logins": logins}
            self._cameras.append(self._stack.enter_context(Cameras(self._port, reconnect=True, **wishes)))
            first += count
        self.until(lambda seen: seen.connected == self.count and seen.answered >= self.count, "all cameras")
        self.figures()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._cameras.clear()
        self._stack.close()

    def again(self) -> None:
        """End all and begin anew, so that the proxy deals them out to all front ends that are there now."""
        self.__exit__()
        self.__enter__()

    def figures(self) -> Figures:
        """What all saw since the last call."""
        return self._together(Cameras.figures)

    def look(self) -> Figures:
        """The same, without beginning anew."""
        return self._together(Cameras.look)

    def during(self, seconds: float) -> Figures:
        """What they see in the next `seconds`."""
        self.figures()
        time.sleep(seconds)
        return self.figures()

    def until(self, condition: Callable[[Figures], object], what: str) -> None:
        """Wait until what they saw since the last call of `figures` is so."""
        until(lambda: condition(self.look()), what, PATIENCE, 0.5)

    def _together(self, ask: Callable[[Cameras], Figures]) -> Figures:
        together = Figures()
        for cameras in self._cameras:
            found = ask(cameras)
            together.add(found)
            together.connected += found.connected
            together.seconds = max(together.seconds, found.seconds)
        return together
