"""The loop probe finds a server that holds its loop, whatever holds it, and blames no server for a busy machine."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest
from tests.large_sends import listeners
from tests.loop_probe import BOUND, PATIENCE, Answer, LoopProbe, Report
from tests.running import ROOT, until
from tests.transport.conftest import Served

QUIET = {"at": 1.0, "took": 0.12, "server_waited": 0.0, "probe_waited": 0.0, "threads_waited": 0.0}
QUIET |= {"stolen": 0.0, "pressure": 0.0}


@pytest.mark.parametrize(("more", "held", "bound"), [
    ({}, 120, 50),
    ({"took": 0.049}, 49, 50),
    ({"server_waited": 0.005}, 115, 50),
    ({"server_waited": 0.1}, 20, 250),  # it was ready to run, and had no processor
    ({"probe_waited": 0.1}, 20, 250),  # the answer lay there
    ({"stolen": 0.02}, 120, 250),
    ({"pressure": 0.1}, 120, 250),  # somebody waited for a processor: perhaps a thread of the server with the GIL
    ({"took": 0.3, "server_waited": 0.02}, 280, 250),
    ({"threads_waited": 0.1}, 120, 50),  # the processors were not short, so others waited for each other
    ({"took": 0.3, "threads_waited": 0.1, "pressure": 0.2}, 200, 250),  # one of them perhaps with the GIL
])  # fmt: skip
def test_what_of_an_answer_is_the_servers_fault(more: dict[str, float], held: int, bound: int) -> None:
    answer = Answer(**(QUIET | more))
    assert (round(answer.held * 1e3), round(answer.bound * 1e3)) == (held, bound)
    assert Report(1, [answer]).too_long is (answer if held > bound else None)
    machine = "a quiet machine" if bound == 50 else "a busy machine"
    assert f"held for {held} ms, 1.00 s after the probe began (at most {bound} ms on {machine})" in str(answer)


@pytest.fixture
def probe() -> Iterator[LoopProbe]:
    one = LoopProbe()
    yield one
    one.close()


@pytest.fixture
def served() -> Iterator[Served]:
    one = Served({"tls": True})
    yield one
    one.end()


@pytest.mark.parametrize("how", ["sleep", "work", "gil"])
def test_a_held_loop_is_found(probe: LoopProbe, served: Served, how: str) -> None:
    """Whether the loop sleeps, computes, or waits for a thread that keeps the GIL."""

    def hold(milliseconds: int) -> bool:
        probe.watch(served.process.pid, [served.port], PATIENCE)
        served.request("GET", "/hold", how=how, milliseconds=milliseconds)
        report = probe.report()[served.process.pid]
        assert not report.unanswered
        return report.held > BOUND

    assert not hold(10)
    until(lambda: hold(120), "a held loop")  # what was a wait for a processor does not count, so once may not do


def test_a_server_without_http(probe: LoopProbe, served: Served) -> None:
    assert listeners()[served.process.pid] == {served.port, served.tls_port}
    with socket.create_server(("127.0.0.1", 0)) as sock:
        free = sock.getsockname()[1]
    probe.watch(served.process.pid, [free])
    assert probe.report()[served.process.pid].unanswered.startswith(f"no HTTP on any of the ports [{free}] of process")
    probe.watch(served.process.pid, [free, served.port], PATIENCE)
    assert probe.report()[served.process.pid].answers > 0


def test_a_server_that_ends_is_no_failure(probe: LoopProbe) -> None:
    served = Served({})
    probe.watch(served.process.pid, [served.port], PATIENCE)
    served.end()
    report = probe.report()[served.process.pid]
    assert (report.answers > 0, report.unanswered) == (True, "")


def test_large_sends_bring_the_probe() -> None:
    """Tests that send much are watched without a mark: one fails that makes a server hold its loop, two do not."""
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:xdist", "tests/transport/holding.py"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=os.environ | {"COLUMNS": "300"})
    said = ended.stdout
    failed = re.findall(r"(?m)^FAILED \S*::(\S+) - Failed: process \d+ is a server, and its loop was held for", said)
    assert failed == ["test_large[400]"], said
    assert "2 passed" in said
    assert re.search(r"loop probe: beside 2 tests; a server's loop was held for at most [34]\d\d ms, in tests", said)
