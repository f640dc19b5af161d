"""What comes over Redis: messages of other front ends, or of whoever else can write there."""

from __future__ import annotations

import json
import random

from tests.fuzz.target import Defect, Target
from tests.peers.links import OTHER
from tests.peers.test_messages import FRAME_SAID, SAID

from imageserver.peers import messages
from imageserver.peers.messages import ALL, FRAME, PREDICTIONS, ROOM, TO, Dropped

CHANNELS = (ALL, PREDICTIONS, f"{TO}a", f"{FRAME}b.1", ROOM, f"{ROOM}kitchen")


def read(data: bytes) -> None:
    """Whatever comes is understood or dropped; what is understood is JSON, and all in it is its sender's."""
    for channel in CHANNELS:
        found = messages.read(channel, data, 1000)
        if isinstance(found, Dropped):
            continue
        if json.loads(found.text) != found.said or len(found.picture) > 1000:
            raise Defect(f"{found.said!r:.200} is not what was said")
        json.dumps(found.said, ensure_ascii=False, allow_nan=False).encode()
        told = [one["id"] for one in found.said.get("rows", ())] + list(found.said.get("ids", ()))
        if found.said["op"] in ("rows", "closed") and any(not one.startswith("b.") for one in told):
            raise Defect(f"somebody speaks of {told!r:.200}")


def encoded(chance: random.Random) -> bytes:
    """A message, one of whose values may be another one."""
    _channel, op, values = chance.choice(SAID)
    said = json.loads(messages.encode(op, "b", OTHER, **values))
    if chance.random() < 0.5:
        others = (None, -1, 1.5, True, "x" * 300, [], {}, [[]], "\ud800", "a.1", {"a": {"b": [1]}}, 10**15)
        said[chance.choice(list(said))] = chance.choice(others)
    picture = b"\n" + bytes(chance.choice((0, 1, 1001))) if chance.random() < 0.3 else b""
    return json.dumps(said).encode() + picture


TARGETS = [
    Target(
        name="peers",
        run=read,
        seeds=(
            *(messages.encode(op, "b", OTHER, **values).encode() for _channel, op, values in SAID),
            messages.encode("frame", "b", OTHER, **FRAME_SAID).encode() + b"\n\xff\xd8",
        ),
        covers=("peers.messages",),
        shape=encoded,
        longest=2**17,
        byte_memory=400,
        byte_seconds=4e-6,
        words=(b'"op":', b'"b.1"', b"NaN", b"1e999", b"\\ud800", b"\n", b'{"v":1,'),
    ),
]
