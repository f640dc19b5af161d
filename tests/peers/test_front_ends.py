"""Who is there, what each has told of its streams, and when it is forgotten."""

from __future__ import annotations

from typing import Any

import pytest
from tests.later import Later
from tests.peers.links import OTHER, RUN, Link, row

from imageserver.peers import front_ends
from imageserver.peers.front_ends import FrontEnds
from imageserver.peers.messages import ALL
from imageserver.streams.far import FarStream, FarStreams, FarWatcher


class Watcher(FarWatcher):
    def __init__(self) -> None:
        self.told: list[tuple[str, str]] = []

    def opened(self, stream: FarStream) -> None:
        self.told.append(("opened", stream.id))

    def closed(self, stream: FarStream) -> None:
        self.told.append(("closed", stream.id))


class World:
    def __init__(self, most: int = 100) -> None:
        self.time, self.link = Later(), Link()
        self.far = FarStreams(most, 10, self.time.clock)
        self.watcher = Watcher()
        self.far.watchers.append(self.watcher)
        self.log: list[str] = []
        link: Any = self.link
        self.all = FrontEnds(link, self.far, 5.0, self.log.append, self.time.clock)

    def rows(self, *rows: dict[str, Any], cycle: int = 0, piece: int = 1, pieces: int = 1, **who: str) -> None:
        self.link.hears(ALL, "rows", rows=list(rows), cycle=cycle, piece=piece, pieces=pieces, **who)

    @property
    def ids(self) -> list[str]:
        return list(self.far.open)


def test_what_one_tells_is_known_until_it_closes_or_is_silent() -> None:
    world = World()
    world.rows(row("b.1"), row("b.2", name="garden"))
    world.link.hears(ALL, "closed", ids=["b.1", "b.9"])
    assert world.ids == ["b.2"] and world.all.names == ["b"]
    assert [one.name for one in world.far.named("garden")] == ["garden"]
    world.time.move(4.9)
    world.link.hears(ALL, "alive", new=False)
    world.time.move(4.9)
    world.all.forget_silent()
    assert world.ids == ["b.2"]
    world.time.move(0.2)
    world.all.forget_silent()
    assert not world.ids and not world.all.names and not list(world.far.named("garden"))
    assert world.watcher.told == [("opened", "b.1"), ("opened", "b.2"), ("closed", "b.1"), ("closed", "b.2")]
    assert world.log == ["the front end b is there", "the front end b has not been heard for 5 s"]


def test_one_may_leave_while_another_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(most=1000)
    world.rows(*(row(f"b.{number}") for number in range(50)))
    world.rows(*(row(f"b.{number}") for number in range(50, 100)))
    world.rows(row("c.1"), front="c", run="00000000000000cc")
    monkeypatch.setattr(
        front_ends.fairness, "pause", lambda: world.link.hears(ALL, "bye", front="c", run="00000000000000cc")
    )
    world.time.move(6)
    world.all.forget_silent()
    assert not world.ids and not world.all.names
    assert world.log[2:] == ["the front end b has not been heard for 5 s", "the front end c has left"]


def test_a_row_that_nobody_can_read_keeps_no_list_from_being_whole() -> None:
    world = World()
    world.rows(row("b.1"), row("b.2"), row("b.3"), cycle=1)
    world.rows(row("b.1"), row("b.3", fps_in=-0.5), cycle=2)
    assert world.ids == ["b.1"]


def test_what_is_in_no_piece_of_a_whole_list_is_gone_and_a_gap_costs_nothing() -> None:
    world = World()
    world.rows(row("b.1"), row("b.2"), row("b.3"), cycle=1)
    world.rows(row("b.1"), cycle=2, piece=1, pieces=0)
    world.rows(row("b.4"))
    world.rows(row("b.3"), cycle=2, piece=2, pieces=2)
    assert world.ids == ["b.1", "b.3", "b.4"], "what began meanwhile stays"
    world.rows(row("b.3"), cycle=3, piece=2, pieces=3)
    world.rows(row("b.3"), cycle=3, piece=3, pieces=3)
    assert world.ids == ["b.1", "b.3", "b.4"], "a piece was lost"
    world.rows(cycle=4)
    assert not world.ids


def test_a_row_is_told_anew_and_keeps_its_place() -> None:
    world = World()
    world.rows(row("b.1"), row("b.2"))
    first = world.far.open["b.1"]
    world.rows(row("b.1", name="garden", fps_in=7.0))
    assert world.far.open["b.1"] is first and first.row["fps_in"] == 7.0 and world.ids == ["b.1", "b.2"]
    assert [one.id for one in world.far.named("garden")] == ["b.1"]
    assert [one.id for one in world.far.named("door")] == ["b.2"]


def test_who_leaves_is_gone_at_once_and_who_is_new_is_told_everything() -> None:
    world = World()
    came: list[int] = []
    world.all.newcomer = lambda: came.append(1)
    world.link.hears(ALL, "alive", new=True)
    assert came
    world.rows(row("b.1"))
    world.link.hears(ALL, "bye")
    assert not world.ids and not world.all.names
    world.all.greet()
    world.all.leave()
    assert [said.get("new") for _channel, said in world.link.said] == [True, None]


def test_a_front_end_that_starts_anew_is_another_one() -> None:
    """Its streams are of the former one until that is forgotten, and nothing is mixed up."""
    world = World()
    world.rows(row("b.session-1"), cycle=1)
    again = "00000000000000cc"
    world.rows(row("b.session-1"), row("b.2"), cycle=1, run=again)
    former = world.far.open["b.session-1"]
    assert world.all.stream("b.session-1", {"run": OTHER}) is former
    assert world.all.stream("b.session-1", {"run": again}) is None
    world.time.move(4)
    world.rows(row("b.2"), cycle=2, run=again)
    world.time.move(2)
    world.all.forget_silent()
    assert world.ids == ["b.2"]
    world.rows(row("b.2"), row("b.session-1"), cycle=3, run=again)
    assert set(world.ids) == {"b.2", "b.session-1"} and world.far.open["b.session-1"] is not former


def test_no_front_end_speaks_under_anothers_run_or_of_anothers_streams() -> None:
    world = World()
    world.rows(row("b.1"), cycle=1)
    world.rows(row("c.1"), front="c", run=OTHER)
    assert world.ids == ["b.1"]
    world.link.hears(ALL, "closed", ids=["b.1"], run="00000000000000cc")
    assert world.ids == ["b.1"]


def test_two_of_one_name_say_so() -> None:
    world = World()
    assert not world.all.problem
    world.link.hears(ALL, "alive", new=False, front="a", run=OTHER)
    assert "another front end at this Redis has our name, 'a'" in world.all.problem
    world.time.move(6)
    world.all.forget_silent()
    assert not world.all.problem
    assert world.link.run == RUN


def test_there_are_not_any_number(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(most=3)
    world.rows(*(row(f"b.{number}") for number in range(5)))
    assert world.ids == ["b.0", "b.1", "b.2"]
    monkeypatch.setattr(front_ends, "MOST", 2)
    for number in range(4):
        world.link.hears(ALL, "alive", new=False, front=f"c{number}", run=f"{number:016x}")
    assert world.all.names == ["b", "c0"]
    assert world.all.problem == front_ends.CROWD
    assert world.log.count(front_ends.CROWD) == 1
    world.time.move(6)
    assert not world.all.problem
