"""Rooms of /ws across front ends: what is said in a room here is said in it there, where anybody is in it.

Each front end hears the rooms that have somebody of its own in them, and tells these who may hear it, by the rules
that hold among its own (protocols/snap/rights.py): with a text goes which cameras its sender may see. What the sender
itself may say was decided where it is.

Texts have bounds of their own, and those of others a green thread of their own: however much is said in rooms, and
however many are told, front ends hear of each other.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from imageserver import metrics
from imageserver.inference.shared.wire import Picture
from imageserver.limits import Limits, hit
from imageserver.peers.messages import ROOM, Dropped, Said
from imageserver.peers.redis.allowance import Allowance
from imageserver.peers.redis.link import RedisLink
from imageserver.transport import fairness, hub

WAITING = 2 * 2**20
"""Characters of texts of others that may wait, each counted as `LEAST` at least: the oldest give way."""
LEAST = 1024
LATE = 2.0
"""Seconds after which a text of others that waited is nobody's any more."""


class FarText(NamedTuple):
    """What a client of another front end said. `only`: the cameras that it may see, () for all."""

    text: str
    camera: str
    only: tuple[str, ...]


class RoomListener:
    """Who is told what is said elsewhere in rooms that were joined. Called in the loop; waits for turns alone."""

    def heard(self, room: str, said: FarText) -> None:
        """A client said something."""

    def news(self, room: str, text: str, owner: str, camera: str) -> None:
        """A picture was put, by the user `owner`, "" for nobody known."""


class SharedRooms:
    """Tells others and hears them.

    Args:
        link: To them; None: there are no others.
        limits: `redis_text_bytes`.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        link: RedisLink | None = None,
        limits: Limits | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._link, self._clock = link, clock
        self._allowance = Allowance((limits or Limits()).redis_text_bytes, clock)
        self.listener = RoomListener()
        self._heard: deque[tuple[float, int, Callable[[], None]]] = deque()
        """What others said: when it came, its size, and what tells those in its room."""
        self._waiting, self._came = 0, hub.Event()
        if link is not None:
            link.on("text", self._text)
            link.on("news", self._news)

    def join(self, room: str) -> None:
        """Somebody is in a room here."""
        if self._link is not None:
            self._link.hear(f"{ROOM}{room}")

    def leave(self, room: str) -> None:
        """Nobody is any more."""
        if self._link is not None:
            self._link.leave(f"{ROOM}{room}")

    def say(self, room: str, said: FarText) -> None:
        """A client here said something, and may."""
        self._tell(room, "text", text=said.text, camera=said.camera, only=list(said.only))

    def announce(self, room: str, text: str, owner: str, camera: str) -> None:
        """A picture was put here."""
        self._tell(room, "news", text=text, owner=owner, camera=camera)

    def run(self) -> None:
        """Tell those who are here what others said, for ever; spawn it."""
        while True:
            self._came.wait()
            self._came.clear()
            self.tell_waiting()

    def tell_waiting(self) -> None:
        """Tell those who are here what others said."""
        while self._heard:
            came, size, tell = self._heard.popleft()
            self._waiting -= size
            if self._clock() - came > LATE:
                metrics.REDIS_DROPPED.inc(Dropped.LATE)
                continue
            tell()
            fairness.pause()

    # ---- within -------------------------------------------------------------------------------------------------

    def _tell(self, room: str, op: str, **values: Any) -> None:
        """Say it to others, where their texts are not too many: known before it is encoded, which may be dear."""
        if self._link is None:
            return
        if self._allowance.lacking:
            hit("redis_text_bytes")
            metrics.REDIS_DROPPED.inc(Dropped.TOO_MANY)
            return
        self._allowance.take(self._link.say(f"{ROOM}{room}", op, **values))

    def _text(self, channel: str, said: Said, _picture: Picture) -> None:
        text = FarText(said["text"], said["camera"], tuple(said["only"]))
        self._keep(text.text, partial(self.listener.heard, channel.removeprefix(ROOM), text))

    def _news(self, channel: str, said: Said, _picture: Picture) -> None:
        room, text = channel.removeprefix(ROOM), said["text"]
        self._keep(text, partial(self.listener.news, room, text, said["owner"], said["camera"]))

    def _keep(self, text: str, tell: Callable[[], None]) -> None:
        """Have it told in its turn; the oldest that wait give way to it."""
        size = max(LEAST, len(text))
        while self._heard and self._waiting + size > WAITING:
            self._waiting -= self._heard.popleft()[1]
            metrics.REDIS_DROPPED.inc(Dropped.TOO_MANY)
        self._waiting += size
        self._heard.append((self._clock(), size, tell))
        self._came.set()
