"""What the operator sees of the streams: a line for each every few seconds."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from imageserver.streams.stream import Stream, Streams
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
