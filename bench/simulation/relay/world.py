"""Front ends, their Redis, and what is seen of them in a time."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from dataclasses import dataclass, field
from random import Random

from bench.simulation.events import Events
from bench.simulation.parts import RelayTimes
from bench.simulation.relay.broker import Redis
from bench.simulation.relay.front_end import FrontEnd, Shared

from imageserver.limits import Limits

GIGABIT = 1e9 / 8


@dataclass(frozen=True)
class Setup:
    """What is simulated.

    Args:
        front_ends: how many.
        cameras: of each.
        texts: of /ws, a second, of all front ends together; each has somebody in that room.
        network: bytes a second out of Redis.
        limits: of the front ends.
        seed: of everything drawn.
    """

    front_ends: int
    cameras: int
    texts: float = 0.0
    network: float = 10 * GIGABIT
    limits: Limits = field(default_factory=Limits)
    seed: int = 1


@dataclass(frozen=True)
class Busy:
    """Shares of a time that was worked: of processes and loops the mean. `out`: bytes a second out of Redis."""

    redis: float
    out: float
    process: float
    loop: float


class World:
    """Made from a setup; all front ends are connected from the first second on.

    Attributes:
        since: From when on every front end has known every camera; infinite while that is not so.
    """

    def __init__(self, times: RelayTimes, setup: Setup) -> None:
        self.setup, self._times = setup, times
        self.events, self.counts = Events(), Counter[str]()
        self.redis = Redis(self.events, setup.network, times.wake_redis)
        self._random, self._whole, self.since = Random(setup.seed), set[int](), math.inf
        shared = Shared(self.events, self.redis, times, setup.limits, self._random, self.counts, self._is_whole)
        self.front_ends = [
            FrontEnd(number, setup.front_ends - 1, setup.cameras, shared) for number in range(setup.front_ends)
        ]
        for one in self.front_ends:
            self.events.after(self._random.random(), one.connect)
        if setup.texts:
            self.events.after(0.0, self._say_text)

    @property
    def known(self) -> float:
        """Share of all rows of others that front ends know."""
        setup = self.setup
        rows = setup.front_ends * (setup.front_ends - 1) * setup.cameras
        return sum(one.known.rows for one in self.front_ends) / rows if rows else 1.0

    @property
    def unheard(self) -> int:
        """Texts that were said, times those who should have heard them and have not, or not yet."""
        return self.counts["texts said"] * (self.setup.front_ends - 1) - self.counts["texts heard"]

    def run(self, seconds: float) -> None:
        """Let time pass."""
        self.events.run(self.events.now + seconds)

    def measure(self, seconds: float) -> Busy:
        """Let time pass, and tell who worked for how much of it; with what each does where nobody says anything."""
        redis, out = self.redis.thread.busy, self.redis.bytes
        processes = [one.process.busy for one in self.front_ends]
        loops = [one.loop.busy for one in self.front_ends]
        self.run(seconds)
        process = statistics.fmean(one.process.busy - at for one, at in zip(self.front_ends, processes, strict=True))
        loop = statistics.fmean(one.loop.busy - at for one, at in zip(self.front_ends, loops, strict=True))
        return Busy(
            (self.redis.thread.busy - redis) / seconds + self._times.rest_redis,
            (self.redis.bytes - out) / seconds,
            process / seconds + self._times.rest_process,
            loop / seconds + self._times.rest_loop,
        )

    def _say_text(self) -> None:
        self.counts["texts said"] += 1
        self._random.choice(self.front_ends).say_text()
        self.events.after(self._random.expovariate(self.setup.texts), self._say_text)

    def _is_whole(self, number: int, whole: bool) -> None:
        (self._whole.add if whole else self._whole.discard)(number)
        self.since = self.events.now if len(self._whole) == self.setup.front_ends else math.inf
