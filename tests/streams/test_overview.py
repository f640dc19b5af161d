"""Streams and sessions as people see them: their order, names and rates."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from imageserver.limits import Limits
from imageserver.streams import overview
from imageserver.streams.overview import Overview
from imageserver.streams.room import next_number
from imageserver.streams.stream import Stream, Streams, StreamSubscriber


class World:
    """Streams that are real, sessions that are not, and a clock."""

    def __init__(self) -> None:
        self.now = 100.0
        engine: Any = None
        self.streams = Streams(engine, Limits())
        self.sessions: Any = SimpleNamespace(open_sessions={})
        self.overview = Overview(self.streams, self.sessions, clock=lambda: self.now)

    def stream(self, name: str, user: str = "alice", camera: str = "") -> Stream:
        options: dict[str, Any] = {"protocol": "test", "model": "m", "hz": 0.0, "rotate": 0}
        stream = self.streams.open(name, user, camera, subscriber=StreamSubscriber(), **options)
        stream.begun = self.now
        return stream

    def session(self, name: str) -> Any:
        counts = {"received": 0, "answered_count": 0}
        called = self.streams.names.take(name, "", user="bob", address="", connection="c")
        session = SimpleNamespace(id=name, number=next_number(), called=called, begun=self.now, **counts)
        self.sessions.open_sessions[name] = session
        return session


def test_streams_and_sessions_are_in_the_order_in_which_they_began() -> None:
    world = World()
    began: list[Any] = [world.stream("1"), world.session("session-1"), world.stream("2"), world.session("session-2")]
    assert list(world.overview.incoming()) == began
    for index, one in enumerate(began):
        assert list(world.overview.incoming(one.number)) == began[index + 1 :]
    began[1:3] = []
    world.streams.open_streams.pop("2")
    world.sessions.open_sessions.pop("session-1")
    assert list(world.overview.incoming()) == began


def test_one_is_found_by_its_id_before_any_by_its_name() -> None:
    world = World()
    door, other = world.stream("1", camera="front door"), world.stream("2", camera="1")
    assert world.overview.named("1") == [door]
    assert world.overview.named("front door") == [door]
    assert world.overview.named("alice") == []
    third = world.stream("3", "bob", "front door")
    assert world.overview.named("front door") == [door]
    assert world.overview.named("front door (2)") == [third]
    unnamed, session = world.stream("4", "bob"), world.session("session-9")
    assert world.overview.named("session-9") == [session]
    assert world.overview.named("bob") == [unnamed, session]
    assert other.name == "1 (2)"


def test_rates_are_those_of_the_last_seconds_from_the_first_frame_on() -> None:
    world = World()
    stream, session = world.stream("1"), world.session("session-1")
    world.now += 0.1
    stream.received = 1
    assert world.overview.rates(stream) == (1.0, 0.0), "one frame in a moment is not ten a second"
    for second in range(1, 31):
        world.now = 100.0 + second
        rate = 10 if second <= 15 else 2
        stream.received += rate
        stream.answered_count += rate // 2
        if second % 5 == 0:
            counts = {one.id: (since.received, since.answered) for one, since in world.overview.count()}
            assert counts == {"1": (5 * rate + (second == 5), 5 * (rate // 2)), "session-1": (0, 0)}
    assert world.overview.rates(stream) == (2.0, 1.0)
    assert world.overview.rates(session) == (0.0, 0.0)


def test_one_that_leaves_and_joins_again_under_its_id_is_counted_anew() -> None:
    world = World()
    world.stream("1").received = 50
    assert [since.received for _one, since in world.overview.count()] == [50]
    world.streams.open_streams.pop("1")
    again = world.stream("1")
    assert [since.received for _one, since in world.overview.count()] == [0]
    again.received = 3
    assert world.overview.rates(again) == (3.0, 0.0)


def test_nothing_is_kept_of_streams_that_have_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    for index in range(1000):
        world.stream(str(index))
    pauses = []
    monkeypatch.setattr(overview.fairness, "pause", lambda: pauses.append(1))
    assert len(list(world.overview.count())) == 1000
    assert len(pauses) == 5
    world.streams.open_streams.clear()
    for _turn in range(2):
        assert list(world.overview.count()) == []
    assert (world.overview._former, world.overview._latest) == ({}, {})
