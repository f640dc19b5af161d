"""Where the server's lines go: standard output (standard error when results go there), written by a thread.

The loop never waits for a terminal or a pipe that nobody reads; when `MOST_WAITING` lines wait, further ones are
dropped and counted.
"""

from __future__ import annotations

import logging
import logging.handlers
import queue
import sys

import metrics

MOST_WAITING = 10_000
LOGGER = logging.getLogger("imageserver")


class _Handler(logging.handlers.QueueHandler):
    def enqueue(self, record: logging.LogRecord) -> None:
        try:
            self.queue.put_nowait(record)
        except queue.Full:
            metrics.LOG_LINES_DROPPED.inc()


class _Formatter(logging.Formatter):
    """The sentence alone; what deserves attention says so in front."""

    def format(self, record: logging.LogRecord) -> str:
        line = super().format(record).replace("\n", "\\n").replace("\r", "\\r")
        return line if record.levelno < logging.WARNING else f"{record.levelname.lower()}: {line}"


def start(level: str, *, to_stderr: bool) -> logging.handlers.QueueListener:
    """Begin to write lines from `level` on ('debug', 'info', 'warning', 'error'); `stop` what is returned at the end."""
    output = logging.StreamHandler(sys.stderr if to_stderr else sys.stdout)
    output.setFormatter(_Formatter("%(message)s"))
    waiting: queue.Queue[logging.LogRecord] = queue.Queue(MOST_WAITING)
    LOGGER.setLevel(level.upper())
    LOGGER.propagate = False
    LOGGER.handlers[:] = [_Handler(waiting)]
    listener = logging.handlers.QueueListener(waiting, output)
    listener.start()
    return listener
