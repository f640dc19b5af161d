"""What front ends tell each other through one Redis: texts of rooms, and their lists of cameras.

Its times are assumed, not measured (`RelayTimes`), and src/peers/ sends pieces and pauses that are not in it. Redis
is one thread that hands each message to every other front end, and keeps nothing for who is not there; each front end
takes what comes in a process of its own. While Redis is gone, what goes to another front end is lost, and what goes
to the same one is not.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from random import Random

from bench.simulation.events import Events, Histogram

ROWS = 100
"""Cameras of a list in one message."""


@dataclass(frozen=True)
class RelayTimes:
    """Assumed, in seconds: Redis's thread to hand a text, or a message of `ROWS` cameras, to one front end; a front
    end's process to take a text, or one such message."""

    deliver: float = 3e-6
    deliver_rows: float = 15e-6
    take: float = 20e-6
    take_rows: float = 500e-6


TIMES = RelayTimes()


class Relay:
    """Redis and the processes that listen to it.

    Args:
        events: when it happens.
        front_ends: how many.
        times: what each step takes.
        random: for whom a text is.
    """

    def __init__(self, events: Events, front_ends: int, times: RelayTimes, random: Random) -> None:
        self._events, self._times, self._random = events, times, random
        self._front_ends = front_ends
        self.up = True
        self.counts: Counter[str] = Counter()
        self.delays = Histogram()
        """Of texts that reached another front end."""
        self.lists_until = 0.0
        """When the last front end had taken the last list."""
        self._redis_until = 0.0
        self._taken_until = [0.0] * front_ends

    def text(self) -> None:
        """A member of a room says something to another, who is anywhere."""
        sender, reader = (self._random.randrange(self._front_ends) for _side in range(2))
        self.counts["texts"] += 1
        if sender == reader:
            self.counts["delivered"] += 1
        elif not self.up:
            self.counts["lost"] += 1
        else:
            began = self._events.now
            self._redis_until = max(self._redis_until, began) + self._times.deliver * (self._front_ends - 1)
            self._events.after(self._redis_until - began, self._come, reader, began)

    def _come(self, reader: int, began: float) -> None:
        """It goes to all; that it is for one of them, they see when they have taken it."""
        now, take = self._events.now, self._times.take
        for number in range(self._front_ends):
            self._taken_until[number] = max(self._taken_until[number], now) + take
        self.counts["delivered"] += 1
        self.delays.add(self._taken_until[reader] - began)

    def lists(self, cameras: int) -> None:
        """Every front end tells all others its cameras, of so many in all."""
        messages = -(-cameras // self._front_ends // ROWS) or 1
        now, others = self._events.now, self._front_ends - 1
        for _message in range(messages * self._front_ends):
            self._redis_until = max(self._redis_until, now) + self._times.deliver_rows * others
            for number in range(self._front_ends):
                self._taken_until[number] = max(self._taken_until[number], self._redis_until) + self._times.take_rows
        self.lists_until = max(self._taken_until)


@dataclass(frozen=True)
class Outage:
    """What it cost that Redis was gone: share of texts lost meanwhile, and seconds until all lists were whole again."""

    lost: float
    whole_after: float
    delay_p99: float
    """Of texts before, in seconds."""


def outage(front_ends: int, cameras: int, texts: float, seconds: float, times: RelayTimes, seed: int = 1) -> Outage:
    """Redis is gone for so long, while so many texts a second are said."""
    events, random = Events(), Random(seed)
    relay = Relay(events, front_ends, times, random)

    def say() -> None:
        relay.text()
        events.after(random.expovariate(texts), say)

    events.after(0.0, say)
    events.run(2.0)
    delay = relay.delays.quantile(0.99)
    before = relay.counts.copy()
    relay.up = False
    events.run(2.0 + seconds)
    during = relay.counts - before
    relay.up = True
    relay.lists(cameras)
    return Outage(during["lost"] / max(1, during["texts"]), relay.lists_until - events.now, delay)
