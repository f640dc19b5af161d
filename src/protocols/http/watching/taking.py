"""How a client takes what it follows: it is written to only when it has taken what it was sent before.

So what a slow one gets is as new as what others get, only less often; what waits for it is one frame, or one round
of events, and never a queue.
"""

from __future__ import annotations

import time

from imageserver import limits
from imageserver.transport import hub
from imageserver.transport.budget import owner_of
from imageserver.transport.fairness import SharedTurn
from imageserver.web.requests import Request

LEFT_BYTES = 2048
"""That the kernel may still hold, or the acknowledgement of a last packet would be waited for (RFC 1122, 4.2.3.2)."""
FIRST_LOOK, LONGEST_LOOK = 0.005, 0.1
"""Seconds between looks at what the kernel holds, twice as long each time."""

turns = SharedTurn(8)
"""Of all who follow: many are woken by the same frame, and so many of them write in one turn of the loop."""


class Taking:
    """One client that follows. Under another WSGI server than ours it is taken to have taken everything.

    Args:
        request: What it asked.
        send_time: Seconds in which it must take something of what it was sent.
    """

    def __init__(self, request: Request, send_time: float) -> None:
        self._connection = request.environ.get("transport.connection")
        self._sock = None if self._connection is None else self._connection.sock
        self._address, self._send_time = request.environ.get("REMOTE_ADDR", ""), send_time

    @property
    def gone(self) -> bool:
        """Whether it has closed the connection."""
        return self._sock is not None and hub.gone(self._sock)

    def wait(self) -> bool:
        """Wait until it has taken what it was sent, and for a turn to send more; False: it is to be given up."""
        left, since, pause = self._left(), time.monotonic(), FIRST_LOOK
        while left > LEFT_BYTES:
            if self.gone:
                return False
            hub.sleep(pause)
            pause = min(2 * pause, LONGEST_LOOK)
            now = self._left()
            if now < left:
                left, since = now, time.monotonic()
            elif self._connection is not None and time.monotonic() - since > self._send_time:
                sentence = f"{self._address} took nothing of what it follows for {self._send_time:g} seconds"
                self._connection.log(limits.note(f"{sentence}; it is given up", "send_time", owner_of(self._address)))
                return False
        turns.take()
        return True

    def _left(self) -> int:
        return 0 if self._sock is None else hub.unacknowledged(self._sock)
