"""Where the server's lines go: standard output (standard error when results go there), written by a thread.

Neither the loop nor the end of the process waits for a terminal or a pipe that nobody reads; when `MOST_WAITING`
lines wait, further ones are dropped and counted. What clients send reaches a line only in parts (a name, a path), and
cannot begin another line or steer a terminal. Warnings of one kind from one address are summed up each minute
(repeats.py).
"""

from __future__ import annotations

import contextlib
import datetime
import json
import logging
import logging.handlers
import os
import queue
import sys
import time
from collections.abc import Callable
from typing import TextIO

from imageserver import metrics
from imageserver.app.repeats import Repeats, shortened
from imageserver.lines import printable

MOST_WAITING = 10_000
LOOK_EVERY = 5.0
"""Seconds between two looks at what is to be summed up, when nothing else is logged."""
LAST_LINES = 0.5
"""Seconds that the last lines have: a terminal or a pipe may take none for ever."""
LOGGER = logging.getLogger("imageserver")


class _Handler(logging.handlers.QueueHandler):
    """Hands lines to the thread that writes them, but for repeated warnings."""

    def __init__(self, waiting: queue.Queue[logging.LogRecord], clock: Callable[[], float]) -> None:
        super().__init__(waiting)
        self._repeats = Repeats(clock)

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno != logging.WARNING:
            super().emit(record)
            return
        self._sum_up()
        if self._repeats.passes(record.getMessage()):
            super().emit(record)

    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        made: logging.LogRecord = super().prepare(record)
        if made.levelno < logging.ERROR:  # those have a traceback
            made.msg = made.message = shortened(made.message)
        return made

    def sum_up(self, *, all_of_them: bool = False) -> None:
        """Log what there is to say of lines that did not pass; from any thread."""
        with self.lock or contextlib.nullcontext():
            self._sum_up(all_of_them)

    def _sum_up(self, all_of_them: bool = False) -> None:
        for line in self._repeats.sums(all_of_them=all_of_them):
            super().emit(logging.LogRecord(LOGGER.name, logging.WARNING, "", 0, line, (), None))

    def enqueue(self, record: logging.LogRecord) -> None:
        try:
            self.queue.put_nowait(record)
        except queue.Full:
            metrics.LOG_LINES_DROPPED.inc()


class Sentences(logging.Formatter):
    """The sentence alone; what deserves attention says so in front."""

    def format(self, record: logging.LogRecord) -> str:
        line = printable(super().format(record))
        return line if record.levelno < logging.WARNING else f"{record.levelname.lower()}: {line}"


class JsonLines(logging.Formatter):
    """One object a line: time (ISO 8601, UTC), level, message, pid. ASCII, so that any reader's encoding will do."""

    def format(self, record: logging.LogRecord) -> str:
        time = datetime.datetime.fromtimestamp(record.created, datetime.UTC).isoformat(timespec="milliseconds")
        line = {
            "time": time,
            "level": record.levelname.lower(),
            "message": super().format(record),
            "pid": record.process,
        }
        return json.dumps(line)


class _Output(logging.Handler):
    """Writes each line whole. What a full disk or a reader who has gone does not take is counted, and told later."""

    def __init__(self, stream: TextIO | None) -> None:
        super().__init__()
        self._stream = stream
        self._lost = 0
        self._torn = False

    def handle(self, record: logging.LogRecord) -> bool:
        # Without the lock: one thread writes, maybe for ever, and logging takes all locks when the process ends.
        try:
            self.emit(record)
        except Exception:  # noqa: BLE001
            self.handleError(record)  # the next line may be well
        return True

    def emit(self, record: logging.LogRecord) -> None:
        lost = f"{self._lost} lines of the log could not be written before this one"
        told = [logging.LogRecord(LOGGER.name, logging.WARNING, "", 0, lost, (), None)] if self._lost else []
        text = "".join(f"{self.format(each)}\n" for each in (*told, record))
        try:
            self._write("\n" + text if self._torn else text)
        except OSError:
            self._lost += 1
            metrics.LOG_LINES_DROPPED.inc()
            return
        self._lost, self._torn = 0, False

    def _write(self, text: str) -> None:
        if self._stream is None:
            return
        try:
            descriptor = self._stream.fileno()
        except (AttributeError, OSError):  # it is no file
            self._stream.write(text)
            return
        # Not by the stream, which keeps what it could not write and begins with that the next time.
        data = memoryview(text.encode(errors="backslashreplace"))
        while data:
            data = data[os.write(descriptor, data) :]
            self._torn = bool(data)


class _Listener(logging.handlers.QueueListener):
    """The thread that writes the lines, and sees to it that repeated ones are told though nothing else is logged."""

    def __init__(self, waiting: queue.Queue[logging.LogRecord], output: logging.Handler, summing: _Handler) -> None:
        super().__init__(waiting, output)
        self._waiting, self._summing = waiting, summing

    def dequeue(self, block: bool) -> logging.LogRecord:
        while True:
            try:
                return self._waiting.get(block, LOOK_EVERY)
            except queue.Empty:
                self._summing.sum_up()

    def stop(self) -> None:
        self._summing.sum_up(all_of_them=True)
        thread, self._thread = self._thread, None
        with contextlib.suppress(queue.Full):
            self.enqueue_sentinel()
        if thread is not None:
            thread.join(LAST_LINES)  # it ends with the process, wherever it is


def start(
    level: str, *, to_stderr: bool, as_json: bool = False, clock: Callable[[], float] = time.monotonic
) -> logging.handlers.QueueListener:
    """Begin to write lines from `level` on: debug, info, warning or error. `stop` what is returned at the end."""
    output = _Output((sys.stderr if to_stderr else sys.stdout) or sys.stderr)  # None where it was closed from the start
    output.setFormatter(JsonLines() if as_json else Sentences())
    waiting: queue.Queue[logging.LogRecord] = queue.Queue(MOST_WAITING)
    LOGGER.setLevel(level.upper())
    LOGGER.propagate = False
    handler = _Handler(waiting, clock)
    LOGGER.handlers[:] = [handler]
    listener = _Listener(waiting, output, handler)
    listener.start()
    return listener
