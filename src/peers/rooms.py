"""Rooms of /ws across front ends: what is said in a room here is said in it there, where anybody is in it.

Each front end hears the rooms that have somebody of its own in them, and tells these who may hear it, by the rules
that hold among its own (protocols/snap/rights.py): with a text goes which cameras its sender may see. What the sender
itself may say was decided where it is.
"""

from __future__ import annotations

from typing import NamedTuple

from imageserver.inference.shared.wire import Picture
from imageserver.peers.messages import ROOM, Said
from imageserver.peers.redis.link import RedisLink


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
    """Tells others and hears them. `link` leads to them; None: there are no others."""

    def __init__(self, link: RedisLink | None = None) -> None:
        self._link = link
        self.listener = RoomListener()
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
        if self._link is not None:
            self._link.say(f"{ROOM}{room}", "text", text=said.text, camera=said.camera, only=list(said.only))

    def announce(self, room: str, text: str, owner: str, camera: str) -> None:
        """A picture was put here."""
        if self._link is not None:
            self._link.say(f"{ROOM}{room}", "news", text=text, owner=owner, camera=camera)

    def _text(self, channel: str, said: Said, _picture: Picture) -> None:
        text = FarText(said["text"], said["camera"], tuple(said["only"]))
        self.listener.heard(channel.removeprefix(ROOM), text)

    def _news(self, channel: str, said: Said, _picture: Picture) -> None:
        self.listener.news(channel.removeprefix(ROOM), said["text"], said["owner"], said["camera"])
