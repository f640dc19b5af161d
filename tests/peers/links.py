"""A link to other front ends that leads nowhere: what is said is kept, and what others say comes from the test."""

from __future__ import annotations

from typing import Any

from imageserver.peers import messages
from imageserver.peers.messages import Heard
from imageserver.peers.redis.link import Handler

RUN = "00000000000000aa"
OTHER = "00000000000000bb"


class Link:
    """Stands in for RedisLink. All that is said is read as others would."""

    def __init__(self, front_end: str = "a", run: str = RUN) -> None:
        self.front_end, self.run, self.up = front_end, run, True
        self.said: list[tuple[str, dict[str, Any]]] = []
        self.channels: dict[str, None] = {}
        self.handlers: dict[str, Handler] = {}
        self.frames: Any = None
        self.came_up: Any = None
        self.woken = 0

    def on(self, op: str, handler: Handler) -> None:
        self.handlers[op] = handler

    def hear(self, channel: str) -> None:
        self.channels[channel] = None

    def leave(self, channel: str) -> None:
        self.channels.pop(channel, None)

    def wake(self) -> None:
        self.woken += 1

    def say(self, channel: str, op: str, **values: Any) -> int:
        heard = messages.read(channel, messages.encode(op, self.front_end, self.run, **values).encode(), 0)
        assert isinstance(heard, Heard), (heard, values)
        self.said.append((channel, heard.said))
        return len(heard.text)

    def ops(self) -> list[tuple[str, str]]:
        """What was said since the last call: kinds and channels."""
        said, self.said = self.said, []
        return [(one["op"], channel) for channel, one in said]

    def hears(
        self, channel: str, op: str, picture: bytes = b"", front: str = "b", run: str = OTHER, **more: Any
    ) -> None:
        """Another front end says this."""
        heard = messages.read(channel, messages.encode(op, front, run, **more).encode() + b"\n" + picture, 2**20)
        assert isinstance(heard, Heard), (heard, more)
        self.handlers[op](channel, heard.said, bytes(heard.picture))


def row(identity: str, **more: Any) -> dict[str, Any]:
    """A stream as another front end tells of it."""
    usual = {
        "id": identity, "name": "door", "user": "anna", "protocol": "camstream", "model": "echo", "fps_in": 1.0,
        "fps_answered": 1, "age_ms": None, "dropped": 0, "size": None, "counts": "door", "kind": "stream",
    }  # fmt: skip
    return usual | more
