"""Native threads for what may never come back, such as a file of another machine: few, and waited for within bounds.

The threads of `hub.in_thread` are for what ends: everybody shares them, and the process waits for them at its end.
"""

from __future__ import annotations

import collections
import contextlib
import errno
import queue
import socket
import threading
import traceback
from collections.abc import Callable
from typing import Any, TypeVar, cast

from imageserver.errors import LimitExceeded, TimedOut
from imageserver.limits import hit
from imageserver.transport import hub

T = TypeVar("T")

_present = threading.local()


class Threads:
    """Threads of one name, started when they are needed; no process waits for them at its end.

    Args:
        name: what they are for.
        most: how many there may be. Where half of them hang, a further call is refused at once.
        seconds: for which a call waits at most for a thread, and then as long again for what it does.
        limit: that counts it where no thread was free in that time, a field of `Limits`; "": none does.
    """

    def __init__(self, name: str, most: int, seconds: float, limit: str = "") -> None:
        self._name, self._most, self.seconds, self._limit = name, most, seconds, limit
        self._free = hub.Semaphore(most)
        self._jobs: queue.SimpleQueue[_Job] = queue.SimpleQueue()
        self._done: collections.deque[_Job] = collections.deque()
        self._running = self._started = self._overdue = 0
        self._ends: tuple[socket.socket, socket.socket] | None = None

    def call(self, function: Callable[..., T], *args: Any) -> T:
        """Call `function(*args)` in a thread and wait green for its result or exception.

        Raises:
            TimedOut: it has not ended in that time, or too many hang. What has begun goes on, nobody takes its result,
                and `overdue` tells it so.
            LimitExceeded: no thread was free in that time, as others have them: no word on what they are at.
            OSError: the system lets no thread be started.
        """
        job = _Job(function, args)
        self._take()
        self._start(job)
        if not job.ended.wait(self.seconds):
            job.overdue = True
            self._overdue += 1
            raise TimedOut(self.seconds)
        return cast(T, job.result())

    def _take(self) -> None:
        """Wait for one that is free. TimedOut, LimitExceeded."""
        if self._hang:
            raise TimedOut(self.seconds)
        try:
            with hub.Timeout(self.seconds):
                self._free.acquire()
        except TimedOut:
            if self._hang:
                raise
            if self._limit:
                hit(self._limit)
            sentence = f"too many are at the {self._name} at this moment; try again in a few seconds"
            raise LimitExceeded(sentence) from None

    @property
    def _hang(self) -> bool:
        """Whether too many do."""
        return 2 * self._overdue >= self._most

    def _start(self, job: _Job) -> None:
        """Give it to a thread. OSError: there is none, and none can be started."""
        try:
            if self._ends is None:
                self._ends = socket.socketpair()
                hub.spawn(self._watch, hub.green(self._ends[0]))
            if self._running == self._started:
                threading.Thread(target=self._work, args=(self._ends[1],), name=self._name, daemon=True).start()
                self._started += 1
        except RuntimeError as error:
            self._free.release()
            raise OSError(errno.EAGAIN, str(error)) from error
        except OSError:
            self._free.release()
            raise
        self._running += 1
        self._jobs.put(job)

    def _work(self, told: socket.socket) -> None:
        """What each thread does, for ever."""
        while True:
            job = _present.job = self._jobs.get()
            job.run()
            self._done.append(job)
            del job, _present.job
            with contextlib.suppress(OSError):  # the process is at its end
                told.send(b" ")

    def _watch(self, ours: hub.Socket) -> None:
        """Wake whoever waits, in the loop."""
        while ours.recv(64):
            while self._done:
                job = self._done.popleft()
                self._running -= 1
                self._overdue -= job.overdue
                self._free.release()
                job.ended.set()


def overdue() -> bool:
    """Whether nobody waits any more for what this thread does, one of `Threads`: who did was told that it failed."""
    job: _Job | None = getattr(_present, "job", None)
    return job is not None and job.overdue


class _Job:
    """A call, and what comes of it."""

    def __init__(self, function: Callable[..., Any], args: tuple[Any, ...]) -> None:
        self._call: tuple[Callable[..., Any], tuple[Any, ...]] | None = (function, args)
        self._result: Any = None
        self._error: Exception | None = None
        self.ended = hub.Event()
        self.overdue = False

    def run(self) -> None:
        """Make the call; in the thread."""
        if self._call is None:
            return
        function, args = self._call
        try:
            self._result = function(*args)
        except Exception as error:  # noqa: BLE001 - it is raised where it is waited for
            traceback.clear_frames(error.__traceback__)
            self._error = error
        self._call = None

    def result(self) -> Any:
        """What it returned; what it raised is raised."""
        error, self._error = self._error, None
        if error is None:
            return self._result
        try:
            raise error
        finally:
            del error
