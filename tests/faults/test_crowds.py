"""Crowds: of connections that take every descriptor, that come by the thousand, that stay and do nothing."""

from __future__ import annotations

import os
import resource
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.faults.crowd import Crowd
from tests.faults.load import Cameras
from tests.running import ROOT, Server, until

Tell = Callable[[str], None]

DESCRIPTORS = pytest.mark.fault(
    "out of file descriptors", "old connections' ages under twice, 503 beyond the limit, workers replaced, it recovers"
)
LIMIT = 160
"""Files and sockets that the server may have open; half of them are kept for itself."""
FLOOR, FLOOR_WHEN_SHORT = 100.0, 1000.0
"""Milliseconds below which an age is no worse than before: server, worker, cameras and crowd share two processors, and
sometimes with others."""
SHORT, HOPELESS = 0.15, 0.5
"""Of the time the server waited for a processor: from when on these are short, and so short that ages say nothing."""


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


class Ages:
    """Compares the cameras' ages with what they were before, as the processors allow."""

    def __init__(self, server: Server, cameras: Cameras, seconds: float) -> None:
        cameras.settle(3)
        self._pid, self._cameras = server.process.pid, cameras
        self._before = cameras.during(seconds)
        self.begin()

    def begin(self) -> None:
        """What comes from now on is to be compared."""
        self._cameras.figures()
        self._begun, self._waited = time.monotonic(), self._waiting()

    def under_twice(self) -> str:
        """Asserts that ages stayed under twice what they were and nobody was lost; the figure that says so."""
        before, during = self._before, self._cameras.figures()
        waited = (self._waiting() - self._waited) / (time.monotonic() - self._begun)
        short = waited > SHORT
        most = max(2 * before.age(0.99), FLOOR_WHEN_SHORT if short else FLOOR)
        assert not during.lost and during.connected == before.connected, during
        assert during.age(0.99) < most or waited > HOPELESS, (str(before), str(during), f"waited: {waited:.0%}")
        beside = f"; processors were short, it waited for one {waited:.0%} of the time" if short else ""
        return f"ages p99 {before.age(0.99):.0f} ms before, {during.age(0.99):.0f} ms during{beside}"

    def _waiting(self) -> float:
        """Seconds that the server's thread waited for a processor so far."""
        return int(Path(f"/proc/{self._pid}/schedstat").read_text().split()[1]) / 1e9


@DESCRIPTORS
@pytest.mark.no_loop_probe("the probe would be refused as everybody is")
def test_no_descriptor_is_left_for_clients(tmp_path: Path, tell: Tell) -> None:
    """Beyond the limit 503 over HTTP and an end over TCP; a worker that dies is replaced all the same."""
    options = ("--tcp-port", "0", "--tcp-max-per-host", "0")
    with served(*options, data=tmp_path, kind=Starved) as (server, cameras):
        assert server.find(r"fewer than 80 connections fit, not the 20000 of --max-connections")
        ages, idle = Ages(server, cameras, 1.0), descriptors(server)
        with Crowd(server.port, form="silent") as crowd, Crowd(port_of(server, "legacy TCP"), form="silent") as others:
            crowd.gather(100)
            others.gather(50)
            until(lambda: crowd.look()["503"], "503")
            until(lambda: others.look()["ended"], "an end")
            assert server.get("/health/live")[0] == 503
            time.sleep(1.0)
            figure = ages.under_twice()
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


@DESCRIPTORS
@pytest.mark.long
@pytest.mark.no_loop_probe("the probe could not connect")
def test_not_even_the_server_has_a_descriptor_left(tmp_path: Path, tell: Tell) -> None:
    """Nothing spins, a worker that cannot be started is not forgotten, and newcomers who waited are answered."""
    with served(data=tmp_path) as (server, cameras):
        _soft, hard = resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE)
        numbers = [int(name) for name in os.listdir(f"/proc/{server.process.pid}/fd")]
        resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (max(numbers) + 1, hard))
        ages = Ages(server, cameras, 1.0)
        with Crowd(server.port, form="request") as crowd:
            crowd.gather(100)
            server.wait_for("(cannot accept connections|one more, of .* was refused)")
            begun = processor_time(server)
            time.sleep(1.0)
            spent = processor_time(server) - begun
            figure = ages.under_twice()
            (worker,) = server.workers()
            os.kill(worker, signal.SIGKILL)
            server.wait_for("worker 1 cannot be started .*Too many open files")
            time.sleep(1.2)
            resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (hard, hard))
            server.wait_for("worker 1 can be started again")
            cameras.settle()
            until(lambda: (seen := crowd.look())["answered"] + seen["503"] == 100, "an answer to everybody")
        assert len([line for line in server.lines if "cannot be started" in line or "was refused" in line]) <= 2
        assert "Traceback" not in server.text
        assert spent < 0.3
    tell(f"with none left at all: {figure}, {spent * 100:.0f} % of a processor")


