"""What the operator sees of the streams: a line for each every few seconds."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from imageserver import limits
from imageserver.streams.stream import Stream, Streams
from imageserver.transport import fairness, hub

EVERY = 5.0
PIECE = 200
"""Streams that are looked at before the loop has its turn."""


@dataclass(slots=True)
class _Counts:
    received: int = 0
    answered: int = 0


class StatusLines:
    """While frames come, a line for each stream every `EVERY` seconds: user, rates, size, last label, age.

    Of the streams over `most` only the sums are told, in one line: nobody reads thousands, and the log is not for them.
    """

    def __init__(self, streams: Streams, most: int, log: Callable[[str], None]) -> None:
        self._streams, self._most, self._log = streams, most, log
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

    def lines(self, seconds: float) -> Iterator[str]:
        """The lines for the `seconds` since the last call; none for a stream that got no frame in them."""
        before, self._before = self._before, {}
        told, others, received, answered = 0, 0, 0, 0
        for number, (key, stream) in enumerate(list(self._streams.open_streams.items()), 1):
            if number % PIECE == 0:
                fairness.pause()
            counts = self._before[key] = _Counts(stream.received, stream.answered_count)
            former = before.get(key) or _Counts()
            frames_in, frames_out = counts.received - former.received, counts.answered - former.answered
            if frames_in <= 0:
                continue
            if told < self._most:
                told += 1
                yield describe(stream, frames_in / seconds, frames_out / seconds)
            else:
                others, received, answered = others + 1, received + frames_in, answered + frames_out
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
