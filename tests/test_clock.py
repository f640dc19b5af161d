"""The clock of logins: it does not jump by an hour, and follows what was wrong by months."""

from __future__ import annotations

from imageserver.clock import LARGEST, SteadyClock

START = 1_800_000_000.0


class Machine:
    """A machine's two clocks, and what is logged of them."""

    def __init__(self, wall: float = START) -> None:
        self.wall, self.steady = wall, 50.0
        self.lines: list[str] = []
        self.clock = SteadyClock(self.lines.append, lambda: self.wall, lambda: self.steady)

    def passes(self, seconds: float) -> float:
        self.wall += seconds
        self.steady += seconds
        return self.clock()


def test_it_is_the_machines_as_long_as_that_runs_evenly():
    machine = Machine()
    assert machine.passes(0) == START
    assert machine.passes(86_400) == START + 86_400
    machine.wall += 0.4  # the network's time, a little at a time
    assert machine.passes(10) == START + 86_410.4
    assert machine.lines == []


def test_an_hour_either_way_is_followed_slowly_and_told_once():
    for jump in (3600.0, -3600.0):
        machine = Machine()
        machine.wall += jump
        assert machine.passes(0) == START
        assert round(machine.passes(1800) - START) == (1980 if jump > 0 else 1620)
        for _hour in range(9):
            before = machine.clock()
            assert machine.passes(3600) > before, "time goes on"
        machine.passes(1810)
        assert machine.clock() == machine.wall
        assert machine.lines == [
            f"the clock of this machine jumped by {jump:+.0f} s: logins follow it slowly, none ends by it"
        ]
        machine.wall += jump
        machine.clock()
        assert len(machine.lines) == 2


def test_how_often_it_is_asked_changes_nothing():
    often, seldom = Machine(), Machine()
    for machine, steps in ((often, 600), (seldom, 1)):
        machine.wall += 3600
        machine.clock()
        for _step in range(steps):
            machine.passes(600 / steps)
    assert round(often.clock(), 3) == round(seldom.clock(), 3) == START + 660


def test_a_clock_that_was_wrong_by_months_is_followed_at_once():
    machine = Machine(60.0)
    machine.wall = START
    assert machine.clock() == START
    machine.wall -= LARGEST + 1
    assert machine.clock() == START - LARGEST - 1
    assert machine.lines == [
        "the clock of this machine was set from 1970-01-01 00:01 UTC to 2027-01-15 08:00 UTC: logins follow it",
        "the clock of this machine was set from 2027-01-15 08:00 UTC to 2027-01-15 05:59 UTC: logins follow it",
    ]


def test_a_clock_that_comes_back_was_never_followed_far():
    machine = Machine()
    machine.wall += 3600
    machine.clock()
    machine.passes(60)
    machine.wall -= 3600
    machine.passes(60)
    assert machine.clock() == machine.wall


def test_it_runs_on_the_clocks_of_this_machine():
    lines: list[str] = []
    clock = SteadyClock(lines.append)
    first = clock()
    assert 0 <= clock() - first < 60 and lines == []
