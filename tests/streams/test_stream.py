"""Streams: the newest frame wins, rates are capped, every frame is accounted for."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from tests.later import Later, replace_in_hub

from imageserver.errors import LimitExceeded, ModelUnavailable, Stopping
from imageserver.inference.server.batching import Source, Work
from imageserver.limits import Limits
from imageserver.streams import room
from imageserver.streams import stream as streams
from imageserver.streams.frame import Frame, Prediction
from imageserver.streams.stream import Stream, Streams, StreamSubscriber
from imageserver.transport.budget import SMALL, Budget


class Engine:
    """Keeps who submitted; the test decides when something runs."""

    def __init__(self) -> None:
        self.waiting: list[tuple[Source, str]] = []
        self.refuse: Exception | None = None

    def submit(self, source: Source, name: str) -> None:
        if self.refuse:
            raise self.refuse
        self.waiting.append((source, name))

    def prepare(self, name: str) -> None:
        if self.refuse:
            raise self.refuse

    def turn(self) -> tuple[Source, Work | None]:
        source, name = self.waiting.pop(0)
        return source, source.take(name)


class Client(StreamSubscriber):
    def __init__(self) -> None:
        self.heard: list[tuple[str, int]] = []
        self.predictions: list[Prediction] = []

    def predicted(self, stream: Stream, frame: Frame, prediction: Prediction) -> None:
        self.heard.append(("predicted", frame.seq))
        self.predictions.append(prediction)

    def rejected(self, stream: Stream, frame: Frame, error: str) -> None:
        self.heard.append((error, frame.seq))

    def opened(self, stream: Stream) -> None:
        self.heard.append(("opened", 0))

    def closed(self, stream: Stream) -> None:
        self.heard.append(("closed", 0))


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Later:
    later = Later()
    replace_in_hub(monkeypatch, streams, call_later=later)
    for module in (streams, room):
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=later.clock, time=later.clock))
    return later


def streams_with(engine: Engine, **changes: Any) -> tuple[Streams, Stream, Client]:
    streams = Streams(engine, Limits(max_frame_bytes=100))  # type: ignore[arg-type]
    client = Client()
    options = {"protocol": "test", "model": "m", "hz": 0.0, "rotate": 0, "subscriber": client, **changes}
    return streams, streams.open("key", "alice", **options), client


def test_a_newer_frame_replaces_the_waiting_one() -> None:
    engine = Engine()
    _streams, stream, client = streams_with(engine)
    assert [stream.offer(b"1"), stream.offer(b"2"), stream.offer(b"3")] == [1, 2, 3]
    assert len(engine.waiting) == 1, "a stream waits once, whatever its rate"
    source, work = engine.turn()
    assert work is not None
    assert work.data == b"3"
    source.answered(work, {"label": "x", "score": 1.0})
    assert client.heard == [("predicted", 3)]
    assert client.predictions[0]["dropped"] == 2
    assert (client.predictions[0]["model"], client.predictions[0]["seq"]) == ("m", 3)


def test_while_one_runs_one_waits_and_takes_the_next_turn() -> None:
    engine = Engine()
    _streams, stream, _client = streams_with(engine)
    stream.offer(b"1")
    source, work = engine.turn()
    stream.offer(b"2")
    stream.offer(b"3")
    assert engine.waiting == [], "one frame of a stream runs at a time"
    assert work is not None
    source.answered(work, {"label": "x"})
    source, work = engine.turn()
    assert work is not None
    assert work.data == b"3"
    assert stream.dropped == 1


def test_a_frame_lost_with_its_worker_is_counted_once_a_newer_one_has_come() -> None:
    engine = Engine()
    _streams, stream, client = streams_with(engine)
    stream.offer(b"1")
    source, work = engine.turn()
    assert work is not None
    stream.offer(b"2")
    source.lost(work, "died")
    assert stream.dropped == 1
    source, work = engine.turn()
    assert work is not None
    source.answered(work, {})
    assert client.heard == [("predicted", 2)]


def test_a_frame_lost_with_its_worker_has_one_more_try_while_it_is_the_newest() -> None:
    """Its client may wait for the answer before it sends another."""
    engine = Engine()
    _streams, stream, client = streams_with(engine)
    for seq in (1, 2):
        stream.offer(b"x")
        source, work = engine.turn()
        assert work is not None
        source.lost(work, "died")
        assert engine.waiting == [(source, "m")] and stream.dropped == 0
        source, work = engine.turn()
        assert work is not None
        if seq == 1:
            source.answered(work, {})
        else:
            source.lost(work, "died")
    assert client.heard == [("predicted", 1), ("died while 'm' ran on this frame, twice", 2)]
    assert (engine.waiting, stream.dropped) == ([], 1)
    stream.offer(b"3")
    source, work = engine.turn()
    assert work is not None
    stream.close()
    source.lost(work, "died")
    assert engine.waiting == []


def test_every_frame_is_accounted_for() -> None:
    engine = Engine()
    _streams, stream, _client = streams_with(engine)
    for number in range(11):
        stream.offer(b"x")
        if number % 3 == 0 and engine.waiting:
            source, work = engine.turn()
            assert work is not None
            source.answered(work, {"error": "no picture", "reason": "picture"} if number == 3 else {})
    waiting = 1
    assert stream.received == stream.answered_count + stream.refused + stream.dropped + waiting


def test_a_picture_that_cannot_be_decoded_is_told_to_its_client_and_who_watches() -> None:
    engine = Engine()
    streams, stream, client = streams_with(engine)
    watcher = Client()
    streams.watch(watcher)
    stream.offer(b"x")
    source, work = engine.turn()
    assert work is not None
    source.answered(work, {"error": "no picture", "reason": "picture"})
    assert client.heard == watcher.heard == [("no picture", 1)]


def test_too_large_and_stopping_are_refused_but_counted() -> None:
    engine = Engine()
    streams, stream, _client = streams_with(engine)
    with pytest.raises(LimitExceeded, match="101 bytes.*--max-frame-bytes"):
        stream.offer(bytes(101))
    streams.stop()
    with pytest.raises(Stopping):
        stream.offer(b"x")
    assert (stream.received, stream.refused, engine.waiting) == (2, 2, [])


def test_a_disabled_model_refuses_and_the_stream_recovers_with_it() -> None:
    engine = Engine()
    _streams, stream, client = streams_with(engine)
    engine.refuse = ModelUnavailable("the model 'm' is disabled")
    with pytest.raises(ModelUnavailable):
        stream.offer(b"1")
    engine.refuse = None
    stream.offer(b"2")
    source, work = engine.turn()
    stream.offer(b"3")
    engine.refuse = ModelUnavailable("the model 'm' is disabled")
    assert work is not None
    source.answered(work, {})
    assert client.heard == [("predicted", 2), ("the model 'm' is disabled", 3)]


def test_the_rate_is_capped_over_two_intervals(time: Later) -> None:
    engine = Engine()
    _streams, stream, client = streams_with(engine, hz=2.0)
    for _tenth in range(100):
        stream.offer(b"x")
        if engine.waiting:
            source, work = engine.turn()
            if work is not None:
                source.answered(work, {})
        time.move(0.1)
    assert 20 <= len(client.heard) <= 21, "ten seconds at two a second, and the one that may run early"


def test_changing_the_model_while_waiting_sends_the_frame_to_the_new_one() -> None:
    engine = Engine()
    _streams, stream, client = streams_with(engine)
    stream.offer(b"1")
    stream.configure(model="other")
    assert engine.turn()[1] is None
    source, work = engine.turn()
    assert work is not None
    source.answered(work, {})
    assert client.predictions[0]["model"] == "other"


def test_a_closed_stream_answers_nobody_and_is_forgotten() -> None:
    engine = Engine()
    streams, stream, client = streams_with(engine)
    stream.offer(b"1")
    source, work = engine.turn()
    stream.offer(b"2")
    stream.close()
    stream.close()
    assert work is not None
    source.answered(work, {})
    assert client.heard == [("closed", 0)]
    assert (streams.open_streams, engine.waiting) == ({}, [])


def test_a_stream_closed_while_it_waits_for_its_rate_or_its_turn_runs_nothing(time: Later) -> None:
    engine = Engine()
    streams, throttled, _client = streams_with(engine, hz=1.0)
    for _ in range(2):  # the second may run a little early, a third not
        throttled.offer(b"x")
        source, work = engine.turn()
        assert work is not None
        source.answered(work, {})
    throttled.offer(b"x")
    assert engine.waiting == []
    throttled.close()
    time.move(10)
    assert engine.waiting == []

    options: dict[str, Any] = {"protocol": "test", "model": "m", "hz": 0.0, "rotate": 0, "subscriber": Client()}
    queued = streams.open("another", "alice", **options)
    queued.offer(b"x")
    queued.close()
    assert engine.turn() == (queued, None)
    assert engine.waiting == []


def test_people_see_the_name_of_a_streams_camera_or_of_its_user() -> None:
    streams, stream, _client = streams_with(Engine())
    assert (stream.id, stream.user, stream.name) == ("key", "alice", "alice")
    stream.user = "bob"
    assert stream.name == "bob", "it has authenticated as somebody else"
    options: dict[str, Any] = {"protocol": "test", "model": "m", "hz": 0.0, "rotate": 0, "subscriber": Client()}
    named = streams.open("another", "alice", "front door", **options)
    assert (named.id, named.user, named.camera, named.name) == ("another", "alice", "front door", "front door")


@pytest.mark.parametrize(("camera", "expected"), [("front door", {"camera": "front door"}), ("", {})])
def test_predictions_carry_the_cameras_name_where_it_has_one(camera: str, expected: dict[str, str]) -> None:
    engine = Engine()
    _streams, stream, client = streams_with(engine, camera=camera)
    stream.offer(b"1")
    source, work = engine.turn()
    assert work is not None
    source.answered(work, {"label": "x"})
    assert {key: value for key, value in client.predictions[0].items() if key == "camera"} == expected


def test_a_connection_that_was_taken_for_lost_has_a_number_from_its_next_frame_on() -> None:
    engine = Engine()
    streams, former, client = streams_with(engine, camera="door")

    def labelled(stream: Stream) -> str:
        stream.offer(b"x")
        source, work = engine.turn()
        assert work is not None
        source.answered(work, {"label": "x"})
        return str(client.predictions[-1]["camera"])

    options: dict[str, Any] = {"protocol": "test", "model": "m", "hz": 0.0, "rotate": 0, "subscriber": client}
    former.offer(b"1")
    again = streams.open("again", "alice", "door", **options)
    source, work = engine.turn()
    assert work is not None
    source.answered(work, {"label": "x"})
    assert client.predictions[-1]["camera"] == "door", "the picture was that camera's"
    assert (labelled(again), labelled(former), labelled(again)) == ("door", "door (2)", "door")
    again.close()
    assert labelled(former) == "door (2)", "a name does not change without need"
    assert streams.open("third", "bob", "door", **options).name == "door"


def test_a_stream_that_is_somebody_elses_has_what_that_one_calls_it() -> None:
    streams, stream, _client = streams_with(Engine(), camera="door")
    streams.adopt(stream, "alice", "door")
    assert streams.names.rename(stream.called, "yard")
    streams.adopt(stream, "alice", "door")
    assert (stream.name, stream.counts_as) == ("yard", "yard"), "it is as before"
    streams.adopt(stream, "bob", "door")
    assert (stream.user, stream.name) == ("bob", "door")
    streams.adopt(stream, "bob", "")
    assert (stream.camera, stream.name, streams.names.find("bob")) == ("", "bob", [stream.id])
    stream.close()
    assert streams.names.find("bob") == []


def test_large_frames_are_charged_to_their_client_and_refused_beyond_its_share() -> None:
    """Two of each stream: one may wait while one runs. It says whose they are."""
    limits = Limits(memory_share=1_000_000, memory_budget=2_000_000)
    budget = Budget(limits, log=lambda _line: None)
    account, engine = budget.account("10.0.0.1"), Engine()
    streams = Streams(engine, limits)  # type: ignore[arg-type]
    options: dict[str, Any] = {"protocol": "test", "model": "m", "hz": 0.0, "rotate": 0, "subscriber": Client()}
    first, second = (streams.open(key, "alice", account=account, **options) for key in ("one", "two"))
    first.offer(bytes(SMALL))
    assert budget.used == 0, "small ones are not counted"
    first.offer(bytes(300_000))
    first.offer(bytes(200_000))
    assert budget.used_for == {"frames": 600_000}
    with pytest.raises(LimitExceeded, match="waits in the server"):
        second.offer(bytes(201_000))
    assert (second.received, second.refused) == (1, 1)
    second.offer(bytes(199_000))
    account.belongs_to("anna")
    source, work = engine.turn()
    assert work is not None
    assert work.owner == "user anna"
    source.answered(work, {"label": "x"})
    assert budget.used == 398_000, "what waits for nothing gives its room back"
    second.close()
    assert budget.used == 0


def answer(engine: Engine, **result: Any) -> None:
    source, work = engine.turn()
    assert work is not None
    source.answered(work, result)


def test_viewers_are_told_of_a_stream_from_its_beginning_to_its_end() -> None:
    engine, watcher = Engine(), Client()
    streams = Streams(engine, Limits())  # type: ignore[arg-type]
    streams.watch(watcher)
    stream = streams.open("key", "alice", protocol="test", model="m", hz=0.0, rotate=0, subscriber=StreamSubscriber())
    stream.offer(b"x")
    answer(engine, label="x")
    stream.close()
    assert watcher.heard == [("opened", 0), ("predicted", 1), ("closed", 0)]


def test_the_newest_frame_that_was_answered_or_rejected_is_there_for_viewers() -> None:
    engine = Engine()
    _streams, stream, _client = streams_with(engine, rotate=90)
    assert stream.newest is None
    stream.offer(b"\xff\xd8\xff1")
    assert stream.newest is None, "nobody has said anything of it"
    answer(engine, label="x")
    first = stream.newest
    assert first is not None
    assert (first.frame.seq, first.prediction, first.error) == (1, stream.last_prediction, "")
    assert (first.rotate, first.media_type) == (90, "image/jpeg")
    stream.offer(b"no picture")
    assert stream.newest is first
    answer(engine, error="it is none", reason="picture")
    second = stream.newest
    assert second is not None
    assert (second.frame.data, second.prediction, second.error) == (b"no picture", {}, "it is none")
    assert second.media_type == ""
    stream.close()
    assert stream.newest is None


def test_what_is_made_of_the_newest_frame_is_made_once() -> None:
    engine = Engine()
    _streams, stream, _client = streams_with(engine)
    stream.offer(b"x")
    answer(engine, label="x")
    newest, made = stream.newest, []
    assert newest is not None
    for _viewer in range(100):
        assert newest.once("part", lambda frame: made.append(frame) or frame.frame.seq) == 1
    assert made == [newest]


def test_a_large_newest_frame_is_kept_where_there_is_room_and_gives_way_to_every_camera() -> None:
    engine = Engine()
    limits = Limits(max_frame_bytes=10 * SMALL, memory_share=8 * SMALL, memory_budget=2**30)
    streams, budget = Streams(engine, limits), Budget(limits, log=print)  # type: ignore[arg-type]
    options: dict[str, Any] = {"protocol": "test", "model": "m", "hz": 0.0, "rotate": 0}

    def camera(name: str) -> Stream:
        account = budget.account("10.0.0.1")
        return streams.open(name, name, subscriber=StreamSubscriber(), account=account, **options)

    first, second = camera("first"), camera("second")
    large = b"x" * (2 * SMALL)
    first.offer(large)
    answer(engine, label="x")
    assert first.newest is not None
    assert budget.used_for == {"frames": 0, "newest": 2 * SMALL}
    second.offer(large + large)
    assert first.newest is None, "a camera never lacks the room that viewers have"
    assert budget.used_for == {"frames": 8 * SMALL, "newest": 0}
    answer(engine, label="x")
    assert second.newest is None, "without room it is not kept"
    first.offer(large)
    answer(engine, label="x")
    second.offer(large)
    answer(engine, label="x")
    assert budget.used_for == {"frames": 0, "newest": 4 * SMALL}
    for stream in (first, second):
        stream.close()
    assert budget.used == 0
