"""Which other front ends are there, and what each has told of its streams: kept until it is silent for too long.

A front end is known by its run, which is another one after each start: so one that starts anew under its name does not
take over what the one before it told, and two that were given one name are told apart.

Whoever is new says so, and is told everything; everybody tells a whole list from time to time (telling.py). When one
has come without a gap, what was in none of its pieces is gone.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from imageserver import metrics, news
from imageserver.inference.shared.wire import Picture
from imageserver.news import NewsKind
from imageserver.peers.messages import ALL, Said
from imageserver.peers.redis.link import RedisLink
from imageserver.streams.far import FarStream, FarStreams
from imageserver.transport import fairness, hub

EVERY = 1.0
"""Seconds between two words of life."""
MOST = 64
"""Other front ends."""
TWICE = "another front end at this Redis has our name, {!r}: give each a name of its own (--front-end)"
CROWD = f"more than {MOST} other front ends are at this Redis, what further ones say is dropped: let fewer share one"


class FrontEnd:
    """Another front end.

    Attributes:
        name: Its name.
        heard: When it was heard last, in monotonic seconds.
        streams: What it has told of, each with the number of the whole list in which it was told last.
        cycle: The number of the whole list that comes now, or came last.
    """

    def __init__(self, name: str) -> None:
        self.name, self.heard = name, 0.0
        self.streams: dict[str, tuple[FarStream, int]] = {}
        self.cycle = self._pieces = 0

    def piece_came(self, cycle: int, pieces: int) -> bool:
        """A piece of a whole list has come; whether it is whole by that."""
        if cycle != self.cycle:
            self.cycle, self._pieces = cycle, 0
        self._pieces += 1
        return pieces == self._pieces


class FrontEnds:
    """All others.

    Args:
        link: To them.
        far: Where their streams are kept.
        silence: Seconds without a word after which one is forgotten.
        log: Takes a line for the log.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        link: RedisLink,
        far: FarStreams,
        silence: float,
        log: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._link, self._far, self._silence, self._log, self._clock = link, far, silence, log, clock
        self._known: dict[str, FrontEnd] = {}
        """By their runs."""
        self._told_twice = False
        self._crowd_until = 0.0
        """When those that were too many have been silent for long enough to be forgotten."""
        self.newcomer: Callable[[], None] = _nothing
        """Called when one has come that knows nothing of us."""
        for op, handler in (("alive", self._alive), ("bye", self._bye), ("rows", self._rows), ("closed", self._closed)):
            link.on(op, handler)
        link.came_up = self.greet

    @property
    def names(self) -> list[str]:
        """Of those who are there."""
        return sorted({one.name for one in self._known.values()})

    @property
    def problem(self) -> str:
        """A sentence for anybody on what is wrong, else ""."""
        taken = any(one.name == self._link.front_end for one in self._known.values())
        if taken and self._told_twice:
            return TWICE.format(self._link.front_end)
        return CROWD if self._clock() < self._crowd_until else ""

    def stream(self, identity: str, said: Said) -> FarStream | None:
        """A stream of that id, where it is the sender's."""
        front_end = self._known.get(said["run"])
        found = None if front_end is None else front_end.streams.get(identity)
        return None if found is None else found[0]

    def greet(self) -> None:
        """Say that we are here, and have heard of nobody yet."""
        self._link.say(ALL, "alive", new=True)

    def leave(self) -> None:
        """Say that we go."""
        self._link.say(ALL, "bye")

    def run(self) -> None:
        """Say that we live, and forget who says so no longer; for ever, spawn it."""
        while True:
            hub.sleep(EVERY)
            if self._link.up:
                self._link.say(ALL, "alive", new=False)
            self.forget_silent()

    def forget_silent(self) -> None:
        """Forget those who were not heard for too long."""
        since = self._clock() - self._silence
        for run, one in list(self._known.items()):
            if one.heard < since:
                self._forget(run, one, f"the front end {one.name} has not been heard for {self._silence:g} s")

    # ---- what they say ------------------------------------------------------------------------------------------

    def _hear(self, said: Said) -> FrontEnd | None:
        """Who says this; None: there are too many."""
        front_end = self._known.get(said["run"])
        if front_end is None:
            if len(self._known) >= MOST:
                metrics.REDIS_DROPPED.inc("too many")
                self._tell_crowd()
                return None
            front_end = self._known[said["run"]] = FrontEnd(said["from"])
            metrics.FRONT_ENDS.child().value = len(self._known)
            self._welcome(front_end.name)
        elif front_end.name != said["from"]:
            metrics.REDIS_DROPPED.inc("foreign")
            return None
        front_end.heard = self._clock()
        return front_end

    def _tell_crowd(self) -> None:
        now = self._clock()
        if now >= self._crowd_until:
            self._log(CROWD)
            news.tell(NewsKind.FRONT_ENDS, CROWD)
        self._crowd_until = now + self._silence

    def _welcome(self, name: str) -> None:
        if name == self._link.front_end:
            return  # the one before us, perhaps, whose last words are on their way; _alive says more
        self._log(f"the front end {name} is there")
        self.newcomer()

    def _alive(self, _channel: str, said: Said, _picture: Picture) -> None:
        front_end = self._hear(said)
        if front_end is None:
            return
        if front_end.name == self._link.front_end and not self._told_twice:
            self._told_twice = True
            self._log(TWICE.format(front_end.name))
            news.tell(NewsKind.FRONT_ENDS, TWICE.format(front_end.name))
        if said["new"]:
            self.newcomer()

    def _bye(self, _channel: str, said: Said, _picture: Picture) -> None:
        front_end = self._known.get(said["run"])
        if front_end is not None and front_end.name == said["from"]:
            self._forget(said["run"], front_end, f"the front end {front_end.name} has left")

    def _rows(self, _channel: str, said: Said, _picture: Picture) -> None:
        front_end = self._hear(said)
        if front_end is None:
            return
        for row in said["rows"]:
            former = front_end.streams.get(row["id"])
            if former is None and row["id"] in self._far.open:
                metrics.REDIS_DROPPED.inc("foreign")  # of another run under the same name
                continue
            stream = self._far.tell(front_end.name, row)
            if stream is not None:
                front_end.streams[row["id"]] = stream, said["cycle"] or (former[1] if former else front_end.cycle)
        if said["cycle"] and front_end.piece_came(said["cycle"], said["pieces"]):
            gone = [one for one, cycle in front_end.streams.values() if cycle != said["cycle"]]
            self._close(front_end, [one.id for one in gone])
        self._count()

    def _closed(self, _channel: str, said: Said, _picture: Picture) -> None:
        front_end = self._hear(said)
        if front_end is not None:
            self._close(front_end, said["ids"])
            self._count()

    # ---- within -------------------------------------------------------------------------------------------------

    def _close(self, front_end: FrontEnd, ids: list[str]) -> None:
        for number, identity in enumerate(ids, 1):
            found = front_end.streams.pop(identity, None)
            if found is not None:
                self._far.close(found[0])
            if number % 100 == 0:
                fairness.pause()

    def _forget(self, run: str, front_end: FrontEnd, why: str) -> None:
        if self._known.get(run) is not front_end:
            return  # it has left while another one was forgotten, which pauses
        del self._known[run]
        self._log(why)
        if front_end.name == self._link.front_end:
            self._told_twice = False
        metrics.FRONT_ENDS.child().value = len(self._known)
        self._close(front_end, list(front_end.streams))
        self._count()

    def _count(self) -> None:
        metrics.FRONT_END_STREAMS.child().value = len(self._far.open)


def _nothing() -> None:
    """Nobody wants to know."""
