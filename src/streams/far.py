"""Streams and sessions of other front ends, as they are known here: a row of each, and frames of those looked at.

Who looks at one asks for more: whoever reads `newest` has its frames sent here, for `LOOKED` seconds each time. So
nothing has to be begun and ended, and what nobody looks at any more costs nothing a moment later. peers/ keeps all of
this up to date; here nothing is known of how.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from imageserver.limits import hit
from imageserver.streams.frame import NewestFrame, Prediction, Shown
from imageserver.streams.room import next_number
from imageserver.transport import hub
from imageserver.transport.budget import Account, unlimited

LOOKED = 8.0
"""Seconds for which one look counts; who follows a stream without frames looks again after five."""
FIRST_WITHIN = 2.0
"""Seconds in which the first frame of one is here, if it has any."""

Row = Mapping[str, Any]
"""As lists show it, and `counts` (as), `kind`, `values` (peers/messages.py)."""


class FarStream:
    """A stream or session of another front end.

    Args:
        front_end: Its name.
        row: What was told of it.
        streams: All of them.
        account: To which its newest frame is charged.
    """

    def __init__(self, front_end: str, row: Row, streams: FarStreams, account: Account) -> None:
        self.front_end, self.row = front_end, row
        self.id: str = row["id"]
        self.number = next_number()
        """In the order in which it was heard of here."""
        self.wanted = True
        """Whether it is open, as of a stream of our own."""
        self.looked_at = 0.0
        self.seq = 0
        """The number of its frame that came last."""
        self.last_prediction: Prediction = {}
        """That of the frame that came last, {} before there is one, or where nobody wants it."""
        self._streams, self._account, self._shown, self._came = streams, account, Shown(account), hub.Event()

    @property
    def name(self) -> str:
        """What people see."""
        return str(self.row["name"])

    @property
    def user(self) -> str:
        """Whose it is."""
        return str(self.row["user"])

    @property
    def counts_as(self) -> str:
        """The name that users are bound to."""
        return str(self.row["counts"])

    @property
    def newest(self) -> NewestFrame | None:
        """Its newest frame that is here; to look is to ask for more."""
        self._streams.look(self)
        return self._shown.newest

    def await_first(self) -> None:
        """Ask for its frames; waits green, for a moment, where none is here yet."""
        if not self.newest:
            self._came.wait(FIRST_WITHIN)

    def show(self, newest: NewestFrame) -> None:
        """A frame of it has come."""
        if newest.prediction:
            self.last_prediction = newest.prediction
        self.seq = newest.frame.seq
        self._shown.show(newest)
        self._came.set()

    def forget(self) -> None:
        """Nobody looks any more."""
        self._shown.show_none()
        self.last_prediction, self.seq = {}, 0
        self._came.clear()

    def close(self) -> None:
        """It has ended, or nobody knows."""
        self.wanted = False
        self.forget()
        self._account.close()
        self._came.set()


class FarWatcher:
    """Who is told what becomes of all of them. Called in the loop; must not block."""

    def opened(self, stream: FarStream) -> None:
        """One was heard of."""

    def shown(self, stream: FarStream) -> None:
        """A frame of one that somebody looks at has come."""

    def predicted(self, stream: FarStream, seq: int, error: str) -> None:
        """A prediction of one has come, or an error in its place."""

    def closed(self, stream: FarStream) -> None:
        """One has ended, or its front end is not heard any more."""


class FarStreams:
    """All of them.

    Args:
        most: How many may be known (`redis_streams`).
        most_watched: How many may be looked at (`redis_watched`).
        clock: Monotonic seconds.
    """

    def __init__(self, most: int, most_watched: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._most, self._most_watched, self._clock = most, most_watched, clock
        self.account: Callable[[], Account] = unlimited
        self.open: dict[str, FarStream] = {}
        """By id, in the order of their numbers."""
        self.watched: dict[str, FarStream] = {}
        """Those that somebody looks at."""
        self.first_look: Callable[[], None] = _nothing
        """Called when one is looked at that was not before."""
        self.problem: Callable[[], str] = _no_problem
        """A sentence while others may be there that are not heard, else ""."""
        self.watchers: list[FarWatcher] = []
        self._named: dict[str, dict[str, None]] = {}

    def tell(self, front_end: str, row: Row) -> FarStream | None:
        """Take what is told of one, a new one or as it is now; None: there are too many, or the id is another's."""
        found = self.open.get(row["id"])
        if found is not None:
            if found.front_end != front_end:
                return None
            if found.name != row["name"]:
                self._unname(found)
                self._named.setdefault(row["name"], {})[found.id] = None
            found.row = row
            return found
        if len(self.open) >= self._most:
            hit("redis_streams", f"front end {front_end}")
            return None
        found = self.open[row["id"]] = FarStream(front_end, row, self, self.account())
        self._named.setdefault(found.name, {})[found.id] = None
        for watcher in self.watchers:
            watcher.opened(found)
        return found

    def close(self, stream: FarStream) -> None:
        """One has ended. Harmless when it was forgotten already."""
        if self.open.get(stream.id) is not stream:
            return
        del self.open[stream.id]
        self.watched.pop(stream.id, None)
        self._unname(stream)
        stream.close()
        for watcher in self.watchers:
            watcher.closed(stream)

    def named(self, text: str) -> Iterator[FarStream]:
        """Those that people see under a name, in the order in which they were heard of."""
        return iter(sorted((self.open[one] for one in self._named.get(text, ())), key=lambda one: one.number))

    def look(self, stream: FarStream) -> None:
        """Somebody looks at one: its frames are wanted for a while."""
        if not stream.wanted:
            return
        if stream.id not in self.watched:
            if len(self.watched) >= self._most_watched:
                hit("redis_watched")
                return
            self.watched[stream.id] = stream
            self.first_look()
        stream.looked_at = self._clock()

    def unlooked(self) -> list[FarStream]:
        """Those that nobody has looked at for a while, which are forgotten by this."""
        since = self._clock() - LOOKED
        found = [stream for stream in self.watched.values() if stream.looked_at < since]
        for stream in found:
            del self.watched[stream.id]
            stream.forget()
        return found

    def show(self, stream: FarStream, newest: NewestFrame) -> None:
        """A frame of one has come; nothing is kept of it where nobody looks."""
        if stream.id in self.watched:
            stream.show(newest)
            for watcher in self.watchers:
                watcher.shown(stream)

    def predict(self, stream: FarStream, seq: int, prediction: Prediction | None, error: str) -> None:
        """A prediction of one has come, or an error in its place, for who follows what happens."""
        stream.last_prediction = prediction or stream.last_prediction
        for watcher in self.watchers:
            watcher.predicted(stream, seq, error)

    def _unname(self, stream: FarStream) -> None:
        ids = self._named.get(stream.name, {})
        ids.pop(stream.id, None)
        if not ids:
            self._named.pop(stream.name, None)


def _nothing() -> None:
    """Nobody wants to know."""


def _no_problem() -> str:
    return ""
