"""What is full first when there are more and more front ends: what each tells goes to all, so most of it grows with
their number, and what comes out of Redis with its square.

In closed form: the mean of what `world.py` simulates, while nothing is full (tests compare them); without what the
first message after a pause takes longer, since where there is much to do there are no pauses.
"""

from __future__ import annotations

from bench.simulation.parts import MessageTimes, RelayTimes
from bench.simulation.relay.front_end import pieces_of, times_of_rows
from bench.simulation.relay.world import GIGABIT, Busy

from imageserver.limits import Limits
from imageserver.peers import front_ends, telling
from imageserver.peers.messages import MOST_ROWS
from imageserver.peers.redis import connection, inbox

Rate = tuple[float, MessageTimes]
NETWORKS = (1, 10)
"""Gbit/s."""
MOST = 100_000


def period(cameras: int) -> float:
    """Seconds from one whole list to the next."""
    return telling.CYCLE + sum(pieces_of(cameras)[:-1]) / telling.RATE


def said(times: RelayTimes, cameras: int) -> list[Rate]:
    """What a front end says: how many a second of which messages."""
    rows = [(1 / period(cameras), times_of_rows(times, each)) for each in pieces_of(cameras)]
    return [(1 / front_ends.EVERY, times.word), *rows]


def load(times: RelayTimes, number: int, cameras: int) -> Busy:
    """Of so many front ends with so many cameras each."""
    rates, told = said(times, cameras), cameras / MOST_ROWS / period(cameras)
    pings = number / connection.PING_EVERY * times.word.redis
    return Busy(
        redis=times.rest_redis + pings + number * sum(rate * (one.redis + one.each * number) for rate, one in rates),
        out=number * number * sum(rate * one.size for rate, one in rates),
        process=times.rest_process + told * times.tell_process
        + (number - 1) * sum(rate * one.process for rate, one in rates),
        loop=times.rest_loop + told * times.tell_loop + (number - 1) * sum(rate * one.loop for rate, one in rates),
    )  # fmt: skip


def shares(times: RelayTimes, number: int, cameras: int, planned: float, limits: Limits) -> dict[str, float]:
    """How full each is with so many front ends: 1.0 is full. `planned`: share of the loop that cameras take."""
    busy = load(times, number, cameras)
    taken = sum(rate * max(inbox.LEAST, one.size) for rate, one in said(times, cameras))
    networks = {f"the network of Redis, {gigabits} Gbit/s": busy.out / GIGABIT / gigabits for gigabits in NETWORKS}
    return networks | {
        "the thread of Redis": busy.redis,
        "the process beside a front end": busy.process,
        "a front end's loop": busy.loop,
        f"what cameras leave of the loop ({(1 - planned) * 100:.0f} %)": busy.loop / (1 - planned),
        f"`--redis-streams` ({limits.redis_streams:,})": (number - 1) * cameras / limits.redis_streams,
        f"other front ends ({front_ends.MOST})": (number - 1) / front_ends.MOST,
        f"`--redis-bytes` ({limits.redis_bytes // 2**20} MiB a second)": (number - 1) * taken / limits.redis_bytes,
    }


def full(times: RelayTimes, cameras: int, planned: float, limits: Limits | None = None) -> dict[str, int]:
    """From how many front ends on each is full, the first to be so first."""
    limits = limits or Limits()
    found = {}
    for what in shares(times, 2, cameras, planned, limits):
        low, high = 1, MOST
        while high - low > 1:
            middle = (low + high) // 2
            if shares(times, middle, cameras, planned, limits)[what] > 1.0:
                high = middle
            else:
                low = middle
        found[what] = high
    return dict(sorted(found.items(), key=lambda each: each[1]))
