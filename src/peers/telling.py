"""What others are told of our streams and sessions: beginnings, other names and ends as they happen, and whole lists.

With nobody there nothing is said. A list is told every `CYCLE`, at most `RATE` rows a second: one of 20,000 takes 20
seconds, and costs every other front end a thousand rows a second to read.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from itertools import islice

from imageserver.peers import messages
from imageserver.peers.front_ends import FrontEnds
from imageserver.peers.messages import ALL, MOST_ROWS, Said
from imageserver.peers.redis.link import RedisLink
from imageserver.streams.overview import Overview, Own, session_values
from imageserver.streams.session import Session, Sessions, SessionState, SessionWatcher
from imageserver.streams.stream import Stream, Streams, StreamSubscriber
from imageserver.transport import hub

ROUND = 0.1
"""Seconds from a beginning or an end to the message that tells of it."""
CYCLE = 2.0
"""Seconds in which all are told of, where that is no more than `RATE`."""
RATE = 1000
"""Rows a second."""
SOON = 0.3
"""Seconds after which somebody new is told of all: several may come at once."""
APART = 2.0
"""Seconds between two lists for who is new: one whose Redis comes and goes is new each time."""


class Telling(StreamSubscriber):
    """Tells.

    Args:
        link: To the others.
        others: Those who are there.
        overview: Of our own.
        clock: Monotonic seconds.
    """

    def __init__(
        self, link: RedisLink, others: FrontEnds, overview: Overview, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._link, self._others, self._overview, self._clock = link, others, overview, clock
        self._opened: dict[str, Own] = {}
        self._closed: dict[str, None] = {}
        self._changed, self._newcomer = hub.Event(), hub.Event()
        self._cycle = 0
        others.newcomer = self._newcomer.set

    def watch(self, streams: Streams, sessions: Sessions) -> None:
        """Hear of all of them from now on."""
        streams.watch(self)
        sessions.watch(_SessionTelling(self))
        streams.names.changed = self._is_another

    def run_changes(self) -> None:
        """Tell of beginnings and ends, for ever; spawn it."""
        while True:
            self._changed.wait()
            hub.sleep(ROUND)
            self._changed.clear()
            opened, self._opened = self._opened, {}
            closed, self._closed = self._closed, {}
            if not self._others.names:
                continue
            ids = iter(closed)
            while piece := list(islice(ids, messages.MOST_IDS)):
                self._link.say(ALL, "closed", ids=piece)
            new = iter(opened.values())
            while rows := [self._row(one) for one in islice(new, MOST_ROWS)]:
                self._link.say(ALL, "rows", rows=rows, cycle=0, piece=0, pieces=0)
                hub.sleep(len(rows) / RATE)

    def run_lists(self) -> None:
        """Tell whole lists, for ever; spawn it."""
        told = -APART
        while True:
            if self._others.names and self._link.up:
                self._tell_all()
            if self._newcomer.wait(CYCLE):
                hub.sleep(max(SOON, told + APART - self._clock()))
                self._newcomer.clear()
                told = self._clock()

    def _tell_all(self) -> None:
        """Tell a whole list, at the rate that it may have."""
        self._cycle += 1
        own, piece = (one for one in self._overview.incoming() if _is_open(one)), 1
        rows = [self._row(one) for one in islice(own, MOST_ROWS)]
        while True:
            following = [self._row(one) for one in islice(own, MOST_ROWS)]
            pieces = 0 if following else piece
            self._link.say(ALL, "rows", rows=rows, cycle=self._cycle, piece=piece, pieces=pieces)
            if not following:
                return
            hub.sleep(len(rows) / RATE)
            rows, piece = following, piece + 1

    def _row(self, one: Own) -> Said:
        session = isinstance(one, Session)
        values = session_values(one.last_prediction) if session else {}
        kind = "session" if session else "stream"
        return messages.row(self._overview.described(one), self._link.front_end, one.counts_as, kind, values)

    # ---- what becomes of them -----------------------------------------------------------------------------------

    def opened(self, stream: Stream) -> None:
        self.begins(stream)

    def closed(self, stream: Stream) -> None:
        self.ends(stream)

    def begins(self, one: Own) -> None:
        """One has begun."""
        self._opened[one.id] = one
        self._changed.set()

    def _is_another(self, holders: Sequence[str]) -> None:
        """By name, or by user: who may see them there follows from both."""
        for identity in holders:
            one = self._overview.own(identity)
            if one is not None:
                self.begins(one)

    def ends(self, one: Own) -> None:
        """One has ended, behind which nothing is told of it."""
        self._opened.pop(one.id, None)
        self._closed[messages.own_id(one.id, self._link.front_end)] = None
        self._changed.set()


def _is_open(one: Own) -> bool:
    """Whether it has not ended since the list was begun."""
    return one.state is not SessionState.ENDED if isinstance(one, Session) else one.wanted


class _SessionTelling(SessionWatcher):
    """The same of sessions."""

    def __init__(self, telling: Telling) -> None:
        self._telling = telling

    def began(self, session: Session) -> None:
        self._telling.begins(session)

    def ended(self, session: Session) -> None:
        self._telling.ends(session)
