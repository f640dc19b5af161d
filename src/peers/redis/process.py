"""The process that talks to Redis: a program of its own (sidecar/), which the server starts.

Its first message has the address and the bounds; what it is asked and tells stands in wall.py.
"""

from __future__ import annotations

from typing import Any

from imageserver.config import database
from imageserver.errors import SettingError
from imageserver.inference.shared import wire
from imageserver.peers.redis.wall import INCOMING, LACKING, OUTGOING
from imageserver.sidecar import program
from imageserver.sidecar.program import Answerer, Server


def main() -> int:
    """Answer until the server says stop or is gone."""
    return program.run("Redis between front ends, for ImageServer; the server starts this.", open_up, threads=2)


def open_up(server: Server, opening: wire.Message) -> Answerer:
    """Begin to connect, and return what answers. SettingError: there is no client here."""
    try:
        from imageserver.peers.redis.connection import Bus
    except ImportError as error:
        raise SettingError(LACKING.format(error)) from None
    arena = server.arena
    assert arena is not None
    outgoing, incoming = (arena[slot * wire.SLOT_BYTES : (slot + 1) * wire.SLOT_BYTES] for slot in (OUTGOING, INCOMING))
    bus = Bus(
        database.redis(opening["address"]),
        opening["password"],
        front_end=opening["front_end"],
        run=opening["run"],
        most_picture=opening["most_picture"],
        most_bytes=opening["most_bytes"],
        most_text_bytes=opening["most_text_bytes"],
        state=lambda why: server.tell("gone" if why else "up", why),
    )
    bus.begin()

    def answer(what: str, values: list[Any]) -> Any:
        match what:
            case "send":
                hear, leave, said, frame = values
                if frame is None:
                    return bus.send(hear, leave, said)
                channel, text, size = frame
                return bus.send(hear, leave, said, (channel, text, outgoing[:size]))
            case "receive":
                found, picture = bus.inbox.receive()
                incoming[: len(picture)] = picture
                return found
            case _:
                raise SettingError(f"nobody knows {what!r} here")

    return answer
