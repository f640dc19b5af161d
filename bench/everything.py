#!/usr/bin/env python3
"""Everything at once on one machine, with real parts, and what it costs when one of them fails.

    python bench/everything.py [--cameras 300] [--hz 1] [--scene redis --scene restart] [--check]

As root, with nginx, Redis, PostgreSQL and build/ray (scripts/environment.sh build/ray requirements/ray.lock, then the
same with front-ends.lock). It builds three front ends, each in a namespace of the network of its own, behind nginx with
deploy/front-ends/nginx.conf; PostgreSQL with their users, Redis, a folder that they share; and a cluster of Ray's, a
head and three nodes, on which their model runs. Cameras of both generations of Socket.IO log in through nginx. In each
frame there is its camera's mark and its own number, the model answers with both, and each answer is compared with what
the camera sent. Beside them somebody adds users, somebody puts pictures, and somebody looks at all cameras.

`--check` makes the exit code 1 where a mark is missed. It takes about ten minutes, wants the machine for itself, and
takes all of it down again, also after Ctrl-C. What the front ends said lies in build/everything/ afterwards.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

import bootstrap

bootstrap.provide_package()

from bench.rig import model, report, scenes, world
from bench.rig.report import Report
from bench.rig.world import World


def main() -> int:
    """Build it, do the scenes, and say what was kept."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cameras", type=int, default=300)
    parser.add_argument("--hz", type=float, default=1.0, help="frames a second of each camera")
    parser.add_argument("--leave-time", type=float, default=30.0, help="of the front ends, in seconds")
    parser.add_argument("--scene", action="append", choices=scenes.SCENES, help="may be there several times; else all")
    parser.add_argument("--check", action="store_true", help="fail when a mark is missed")
    wishes = parser.parse_args()
    if reason := world.lacking():
        print(f"It cannot be built here: {reason}", file=sys.stderr)
        return 2
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        del os.environ[name]  # nobody here asks for anything beyond this machine
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _end)
    for line in [*report.machine(), *_settings(wishes)]:
        print(line, flush=True)
    found, built = Report(), World(wishes.cameras, wishes.hz, wishes.leave_time)
    try:
        with built.running():
            _play(built, found, wishes.scene or list(scenes.SCENES))
    finally:
        _keep_logs(built)
    print(f"{found.broken} broken" if found.broken else "all kept")
    return 1 if wishes.check and found.broken else 0


def _play(built: World, found: Report, names: list[str]) -> None:
    """The scenes in their order; one that comes to no end is the last."""
    try:
        for name in [name for name in scenes.SCENES if name in names]:
            found.begin(name)
            begun = time.monotonic()
            scenes.SCENES[name](built, found)
            found.tell(f"took {time.monotonic() - begun:.0f} s; load average {os.getloadavg()[0]:.1f}")
        found.begin("end")
        scenes.end(built, found)
    except (AssertionError, OSError, subprocess.SubprocessError) as error:
        found.failed(f"{type(error).__name__}: {error}")


def _end(number: int, _frame: object) -> NoReturn:
    """Take all of it down, and let no further signal come between."""
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.SIG_IGN)
    sys.exit(f"ended by {signal.Signals(number).name}")


def _settings(wishes: argparse.Namespace) -> list[str]:
    """What it is run with."""
    variables = " ".join(f"{name}={value}" for name, value in world.HEALTH.items())
    return [
        f"{wishes.cameras} cameras, {wishes.hz:g} frames a second each; --leave-time {wishes.leave_time:g}",
        f"{world.NODES} nodes with a processor each; {model.REPLICAS} replicas of each front end, {model.CPUS} each",
        variables,
    ]


def _keep_logs(built: World) -> None:
    folder = ROOT / "build" / "everything"
    folder.mkdir(parents=True, exist_ok=True)
    for number, server in enumerate(built.ends.started if hasattr(built, "ends") else (), 1):
        (folder / f"{number}.log").write_text(server.text)


if __name__ == "__main__":
    sys.exit(main())
