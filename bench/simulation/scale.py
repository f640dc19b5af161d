"""What the simulation says of more than one machine carries: the figures and plots of docs/scale.md.

    python -m bench.simulation.scale [--cameras 100000] [--redis] [--draw]

Fed with parts.json, which `check.py` and `relay/check.py` measured. A node is a front end and eight workers, each with
a processor of its own that no other process touches: a machine of nine processors as fast as the one that was measured.
That is extrapolated, as all of this is. `--redis` tells of Redis alone, `--draw` writes the plots. Four minutes of a
processor, of which Redis is one.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path
from random import Random
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]
import bootstrap

bootstrap.provide_package()

from bench.simulation import chart, parts
from bench.simulation.cameras import Habits
from bench.simulation.chart import Axis, Series
from bench.simulation.parts import Parts
from bench.simulation.relay import figures
from bench.simulation.world import Seen, Setup, World

PICTURES = ROOT / "docs"
MODEL, WORKERS, HZ, NETWORK = "lenet", 8, 10.0, 0.0005
PLANNED = 0.65
WARM = 1.0
SIMULATED = 2.0
KEPT_UP = 0.01
"""Share of frames that are replaced, below which a node keeps up."""
Found = dict[str, Any]


def habits(**changes: float) -> Habits:
    """Of all cameras: ten frames a second, each a twentieth of that early or late."""
    return replace(Habits(HZ, jitter=0.05, network=NETWORK), **changes)


def one_node(known: Parts, cameras: int, workers: int = WORKERS) -> Seen:
    """So many at one front end."""
    world = World(known, Setup(MODEL, 1, workers, cameras, habits(), hashed=False))
    world.run(WARM)
    return world.measure(SIMULATED)


def capacity(known: Parts, workers: int = WORKERS) -> float:
    """Frames a second of which one node answers 99 in 100, to 2 %."""
    low, high = 1, round(1500 * workers / HZ)
    while high - low > max(1, 0.02 * low):
        middle = (low + high) // 2
        if one_node(known, middle, workers).replaced < KEPT_UP:
            low = middle
        else:
            high = middle
    return low * HZ


def bend(known: Parts, most: float) -> list[Found]:
    """One node, from a third of what it can to a third more."""
    shares = (0.3, 0.5, 0.65, 0.75, 0.85, 0.9, 0.95, 1.0, 1.1, 1.3)
    rows = []
    for share in shares:
        cameras = round(share * most / HZ)
        rows.append({"busy": share, "cameras": cameras, **asdict(one_node(known, cameras))})
    return rows


def front_ends(known: Parts) -> list[Found]:
    """Where the front end's one thread ends what more workers can do."""
    return [{"workers": workers, "answered": capacity(known, workers)} for workers in (2, 4, 8, 16)]


def fullest(most: float) -> list[Found]:
    """How much fuller than the mean the fullest node is, when each camera's is drawn: medians of eleven draws."""
    rows = []
    mean = round(PLANNED * most / HZ)
    for nodes in (2, 5, 10, 30, 100, 400):
        found = []
        for seed in range(11):
            random = Random(seed)
            counts = [0] * nodes
            for _camera in range(mean * nodes):
                counts[random.randrange(nodes)] += 1
            found.append(max(counts) * HZ / most)
        rows.append({"nodes": nodes, "mean": PLANNED, "fullest": statistics.median(found)})
    return rows


def failure(known: Parts, most: float, nodes: int, notice: float, seconds: float) -> Found:
    """One node of several fails, and its cameras find others; what they and all others see of it."""
    mean = round(PLANNED * most / HZ * (nodes - 1) / nodes)
    world = World(known, Setup(MODEL, nodes, WORKERS, mean * nodes, habits(notice=notice)))
    world.run(WARM)
    before = world.measure(2.0)
    lost = world.counts.lost
    theirs = world.fail(0)
    failed = world.events.now
    timeline, worst = [(0.0, 0.0)], 0.0
    for _step in range(round(seconds / 0.25)):
        seen = world.measure(0.25)
        worst = max(worst, seen.age_p99)
        again = sum(camera.stream.answered >= 0 for camera in theirs)
        timeline.append((world.events.now - failed, again / len(theirs)))
    return {
        "nodes": nodes, "cameras": mean * nodes, "theirs": len(theirs), "notice": notice,
        "lost_at_once": world.counts.lost - lost,
        "half_after": _when(timeline, 0.5), "all_after": _when(timeline, 1.0),
        "p99_before": before.age_p99, "p99_worst": worst, "p99_after": seen.age_p99, "timeline": timeline,
    }  # fmt: skip


def _when(timeline: list[tuple[float, float]], share: float) -> float:
    return next((at for at, part in timeline if part >= share), math.inf)


def whole(known: Parts, most: float, cameras: int) -> Found:
    """All cameras at as many nodes as they need, one of which fails."""
    nodes = math.ceil(cameras * HZ / (most * PLANNED))
    world = World(known, Setup(MODEL, nodes, WORKERS, cameras, habits()))
    began = time.monotonic()
    world.run(WARM)
    before = world.measure(1.0)
    theirs = world.fail(0)
    world.run(2.0)
    after = world.measure(1.0)
    took = time.monotonic() - began
    return {
        "cameras": cameras, "nodes": nodes, "before": asdict(before), "after": asdict(after), "theirs": len(theirs),
        "again": sum(camera.stream.answered >= 0 for camera in theirs), "events": world.events.done, "took": took,
    }  # fmt: skip


