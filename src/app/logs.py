"""Where the server's lines go: standard output (standard error when results go there), written by a thread.

The loop never waits for a terminal or a pipe that nobody reads; when `MOST_WAITING` lines wait, further ones are
dropped and counted. What clients send reaches a line only in parts (a name, a path), and cannot begin another line or
steer a terminal.
"""

from __future__ import annotations

import datetime
import json
import logging
import logging.handlers
import queue
import re
import sys

from imageserver import metrics

MOST_WAITING = 10_000
LOGGER = logging.getLogger("imageserver")
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


class _Handler(logging.handlers.QueueHandler):
    def enqueue(self, record: logging.LogRecord) -> None:
        try:
            self.queue.put_nowait(record)
        except queue.Full:
            metrics.LOG_LINES_DROPPED.inc()


class Sentences(logging.Formatter):
    """The sentence alone; what deserves attention says so in front."""

    def format(self, record: logging.LogRecord) -> str:
        line = _UNPRINTABLE.sub(lambda found: found[0].encode("unicode_escape").decode(), super().format(record))
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


def start(level: str, *, to_stderr: bool, as_json: bool = False) -> logging.handlers.QueueListener:
    """Begin to write lines from `level` on: debug, info, warning or error. `stop` what is returned at the end."""
    output = logging.StreamHandler(sys.stderr if to_stderr else sys.stdout)
    output.setFormatter(JsonLines() if as_json else Sentences())
    waiting: queue.Queue[logging.LogRecord] = queue.Queue(MOST_WAITING)
    LOGGER.setLevel(level.upper())
    LOGGER.propagate = False
    LOGGER.handlers[:] = [_Handler(waiting)]
    listener = logging.handlers.QueueListener(waiting, output)
    listener.start()
    return listener
