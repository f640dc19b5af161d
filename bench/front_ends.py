#!/usr/bin/env python3
"""What a restart of all front ends costs the cameras behind a proxy, and what the kill -9 of one.

    python bench/front_ends.py [nginx|haproxy] [--cameras 300] [--hz 1] [--leave-time 30] [--what restart|kill]

Three front ends on this machine, with the model echo and one worker each, behind the files of deploy/front-ends/.
`restart`: the cameras are at two of them, the third one is started, and each of the two leaves, one when the other is
back. `kill`: one of three. Goodput is what was answered a second, of what was before.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

import bootstrap

bootstrap.provide_package()

from tests.deploy.front_ends import PROXIES, behind, leave
from tests.faults.load import Cameras, Figures
from tests.running import until


def main() -> None:
    """Measure, and print a line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("proxy", nargs="?", choices=PROXIES, default=PROXIES[0])
    parser.add_argument("--what", choices=("restart", "kill"), default="restart")
    parser.add_argument("--cameras", type=int, default=300)
    parser.add_argument("--hz", type=float, default=1.0)
    parser.add_argument("--leave-time", type=float, default=30.0)
    parser.add_argument("--generation", type=int, choices=(3, 4), default=4)
    wishes = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        quiet, figures = (restart if wishes.what == "restart" else kill)(wishes, Path(folder))
    print(f"{wishes.proxy}, {wishes.what}: {wishes.cameras} cameras with {wishes.hz:g} frames a second each")
    print(f"quiet: {quiet.answered / quiet.seconds:.0f} answers a second, {quiet}")
    goodput = figures.answered / figures.seconds / (quiet.answered / quiet.seconds)
    print(f"goodput {goodput:.1%} over {figures.seconds:.0f} s; {figures}; at most {figures.most_lost} of one camera")


def restart(wishes: argparse.Namespace, folder: Path) -> tuple[Figures, Figures]:
    """Restart two, with a third one to go to."""
    options = ("--leave-time", str(wishes.leave_time))
    with behind(wishes.proxy, folder, *options, first="ab") as (ends, proxy), cameras(wishes, proxy.port) as found:
        quiet = found.during(20)
        for spare, name in ("ca", "ab"):
            ends.start(spare).ready()
            time.sleep(3)  # until the proxy has asked it
            leave(ends.servers[name])
        until(lambda: found.look().connected == wishes.cameras, "all cameras")
        return quiet, found.figures()


def kill(wishes: argparse.Namespace, folder: Path) -> tuple[Figures, Figures]:
    """Kill one of three."""
    with behind(wishes.proxy, folder) as (ends, proxy), cameras(wishes, proxy.port) as found:
        quiet = found.during(20)
        ends.servers["b"].process.kill()
        ends.servers["b"].process.wait()
        until(lambda: found.look().lost, "cameras to have lost it")
        until(lambda: found.look().connected == wishes.cameras, "all cameras")
        time.sleep(10)
        return quiet, found.figures()


@contextlib.contextmanager
def cameras(wishes: argparse.Namespace, port: int):
    """Cameras that are all answered."""
    with Cameras(port, count=wishes.cameras, hz=wishes.hz, reconnect=True, generation=wishes.generation) as found:
        found.settle()
        yield found


if __name__ == "__main__":
    main()
