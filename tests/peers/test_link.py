"""The server's end of the way to Redis, with a process that is not there."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from tests.peers.links import OTHER

from imageserver.config import database
from imageserver.jail.rules import Jail
from imageserver.limits import Limits
from imageserver.peers import messages
from imageserver.peers.messages import ALL, FRAME
from imageserver.peers.redis.link import RedisLink
from imageserver.transport import hub

FRAME_SAID = {"seq": 3, "timestamp": 5, "rotate": 0, "prediction": {}, "error": ""}


def test_the_picture_is_taken_before_anything_pauses() -> None:
    """The next picture may stand in its place by then, and would be shown as this camera's."""
    slot = [b"of b.1"]
    never = hub.Event()
    text = messages.encode("frame", "b", OTHER, **FRAME_SAID)
    said = [[ALL, messages.encode("bye", "b", OTHER)]]
    found = iter([{"messages": said, "frame": [f"{FRAME}b.1", text, 6], "bytes": 1, "dropped": {}}])

    def ask(_what: str, *, seconds: float) -> Any:
        answer = next(found, None)
        return answer or never.wait()

    def pause(*_said: Any) -> None:
        slot[0] = b"of b.2"

    link = RedisLink(database.redis("redis://127.0.0.1:1"), None, "a", Limits(), Jail(enforced=False), print)
    arena = SimpleNamespace(read=lambda _slot, _at, _size: slot[0])
    link.__dict__["_sidecar"] = SimpleNamespace(arena=arena, ask=ask)
    shown: list[Any] = []
    link.on("bye", pause)
    link.on("frame", lambda _channel, _said, picture: shown.append(picture))
    task = hub.spawn(link._receive)
    with hub.Timeout(60):
        while not shown:
            hub.sleep(0.001)
    task.kill()
    assert shown == [b"of b.1"]