def simulate(known: Parts, cameras: int) -> Found:
    """All of it."""
    most = capacity(known)
    return {
        "measured": known.measured,
        "capacity": most,
        "bend": bend(known, most),
        "front_ends": front_ends(known),
        "fullest": fullest(most),
        "failures": [
            failure(known, most, nodes, notice, seconds)
            for nodes, notice, seconds in ((2, 0.0, 8.0), (3, 0.0, 8.0), (10, 0.0, 8.0), (3, 45.0, 50.0))
        ],
        "redis": figures.find(parts.load_relay(), PLANNED),
        "whole": whole(known, most, cameras),
    }


def tables(found: Found) -> list[str]:
    """Markdown, as docs/scale.md has it."""
    most = found["capacity"]
    planned = PLANNED * most / HZ
    lines = [f"A node keeps up with {most:,.0f} frames a second; planned are {planned:.0f} cameras of {HZ:g} Hz.", ""]
    lines += _table(
        "asked of a node, of what it can | age p50 | p99 | replaced | its front end is busy",
        [f"{row['busy'] * 100:.0f} % ({row['cameras']:,} cameras) | {row['age_p50'] * 1e3:.1f} ms "
         f"| {row['age_p99'] * 1e3:.1f} ms | {row['replaced'] * 100:.1f} % | {row['busiest'] * 100:.0f} %"
         for row in found["bend"]],
    )  # fmt: skip
    lines += _table(
        "workers of one front end | frames a second that it keeps up with",
        [f"{row['workers']} | {row['answered']:,.0f}" for row in found["front_ends"]],
    )
    lines += _table(
        "nodes | the fullest, where the mean is 65 %",
        [f"{row['nodes']} | {row['fullest'] * 100:.0f} %" for row in found["fullest"]],
    )
    lines += _table(
        "nodes | noticed after | its cameras | half answered after | all | frames lost | p99 before | worst",
        [f"{row['nodes']} | {row['notice']:g} s | {row['theirs']:,} of {row['cameras']:,} | {row['half_after']:.2f} s "
         f"| {row['all_after']:.2f} s | {row['lost_at_once']:,} | {row['p99_before'] * 1e3:.0f} ms "
         f"| {row['p99_worst'] * 1e3:.0f} ms" for row in found["failures"]],
    )  # fmt: skip
    lines += figures.tables(found["redis"])
    whole_world = found["whole"]
    for name in ("before", "after"):
        row = whole_world[name]
        lines.append(
            f"{whole_world['cameras']:,} cameras at {whole_world['nodes']} nodes, {name} one failed: "
            f"{row['answered']:,.0f} answered a second, {row['replaced'] * 100:.2f} % replaced, "
            f"p50 {row['age_p50'] * 1e3:.1f} ms, p99 {row['age_p99'] * 1e3:.1f} ms"
        )
    lines.append(
        f"{whole_world['again']} of its {whole_world['theirs']} cameras were answered again; {whole_world['events']:,} "
        f"events in {whole_world['took']:.0f} s"
    )
    return lines


def _table(heads: str, rows: list[str]) -> list[str]:
    return [f"| {heads} |", "| " + " | ".join("---" for _head in heads.split(" | ")) + " |",
            *(f"| {row} |" for row in rows), ""]  # fmt: skip


def draw(found: Found) -> None:
    """The plots, beside docs/scale.md."""
    rows = found["bend"]
    busy = Axis("asked of a node, % of what it can", (30, 50, 65, 80, 100, 115, 130))
    chart.write(
        PICTURES / "scale-age.svg", "Age of answers (extrapolated)", busy, Axis("ms", (1, 3, 10, 30, 100, 300), True),
        [Series(name, [(row["busy"] * 100, row[key] * 1000) for row in rows])
         for name, key in (("half are below", "age_p50"), ("99 in 100 are below", "age_p99"))],
        [(65, "planned")],
    )  # fmt: skip
    chart.write(
        PICTURES / "scale-failure.svg", "A node fails: its cameras that are answered again (extrapolated)",
        Axis("seconds after it failed", (0, 0.5, 1, 1.5, 2)), Axis("%", (0, 20, 40, 60, 80, 100)),
        [Series(f"{row['nodes']} nodes", [(at, share * 100) for at, share in row["timeline"] if at <= 2])
         for row in found["failures"] if not row["notice"]],
    )  # fmt: skip
    nodes = Axis("nodes", (2, 5, 10, 30, 100, 400), True)
    chart.write(
        PICTURES / "scale-fullest.svg", "The fullest node, where names are hashed (extrapolated)", nodes,
        Axis("% of what it can", (50, 60, 70, 80, 90, 100)),
        [Series("mean of all", [(row["nodes"], row["mean"] * 100) for row in found["fullest"]]),
         Series("the fullest", [(row["nodes"], row["fullest"] * 100) for row in found["fullest"]])],
    )  # fmt: skip
    figures.draw(found["redis"], PICTURES / "scale-redis.svg")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cameras", type=int, default=100_000, help="of the largest world (default: 100000)")
    parser.add_argument("--draw", action="store_true", help="write the plots")
    parser.add_argument("--redis", action="store_true", help="Redis alone")
    options = parser.parse_args()
    if options.redis:
        alone = figures.find(parts.load_relay(), PLANNED)
        print("\n".join(figures.tables(alone)))
        if options.draw:
            figures.draw(alone, PICTURES / "scale-redis.svg")
        return 0
    found = simulate(parts.load(), options.cameras)
    print("\n".join(tables(found)))
    if options.draw:
        draw(found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
