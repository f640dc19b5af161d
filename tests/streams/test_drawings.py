"""What is drawn for viewers: each frame once, streams in turn, few of them waiting."""

from __future__ import annotations

from typing import Any

import pytest

from imageserver import metrics
from imageserver.errors import ImageServerError, LimitExceeded, ModelUnavailable
from imageserver.limits import Limits
from imageserver.streams import drawings
from imageserver.streams.drawings import Drawings
from imageserver.streams.frame import Frame, NewestFrame
from imageserver.streams.stream import Stream, Streams, StreamSubscriber
from imageserver.transport import hub


class Process:
    """Draws when it may."""

    def __init__(self) -> None:
        self.drawn: list[bytes] = []
        self.go_on = hub.Event()
        self.error: Exception | None = None

    def draw(self, data: bytes, rotate: int, prediction: dict[str, Any]) -> bytes:
        self.go_on.wait()
        self.drawn.append(data)
        if self.error:
            raise self.error
        return data * 2


class World:
    def __init__(self, most: int = 64) -> None:
        engine: Any = None
        self.streams, self.process = Streams(engine, Limits()), Process()
        process: Any = self.process
        self.drawings = Drawings(process, most)

    def stream(self, name: str, data: bytes = b"") -> Stream:
        options: dict[str, Any] = {"protocol": "test", "model": "m", "hz": 0.0, "rotate": 0}
        stream = self.streams.open(name, name, subscriber=StreamSubscriber(), **options)
        if data:
            show(stream, 1, data)
        return stream

    def ask(self, stream: Stream, owner: str = "") -> hub.Task:
        """Somebody who asks, and has asked when this returns."""

        def asking() -> object:
            try:
                return self.drawings.drawn(stream, owner)
            except ImageServerError as error:
                return error

        task = hub.spawn(asking)
        hub.sleep(0)
        hub.sleep(0)
        return task


def show(stream: Stream, seq: int, data: bytes) -> None:
    stream.show(NewestFrame(Frame(data, seq, 0, 0.0), {}, "", 0))


def test_who_waits_gets_what_is_newest_at_its_turn() -> None:
    world = World()
    first, second = world.stream("1", b"a"), world.stream("2", b"b")
    asking = [world.ask(first), world.ask(second), world.ask(second)]
    show(second, 2, b"c")
    world.process.go_on.set()
    assert [task.wait()[1] for task in asking] == [b"aa", b"cc", b"cc"]
    assert world.process.drawn == [b"a", b"c"]
    assert world.ask(second).wait() == (second.newest, b"cc")
    show(second, 3, b"d")
    assert world.ask(second).wait() == (second.newest, b"dd")
    assert world.process.drawn == [b"a", b"c", b"d"]


def test_a_frame_that_came_while_the_one_before_was_drawn_is_drawn_next() -> None:
    world = World()
    stream = world.stream("1", b"a")
    before, same = world.ask(stream), world.ask(stream)
    show(stream, 2, b"b")
    after = world.ask(stream)
    world.process.go_on.set()
    assert [task.wait()[1] for task in (before, same, after)] == [b"aa", b"aa", b"bb"]


def test_a_stream_without_a_frame_or_that_has_ended_gives_none() -> None:
    world = World()
    assert world.drawings.drawn(world.stream("1"), "") is None
    first, second = world.stream("2", b"a"), world.stream("3", b"b")
    asking = [world.ask(first), world.ask(second)]
    second.close()
    world.process.go_on.set()
    assert [task.wait() for task in asking] == [(first.newest, b"aa"), None]


def test_few_wait_and_one_owner_has_a_quarter() -> None:
    world, hits = World(most=8), metrics.LIMITS_HIT.child("draw-queue")
    before = hits.value
    running = world.ask(world.stream("runs", b"x"), "user a")
    mine = [world.ask(world.stream(f"a{number}", b"a"), "user a") for number in range(3)]
    assert isinstance(mine[2].wait(), LimitExceeded)
    others = [world.ask(world.stream(f"{name}{number}", b"b"), name) for name in "bcde" for number in range(2)]
    refused = [task for task in others if not task]
    assert len(refused) == 2, "of all together no more than eight"
    assert hits.value == before + 3
    world.process.go_on.set()
    for task in (running, *mine[:2], *others[:6]):
        assert task.wait()[1]


def test_what_cannot_be_drawn_is_told_to_all_who_wait_and_tried_again_for_the_next() -> None:
    world = World()
    stream = world.stream("1", b"a")
    world.process.error = ModelUnavailable("not now")
    asking = [world.ask(stream), world.ask(stream)]
    world.process.go_on.set()
    assert [str(task.wait()) for task in asking] == ["not now", "not now"]
    world.process.error = ValueError("it does not go over the wall")
    assert "cannot be drawn" in str(world.ask(stream).wait())
    world.process.error = None
    assert world.ask(stream).wait() == (stream.newest, b"aa")


def test_little_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drawings, "LARGEST_KEPT", 10)
    world = World()
    world.process.go_on.set()
    for number in range(100):
        assert world.ask(world.stream(str(number), b"a")).wait()[1] == b"aa"
    assert len(world.drawings._kept) == drawings.MOST_KEPT
    large = world.stream("large", b"a" * 6)
    assert world.ask(large).wait()[1] == b"a" * 12
    assert "large" not in world.drawings._kept
