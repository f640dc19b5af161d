"""eventlet's loop with bounded turns, and without circles of references.

eventlet's own hub wakes everybody who is ready within one turn of the loop. When 9,500 connections leave at the same
moment that is 0.3 s in which no frame is read and no answer written, for each of them costs 35 us to wake and another
100 to end. Here so many go on that a turn lasts some milliseconds, and those who leave come after those who have
something to say.
"""

from __future__ import annotations

import select
from collections.abc import Callable
from typing import Any

from eventlet.hubs import epolls

READY = 4096
"""Descriptors that are looked at in a turn; the kernel shows those that were not next time, the oldest first."""
MOST = 64
"""Of these, how many go on in one turn."""
LEAVING = 16
"""Of these, how many whose other side has gone, where others are ready as well."""


class Hub(epolls.Hub):
    """eventlet's hub for Linux, with bounded turns. Arguments are those of eventlet's."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.READ_MASK |= select.EPOLLRDHUP

    @staticmethod
    def is_available() -> bool:
        """Whether the system has what this needs."""
        return hasattr(select, "EPOLLRDHUP")

    def do_poll(self, seconds: float) -> list[tuple[int, int]]:
        """Descriptors that go on in this turn, and what they are ready for; waits up to `seconds` for one."""
        return chosen(self.poll.poll(seconds, READY))

    def schedule_call_global(self, seconds: float, cb: Callable[..., object], *args: Any, **kw: Any) -> Any:
        """Call `cb` after so many seconds.

        Who waits for a socket has the exception of its time limit among the variables of its frame. Raised there it
        would hold that frame, and the frame it: a circle, in which a connection that was too slow stays with all that
        it had sent until garbage is looked for among the old. So another one is raised.
        """
        if args and type(args[0]) is TimeoutError:
            args = (TimeoutError(*args[0].args), *args[1:])
        return super().schedule_call_global(seconds, cb, *args, **kw)


def chosen(ready: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Those of `ready` that go on now. Nothing is lost: who is left out is ready still when the next turn looks."""
    if len(ready) <= LEAVING:
        return ready
    leaving = [one for one in ready if one[1] & select.EPOLLRDHUP][:LEAVING]
    staying = [one for one in ready if not one[1] & select.EPOLLRDHUP][: MOST - len(leaving)]
    return staying + leaving
