"""The results file: every prediction of every stream as a line of JSON."""

from __future__ import annotations

import json
import queue
import sys
import threading
from typing import TextIO

from imageserver import metrics
from imageserver.errors import SettingError
from imageserver.streams.stream import Frame, Prediction, Stream, StreamSubscriber


class ResultsFile(StreamSubscriber):
    """Every prediction as a line of JSON, with `stream` and `user` added, in a file or ('-') on standard output.

    A thread of its own writes, since a full disk or a pipe that nobody reads must not hold the loop; when
    `MOST_WAITING` lines wait for it, further ones are dropped and counted.
    """

    MOST_WAITING = 10_000

    def __init__(self, path: str) -> None:
        """Opens the file for appending. SettingError when that fails."""
        try:
            self._file: TextIO = sys.stdout if path == "-" else open(path, "a", encoding="utf-8")  # noqa: SIM115
        except OSError as error:
            raise SettingError(
                f"--results {path}: {error.strerror}; give a file that can be written, or - for standard output"
            ) from error
        self._lines: queue.Queue[str | None] = queue.Queue(self.MOST_WAITING)
        self._thread = threading.Thread(target=self._write, name="results", daemon=True)
        self._thread.start()

    def predicted(self, stream: Stream, frame: Frame, prediction: Prediction) -> None:
        line = json.dumps({"stream": stream.id, "user": stream.user, **prediction}, ensure_ascii=False)
        try:
            self._lines.put_nowait(line)
        except queue.Full:
            metrics.RESULTS_DROPPED.inc()

    def close(self, timeout: float) -> None:
        """Write what waits, for at most `timeout` seconds. Blocks: call it in a thread."""
        try:
            self._lines.put(None, timeout=timeout)
        except queue.Full:
            return
        self._thread.join(timeout)

    def _write(self) -> None:
        while (line := self._lines.get()) is not None:
            try:
                self._file.write(line + "\n")
                if self._lines.empty():
                    self._file.flush()
            except (OSError, ValueError):
                metrics.RESULTS_DROPPED.inc()
