"""What the operator sees of the streams: a line for each every few seconds."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from imageserver import limits
from imageserver.streams.overview import Overview
from imageserver.streams.stream import Stream
from imageserver.transport import hub

EVERY = 5.0


class StatusLines:
    """While frames come, a line for each stream every `EVERY` seconds: user, rates, size, last label, age.

    This is also the timer by which `overview` counts.

    Of the streams over `most` only the sums are told, in one line: nobody reads thousands, and the log is not for them.
    """

    def __init__(self, overview: Overview, most: int, log: Callable[[str], None]) -> None:
        self._overview, self._most, self._log = overview, most, log

    def run(self) -> None:
        """For ever; spawn it."""
        at = time.monotonic()
        while True:
            hub.sleep(EVERY)
            now = time.monotonic()
            for line in self.lines(now - at):
                self._log(line)
            at = now

    def lines(self, seconds: float) -> Iterator[str]:
        """The lines for the `seconds` since the last call; none for a stream that got no frame in them."""
        told, others, received, answered = 0, 0, 0, 0
        for stream, since in self._overview.count():
            if since.received <= 0 or not isinstance(stream, Stream):
                continue
            if told < self._most:
                told += 1
                yield describe(stream, since.received / seconds, since.answered / seconds)
            else:
                others += 1
                received, answered = received + since.received, answered + since.answered
        if others:
            limits.hit("status_lines")
            rates = f"{received / seconds:.1f} frames/s in, {answered / seconds:.1f} answered"
            yield f"{others} further streams: {rates} ({limits.option('status_lines')})"


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
