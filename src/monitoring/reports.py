"""What the operator sees of the streams: a line for each every few seconds, and every prediction in a file."""

from __future__ import annotations

import json
import queue
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TextIO

from imageserver import metrics
from imageserver.errors import SettingError
from imageserver.streams.stream import Frame, Prediction, Stream, Streams, StreamSubscriber
from imageserver.transport import hub

EVERY = 5.0


@dataclass(slots=True)
class _Counts:
    received: int = 0
    answered: int = 0


class StatusLines:
    """While frames come, a line for each stream every `EVERY` seconds: user, rates, size, last label, age."""

    def __init__(self, streams: Streams, log: Callable[[str], None]) -> None:
        self._streams, self._log = streams, log
        self._before: dict[str, _Counts] = {}

    def run(self) -> None:
        """For ever; spawn it."""
        at = time.monotonic()
        while True:
            hub.sleep(EVERY)
            now = time.monotonic()
            for line in self.lines(now - at):
                self._log(line)
            at = now

    def lines(self, seconds: float) -> list[str]:
        """The lines for the `seconds` since the last call; none for a stream that got no frame in them."""
        counts = {
            key: _Counts(stream.received, stream.answered_count) for key, stream in self._streams.open_streams.items()
        }
        found = []
        for key, stream in self._streams.open_streams.items():
            before = self._before.get(key, _Counts())
            if counts[key].received > before.received:
                rate_in = (counts[key].received - before.received) / seconds
                rate_out = (counts[key].answered - before.answered) / seconds
                found.append(describe(stream, rate_in, rate_out))
        self._before = counts
        return found


def describe(stream: Stream, rate_in: float, rate_out: float) -> str:
    """One stream in one line."""
    parts = [f"{stream.name}: {rate_in:.1f} frames/s in, {rate_out:.1f} answered", f"{stream.dropped} dropped"]
    if stream.refused:
        parts.append(f"{stream.refused} refused")
    last = stream.last_prediction
    if last:
        if "size" in last:
            parts.append("{}x{}".format(*last["size"]))
        parts.append(
            f"{last['model']}: {last.get('label', '-')}" + (f" {last['score']:.2f}" if "score" in last else "")
        )
        parts.append(f"age {last['age_ms']:.0f} ms")
    return ", ".join(parts)


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
