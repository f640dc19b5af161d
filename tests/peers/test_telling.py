"""What others are told of our streams: beginnings, ends, and whole lists, in pieces."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from tests.later import Later
from tests.peers.links import OTHER, Link
from tests.streams.test_stream import Engine

from imageserver.limits import Limits
from imageserver.peers import telling
from imageserver.peers.front_ends import FrontEnds
from imageserver.peers.messages import ALL
from imageserver.peers.telling import Telling
from imageserver.streams.far import FarStreams
from imageserver.streams.overview import Overview
from imageserver.streams.stream import Stream, Streams, StreamSubscriber
from imageserver.transport import hub


class World:
    def __init__(self) -> None:
        self.link = Link()
        link: Any = self.link
        engine: Any = Engine()
        self.streams = Streams(engine, Limits())
        sessions: Any = SimpleNamespace(open_sessions={}, watch=lambda watcher: None)
        self.far = FarStreams(100, 10)
        overview = Overview(self.streams, sessions, far=self.far, front_end="a")
        self.others = FrontEnds(link, self.far, 5.0, print, Later().clock)
        self.telling = Telling(link, self.others, overview)
        self.telling.watch(self.streams, sessions)

    def stream(self, name: str) -> Stream:
        options: dict[str, Any] = {"protocol": "test", "model": "m", "hz": 0.0, "rotate": 0}
        return self.streams.open(f"a.{name}", name, f"door {name}", subscriber=StreamSubscriber(), **options)

    def rows(self) -> list[dict[str, Any]]:
        """What was said of rows since the last call."""
        said, self.link.said = self.link.said, []
        return [one for _channel, one in said if one["op"] == "rows"]


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Any:
    for name, seconds in (("ROUND", 0.001), ("CYCLE", 3600.0), ("RATE", 10**6), ("SOON", 0.001), ("APART", 0.0)):
        monkeypatch.setattr(telling, name, seconds)
    found = World()
    tasks = [hub.spawn(found.telling.run_changes), hub.spawn(found.telling.run_lists)]
    yield found
    for task in tasks:
        task.kill()


def wait(condition: Any) -> None:
    with hub.Timeout(60):
        while not condition():
            hub.sleep(0.001)


def test_with_nobody_there_nothing_is_said(world: World) -> None:
    world.stream("1").close()
    hub.sleep(0.02)
    assert not world.link.said


def test_beginnings_and_ends_are_told_as_they_happen(world: World) -> None:
    world.link.hears(ALL, "alive", new=False)
    wait(world.rows)
    door = world.stream("1")
    wait(lambda: world.link.said)
    (said,) = world.rows()
    assert [(row["id"], row["name"], row["counts"], row["kind"]) for row in said["rows"]] == [
        ("a.1", "door 1", "door 1", "stream")
    ]
    door.close()
    wait(lambda: world.link.said)
    assert world.link.said.pop()[1]["ids"] == ["a.1"]


def test_other_names_and_users_are_told_as_they_happen(world: World) -> None:
    world.link.hears(ALL, "alive", new=False)
    wait(world.rows)
    door = world.stream("1")
    wait(world.rows)
    world.streams.names.rename(door.called, "back door")
    wait(lambda: world.link.said)
    assert [(row["name"], row["counts"]) for said in world.rows() for row in said["rows"]] == [("back door",) * 2]
    world.streams.adopt(door, "alice", "")
    wait(lambda: world.link.said)
    assert [(row["name"], row["user"]) for said in world.rows() for row in said["rows"]] == [("alice",) * 2]


def test_who_is_new_is_told_everything_in_pieces(world: World) -> None:
    for number in range(120):
        world.stream(str(number))
    hub.sleep(0.01)
    world.link.hears(ALL, "alive", new=True)
    wait(lambda: len(world.link.said) >= 3)
    pieces = world.rows()
    assert [(one["piece"], one["pieces"], len(one["rows"])) for one in pieces] == [(1, 0, 50), (2, 0, 50), (3, 3, 20)]
    assert len({one["cycle"] for one in pieces}) == 1
    world.link.hears(ALL, "alive", new=True, front="c", run="00000000000000cc")
    wait(lambda: len(world.link.said) >= 3)
    assert world.rows()[0]["cycle"] == pieces[0]["cycle"] + 1


def test_who_is_new_again_and_again_is_told_everything_once_in_a_while(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(telling, "APART", 3600.0)
    hub.sleep(0)  # both tasks wait
    world.link.hears(ALL, "alive", new=True)
    wait(world.rows)
    for _ in range(3):
        world.link.hears(ALL, "alive", new=True)
        hub.sleep(0.02)
    assert not world.rows()


def test_an_empty_list_is_told_too(world: World) -> None:
    world.link.hears(ALL, "alive", new=True)
    wait(lambda: world.link.said)
    (said,) = world.rows()
    assert (said["rows"], said["piece"], said["pieces"]) == ([], 1, 1)


def test_what_one_tells_another_can_list(world: World) -> None:
    world.stream("1")
    world.link.hears(ALL, "alive", new=True)
    wait(lambda: world.link.said)
    (said,) = world.rows()
    link: Any = Link("b", OTHER)
    far = FarStreams(10, 10)
    FrontEnds(link, far, 5.0, print)
    values = {name: said[name] for name in ("rows", "cycle", "piece", "pieces")}
    link.hears(ALL, "rows", front="a", run=world.link.run, **values)
    nobody: Any = SimpleNamespace(open_sessions={}, open_streams={})
    overview = Overview(nobody, nobody, far=far, front_end="b")
    (one,) = overview.everything()
    listed = overview.described(one)
    assert (listed["id"], listed["name"], listed["front_end"]) == ("a.1", "door 1", "a")
    assert not {"counts", "kind", "values"} & listed.keys()
