"""All that comes in, streams and sessions alike, as people see it: lists in order, names, rates, and an end to it."""

from __future__ import annotations

import time
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from heapq import merge
from typing import Any, TypeVar

from imageserver.streams.far import FarStream, FarStreams
from imageserver.streams.session import Session, Sessions
from imageserver.streams.stream import Stream, Streams
from imageserver.transport import fairness

Own = Stream | Session
Incoming = Own | FarStream
"""With those of other front ends."""
Viewed = Stream | FarStream
"""What frames of can be looked at."""

_One = TypeVar("_One", bound=Incoming)

ABOUT_ROW = {"counts", "kind", "values"}
"""What is told of one of another front end, and no list shows."""
PIECE = 200
"""Streams that are looked at before the loop has its turn."""
MOST_VALUES = 32
"""Of a session."""
LONGEST_VALUE = 64
"""Characters."""
ABOUT_FRAME = {"success", "timestamp", "recv_ts", "seq", "frame", "age_ms", "errors", "camera"}
"""What of a session's prediction is no value of a model's."""


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

    Args:
        streams: Our own.
        sessions: Our own.
        clock: Monotonic seconds.
        far: What other front ends have told; None: there are none.
        front_end: Our name among them, as lists show it; "": they show none.
    """

    def __init__(
        self,
        streams: Streams,
        sessions: Sessions,
        clock: Callable[[], float] = time.monotonic,
        *,
        far: FarStreams | None = None,
        front_end: str = "",
    ) -> None:
        self._streams, self._sessions, self._clock = streams, sessions, clock
        self.far, self._front_end = far or FarStreams(0, 0), front_end
        # By their numbers, which are used once: a client that leaves and joins again has the id that it had.
        self._former: dict[int, Counts] = {}
        self._latest: dict[int, Counts] = {}

    def incoming(self, after: int = 0) -> Iterator[Own]:
        """What comes in here, in the order in which it began: that with a `number` above `after`."""
        own: list[list[Own]] = [
            list(self._streams.open_streams.values()),
            list(self._sessions.open_sessions.values()),
        ]
        return _in_turns(own, after)

    def everything(self, after: int = 0) -> Iterator[Incoming]:
        """The same, with what comes in at other front ends, in the order in which it was heard of."""
        kinds: list[list[Incoming]] = [
            list(self._streams.open_streams.values()),
            list(self._sessions.open_sessions.values()),
            list(self.far.open.values()),
        ]
        return _in_turns(kinds, after)

    def named(self, key: str) -> list[Incoming]:
        """The one whose id is `key`, or else all that people see under that name, in the order in which they began.

        Those of other front ends come first: of a name that both have our own is meant.
        """
        by_id = self.own(key) or self.far.open.get(key)
        if by_id:
            return [by_id]
        own = (one for one in map(self.own, self._streams.names.find(key)) if one is not None)
        return [*self.far.named(key), *sorted(own, key=_number)]

    def own(self, identity: str) -> Own | None:
        """Ours, under an id."""
        return self._streams.open_streams.get(identity) or self._sessions.open_sessions.get(identity)

    def viewed(self, identity: str) -> Viewed | None:
        """What can be looked at under an id."""
        return self._streams.open_streams.get(identity) or self.far.open.get(identity)

    def count(self) -> Iterator[tuple[Own, Counts]]:
        """Begin a new interval: count all frames, and tell of each stream how many came since the last call."""
        self._former, self._latest = self._latest, {}
        for one in self.incoming():
            now = self._latest[one.number] = Counts(self._clock(), one.received, one.answered_count)
            before = self._former.get(one.number) or Counts(one.begun)
            yield one, Counts(now.at, now.received - before.received, now.answered - before.answered)

    def rates(self, one: Own) -> tuple[float, float]:
        """Frames a second of late: those that came, and those that were answered."""
        before = self._former.get(one.number) or Counts(one.begun)
        seconds = max(self._clock() - before.at, 1.0)
        return (one.received - before.received) / seconds, (one.answered_count - before.answered) / seconds

    def described(self, one: Incoming) -> dict[str, Any]:
        """A stream or session as lists show it: its name, and how well it is doing."""
        if isinstance(one, FarStream):
            told = {name: value for name, value in one.row.items() if name not in ABOUT_ROW}
            return told | {"front_end": one.front_end}
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
        row |= {"camera": one.camera} if one.camera else {}
        return row | {"front_end": self._front_end} if self._front_end else row

    def may_be_called(self, one: Own, camera: str) -> bool:
        """Whether nothing else has the name that somebody wants for a camera."""
        return self._streams.names.is_free(camera, one.called)

    def rename(self, one: Own, camera: str) -> None:
        """Call a camera otherwise, where it may be, until its connection ends: its stream and its sessions."""
        self._streams.names.rename(one.called, camera)

    def disconnect(self, one: Own) -> None:
        """Turn a stream's client out; end a session, whose client may begin another."""
        if isinstance(one, Session):
            one.end()
        else:
            one.subscriber.disconnect(one)


def _number(one: Incoming) -> int:
    return one.number


def _in_turns(kinds: Sequence[Sequence[_One]], after: int) -> Iterator[_One]:
    """All of them in the order of their numbers, those above `after`; the loop has its turns."""
    later = [kind[bisect_right(kind, after, key=_number) :] for kind in kinds]
    for index, one in enumerate(merge(*later, key=_number), 1):
        if index % PIECE == 0:
            fairness.pause()
        yield one


def session_values(prediction: Mapping[str, Any]) -> dict[str, Any]:
    """What the models of a session say now: numbers and short words."""
    found = {}
    for name, value in prediction.items():
        short = isinstance(value, str) and len(value) <= LONGEST_VALUE
        if name not in ABOUT_FRAME and (short or isinstance(value, (int, float))):
            found[name[:LONGEST_VALUE]] = value
            if len(found) == MOST_VALUES:
                break
    return found
