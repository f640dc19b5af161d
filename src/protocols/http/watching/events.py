"""What happens to streams and sessions, as server-sent events: in rounds, and of each stream the newest alone.

    event: opened         the stream as /streams/ lists it
    event: prediction     stream, name, user, and the prediction
    event: frame_error    stream, name, user, seq, error
    event: closed         stream, name, user

A frame costs one entry in a table, however many follow; each event is encoded once for all of them, in the round in
which somebody is told of it.
"""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from heapq import merge
from itertools import takewhile
from typing import Any

from imageserver.accounts.database import User
from imageserver.protocols.http.watching.taking import Taking
from imageserver.streams.far import FarStream, FarWatcher
from imageserver.streams.frame import Frame, Prediction
from imageserver.streams.overview import Incoming, Overview
from imageserver.streams.session import Session, Sessions, SessionWatcher
from imageserver.streams.stream import Stream, Streams, StreamSubscriber
from imageserver.transport import fairness, hub
from imageserver.web import lists, sight

MEDIA_TYPE = "text/event-stream"
ROUND = 0.1
"""Seconds from what happens to the round that tells of it, and between rounds."""
HEARTBEAT = 15.0
"""Seconds of silence after which a comment is sent, so that proxies keep the connection."""
RETRY, RETRY_SERVER = 10, 1
"""Seconds after which a browser asks again when the answer has ended; the latter where the server stops."""
MOST_NEWS = 1000
"""Beginnings and ends that are remembered for those who have not been told; who is further behind has to ask again."""
PIECE = 64 * 1024
"""Bytes written at once."""


@dataclass(slots=True, eq=False)
class StreamEvent:
    """One thing that happened. `number`: in which order."""

    number: int
    kind: str
    one: Incoming
    seq: int = 0
    error: str = ""
    encoded: bytes = b""


class StreamEvents(StreamSubscriber):
    """What happened of late, for those who follow; nothing is kept while nobody does."""

    def __init__(self, overview: Overview) -> None:
        self._overview = overview
        self._waiting: dict[hub.Event, frozenset[str]] = {}
        """With the ids and names that are wanted; none: all."""
        self._number = 0
        self._frames: OrderedDict[str, StreamEvent] = OrderedDict()
        """Predictions and errors: of each stream the newest, by its id, in the order of their numbers."""
        self._news: deque[StreamEvent] = deque(maxlen=MOST_NEWS)
        """Beginnings and ends."""
        self._forgotten = 0
        """The number of the last of these that was dropped."""
        self._timer: hub.Timer | None = None
        self.stopping = False

    def watch(self, streams: Streams, sessions: Sessions) -> None:
        """Hear of all of them from now on."""
        streams.watch(self)
        sessions.watch(_SessionEvents(self))
        self._overview.far.watchers.append(_FarEvents(self))

    def begin(self, wanted: frozenset[str]) -> hub.Event:
        """An event that is set when there is something new, for who begins to follow what is wanted; none: all."""
        event = hub.Event()
        self._waiting[event] = wanted
        return event

    def end(self, event: hub.Event) -> None:
        """Somebody follows no longer."""
        self._waiting.pop(event, None)
        if not self._waiting:
            self._frames.clear()
            self._news.clear()

    @property
    def wanted(self) -> frozenset[str] | None:
        """The ids and names that all together want; empty: nobody follows; None: all."""
        found = self._waiting.values()
        return frozenset[str]().union(*found) if all(found) else None

    @property
    def number(self) -> int:
        """Of what happened last."""
        return self._number

    def since(self, number: int) -> Iterator[StreamEvent] | None:
        """What happened after `number`, in order; None where some of it is forgotten."""
        if number < self._forgotten:
            return None
        found = [
            list(takewhile(lambda event: event.number > number, reversed(events)))
            for events in (self._news, self._frames.values())
        ]
        return merge(*map(reversed, found), key=lambda event: event.number)

    def encoded(self, event: StreamEvent) -> bytes:
        """It as server-sent events have it."""
        if not event.encoded:
            event.encoded = f"event: {event.kind}\ndata: {lists.encode(self._data(event))}\n\n".encode()
        return event.encoded

    def described(self, one: Incoming) -> bytes:
        """That it is open."""
        return self.encoded(StreamEvent(0, "opened", one))

    # ---- what the streams say (StreamSubscriber) ----------------------------------------------------------------

    def opened(self, stream: Stream) -> None:
        self.tell("opened", stream)

    def predicted(self, stream: Stream, frame: Frame, prediction: Prediction) -> None:
        self.note("prediction", stream)

    def rejected(self, stream: Stream, frame: Frame, error: str) -> None:
        self.note("frame_error", stream, frame.seq, error)

    def closed(self, stream: Stream) -> None:
        self.tell("closed", stream)

    def ending(self) -> None:
        self.stopping = True
        self._wake()

    # ---- within -----------------------------------------------------------------------------------------------

    def note(self, kind: str, one: Incoming, seq: int = 0, error: str = "") -> None:
        """What was said of a frame takes the place of what was said of the one before."""
        if not self._waiting:
            return
        self._number += 1
        self._frames.pop(one.id, None)
        self._frames[one.id] = StreamEvent(self._number, kind, one, seq, error)
        self._begin_round()

    def tell(self, kind: str, one: Incoming) -> None:
        """A beginning or an end, behind which nothing of the stream follows."""
        if not self._waiting:
            return
        self._number += 1
        if kind == "closed":
            self._frames.pop(one.id, None)
        if len(self._news) == MOST_NEWS:
            self._forgotten = self._news[0].number
        self._news.append(StreamEvent(self._number, kind, one))
        self._begin_round()

    def _begin_round(self) -> None:
        if self._timer is None:
            self._timer = hub.call_later(ROUND, self._wake)

    def _wake(self) -> None:
        self._timer = None
        for event in self._waiting:
            event.set()

    def _data(self, event: StreamEvent) -> dict[str, Any]:
        one = event.one
        if event.kind == "opened":
            return self._overview.described(one)
        about = {"stream": one.id, "name": one.name, "user": one.user}
        if event.kind == "prediction":
            return about | one.last_prediction | about  # whatever else a model calls so
        return about | {"seq": event.seq, "error": event.error} if event.kind == "frame_error" else about


