"""The heartbeat of an Engine.IO session: in generation 3 the client's ping, in 4 the server's, which it answers."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol

from imageserver.limits import Limits
from imageserver.transport import hub
from imageserver.transport.engineio.packet import PING, EnginePacket

VERDICT_SECONDS = 0.05
"""How near the end of a heartbeat's time a poll waits for what becomes of it, and how late a timer may be at the
client's expense; at most a quarter of `ping_timeout`."""


class Beating(Protocol):
    """What a heartbeat needs of its session."""

    @property
    def generation(self) -> int: ...

    @property
    def is_open(self) -> bool: ...

    def last_seen(self) -> float:
        """When the client last sent something."""

    def send_packet(self, packet: EnginePacket) -> object: ...

    def close(self, reason: str) -> object: ...


class Heartbeat:
    """Ends a session whose client has been silent for too long."""

    __slots__ = ("_clock", "_due", "_limits", "_sent", "_session", "_timer")

    def __init__(self, session: Beating, limits: Limits, clock: Callable[[], float]) -> None:
        self._session, self._limits, self._clock = session, limits, clock
        self._due = 0.0  # when the server's next ping is
        self._sent = 0.0
        self._timer: hub.Timer | None = None

    def start(self) -> None:
        """Begin, with the session."""
        if self._session.generation == 4:
            self._ping_in(self._limits.ping_interval)
        else:
            self._timer = hub.call_later(self._limits.ping_interval + self._limits.ping_timeout, self.check)

    def stop(self) -> None:
        """End, with the session."""
        if self._timer is not None:
            self._timer.cancel()

    def answered(self) -> None:
        """The client has answered the server's ping."""
        if self._timer is not None:
            self._timer.cancel()
            self._ping_in(self._limits.ping_interval)

    def verdict(self) -> bool:
        """Whether the session is open, for a poll that has come; waits while what is missing is all but too late.

        Such a poll would fetch a ping that nobody can answer in time, or keep an answer that nobody will fetch.
        """
        while self._session.is_open and self.left() < self._verdict_seconds():
            hub.sleep(0.001)
        return self._session.is_open

    def left(self) -> float:
        """Seconds that the client has to send something, infinity when nothing is expected from it."""
        limits, seen = self._limits, self._session.last_seen()
        if self._session.generation == 3:
            return seen + limits.ping_interval + limits.ping_timeout - self._clock()
        return math.inf if seen >= self._sent else self._sent + limits.ping_timeout - self._clock()

    def ping(self) -> None:
        """Generation 4: the server's ping."""
        # A timer is always a little late, and two in a row would be so twice; but when the loop was busy, the client's
        # time begins now.
        self._sent = max(self._due, self._clock() - self._verdict_seconds())
        self._session.send_packet(EnginePacket(PING))
        if self._session.is_open:
            self._timer = hub.call_later(max(0.0, min(self.left(), self._limits.ping_timeout)), self.check)

    def check(self, again: bool = False) -> None:
        """The time is over, if nothing has come. `again`: what there was to read has been read since it was."""
        left = self.left()
        if left == math.inf:
            self._ping_in(max(0.0, self._limits.ping_interval - self._limits.ping_timeout))
        elif left > 0:
            self._timer = hub.call_later(left, self.check)
        elif again:
            self._session.close("ping timeout")
        else:  # it may be there, unread, when the loop was busy: read what there is, then look again
            self._timer = hub.call_later(0, self.check, True)

    def _ping_in(self, seconds: float) -> None:
        self._due = self._clock() + seconds
        self._timer = hub.call_later(seconds, self.ping)

    def _verdict_seconds(self) -> float:
        return min(VERDICT_SECONDS, self._limits.ping_timeout / 4)
