"""Whose turn it is to be checked: so many at once, round robin by address.

An address with hundreds of attempts that wait delays no other by more than one of its own. Addresses that failed
lately, however many, and all others have turns by turns, and where there are two turns or more at once, one is kept
for those others. How many wait is bounded, for all and for one; where all of it is taken, whoever has most waiting
gives one up.
"""

from __future__ import annotations

import contextlib
import itertools
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable, Iterator

from imageserver.accounts.guard.guard import Claim
from imageserver.errors import LimitExceeded
from imageserver.limits import hit
from imageserver.transport import hub

REFUSED_AT_ONCE = 16
"""Of those that wait, in one turn of the loop: each has an answer to write."""

FULL = "too many logins wait at this moment; try again in a few seconds"


class _Waiting:
    """One that waits; `refused` says why it need not wait any longer."""

    __slots__ = ("ask", "doubtful", "event", "refused")

    def __init__(self, ask: Callable[[], bool], doubtful: Callable[[], bool]) -> None:
        self.ask, self.doubtful, self.event = ask, doubtful, hub.Event()
        self.refused: Exception | None = None


class Turns:
    """Turns for what is done `at_once`.

    Args:
        at_once: How many have a turn at the same time.
        most: How many may wait; of one party a quarter.
    """

    def __init__(self, at_once: int, most: int) -> None:
        self._free, self._most, self._share = at_once, most, max(1, most // 4)
        self._kept = min(1, at_once - 1)  # turns that the doubtful leave to others
        self._doubtful_next = self._blocked = False
        # Whose turn was longest ago stands first.
        self._waiting: OrderedDict[Hashable, deque[_Waiting]] = OrderedDict()
        self._count = 0

    @contextlib.contextmanager
    def turn(self, party: Hashable, ask: Callable[[], bool], doubtful: Callable[[], bool]) -> Iterator[None]:
        """Wait green for a turn, and have it within the block.

        Args:
            party: Between whom turns go round.
            ask: Called when the turn has come: whether it can be taken now, else it is asked again at `look_again`.
                What it raises ends the waiting.
            doubtful: Whether the party failed lately.

        Raises:
            LimitExceeded: Too many wait; or what `ask` raised.
        """
        self._wait(party, _Waiting(ask, doubtful))
        try:
            yield
        finally:
            self._free += 1
            self._go_on()

    def look_again(self) -> None:
        """What `ask` looks at has changed: give turns to those that can have one now."""
        if self._blocked:
            self._blocked = False
            self._go_on()

    def _go_on(self) -> None:
        """A turn has ended: give it to whoever can have it."""
        while self._free and self._serve_next():
            pass

    def _wait(self, party: Hashable, waiting: _Waiting) -> None:
        self._add(party, waiting)
        if self._is_free_for(waiting.doubtful()):
            self._serve(party)
        try:
            waiting.event.wait()
        except BaseException:
            if waiting.event.is_set() and waiting.refused is None:
                self._free += 1
                self._go_on()
            else:
                self._drop(party, waiting)
            raise
        if waiting.refused is not None:
            raise waiting.refused

    def _serve_next(self) -> bool:
        """Give one party its turn; whether there is one that can have it."""
        for doubtful in (self._doubtful_next, not self._doubtful_next):
            if not self._is_free_for(doubtful):
                continue
            for party, queue in list(self._waiting.items()):
                if queue[0].doubtful() is doubtful and self._serve(party):
                    self._doubtful_next = not doubtful
                    return True
        return False

    def _is_free_for(self, doubtful: bool) -> bool:
        return self._free > (self._kept if doubtful else 0)

    def _serve(self, party: Hashable) -> bool:
        """Give the next of one party its turn; whether there is one that can have it."""
        for waiting in list(itertools.islice(self._waiting[party], REFUSED_AT_ONCE)):
            try:
                if not waiting.ask():
                    self._blocked = True
                    return False
            except Exception as error:  # noqa: BLE001 - whoever waits is told
                waiting.refused = error
            self._drop(party, waiting)
            waiting.event.set()
            if waiting.refused is None:
                self._free -= 1
                if party in self._waiting:
                    self._waiting.move_to_end(party)
                return True
        if party in self._waiting:
            hub.call_later(0, self._go_on)
        return False

    def _add(self, party: Hashable, waiting: _Waiting) -> None:
        queue = self._waiting.get(party)
        if self._count >= self._most:
            self._give_way(party, len(queue or ()))
        elif queue is not None and len(queue) >= self._share:
            _refuse_one(party)
        self._waiting.setdefault(party, deque()).append(waiting)
        self._count += 1

    def _give_way(self, asking: Hashable, mine: int) -> None:
        """Have the last of whoever has most waiting give up its place. LimitExceeded: that is who asks for one."""
        party, queue = max(self._waiting.items(), key=lambda item: len(item[1]))
        if len(queue) <= mine + 1:
            _refuse_one(asking)
        last = queue[-1]
        hit("login_queue", _owner(party))
        last.refused = LimitExceeded(FULL)
        self._drop(party, last)
        last.event.set()

    def _drop(self, party: Hashable, waiting: _Waiting) -> None:
        queue = self._waiting.get(party)
        if queue is not None and waiting in queue:
            queue.remove(waiting)
            self._count -= 1
            if not queue:
                del self._waiting[party]


def _refuse_one(party: Hashable) -> None:
    hit("login_queue", _owner(party))
    raise LimitExceeded(FULL)


def _owner(party: Hashable) -> str:
    """Whose doing it is, as `limits.hit` has it: a party is an address, or whoever claims to be somebody there."""
    return party.owner if isinstance(party, Claim) else str(party)
