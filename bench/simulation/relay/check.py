"""How far the simulation is from real runs: as many real front ends as this machine carries, and as many simulated.

    python -m bench.simulation.relay.check [--seconds 4] [--rounds 3] [--keep] [--check]

In each round the parts are measured, with a Redis of its own (`redis-server`; measuring.py says how). Then 3, 6 and 10
real front ends, each with 335 cameras that send nothing, tell each other of them, and texts besides; it is measured who
works how much, and what it costs that Redis is killed for some ten seconds. The same in the simulation; medians count.
`--keep` writes the parts into parts.json, under "relay", and what was compared into checked.json beside this file;
`--kept` takes the parts that are there; `--check` fails when an error is over 20 %. Ten minutes in all.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]
import bootstrap

bootstrap.provide_package()

from bench.simulation import parts
from bench.simulation.parts import RelayTimes
from bench.simulation.relay import measuring
from bench.simulation.relay.full import period
from bench.simulation.relay.outage import outage
from bench.simulation.relay.real import RealFrontEnd, pid_of, processor_time
from bench.simulation.relay.world import Setup, World
from tests import redis_server
from tests.redis_server import RedisServer
from tests.running import until

FILE = Path(__file__).with_name("checked.json")
NUMBERS, CAMERAS, TEXTS = (3, 6, 10), 335, 20.0
LISTS = 4
"""Whole lists of each front end that are told while it is measured who works how much."""
GONE = (10.0, 10.7, 11.4)
"""Seconds for which Redis is gone, in turn: how soon who waits comes back depends on it."""
MARK = 0.2
SEEDS = 21
NAMES = "abcdefghij"


@dataclass(frozen=True)
class Point:
    """What was seen of so many front ends: of a second, what Redis, the processes and the loops worked (mean), in ms;
    kilobytes out of Redis; after Redis was gone, the seconds until all were connected, until all lists were whole, and
    in which as many texts are said as were lost."""

    redis: float
    process: float
    loop: float
    out: float
    connected: float
    whole: float
    texts_lost: float

    def errors(self, real: Point) -> dict[str, float]:
        """As shares of what is real."""
        return {name: getattr(self, name) / getattr(real, name) - 1 for name in Point.__annotations__}


def real(number: int, gone: float) -> Point:
    """With real front ends."""
    expected = (number - 1) * CAMERAS
    with (
        redis_server.running() as redis,
        tempfile.TemporaryDirectory() as folder,
        contextlib.ExitStack() as stack,
    ):
        password = Path(folder) / "password"
        password.write_text(redis_server.PASSWORD + "\n")
        ends = [
            stack.enter_context(RealFrontEnd(name, redis, password, CAMERAS, TEXTS / number)) for name in NAMES[:number]
        ]
        until(lambda: all(one.last.known == expected for one in ends), "whole lists")
        time.sleep(3.0)
        busy = steady(redis, ends, LISTS * period(CAMERAS))
        before = unheard(ends)
        redis.kill()
        time.sleep(gone)
        redis.start()
        back = time.time()
        time.sleep(8.0)
        until(lambda: all(one.last.known == expected for one in ends), "whole lists")
        lost = (unheard(ends) - before) / TEXTS / (number - 1)
        connected = max(one.first(back, lambda line: line.up) for one in ends)
        whole = max(one.first(back, lambda line: line.known == expected) for one in ends)
    return Point(*busy, connected, whole, lost)


def steady(redis: RedisServer, ends: Sequence[RealFrontEnd], seconds: float) -> tuple[float, float, float, float]:
    """What is worked in a second, and goes out of Redis, while nothing fails."""
    with redis.client() as client:
        pid = pid_of(redis)
        began, out = time.monotonic(), client.info("stats")["total_net_output_bytes"]
        before, redis_before = [one.worked() for one in ends], processor_time(pid)
        time.sleep(seconds)
        after, redis_after = [one.worked() for one in ends], processor_time(pid)
        took, out = time.monotonic() - began, client.info("stats")["total_net_output_bytes"] - out
    loop, process = (
        statistics.fmean(now[which] - then[which] for now, then in zip(after, before, strict=True)) / took
        for which in (0, 1)
    )
    return (redis_after - redis_before) / took * 1000, process * 1000, loop * 1000, out / took / 1000


def unheard(ends: Sequence[RealFrontEnd]) -> int:
    """Texts times those who have not heard them, so far."""
    lines = [one.last for one in ends]
    return sum(line.texts_said for line in lines) * (len(ends) - 1) - sum(line.texts_heard for line in lines)


def simulated(times: RelayTimes, number: int) -> Point:
    """The same in the simulation: medians of several seeds."""
    found = []
    for seed in range(SEEDS):
        setup = Setup(number, CAMERAS, TEXTS, seed=seed)
        world = World(times, setup)
        world.run(5.0)
        busy = world.measure(LISTS * period(CAMERAS))
        gone = outage(times, setup, GONE[seed % len(GONE)], 8.0)
        found.append(
            Point(
                busy.redis * 1000, busy.process * 1000, busy.loop * 1000, busy.out / 1000,
                gone.connected, gone.whole, gone.texts_lost,
            )
        )  # fmt: skip
    return median(found)


def median(points: Sequence[Point]) -> Point:
    """Figure by figure."""
    return Point(*(statistics.median(getattr(one, name) for one in points) for name in Point.__annotations__))


def told(times: RelayTimes) -> list[str]:
    """The parts, as docs/scale.md has them: microseconds."""
    lines = ["| | bytes | Redis | for each that hears it | the process beside a front end | its loop |",
             "| --- | --- | --- | --- | --- | --- |"]  # fmt: skip
    for name, kind in (("a word of life", times.word), ("a text", times.text), ("50 cameras", times.rows)):
        micros = " | ".join(f"{each * 1e6:.3g}" for each in (kind.redis, kind.each, kind.process, kind.loop))
        lines.append(f"| {name} | {kind.size:,.0f} | {micros} |")
    lines.append(f"| 50 cameras that are new | | | | | {times.new * 1e6:,.0f} |")
    lines.append(f"| 50 of a front end too many | | | | | {times.many * 1e6:,.0f} |")
    lines.append(f"| to tell 50 cameras | | | | {times.tell_process * 1e6:,.0f} | {times.tell_loop * 1e6:,.0f} |")
    for what, seconds in (
        ("a message after a pause, longer by", (times.wake_redis, times.wake_process, times.wake_loop)),
        ("a second in which nothing is said", (times.rest_redis, times.rest_process, times.rest_loop)),
    ):
        redis, process, loop = (f"{each * 1e6:,.0f}" for each in seconds)
        lines.append(f"| {what} | | {redis} | | {process} | {loop} |")
    return lines


def table(compared: Sequence[tuple[int, Point, Point]]) -> list[str]:
    """Real, simulated, side by side."""
    lines = ["| front ends | Redis | process beside each | loop | out of Redis | connected after | lists whole after "
             "| texts lost | largest error |", "|" + " --- |" * 9]  # fmt: skip
    units = dict(zip(Point.__annotations__, ["ms", "ms", "ms", "KB", "s", "s", "s"], strict=True))
    for number, was, now in compared:
        cells = [f"{_short(getattr(was, name))}, {_short(getattr(now, name))} {unit}" for name, unit in units.items()]
        name, error = max(now.errors(was).items(), key=lambda each: abs(each[1]))
        lines.append(f"| {number} | {' | '.join(cells)} | {name} {error * 100:+.0f} % |")
    return lines


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=4.0, help="for which each is measured (default: 4)")
    parser.add_argument("--rounds", type=int, default=3, help="of which the medians count (default: 3)")
    parser.add_argument("--kept", action="store_true", help="take the parts that parts.json has")
    parser.add_argument("--keep", action="store_true", help="write parts.json and checked.json")
    parser.add_argument("--check", action="store_true", help="fail when an error is over the mark")
    options = parser.parse_args()
    measured, seen = [], {number: list[Point]() for number in NUMBERS}
    for round_ in range(options.rounds):
        if not options.kept:
            measured.append(measuring.once(options.seconds))
        for number, points in seen.items():
            points.append(real(number, GONE[round_ % len(GONE)]))
        print(f"round {round_ + 1} measured", flush=True)
    times = parts.load_relay() if options.kept else measuring.together(measured)
    print("\n".join(told(times)))
    if options.keep:
        parts.save_relay(times)
    compared = [(number, median(points), simulated(times, number)) for number, points in seen.items()]
    print("\nReal, simulated:\n")
    print("\n".join(table(compared)))
    if options.keep:
        rows = [{"front_ends": number, "real": asdict(was), "simulated": asdict(now)} for number, was, now in compared]
        FILE.write_text(json.dumps({"measured": times.measured, "compared": rows}, indent=1) + "\n")
    missed = [
        f"{number} front ends: {name} is off by {error * 100:+.0f} %, {MARK * 100:.0f} is the mark"
        for number, was, now in compared
        for name, error in now.errors(was).items()
        if abs(error) > MARK
    ]
    for sentence in missed:
        print("missed:", sentence)
    return 1 if options.check and missed else 0


if __name__ == "__main__":
    sys.exit(main())
