"""Whose turn it is at the disk of the pictures: few steps at the same time, of lists fewer, and few of these wait."""

from __future__ import annotations

import contextlib
import errno
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from imageserver import limits
from imageserver.errors import LimitExceeded, TimedOut
from imageserver.transport import hub
from imageserver.transport.threads import Threads

DISK_JOBS = 4
"""Threads that may be at the disk at the same time: a slow one must not keep logins from theirs."""

AGAIN = 1.0
"""Seconds after which is tried again what nobody waits for."""

FULL = "too many lists of pictures wait at this moment; try again in a few seconds"

T = TypeVar("T")


class DiskTurns:
    """Turns at the disk.

    Args:
        threads: where a step may hang; None: in those of everybody.
        lists: lists that are made at the same time.
        most: lists that may wait (`snippet_lists`); of one user or address a quarter.
    """

    def __init__(self, threads: Threads | None, lists: int, most: int) -> None:
        self._threads, self._most, self._share = threads, most, max(1, most // 4)
        self._steps, self._lists = hub.Semaphore(DISK_JOBS), hub.Semaphore(lists)
        self._waiting: Counter[str] = Counter()

    def step(self, function: Callable[..., T], *args: Any) -> T:
        """Call `function` in a thread, of which few at a time are at the disk; waits green.

        Raises:
            LimitExceeded: others had all of these threads for as long as a step may take: no fault of the disk.
            OSError: it did not end in that time.
        """
        if self._threads is not None:
            try:
                return self._threads.call(function, *args)
            except TimedOut as error:
                limits.hit("shared_time")
                raise OSError(errno.ETIMEDOUT, "its disk does not answer") from error
        with self._steps:
            return hub.in_thread(function, *args)

    def later(self, function: Callable[..., T], *args: Any) -> T:
        """`step` for what nobody waits for: it is tried again until there is a thread."""
        while True:
            try:
                return self.step(function, *args)
            except LimitExceeded:
                hub.sleep(AGAIN)

    @contextlib.contextmanager
    def listing(self, owner: str | None) -> Iterator[None]:
        """Make a list in the block, when its turn has come; waits green.

        Args:
            owner: who asks for it, as accounts of memory name their owners; None: the server itself, of which one
                waits, for as long as it takes.

        Raises:
            LimitExceeded: too many wait, or this one has waited for as long as a step may take.
        """
        if owner is None:
            self._lists.acquire()
        else:
            self._wait(owner)
        try:
            yield
        finally:
            self._lists.release()

    def _wait(self, owner: str) -> None:
        """Wait for the turn of a list. LimitExceeded."""
        full = self._waiting.total() >= self._most or self._waiting[owner] >= self._share
        if full and self._lists.locked():
            limits.hit("snippet_lists", owner)
            raise LimitExceeded(FULL)
        self._waiting[owner] += 1
        try:
            with hub.Timeout(self._threads.seconds if self._threads else None):
                self._lists.acquire()
        except TimedOut:
            limits.hit("snippet_lists", owner)
            raise LimitExceeded(FULL) from None
        finally:
            self._waiting[owner] -= 1
            if not self._waiting[owner]:
                del self._waiting[owner]