class _SessionEvents(SessionWatcher):
    """The same of sessions."""

    def __init__(self, events: StreamEvents) -> None:
        self._events = events

    def began(self, session: Session) -> None:
        self._events.tell("opened", session)

    def predicted(self, session: Session, prediction: Prediction) -> None:
        self._events.note("prediction", session)

    def ended(self, session: Session) -> None:
        self._events.tell("closed", session)


class _FarEvents(FarWatcher):
    """The same of streams and sessions of other front ends."""

    def __init__(self, events: StreamEvents) -> None:
        self._events = events

    def opened(self, stream: FarStream) -> None:
        self._events.tell("opened", stream)

    def predicted(self, stream: FarStream, seq: int, error: str) -> None:
        self._events.note("frame_error" if error else "prediction", stream, seq, error)

    def closed(self, stream: FarStream) -> None:
        self._events.tell("closed", stream)


class Following:
    """What one client is told.

    Args:
        events: Of all streams and sessions.
        overview: Of those that are open.
        user: Who asks; None where nobody had to log in.
        wanted: Ids and names; none: all.
        taking: How the client takes them.
    """

    def __init__(
        self, events: StreamEvents, overview: Overview, user: User | None, wanted: frozenset[str], taking: Taking
    ) -> None:
        self._events, self._overview, self._user = events, overview, user
        self._wanted, self._taking = wanted, taking

    def texts(self) -> Iterator[bytes]:
        """The answer, until the client has gone, takes nothing, or is too far behind."""
        changed = self._events.begin(self._wanted)
        # Both before anything is sent: what happens from then on is told, by whomever the client hears of it first.
        number, incoming = self._events.number, list(self._overview.everything())
        try:
            yield f"retry: {RETRY * 1000}\n\n".encode()
            yield from _pieces(self._events.described(one) for one in incoming if self._sees(one))
            del incoming
            while not self._events.stopping:
                heard = changed.wait(HEARTBEAT)
                if not self._taking.wait():
                    return
                changed.clear()
                found = self._events.since(number)
                if found is None:
                    return
                number = self._events.number
                yield from _pieces(self._encoded(found))
                if not heard:
                    yield b": still there\n\n"
            yield f"retry: {RETRY_SERVER * 1000}\n\n".encode()
        finally:
            self._events.end(changed)

    def _encoded(self, found: Iterable[StreamEvent]) -> Iterator[bytes]:
        """Those that the client is told."""
        turn = fairness.Turn(time.monotonic)
        turn.begin()
        for event in found:
            turn.share()
            if self._sees(event.one):
                yield self._events.encoded(event)

    def _sees(self, one: Incoming) -> bool:
        if self._wanted and one.id not in self._wanted and one.name not in self._wanted:
            return False
        return sight.sees(self._user, one)


def _pieces(texts: Iterable[bytes]) -> Iterator[bytes]:
    """Joined to pieces of about `PIECE` bytes."""
    waiting: list[bytes] = []
    size = 0
    for text in texts:
        waiting.append(text)
        size += len(text)
        if size >= PIECE:
            yield b"".join(waiting)
            waiting, size = [], 0
    if waiting:
        yield b"".join(waiting)
