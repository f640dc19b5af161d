"""Everything at once for an hour: every door, every attack, a fault each minute; and what that leaves behind.

    python bench/soak.py [--minutes 60] [--report build/soak.md]

A server with `-a` and everything on; honest cameras of both generations, over TLS and not, and honest clients of every
other door (`soaking/honest.py`). First they are alone: the quiet figures. Then an attacker does the attacks of
`bench/hostile/` in turn, from an address of its own and with the lowest priority, and each minute something is broken
(`soaking/faults.py`); after each round of attacks the server rests for a while, and what it holds then is compared
from round to round, the first one being its warm-up. Exit code 1 when a mark is missed.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

import bootstrap

bootstrap.provide_package()

from bench.soaking import attacker
from bench.soaking.faults import FAULTS
from bench.soaking.report import Report, Round
from bench.soaking.world import CAMERA, SOURCES, Watch, World
from tests.faults.load import Cameras, Figures

ATTACKS = [name for name in attacker.ATTACKS if name not in ("lists", "headers")]
"""`lists` wants a store that was filled before; `headers` is `handshakes` once more, for memory alone."""
QUICK = ("names", "jsonp", "places", "handshakes", "chunks", "logins", "log", "tls")
"""For a short soak: the others hold on for longer."""
ECHO = {"model": "echo"}
"""Options of cameras whose model costs next to nothing."""
LONGEST = 90.0
"""Seconds after which an attack is cut off."""
FAULT_EVERY = 60.0
REST = 20.0
"""Seconds without an attack after a round, of which the second half counts."""


class Clients:
    """The processes of all honest clients."""

    def __init__(self, world: World, stack: ExitStack) -> None:
        picture = str(world.picture)
        common: dict[str, Any] = {"user": CAMERA[0], "password": CAMERA[1], "pictures": [picture], "reconnect": True}
        port = world.server.port
        kinds: list[tuple[int, dict[str, Any]]] = [
            (port, {"count": 4, "hz": 2.0, "source": SOURCES["cameras"]}),
            (port, {"count": 2, "hz": 5.0, "source": SOURCES["elder"], "generation": 3, "configure": ECHO}),
            (world.tls_port, {"count": 2, "hz": 5.0, "source": SOURCES["secure"], "tls": True, "configure": ECHO}),
        ]
        self.cameras = [stack.enter_context(Cameras(where, **kind, **common)) for where, kind in kinds]
        ports = [str(number) for number in (port, world.tcp_port, world.tls_port)]
        command = [sys.executable, str(ROOT / "bench/soaking/honest.py"), *ports]
        self._others = stack.enter_context(
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
        )
        stack.callback(self._others.kill)
        for cameras in self.cameras:
            cameras.settle()

    def take(self) -> tuple[Figures, dict[str, Any]]:
        """What all saw since the last call: the cameras together, and the others."""
        together = Figures()
        for cameras in self.cameras:
            together.add(cameras.figures())
        assert self._others.stdin and self._others.stdout
        self._others.stdin.write("\n")
        return together, json.loads(self._others.stdout.readline())


def attack(world: World, name: str) -> Counter[str]:
    """One attack, by a process of the lowest priority; what it was told."""
    ports = [str(number) for number in (world.server.port, world.tcp_port, world.tls_port)]
    command = ["nice", "-n", "19", sys.executable, str(ROOT / "bench/soaking/attacker.py"), name, *ports]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            said, problems = process.communicate(timeout=LONGEST)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            return Counter({f"cut off after {LONGEST:g} s": 1})
    return Counter(json.loads(said)) if said else Counter({f"failed: {problems.strip().splitlines()[-1:]}": 1})


class Breaker(threading.Thread):
    """Breaks something each minute, until it is told to end."""

    def __init__(self, world: World, report: Report, every: float) -> None:
        super().__init__(daemon=True)
        self._world, self._report, self._every = world, report, every
        self.ended = threading.Event()

    def run(self) -> None:
        names = list(FAULTS)
        number = 0
        while not self.ended.wait(self._every):
            name = names[number % len(names)]
            number += 1
            try:
                outcome = FAULTS[name](self._world)
            except Exception as error:  # noqa: BLE001 - whatever went wrong is what the report is for
                outcome = f"broken: {type(error).__name__}: {error}"
            self._report.fault(name, outcome)
            print(f"  fault: {name}: {outcome}", flush=True)


def storm(world: World, clients: Clients, watch: Watch, report: Report, seconds: float) -> None:
    """Rounds of attacks, faults beside them, and a rest after each."""
    short = seconds < 600
    names = [name for name in ATTACKS if not short or name in QUICK]
    breaker = Breaker(world, report, FAULT_EVERY if not short else 10.0)
    breaker.start()
    end = time.monotonic() + seconds
    while len(report.rounds) < 3 or time.monotonic() < end:
        found, begun = Round(), time.monotonic()
        for name in names:
            seen = attack(world, name)
            figures = found.add(*clients.take())
            report.attack(name, seen, figures)
            print(f"  attack: {name}: {dict(seen)}; {figures}", flush=True)
        ended = time.monotonic()
        time.sleep(REST)
        found.add(*clients.take())
        found.seconds, found.during = ended - begun, watch.between(begun, ended)
        found.rest = watch.between(ended + REST / 2, time.monotonic())
        report.rounds.append(found)
        print(f"round {len(report.rounds)}: {found.cameras}; at rest {found.rest}", flush=True)
    breaker.ended.set()
    breaker.join(120)


def stop(world: World, report: Report) -> None:
    """SIGTERM with all clients connected."""
    begun = time.monotonic()
    world.server.process.send_signal(signal.SIGTERM)
    try:
        code: int | str = world.server.process.wait(30)
    except subprocess.TimeoutExpired:
        code = "none within 30 s"
    report.stopped = (code, time.monotonic() - begun)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--report", type=Path, default=ROOT / "build" / "soak.md")
    options = parser.parse_args()
    seconds = options.minutes * 60
    report = Report(options.minutes)
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        world = stack.enter_context(World(Path(folder)).running())
        watch = stack.enter_context(Watch(world.pid, 2.0))
        clients = Clients(world, stack)
        time.sleep(min(120.0, seconds * 0.05))  # their first logins, models that load
        clients.take()
        begun = time.monotonic()
        time.sleep(seconds * 0.1)
        report.quiet.add(*clients.take())
        report.quiet.seconds, report.quiet.during = seconds * 0.1, watch.between(begun, time.monotonic())
        print(f"quiet: {report.quiet.cameras}; {report.quiet.during}", flush=True)
        storm(world, clients, watch, report, seconds * 0.8)
        report.unexpected = world.unexpected()
        report.dead = world.server.process.poll() is not None
        stop(world, report)
        report.unexpected += [line for line in world.unexpected() if line not in report.unexpected]
        options.report.parent.mkdir(parents=True, exist_ok=True)
        (options.report.parent / "soak.log").write_text(world.server.text)
    text = str(report)
    options.report.write_text(text)
    print(text)
    return 1 if report.broken else 0


if __name__ == "__main__":
    os.chdir(ROOT)
    sys.exit(main())
