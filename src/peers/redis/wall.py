"""Between the server and the process that talks to Redis: what that may do, and what they ask each other.

The process is asked

    send       [channels to hear, channels to hear no more, [[channel, message], …], frame]
               a frame is [channel, message, size], its picture in the slot OUTGOING, or null
               the answer: whether all of it has reached Redis
    receive    the answer, once there is something, or after a second:
               {"messages": [[channel, message], …], "frame": [channel, message, size] or null, "bytes": int,
                "dropped": {reason: int}}; the frame's picture is in the slot INCOMING

one of each at a time, so that what waits is bounded, and gives way to what is newer. Unasked it tells

    up        Redis answers, and what was to be heard is
    gone      it does not, and why
"""

from __future__ import annotations

from pathlib import Path

from imageserver.config.database import DatabaseAddress
from imageserver.jail.rules import MIB, Jail

PROGRAM = "peers.redis.process"
OUTGOING, INCOMING = 0, 1
"""Slots of the memory that they share."""
SLOTS = 2

LACKING = (
    "--redis needs a client that is not installed here ({}): install the extra redis "
    "(pip install 'imageserver[redis]'; make run REDIS=1)"
)


def jail(address: DatabaseAddress, password: Path | None, *, enforced: bool) -> Jail:
    """Its jail: no code of models runs there, and it connects to the port of Redis alone (Linux 6.7)."""
    files = [*address.files, *([str(password)] if password else [])]
    return Jail(
        enforced=enforced,
        read=tuple(path for path in files if Path(path).exists()),
        network=True,
        connect=(address.port,),
        memory=512 * MIB,
    )
