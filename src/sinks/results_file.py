"""The results file: every prediction of every stream as a line of JSON."""

from __future__ import annotations

import json
import os
import queue
import stat
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from imageserver import files, limits, metrics
from imageserver.errors import SettingError
from imageserver.streams.stream import Frame, Prediction, Stream, StreamSubscriber

MOST_WAITING = 10_000
"""Lines that may wait for the disk."""

WAITING_CHARACTERS = 16 * 2**20
"""Characters that all of them may have together."""

BATCH = 256
"""Lines that are written at once, where so many wait."""

SYNC_EVERY = 5.0
"""Seconds of predictions that a loss of power may cost."""


class ResultsFile(StreamSubscriber):
    """Every prediction as a line of JSON, with `stream` and `user` added, in a file or ('-') on standard output.

    A thread of its own writes, since a full disk or a pipe that nobody reads must not hold the loop; when too much
    waits for it, further lines are dropped and counted. What a full disk does not take is dropped line by line: the
    file never holds half of one, and goes on when there is room.

    Args:
        path: the file, or '-'.
        max_bytes: size at which the file is renamed to `<path>.1`, and begun anew; 0 is no limit.
        log: takes a line about what the operator can mend; called in the thread.

    Raises:
        SettingError: it cannot be opened for appending.
    """

    def __init__(self, path: str, max_bytes: int, log: Callable[[str], None]) -> None:
        self._path, self._max_bytes, self._log = path, max_bytes, log
        self._dropped = metrics.RESULTS_DROPPED.child()
        try:
            self._file = _LinesFile(path)
        except OSError as error:
            raise SettingError(
                f"--results {path}: {error.strerror}; give a file that can be written, or - for standard output"
            ) from error
        self._lines: queue.Queue[str | None] = queue.Queue(MOST_WAITING)
        self._offered = self._taken = 0  # characters; each is counted by one thread alone
        self._lost = 0  # lines since the disk took the last one
        self._thread = threading.Thread(target=self._write, name="results", daemon=True)
        self._thread.start()

    def predicted(self, stream: Stream, frame: Frame, prediction: Prediction) -> None:
        line = json.dumps({"stream": stream.id, "user": stream.user, **prediction}, ensure_ascii=False)
        if self._offered - self._taken + len(line) > WAITING_CHARACTERS:
            self._dropped.inc()
            return
        try:
            self._lines.put_nowait(line)
            self._offered += len(line)
        except queue.Full:
            self._dropped.inc()

    def close(self, timeout: float) -> None:
        """Write what waits, for at most `timeout` seconds. Blocks: call it in a thread."""
        try:
            self._lines.put(None, timeout=timeout)
        except queue.Full:
            return
        self._thread.join(timeout)

    def _write(self) -> None:
        synced = time.monotonic()
        ended = False
        while not ended:
            lines, ended = self._next()
            self._append(lines)
            if ended or time.monotonic() - synced >= SYNC_EVERY:
                self._file.sync()
                synced = time.monotonic()

    def _next(self) -> tuple[list[str], bool]:
        """Wait for lines: a batch of them, and whether they are the last."""
        found = [self._lines.get()]
        while found[-1] is not None and len(found) < BATCH and not self._lines.empty():
            found.append(self._lines.get())
        lines = [line for line in found if line is not None]
        self._taken += sum(map(len, lines))
        return lines, found[-1] is None

    def _append(self, lines: list[str]) -> None:
        """Write lines. The first one that is lost is told, and how many were when the next one is not."""
        try:
            if self._max_bytes and self._file.size() > self._max_bytes:
                limits.hit("results_bytes")
                self._file.rotate()
            written = self._file.append(lines)
        except OSError as error:
            self._lose(len(lines), error.strerror)
            return
        if written < len(lines):
            self._lose(len(lines) - written, "the disk is full")
        elif self._lost:
            self._log(f"--results {self._path} can be written again; {self._lost} predictions are missing in it")
            self._lost = 0

    def _lose(self, count: int, reason: str | None) -> None:
        self._dropped.inc(count)
        if not self._lost:
            self._log(f"--results {self._path} cannot be written: {reason}")
        self._lost += count


class _LinesFile:
    """A file of whole lines, or standard output ('-')."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._descriptor = sys.stdout.fileno() if path == "-" else self._open()
        self._regular = path != "-" and stat.S_ISREG(os.fstat(self._descriptor).st_mode)

    def append(self, lines: list[str]) -> int:
        """Add lines; returns how many of them there was room for. OSError when there was none at all."""
        data = "".join(f"{line}\n" for line in lines).encode("utf-8", "replace")
        before, written = self.size(), 0
        try:
            while written < len(data):
                written += os.write(self._descriptor, data[written:])
        except OSError:
            if not written:
                raise
        whole = data.rfind(b"\n", 0, written) + 1
        if self._regular and whole < written:
            os.ftruncate(self._descriptor, before + whole)
        return data.count(b"\n", 0, whole)

    def size(self) -> int:
        """Bytes; 0 for what is no file."""
        return os.fstat(self._descriptor).st_size if self._regular else 0

    def rotate(self) -> None:
        """Begin anew; what was written becomes `<path>.1`, in place of what was that before. OSError."""
        self.sync()
        os.rename(self._path, f"{self._path}.1")
        former, self._descriptor = self._descriptor, self._open()
        os.close(former)
        files.sync(Path(self._path).parent)

    def sync(self) -> None:
        """Have the disk hold it; where that fails the next attempt to write says so."""
        if self._regular:
            try:
                os.fdatasync(self._descriptor)
            except OSError:
                return

    def _open(self) -> int:
        return os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
