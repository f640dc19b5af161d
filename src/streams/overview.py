"""All that comes in, streams and sessions alike, as people see it: lists in order, names, rates, and an end to it."""

from __future__ import annotations

import time
from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from heapq import merge
from typing import Any

from imageserver.streams.session import Session, Sessions
from imageserver.streams.stream import Stream, Streams
from imageserver.transport import fairness

Incoming = Stream | Session

PIECE = 200
"""Streams that are looked at before the loop has its turn."""


@dataclass(slots=True)
class Counts:
    """Frames of a stream, and when they were counted in monotonic seconds."""

    at: float
    received: int = 0
    answered: int = 0


class Overview:
    """Reads `streams` and `sessions`. Every walk over them lets the loop have its turn, so they may change meanwhile.

    Rates are those of the last one to two intervals between the calls of `count`, for which one timer of the server
    is enough, however many streams there are.
    """

    def __init__(self, streams: Streams, sessions: Sessions, clock: Callable[[], float] = time.monotonic) -> None:
        self._streams, self._sessions, self._clock = streams, sessions, clock
        self._former: dict[str, Counts] = {}
        self._latest: dict[str, Counts] = {}

    def incoming(self, after: int = 0) -> Iterator[Incoming]:
        """What comes in, in the order in which it began: that with a `number` above `after`."""
        kinds: list[list[Incoming]] = [
            list(self._streams.open_streams.values()),
            list(self._sessions.open_sessions.values()),
        ]
        later = [kind[bisect_right(kind, after, key=_number) :] for kind in kinds]
        for index, one in enumerate(merge(*later, key=_number), 1):
            if index % PIECE == 0:
                fairness.pause()
            yield one

    def named(self, key: str) -> list[Incoming]:
        """The one whose id is `key`, or else all that people see under that name, in the order in which they began."""
        by_id = self._by_id(key)
        found = map(self._by_id, self._streams.names.find(key))
        return [by_id] if by_id else sorted((one for one in found if one is not None), key=_number)

    def count(self) -> Iterator[tuple[Incoming, Counts]]:
        """Begin a new interval: count all frames, and tell of each stream how many came since the last call."""
        self._former, self._latest = self._latest, {}
        for one in self.incoming():
            now = self._latest[one.id] = Counts(self._clock(), one.received, one.answered_count)
            before = self._former.get(one.id) or Counts(one.begun)
            yield one, Counts(now.at, now.received - before.received, now.answered - before.answered)

    def rates(self, one: Incoming) -> tuple[float, float]:
        """Frames a second of late: those that came, and those that were answered."""
        before = self._former.get(one.id) or Counts(one.begun)
        seconds = max(self._clock() - before.at, 1.0)
        return (one.received - before.received) / seconds, (one.answered_count - before.answered) / seconds

    def described(self, one: Incoming) -> dict[str, Any]:
        """A stream or session as lists show it: its name, and how well it is doing."""
        last, (fps_in, fps_answered) = one.last_prediction, self.rates(one)
        picture = last.get("frame", {}) if isinstance(one, Session) else last
        row = {
            "id": one.id,
            "name": one.name,
            "user": one.user,
            "protocol": one.protocol,
            "model": one.model,
            "fps_in": round(fps_in, 1),
            "fps_answered": round(fps_answered, 1),
            "age_ms": last.get("age_ms"),
            "dropped": one.dropped,
            "size": picture.get("size"),
        }
        return row | {"camera": one.camera} if one.camera else row

    def _by_id(self, key: str) -> Incoming | None:
        return self._streams.open_streams.get(key) or self._sessions.open_sessions.get(key)

    def may_be_called(self, one: Incoming, camera: str) -> bool:
        """Whether nothing else has the name that somebody wants for a camera."""
        return self._streams.names.is_free(camera, one.called)

    def rename(self, one: Incoming, camera: str) -> None:
        """Call a camera otherwise, where it may be, until its connection ends: its stream and its sessions."""
        self._streams.names.rename(one.called, camera)

    def disconnect(self, one: Incoming) -> None:
        """Turn a stream's client out; end a session, whose client may begin another."""
        if isinstance(one, Session):
            one.end()
        else:
            one.subscriber.disconnect(one)


def _number(one: Incoming) -> int:
    return one.number
