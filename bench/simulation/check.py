"""How far the simulation is from real runs: the same cameras at a real server on this machine, and in the simulation.

    python -m bench.simulation.check [--seconds 5] [--rounds 4] [--keep] [--check]

In each round the parts are measured, each by itself: what a front end takes for a frame, a batch and an answer, what a
worker takes for batches of each size, and how long one camera alone waits. Then 4, 16, 64 and 150 cameras stream at
10 Hz at a server with one worker, whose model sleeps 20 ms a batch or is LeNet. The worker has a processor of its own;
server and cameras share another, which the simulation knows nothing of. Medians count, of the half of the rounds in
which this machine did least else. `--keep` writes what was found into parts.json and checked.json, from which the
figures of docs/scale.md are; `--check` fails when an error is over 20 %. Ten minutes, on a machine with nothing else to
do.
"""

from __future__ import annotations

import argparse
import datetime
import json
import math
import statistics
import sys
import tempfile
from collections import defaultdict
from dataclasses import asdict, dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]
import bootstrap

bootstrap.provide_package()

from bench.simulation import parts, real
from bench.simulation.cameras import Habits
from bench.simulation.parts import FrontEndTimes, ModelTimes, Parts, Spread
from bench.simulation.world import Setup, World

from imageserver.commands.plan import main as plan
from imageserver.commands.plan.cameras import Seen

FILE = Path(__file__).with_name("checked.json")
CAMERAS, HZ = (4, 16, 64, 150), 10.0
MARK = 0.2
SMALL = 0.05
"""The error of a smaller share is taken of this one: a fifth of nothing is nothing."""
QUIETER = 0.5
"""Share of the rounds that count: of a machine that does other work meanwhile those in which it did least of it."""
SIMULATED = 40.0
"""Seconds; they cost little."""


@dataclass(frozen=True)
class Point:
    """What was seen at one number of cameras: a second, a share, ms, ms."""

    answered: float
    replaced: float
    p50: float
    p99: float


@dataclass(frozen=True)
class Compared:
    """One model, one number of cameras. `late_ms`: by which the cameras themselves fell behind."""

    model: str
    cameras: int
    real: Point
    simulated: Point
    late_ms: float

    def errors(self) -> dict[str, float]:
        """Of each figure, as a share of the real one."""
        found = {}
        for name in Point.__annotations__:
            was = getattr(self.real, name)
            found[name] = (getattr(self.simulated, name) - was) / max(was, SMALL)
        return found


@dataclass
class Rounds:
    """What was measured in rounds: the parts, and real runs, each after the other, so that both meet the same
    neighbours on this machine."""

    fronts: list[FrontEndTimes] = field(default_factory=list)
    batches: dict[str, dict[int, list[list[float]]]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(list))
    )
    alone: dict[str, list[list[float]]] = field(default_factory=lambda: defaultdict(list))
    """Ages of the answers to one camera, in seconds; of each round, as above."""
    points: dict[tuple[str, int], list[tuple[Point, float]]] = field(default_factory=lambda: defaultdict(list))

    def measure(self, picture: Path, seconds: float, number: int) -> None:
        """One round."""
        self.fronts.append(real.front_end(picture, seconds))
        for model in real.MODELS:
            for size, took in real.batches(model, picture, seconds / 2).items():
                self.batches[model][size].append(took)
            with real.server(model, picture) as server:
                seen, _processor = server.stream(1, HZ, seconds)
                self.alone[model].append([age / 1000 for age in seen.ages])
                for cameras in CAMERAS:
                    seen, _processor = server.stream(cameras, HZ, seconds, seed=number)
                    self.points[model, cameras].append((_point(seen), seen.late_ms))
            print(f"round {number + 1}: {model} measured", flush=True)

    def parts(self) -> Parts:
        """Of a front end the medians; of a model all that was measured in quieter rounds."""
        names = FrontEndTimes.__annotations__
        front = FrontEndTimes(*(statistics.median(getattr(each, name) for each in self.fronts) for name in names))
        models = {}
        for name, sizes in self.batches.items():
            spreads = {size: Spread.of(_quieter(rounds)) for size, rounds in sizes.items()}
            expected = front.batch + front.answer + spreads[1].median
            wake = Spread.of([max(0.0, age - expected) for age in _quieter(self.alone[name])])
            models[name] = ModelTimes(real.MOST[name], spreads, wake)
        return Parts(front, models, f"{datetime.date.today().isoformat()} on {plan.machine_name()}")  # noqa: DTZ011

    def real(self) -> dict[tuple[str, int], tuple[Point, float]]:
        """Medians of the rounds in which the cameras themselves were least late."""
        return {
            key: _median(sorted(rows, key=lambda row: row[1])[: math.ceil(len(rows) * QUIETER)])
            for key, rows in self.points.items()
        }