STORM = pytest.mark.fault(
    "1,000 connects a second", "old connections' ages stay under twice what they were; newcomers are answered"
)
IDLE = pytest.mark.fault(
    "10,000 idle connections", "old connections' ages stay under twice what they were, also when all leave at once"
)


def storm(server: Server, cameras: Cameras, port: int, form: str, *, seconds: float, addresses: int = 200) -> str:
    """1,000 connections a second of one form, to one port; the figure."""
    ages = Ages(server, cameras, 3.0 if seconds > 5 else 1.0)
    with Crowd(port, form=form, rate=1000, addresses=addresses) as crowd:
        ages.begin()
        begun = processor_time(server)
        seen = crowd.run(seconds)
        figure = ages.under_twice()
    cost = (processor_time(server) - begun) / max(1, seen["connected"])
    assert seen["connected"] > 500 * seconds, seen
    answered = f", {seen['answered']} answered at once" if form == "request" else ""
    assert server.get("/health/live")[0] == 200
    return f"{form}: {seen['connected']} of {addresses} addresses{answered}, {figure}, {cost * 1e6:.0f} us each"


def processor_time(server: Server) -> float:
    """Seconds of a processor that the server's own process took so far."""
    fields = Path(f"/proc/{server.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@STORM
@pytest.mark.no_loop_probe("it would be one more client of the storm")
def test_a_storm_of_connections(tmp_path: Path, tell: Tell) -> None:
    with served("--tcp-port", "0", data=tmp_path) as (server, cameras):
        tell(storm(server, cameras, server.port, "request", seconds=1.0, addresses=1))
        tell("legacy TCP, " + storm(server, cameras, port_of(server, "legacy TCP"), "close", seconds=1.0))


@STORM
@pytest.mark.alone
@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.no_loop_probe("it would be one more client of the storm")
def test_storms_of_every_form(tmp_path: Path, tell: Tell) -> None:
    """For 20 s each; TLS for as long, though its arithmetic alone takes more than there is of a processor."""
    with served("--tcp-port", "0", "--https-port", "0", data=tmp_path) as (server, cameras):
        for form in ("close", "reset", "silent", "request", "join"):
            tell(storm(server, cameras, server.port, form, seconds=20.0))
        tell("of one address, " + storm(server, cameras, server.port, "request", seconds=20.0, addresses=1))
        for form in ("close", "silent"):
            tell("legacy TCP, " + storm(server, cameras, port_of(server, "legacy TCP"), form, seconds=20.0))
        tell("HTTPS, " + storm(server, cameras, port_of(server, "https as well"), "tls", seconds=20.0))
        assert "Traceback" not in server.text


def idle(server: Server, cameras: Cameras, count: int, seconds: float) -> str:
    """So many connections that join and do nothing, for so long; then all leave at once. The figure."""
    ages, memory = Ages(server, cameras, 3.0 if seconds > 5 else 1.0), resident(server)
    with Crowd(server.port, form="join", addresses=200) as crowd:
        seen = crowd.gather(count)
        until(lambda: crowd.look()["open"] == count, "all to be there")
        each = (resident(server) - memory) / count
        ages.begin()
        time.sleep(seconds)
        staying = ages.under_twice()
        begun = time.monotonic()
        assert server.get("/metrics")[0] == 200
        asked = time.monotonic() - begun
        assert crowd.look()["open"] == count, seen
        ages.begin()
        crowd.leave()
        until(lambda: descriptors(server) < count / 2, "most to be gone")
        until(lambda: descriptors(server) < 100, "all to be gone")
        leaving = ages.under_twice()
    return (
        f"{count} idle: {staying}; all leave at once: {leaving}; "
        f"{each / 1e3:.0f} KB each, /metrics took {asked * 1e3:.0f} ms"
    )


def resident(server: Server) -> int:
    return int(Path(f"/proc/{server.process.pid}/statm").read_text().split()[1]) * resource.getpagesize()


@IDLE
@pytest.mark.no_loop_probe("thousands of connections come and go")
@pytest.mark.parametrize(("count", "seconds"), [
    pytest.param(500, 1.0, id="500"),
    pytest.param(9500, 30.0, id="9500", marks=[pytest.mark.alone, pytest.mark.long, pytest.mark.timeout(300)]),
])  # fmt: skip
def test_idle_connections(tmp_path: Path, tell: Tell, count: int, seconds: float) -> None:
    """Their heartbeats do not come in one burst, and each costs little."""
    with served("--ping-interval", "5s", data=tmp_path) as (server, cameras):
        tell(idle(server, cameras, count, seconds))
