"""Whose turn it is: how long one connection may run before the others have the loop.

All connections live on one native thread, so one that always has something to read would keep it. Everything that
reads has a `Turn`: when that is over, everybody who waited for something goes on first, and of those who never pause
one in each turn of the loop. The ports' connections have one each; where a crowd of them may wake up at the same
moment, all of them are given a `SharedTurn` as well.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from imageserver.transport import hub

TURN_SECONDS = 0.001
"""How long one connection may run before it lets the others have the loop."""


def pause() -> None:
    """Let every other green thread that can go on do so first."""
    hub.sleep(0)


class SharedTurn:
    """One turn for a crowd of connections: `most` of them go on in each turn of the loop, in the order of asking.

    A crowd whose bytes arrive at the same moment would else be served within one turn, while everybody else waits.
    """

    def __init__(self, most: int) -> None:
        self.most = self._left = most
        self._waiting: deque[hub.Event] = deque()
        self._counting = False

    def take(self) -> None:
        """Go on now, or in a later turn of the loop."""
        self._count()
        if self._left:
            self._left -= 1
        else:
            self._wait()

    def take_next(self) -> None:
        """Go on in a later turn of the loop."""
        self._count()
        self._wait()

    def _count(self) -> None:
        """Count who goes on in this turn of the loop, and in those that follow."""
        if not self._counting:
            self._counting = True
            hub.call_later(0, self._next)

    def _wait(self) -> None:
        event = hub.Event()
        self._waiting.append(event)
        event.wait()

    def _next(self) -> None:
        gone_on, self._left = self.most - self._left, self.most
        while self._left and self._waiting:
            self._left -= 1
            self._waiting.popleft().set()
        self._counting = gone_on > 0 or self._left < self.most
        if self._counting:
            hub.call_later(0, self._next)


_never_pausing = SharedTurn(1)
"""Of all whose turn was over: 60 that send without pause would else have the loop for 60 ms between two looks at who
else has something to say."""

handshakes = SharedTurn(2)
"""Of all TLS handshakes: a millisecond of arithmetic each."""


class Turn:
    """One connection's turn, in seconds of `clock`; a part of it where the connection has it together with others.

    `share` after each step; where a call for each step is too dear, `if clock() >= turn.ends: turn.pass_on()`.
    """

    __slots__ = ("_clock", "_seconds", "_shared", "ends")

    def __init__(self, clock: Callable[[], float], shared: SharedTurn | None = None) -> None:
        self._clock, self._shared = clock, shared
        self._seconds = TURN_SECONDS if shared is None else TURN_SECONDS / shared.most
        self.ends = clock()  # until `begin`: whoever is new lets the others go first

    def begin(self) -> None:
        """Begin anew: others have just had the loop, as they have whenever this one waited."""
        self.ends = self._clock() + self._seconds

    def share(self) -> None:
        """When the turn is over, let the others have theirs."""
        if self._clock() >= self.ends:
            self.pass_on()

    def pass_on(self) -> None:
        """End it now: let the others have theirs."""
        _never_pausing.take_next()
        if self._shared is not None:
            self._shared.take()
        self.begin()
