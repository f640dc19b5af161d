"""How a server leaves that is one of several: its clients come back, to the others, spread over `--leave-time`.

Each is told as a lost network would tell it, without a close frame or a disconnect packet: at those some clients stay
away (docs/several-front-ends.md). Those who still wait for an answer have it first.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import NamedTuple

from imageserver.app.parts import Doors, Inference
from imageserver.transport import fairness, hub

LAST_ANSWER = 1.0
"""Seconds beyond its turn that a client stays for an answer that it waits for."""
LOOK_EVERY = 0.02
AT_ONCE = 16
"""Connections that are ended in one turn of the loop."""


class Departure(NamedTuple):
    """A connection that is to end. `owed`: whether its client waits for an answer."""

    end: Callable[[], None]
    owed: Callable[[], bool]


def departures(inference: Inference, doors: Doors) -> list[Departure]:
    """All connections that are there for long, in the order in which they end; from now on nobody begins another.

    Those with a session come last: it ends with its connection, and may be over by itself until then.
    """
    for listener in doors.listeners:
        listener.leave()
    doors.access.leaving = True
    in_session = {session.connection for session in inference.sessions.open_sessions.values()}
    sids = sorted(doors.socketio.leave(), key=in_session.__contains__)
    others = [*doors.relay.departures(), *doors.live.departures()]
    return [
        *(Departure(end, lambda: False) for end in others),
        *(_of_socket(sid, inference, doors) for sid in sids),
    ]


def _of_socket(sid: str, inference: Inference, doors: Doors) -> Departure:
    def owed() -> bool:
        stream = inference.streams.open_streams.get(sid)
        unanswered = stream is not None and stream.received > stream.answered_count + stream.refused + stream.dropped
        return unanswered or doors.socketio.waiting(sid)

    return Departure(lambda: doors.socketio.drop(sid), owed)


def spread(leaving: Iterable[Departure], seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
    """End them evenly over `seconds`, and return when these are over and all have ended; waits green."""
    begun = clock()
    coming = deque(leaving)
    step = seconds / max(1, len(coming))
    due, late = begun, deque[tuple[float, Departure]]()
    while coming or late or clock() < begun + seconds:
        now = clock()
        while coming and due <= now:
            late.append((due + LAST_ANSWER, coming.popleft()))
            due += step
        for number in range(1, len(late) + 1):
            last, departure = late.popleft()
            if now < last and departure.owed():
                late.append((last, departure))
            else:
                departure.end()
            if not number % AT_ONCE:
                fairness.pause()
        hub.sleep(LOOK_EVERY)
