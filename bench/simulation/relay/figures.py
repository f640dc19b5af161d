"""What docs/scale.md says of Redis: figures, tables and a plot."""

from __future__ import annotations

import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench.simulation import chart
from bench.simulation.chart import Axis, Series
from bench.simulation.parts import RelayTimes
from bench.simulation.relay.full import NETWORKS, full, shares
from bench.simulation.relay.outage import outage
from bench.simulation.relay.world import GIGABIT, Setup, World

from imageserver.limits import Limits

Found = dict[str, Any]
CAMERAS = 480
"""Of each front end: about what one with eight workers is planned for."""
LIMITS = Limits(redis_streams=50_000)
"""With room for the cameras of as many front ends as there may be."""
NUMBERS = (3, 10, 30, 60, 100)
NARROW = (30, 50, 60)
"""Front ends at a network of 1 Gbit/s, which some of them are too many for."""
TEXTS, GONE = 100.0, 30.0
AFTER, LONG_AFTER = 20.0, 150.0
"""Seconds for which it is looked on; the latter where the network is narrow: who reads slowly is borne for a while."""
WARM, SIMULATED = 5.0, 9.0
DRAWN = (3, 10, 30, 60, 100, 200, 400)


def find(times: RelayTimes, planned: float, cameras: int = CAMERAS) -> Found:
    """All of it, with so many cameras at each front end, which take the share `planned` of its loop."""
    steady = []
    for number in NUMBERS:
        world = World(times, Setup(number, cameras, TEXTS, limits=LIMITS))
        world.run(WARM)
        steady.append({"front_ends": number, "cameras": number * cameras, **asdict(world.measure(SIMULATED))})
    gone = [
        outage(times, Setup(number, cameras, TEXTS, gigabits * GIGABIT, LIMITS), GONE, after)
        for numbers, gigabits, after in ((NUMBERS, 10, AFTER), (NARROW, 1, LONG_AFTER))
        for number in numbers
    ]
    return {
        "measured": times.measured,
        "steady": steady,
        "outages": [asdict(each) for each in gone],
        "full": full(times, cameras, planned),
        "shares": {number: shares(times, number, cameras, planned, Limits()) for number in DRAWN},
    }


def tables(found: Found) -> list[str]:
    """Markdown."""
    lines = _table(
        "front ends | cameras | the thread of Redis | out of it | the process beside each | its loop",
        [f"{row['front_ends']} | {row['cameras']:,} | {_share(row['redis'])} | {_megabits(row['out'])} Mbit/s "
         f"| {_share(row['process'])} | {_share(row['loop'])}" for row in found["steady"]],
    )  # fmt: skip
    lines += _table(
        "full | from how many front ends on", [f"{what} | {number:,}" for what, number in found["full"].items()]
    )
    lines += _table(
        "front ends | network | connected again after | lists whole after | known in the end | texts lost | thrown out",
        [" | ".join([str(row["front_ends"]), f"{row['network'] / GIGABIT:g} Gbit/s", _seconds(row["connected"]),
                     _seconds(row["whole"]), f"{math.floor(row['known'] * 100)} %",
                     f"those of {row['texts_lost']:.1f} s", f"{row['thrown_out']:,}"]) for row in found["outages"]],
    )  # fmt: skip
    return lines


def draw(found: Found, path: Path) -> None:
    """How full each is."""
    names = list(found["shares"][DRAWN[0]])
    drawn = [*(f"the network of Redis, {each} Gbit/s" for each in NETWORKS), "the thread of Redis",
             "the process beside a front end"]  # fmt: skip
    short = {"the network of Redis, 1 Gbit/s": "1 Gbit/s", "the network of Redis, 10 Gbit/s": "10 Gbit/s",
             "the thread of Redis": "Redis' thread", "the process beside a front end": "process beside"}  # fmt: skip
    lines = [
        Series(short[name], [(number, each[name] * 100) for number, each in found["shares"].items()])
        for name in names if name in drawn
    ]  # fmt: skip
    chart.write(
        path, "How full what front ends share is (extrapolated)", Axis("front ends", DRAWN, True),
        Axis("% of what it can", (0.1, 1, 10, 100), True), lines, [(65, "most there may be")],
    )  # fmt: skip


def _share(value: float) -> str:
    return f"{value * 100:.2g} %" if value < 0.095 else f"{value * 100:.0f} %"


def _megabits(rate: float) -> str:
    return f"{rate * 8 / 1e6:,.{0 if rate > 12.5e6 else 1}f}"


def _seconds(value: float) -> str:
    return "never" if math.isinf(value) else f"{value:.1f} s"


def _table(heads: str, rows: list[str]) -> list[str]:
    return [f"| {heads} |", "| " + " | ".join("---" for _head in heads.split(" | ")) + " |",
            *(f"| {row} |" for row in rows), ""]  # fmt: skip