def _quieter(rounds: list[list[float]]) -> list[float]:
    """What was measured in the rounds whose medians are least, together."""
    inorder = sorted(rounds, key=statistics.median)
    return [took for each in inorder[: math.ceil(len(rounds) * QUIETER)] for took in each]


def _point(seen: Seen) -> Point:
    ages = sorted(seen.ages)
    share = seen.replaced / max(1, seen.sent)
    return Point(seen.answered / seen.took, share, statistics.median(ages), ages[int(len(ages) * 0.99)])


def _median(rows: list[tuple[Point, float]]) -> tuple[Point, float]:
    """Figure by figure."""
    points = [point for point, _late in rows]
    return (
        Point(*(statistics.median(getattr(point, name) for point in points) for name in Point.__annotations__)),
        statistics.median(late for _point, late in rows),
    )


def simulate(known: Parts, model: str, cameras: int, rounds: int) -> Point:
    """The same in the simulation: as many rounds, with cameras that begin at other times."""
    found = []
    for seed in range(rounds):
        world = World(known, Setup(model, 1, 1, cameras, Habits(HZ), seed=seed))
        world.run(2.0)
        seen = world.measure(SIMULATED)
        point = Point(seen.answered, seen.replaced, seen.age_p50 * 1000, seen.age_p99 * 1000)
        found.append((point, 0.0))
    return _median(found)[0]


def table(compared: list[Compared]) -> list[str]:
    """Markdown: real, simulated, and the error, of each figure."""
    lines = [
        "| model | cameras | answered a second | replaced | age p50 | age p99 | largest error |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in compared:
        was, is_, errors = row.real, row.simulated, row.errors()
        worst = max(errors, key=lambda name: abs(errors[name]))
        lines.append(
            f"| {row.model} | {row.cameras} | {was.answered:.0f}, {is_.answered:.0f} "
            f"| {was.replaced * 100:.1f} %, {is_.replaced * 100:.1f} % | {was.p50:.1f}, {is_.p50:.1f} ms "
            f"| {was.p99:.1f}, {is_.p99:.1f} ms | {worst} {errors[worst] * 100:+.0f} % |"
        )
    return lines


def told(known: Parts) -> list[str]:
    """The parts, for people."""
    front = known.front
    lines = [
        f"front end: {front.receive * 1e3:.3f} ms a frame that comes, {front.batch * 1e3:.3f} a batch, "
        f"{front.answer * 1e3:.3f} an answer, {front.connect * 1e3:.2f} a camera that connects"
    ]
    for name, model in known.models.items():
        sizes = ", ".join(f"{spread.median * 1e3:.2f} of {size}" for size, spread in model.batches.items())
        lines.append(f"{name}: ms of a batch {sizes}; {model.wake.median * 1e3:.2f} more to wake all")
    return lines


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=5, help="of each run that counts (default: 5)")
    parser.add_argument("--rounds", type=int, default=4, help="of which the quieter half counts (default: 4)")
    parser.add_argument("--unpinned", action="store_true", help="no processors apart: for a machine that is busy")
    parser.add_argument("--keep", action="store_true", help="write parts.json and checked.json")
    parser.add_argument("--check", action="store_true", help="fail when an error is over the mark")
    options = parser.parse_args()
    rounds = Rounds()
    if not options.unpinned:
        real.share_processor()
    with tempfile.TemporaryDirectory() as folder:
        picture = real.photograph(Path(folder))
        for number in range(options.rounds):
            rounds.measure(picture, options.seconds, number)
    known = rounds.parts()
    print("\n".join(told(known)))
    compared = []
    for (model, cameras), (point, late) in rounds.real().items():
        compared.append(Compared(model, cameras, point, simulate(known, model, cameras, options.rounds), late))
    print("\nReal, simulated:\n")
    print("\n".join(table(compared)))
    for row in compared:
        if row.late_ms > 5:
            print(f"{row.model}, {row.cameras} cameras: they fell behind by {row.late_ms:.0f} ms: the machine is busy")
    if options.keep:
        parts.save(known)
        about = {"measured": known.measured, "seconds": options.seconds, "rounds": options.rounds}
        FILE.write_text(json.dumps(about | {"compared": [asdict(row) for row in compared]}, indent=1) + "\n")
    missed = [
        f"{row.model}, {row.cameras} cameras: {name} is off by {error * 100:+.0f} %, {MARK * 100:.0f} is the mark"
        for row in compared
        for name, error in row.errors().items()
        if abs(error) > MARK
    ]
    for sentence in missed:
        print("missed:", sentence)
    return 1 if options.check and missed else 0


if __name__ == "__main__":
    sys.exit(main())
