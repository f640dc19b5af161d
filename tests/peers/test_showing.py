"""What others get of our streams: nothing that nobody asked for, the newest, and no more than may be."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest
from tests.later import Later, replace_in_hub
from tests.peers.links import OTHER, Link
from tests.streams.test_stream import Engine

from imageserver.limits import Limits
from imageserver.peers import showing
from imageserver.peers.messages import ALL, FRAME, PREDICTIONS, TO
from imageserver.peers.predicting import PredictionRounds
from imageserver.peers.redis.outbox import OutgoingFrame
from imageserver.peers.showing import Showing
from imageserver.streams import stream
from imageserver.streams.stream import Stream, Streams, StreamSubscriber

JPEG = b"\xff\xd8\xff\xe0"


class World:
    def __init__(self, monkeypatch: pytest.MonkeyPatch, **limits: Any) -> None:
        self.time, self.link = Later(), Link()
        replace_in_hub(monkeypatch, showing, stream, call_later=self.time)
        engine: Any = Engine()
        link: Any = self.link
        self.engine, self.streams = engine, Streams(engine, Limits())
        self.sessions: Any = SimpleNamespace(open_sessions={}, watch=lambda watcher: None)
        self.showing = Showing(link, self.streams, self.sessions, Limits(**limits), self.time.clock)
        self.showing.watch()
        self.rounds = PredictionRounds(link, self.time.clock)
        self.rounds.watch(self.streams, self.sessions)

    def stream(self, name: str, camera: str = "") -> Stream:
        options: dict[str, Any] = {"protocol": "test", "model": "m", "hz": 0.0, "rotate": 90}
        return self.streams.open(f"a.{name}", name, camera, subscriber=StreamSubscriber(), **options)

    def answer(self, stream: Stream, size: int = 100, **result: Any) -> None:
        """A frame comes, runs and is answered."""
        stream.offer(JPEG + bytes(size - len(JPEG)))
        source, work = self.engine.turn()
        source.answered(work, result or {"label": "x"})

    def wish(self, **seqs: int) -> None:
        """Another front end looks at these."""
        streams = {f"a.{name}": seq for name, seq in seqs.items()}
        self.link.hears(f"{TO}a", "watch", streams=streams)

    def next(self) -> tuple[str, int, int] | None:
        """The channel, number and bytes of the frame that goes out now."""
        found: OutgoingFrame | None = self.showing.next_frame()
        return found and (found.channel.removeprefix(FRAME), json.loads(found.text)["seq"], len(found.picture))


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return World(monkeypatch)


def test_what_nobody_looks_at_is_not_sent(world: World) -> None:
    door, garden = world.stream("1"), world.stream("2")
    world.answer(door)
    assert world.next() is None and not world.link.woken
    world.wish(**{"2": 0})
    world.answer(door)
    world.answer(garden)
    assert world.next() == ("a.2", 1, 100)
    assert world.next() is None
    assert not world.link.said, "and nothing is said of either"


def test_who_begins_to_look_gets_the_newest_at_once(world: World) -> None:
    door = world.stream("1")
    for _ in range(3):
        world.answer(door)
    world.wish(**{"1": 0, "9": 0})
    assert world.link.woken
    found = world.showing.next_frame()
    assert found is not None and found.picture == JPEG + bytes(96)
    said = json.loads(found.text)
    assert (said["seq"], said["rotate"], said["prediction"]["label"], said["error"]) == (3, 90, "x", "")


def test_newer_ones_replace_those_that_wait_and_the_rate_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, redis_fps=10)
    door = world.stream("1")
    world.wish(**{"1": 0})
    sent = []
    for _ in range(100):  # 100 frames in a second
        world.answer(door)
        if frame := world.next():
            sent.append(frame[1])
        world.time.move(0.01)
        world.wish(**{"1": sent[-1]})
    assert 10 <= len(sent) <= 12 and sent == sorted(sent)
    woken = world.link.woken
    world.time.move(0.1)
    assert world.link.woken > woken, "the last one is sent, though nothing follows"
    assert world.next() == ("a.1", 100, 100)


def test_a_wish_holds_for_a_few_seconds(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    door = world.stream("1")
    world.wish(**{"1": 0})
    world.time.move(showing.messages.WATCHED + 0.1)

    class Enough(Exception):
        pass

    def slept(_seconds: float, times: list[int] = []) -> None:  # noqa: B006
        times.append(1)
        if len(times) > 1:
            raise Enough

    replace_in_hub(monkeypatch, showing, sleep=slept)
    with pytest.raises(Enough):
        world.showing.run()
    world.answer(door)
    assert world.next() is None


def test_a_frame_that_was_lost_is_sent_again_where_none_follows(world: World) -> None:
    door = world.stream("1")
    world.answer(door)
    world.wish(**{"1": 0})
    assert world.next() == ("a.1", 1, 100)
    world.time.move(0.5)
    world.wish(**{"1": 0})
    assert world.next() is None, "it may be on its way"
    world.time.move(1)
    world.wish(**{"1": 0})
    assert world.next() == ("a.1", 1, 100)
    world.time.move(2)
    world.wish(**{"1": 1})
    assert world.next() is None


def test_a_large_picture_stays_and_its_prediction_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, redis_frame_bytes=64 * 1024)
    door = world.stream("1")
    world.wish(**{"1": 0})
    world.answer(door, 64 * 1024 + 1)
    found = world.showing.next_frame()
    assert found is not None and not found.picture
    said = json.loads(found.text)
    assert "65537 bytes, too many for --redis-frame-bytes" in said["error"] and said["prediction"]["label"] == "x"


def test_all_frames_together_have_so_many_bytes_a_second_and_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, redis_bytes=2**20)
    cameras = [world.stream(str(number)) for number in range(4)]
    world.wish(**{str(number): 0 for number in range(4)})
    sent: list[str] = []
    for _ in range(50):  # 5 seconds of 4 cameras with 10 frames of 100 KB
        for camera in cameras:
            world.answer(camera, 100_000)
        while frame := world.next():
            sent.append(frame[0])
        world.time.move(0.1)
        world.wish(**{str(number): 1 for number in range(4)})
    assert 45 <= len(sent) <= 70
    counts = [sent.count(f"a.{number}") for number in range(4)]
    assert max(counts) - min(counts) <= 3


def test_what_is_no_json_is_not_sent_and_keeps_up_nothing(world: World) -> None:
    broken, door = world.stream("1"), world.stream("2")
    world.wish(**{"1": 0, "2": 0})
    world.answer(broken, score=float("nan"))
    world.answer(door)
    assert world.next() == ("a.2", 1, 100)


def test_a_stream_that_has_ended_is_forgotten(world: World) -> None:
    door = world.stream("1")
    world.wish(**{"1": 0})
    world.answer(door)
    door.close()
    assert world.next() is None


def test_wishes_to_others_are_not_ours(world: World) -> None:
    world.answer(world.stream("1"))
    world.link.hears(f"{TO}c", "watch", streams={"a.1": 0})
    assert world.next() is None


def test_a_session_is_shown_without_pictures(world: World) -> None:
    said = {"HR": 60.0, "seq": 4, "timestamp": 2**64 - 1}
    session = SimpleNamespace(id="session-1", user="bob", last_prediction=said)
    world.sessions.open_sessions["session-1"] = session
    world.wish(**{"session-1": 0})
    found = world.showing.next_frame()
    assert found is not None and found.channel == f"{FRAME}a.session-1" and not found.picture
    assert json.loads(found.text)["prediction"]["HR"] == 60


def test_predictions_are_told_while_somebody_follows_of_each_the_newest(world: World) -> None:
    door, garden = world.stream("1", "door"), world.stream("2", "garden")
    world.answer(door)
    world.rounds.tell()
    assert not world.link.said
    world.link.hears(ALL, "follow", wanted=None)
    for _ in range(3):
        world.answer(door)
    world.answer(garden, error="it is no picture", reason="picture")
    world.rounds.tell()
    world.rounds.tell()
    ((channel, said),) = world.link.said
    assert channel == PREDICTIONS
    (first, second) = said["list"]
    assert (first[0], first[1], first[3]["label"]) == ("a.1", 4, "x")
    assert (second[0], second[3], second[4]) == ("a.2", None, "it is no picture")


def test_only_what_is_wanted_is_told_and_only_for_as_long(world: World) -> None:
    door, garden = world.stream("1", "door"), world.stream("2", "garden")
    world.link.hears(ALL, "follow", wanted=["garden"])
    world.link.hears(ALL, "follow", wanted=["a.3"], run="00000000000000cc", front="c")
    world.answer(door)
    world.answer(garden)
    world.rounds.tell()
    ((_channel, said),) = world.link.said
    assert [entry[0] for entry in said["list"]] == ["a.2"]
    world.time.move(4)
    world.rounds.tell()
    world.answer(garden)
    world.rounds.tell()
    assert len(world.link.said) == 1
    assert world.link.run != OTHER


def test_many_predictions_go_in_pieces(world: World) -> None:
    cameras = [world.stream(str(number)) for number in range(300)]
    world.link.hears(ALL, "follow", wanted=None)
    for camera in cameras:
        world.answer(camera, labels=[{"label": str(one), "score": 0.1} for one in range(5)])
    world.rounds.tell()
    sizes = [len(json.dumps(said)) for _channel, said in world.link.said]
    assert sum(len(said["list"]) for _channel, said in world.link.said) == 300
    assert max(sizes) < 64 * 1024
