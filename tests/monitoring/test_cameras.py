"""Figures of single cameras: of those that have a name, that who asks may see, and of so many at most."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from imageserver import metrics
from imageserver.accounts.database import User
from imageserver.limits import Limits
from imageserver.monitoring.cameras import CameraFigures
from imageserver.streams.overview import Overview
from imageserver.streams.stream import Stream, Streams, StreamSubscriber


class World:
    """Streams, and what is said of them."""

    def __init__(self) -> None:
        engine: Any = None
        self.streams = Streams(engine, Limits())
        self.sessions: Any = SimpleNamespace(open_sessions={})
        self.overview = Overview(self.streams, self.sessions)

    def stream(self, id: str, camera: str, received: int = 1, **more: Any) -> Stream:  # noqa: A002
        options: dict[str, Any] = {"protocol": "camstream", "model": "m", "hz": 0.0, "rotate": 0}
        stream = self.streams.open(id, "alice", camera, subscriber=StreamSubscriber(), **{**options, **more})
        stream.received, stream.answered_count, stream.dropped = received, received // 2, received // 5
        return stream

    def received(self, user: User | None = None, most: int = 10) -> dict[str, float]:
        found = CameraFigures(self.overview, most).read(user)[metrics.CAMERA_RECEIVED]
        return {camera: number for (camera, _protocol), number in found.items()}


def test_each_camera_with_a_name_has_its_figures() -> None:
    world = World()
    world.stream("1", "front door", 10)
    world.stream("2", "front door", 20, address="elsewhere")
    world.stream("3", "", 30)
    found = CameraFigures(world.overview, 10).read(None)
    assert found == {
        metrics.CAMERA_RECEIVED: {("front door", "camstream"): 10, ("front door (2)", "camstream"): 20},
        metrics.CAMERA_ANSWERED: {("front door", "camstream"): 5, ("front door (2)", "camstream"): 10},
        metrics.CAMERA_DROPPED: {("front door", "camstream"): 2, ("front door (2)", "camstream"): 4},
    }
    world.streams.open_streams["1"].close()
    assert list(world.received()) == ["front door (2)"], "nothing is left of who goes"


def test_a_connection_that_was_lost_counts_no_more() -> None:
    world = World()
    world.stream("1", "door", 10)
    world.stream("2", "door", 20)
    assert world.received() == {"door": 20}


def test_the_sessions_of_a_camera_count_apart_from_its_stream_and_together() -> None:
    world = World()
    stream = world.stream("1", "door", 10)
    counts = {"received": 3, "answered_count": 2, "dropped": 1, "protocol": "sessions", "camera": "door"}
    for number in (10**6, 10**6 + 1):
        session = SimpleNamespace(id=str(number), number=number, called=stream.called, counts_as="door", **counts)
        world.sessions.open_sessions[session.id] = session
    found = CameraFigures(world.overview, 1).read(None)
    assert found[metrics.CAMERA_RECEIVED] == {("door", "camstream"): 10, ("door", "sessions"): 6}


def test_who_is_bound_to_cameras_sees_figures_of_these_alone() -> None:
    world = World()
    for id, camera in enumerate(("kitchen", "door", "kitchen")):  # noqa: A001
        world.stream(str(id), camera, address=str(id))
    bound = User("vic", frozenset({"viewer"}), only=("kitchen",))
    assert list(world.received(bound)) == ["kitchen", "kitchen (2)"]


def test_there_are_figures_of_so_many_cameras_at_most() -> None:
    world = World()
    for number in range(5):
        world.stream(str(number), f"camera {number}")
    before = metrics.LIMITS_HIT.child("camera-figures").value
    assert list(world.received(most=5)) == [f"camera {number}" for number in range(5)]
    assert metrics.LIMITS_HIT.child("camera-figures").value == before
    assert list(world.received(most=2)) == ["camera 0", "camera 1"]
    assert world.received(most=0) == {}
    assert metrics.LIMITS_HIT.child("camera-figures").value == before + 2
