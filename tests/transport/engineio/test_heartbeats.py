"""The end of a heartbeat's time, by a clock of the test's own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from imageserver.limits import Limits
from imageserver.transport import hub
from imageserver.transport.budget import unlimited
from imageserver.transport.engineio import v3, v4
from imageserver.transport.engineio.packet import PING, PONG, EnginePacket
from imageserver.transport.engineio.server import EngineServer
from imageserver.transport.engineio.session import EngineSession

LIMITS = Limits(ping_interval=1000, ping_timeout=100)  # no timer of the loop comes before the test is over


class Clock:
    def __init__(self) -> None:
        self.now = 5.0

    def __call__(self) -> float:
        return self.now


class Case:
    """A polling session of one generation whose client owes a heartbeat, and the time at which it must have come."""

    def __init__(self, generation: int) -> None:
        self.clock = Clock()
        self.server = EngineServer(LIMITS, log=lambda _line: None, clock=self.clock)
        codec = v3 if generation == 3 else v4
        self.session = EngineSession(self.server, "s", codec, False, "192.0.2.1", "", unlimited())
        self.server.sessions["s"] = self.session
        self.session.open(None)
        self.clock.now += 1000
        if generation == 4:
            self.session.heartbeat.ping()
        self.end = self.clock.now + 100
        self.heartbeat = EnginePacket(PING if generation == 3 else PONG)

    def poll(self) -> hub.Task:
        task = hub.spawn(self.session.heartbeat.verdict)
        hub.sleep(0)
        return task


@pytest.fixture(params=[3, 4])
def case(request: pytest.FixtureRequest) -> Iterator[Case]:
    one = Case(request.param)
    yield one
    one.session.close("transport close")


def test_a_poll_in_good_time_does_not_wait(case: Case) -> None:
    case.clock.now = case.end - 1
    assert case.session.heartbeat.verdict()


def test_a_poll_at_the_end_waits_for_the_heartbeat_behind_it(case: Case) -> None:
    case.clock.now = case.end - 0.01
    poll = case.poll()
    assert poll
    case.session.alive()
    case.session.receive(case.heartbeat)
    assert poll.wait() is True


def test_a_poll_at_the_end_waits_for_the_end(case: Case) -> None:
    case.clock.now = case.end - 0.01
    poll = case.poll()
    assert poll
    case.clock.now = case.end
    case.session.heartbeat.check(True)
    assert poll.wait() is False
    assert case.session.reason == "ping timeout"


@pytest.mark.parametrize(("late", "counted"), [(0.0, 0.0), (0.02, 0.0), (7.0, 6.95)])
def test_a_late_ping_gives_no_more_time_but_a_busy_loop_does(late: float, counted: float) -> None:
    case = Case(3)
    case.session.close("transport close")
    clock, server = case.clock, case.server
    session = EngineSession(server, "t", v4, False, "192.0.2.1", "", unlimited())
    server.sessions["t"] = session
    session.open(None)
    due = clock.now + 1000
    clock.now = due + late
    session.heartbeat.ping()
    assert session.heartbeat.left() == pytest.approx(due + counted + 100 - clock.now)
    session.close("transport close")


def test_a_body_on_its_way_counts_as_a_sign_of_life(case: Case) -> None:
    case.clock.now = case.end + 1
    case.session.posting = hub.Event()
    assert case.session.heartbeat.verdict()
