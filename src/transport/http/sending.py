"""Sending an answer to a client that may take it slowly, or not at all."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from imageserver.errors import TimedOut
from imageserver.limits import Limits
from imageserver.transport import hub
from imageserver.transport.fairness import Turn
from imageserver.transport.pace import Pace

PIECE = 64 * 1024
"""Bytes given to the kernel at once."""


def send_all(sock: hub.Socket, parts: Iterable[bytes], limits: Limits, clock: Callable[[], float], turn: Turn) -> None:
    """Give all parts to the kernel, as fast as the client takes them.

    Raises:
        TimeoutError: The client takes less than `min_body_rate` in each `send_time`; its text says how much.
        OSError: The connection broke.
    """
    sent, patience = 0, None
    sock.setblocking(False)
    try:
        for part in parts:
            left = memoryview(part)
            while left:
                count = hub.send_nowait(sock, left[:PIECE])
                left = left[count:]
                sent += count
                if count:
                    turn.share()
                    continue
                patience = patience or _Patience(sock, sent, limits, clock)
                patience.wait(sent)
                turn.begin()
    finally:
        sock.setblocking(True)  # over TLS a timeout alone does not make it wait again


class _Patience:
    """How long the kernel's buffer may stay full.

    What counts is what the client's side has taken: a full buffer has no room until a third of it is gone.
    """

    def __init__(self, sock: hub.Socket, sent: int, limits: Limits, clock: Callable[[], float]) -> None:
        self._sock, self._seconds, self._clock = sock, limits.send_time, clock
        self._pace = Pace(limits.min_body_rate, limits.send_time, clock)
        self._begun = sent - hub.unacknowledged(sock)
        self._pace.begin(self._begun)

    def wait(self, sent: int) -> None:
        """Wait for room, `sent` bytes having gone to the kernel. Raises OSError, TimeoutError."""
        try:
            hub.wait_writable(self._sock, max(self._pace.end - self._clock(), 0.001))
        except TimedOut:
            taken = sent - hub.unacknowledged(self._sock)
            self._pace.reached(taken)
            if self._pace.end > self._clock():
                return
            amount = f"only {taken - self._begun} bytes" if taken > self._begun else "nothing"
            raise TimeoutError(f"took {amount} of its answer for {self._seconds:g} seconds") from None
