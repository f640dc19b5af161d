"""Crowds: of connections that take every descriptor, that come by the thousand, that stay and do nothing."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.faults.crowd import Crowd
from tests.faults.load import Cameras, Figures
from tests.running import ROOT, Server, until

Tell = Callable[[str], None]

DESCRIPTORS = pytest.mark.fault(
    "out of file descriptors", "old connections' ages under twice, 503 beyond the limit, workers replaced, it recovers"
)
LIMIT = 160
"""Files and sockets that the server may have open; half of them are kept for itself."""
FLOOR = 100.0
"""Milliseconds below which an age is no worse than before: other programs have the processors, too."""


class Starved(Server):
    """A server that may have `LIMIT` files and sockets open."""

    command = ("sh", "-c", f'ulimit -n {LIMIT} && exec "$0" "$@"', sys.executable, ROOT / "src" / "ImageServer.py")


@contextmanager
def served(*options: str, data: Path, kind: type[Server] = Server) -> Iterator[tuple[Server, Cameras]]:
    """A server with honest cameras that are answered."""
    with kind("--workers", "1", *options, data=data) as server, Cameras(server.port, hz=10.0) as cameras:
        server.ready()
        yield server, cameras.settle(3)


def port_of(server: Server, kind: str) -> int:
    """The port for `kind` of the start lines."""
    return int(server.wait_for(rf"{kind}.*:(\d+)")[1])


def descriptors(server: Server) -> int:
    return len(os.listdir(f"/proc/{server.process.pid}/fd"))


def under_twice(before: Figures, during: Figures) -> str:
    """Asserts that ages stayed under twice what they were and nobody was lost; the figure that says so."""
    most = max(2 * before.age(0.99), FLOOR)
    assert not during.lost and during.connected == before.connected, during
    assert during.age(0.99) < most, (str(before), str(during))
    return f"ages p99 {before.age(0.99):.0f} ms before, {during.age(0.99):.0f} ms during (floor {FLOOR:.0f} ms)"


@DESCRIPTORS
@pytest.mark.no_loop_probe("the probe would be refused as everybody is")
def test_no_descriptor_is_left_for_clients(tmp_path: Path, tell: Tell) -> None:
    """Beyond the limit 503 over HTTP and an end over TCP; a worker that dies is replaced all the same."""
    options = ("--tcp-port", "0", "--tcp-max-per-host", "0")
    with served(*options, data=tmp_path, kind=Starved) as (server, cameras):
        assert server.find(r"fewer than 80 connections fit, not the 20000 of --max-connections")
        before, idle = cameras.during(1.0), descriptors(server)
        with Crowd(server.port, form="silent") as crowd, Crowd(port_of(server, "legacy TCP"), form="silent") as others:
            crowd.gather(100)
            others.gather(50)
            until(lambda: crowd.look()["503"], "503")
            until(lambda: others.look()["ended"], "an end")
            assert server.get("/health/live")[0] == 503
            figure = under_twice(before, cameras.during(1.0))
            (worker,) = server.workers()
            os.kill(worker, signal.SIGKILL)
            killed = time.monotonic()
            server.wait_for("a new worker starts")
            cameras.settle()
            back = time.monotonic() - killed
            assert descriptors(server) < LIMIT
        until(lambda: server.get("/health/live")[0] == 200, "an answer to newcomers")
        until(lambda: descriptors(server) <= idle + 3, "all descriptors to be free again")
        assert len([line for line in server.lines if "was refused" in line or "cannot accept" in line]) <= 2
        assert "Traceback" not in server.text
    tell(f"{figure}; newcomers are told 503; a worker killed meanwhile was back after {back:.1f} s")
