"""The results file: every prediction of every stream as a line of JSON."""

from __future__ import annotations

import json
from collections.abc import Callable

from imageserver import limits, metrics
from imageserver.lines import LinesKind, LinesWriter
from imageserver.streams.frame import Frame, Prediction
from imageserver.streams.stream import Stream, StreamSubscriber

REMEDY = "give a file that can be written, or - for standard output"
"""Where the file cannot be used."""


class ResultsFile(StreamSubscriber):
    """Every prediction as a line of JSON, with `stream` and `user` added, in a file or ('-') on standard output.

    A thread of its own writes, since a full disk or a pipe that nobody reads must not hold the loop; when too much
    waits for it, further lines are dropped and counted.

    Args:
        path: the file, or '-'.
        max_bytes: size at which the file is renamed to `<path>.1`, and begun anew; 0 is no limit.
        log: takes a line about what the operator can mend; called in any thread.

    Raises:
        SettingError: it cannot be opened for appending.
    """

    def __init__(self, path: str, max_bytes: int, log: Callable[[str], None]) -> None:
        kind = LinesKind(
            option="--results",
            remedy=REMEDY,
            what="predictions",
            dropped=metrics.RESULTS_DROPPED.child(),
            max_bytes=max_bytes,
            rotated=lambda: limits.hit("results_bytes"),
        )
        self._lines = LinesWriter(path, kind, log)

    def predicted(self, stream: Stream, frame: Frame, prediction: Prediction) -> None:
        self._lines.add(json.dumps({"stream": stream.id, "user": stream.user, **prediction}, ensure_ascii=False))

    def close(self, timeout: float) -> None:
        """Write what waits, for at most `timeout` seconds. Blocks: call it in a thread."""
        self._lines.close(timeout)
