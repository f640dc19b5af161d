"""When tokens and page sessions were last used, written by a thread of its own: nobody waits for the disk for that."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping

from imageserver.errors import UsersUnavailable

Mark = tuple[str, str]
"""A table, and the id of a row in it."""

_PAUSE = 60.0
"""Seconds for which nothing is tried once a write has failed: the database may be for reading alone."""


class Marks:
    """Gathers marks while a write is going on, and writes them with the next: one thread at most, none without need.

    Args:
        write: Writes them; may raise UsersUnavailable.
        clock: Monotonic seconds.
    """

    def __init__(
        self, write: Callable[[Mapping[Mark, float]], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._write, self._clock = write, clock
        self._due: dict[Mark, float] = {}
        self._lock = threading.Lock()
        self._writing: threading.Thread | None = None
        self._not_before = clock()

    def note(self, mark: Mark, when: float) -> None:
        """It was used at this time, in seconds since 1970. Never blocks."""
        with self._lock:
            self._due[mark] = when
            if self._writing is None and self._clock() >= self._not_before:
                self._writing = threading.Thread(target=self._run, name="last-used", daemon=True)
                self._writing.start()

    def settle(self) -> None:
        """Wait until all that could be written is."""
        with self._lock:
            writing = self._writing
        if writing is not None:
            writing.join()

    def _run(self) -> None:
        while True:
            with self._lock:
                due, self._due = self._due, {}
                if not due:
                    self._writing = None
                    return
            try:
                self._write(due)
            except UsersUnavailable:
                with self._lock:
                    self._not_before = self._clock() + _PAUSE
                    self._writing = None
                return
