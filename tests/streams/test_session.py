"""A session's life and its merged predictions, with models and a clock that the test moves."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import Any

import pytest
from tests.later import Later, replace_in_hub
from tests.running import picture

from imageserver.errors import LimitExceeded, ModelUnavailable, PictureError, Stopping, UnknownModel
from imageserver.inference.server.stateful.queues import Call, FrameBudget
from imageserver.limits import Limits
from imageserver.streams import merging
from imageserver.streams.merging import Prediction
from imageserver.streams.session import (
    END_PATIENCE,
    LATEST,
    Session,
    SessionFrames,
    Sessions,
    SessionState,
    SessionWatcher,
)
from imageserver.transport.budget import Budget

DEADLINE = 0.25
FRAME = picture(suffix=".png")
LARGE = b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sIIBBBBBI", 13, b"IHDR", 5000, 4000, 8, 2, 0, 0, 0, 0)


@dataclass
class FakeQueue:
    """A session at a model that answers when the test says so."""

    name: str
    session: Session
    calls: list[Call] = field(default_factory=list)
    keeps_newest: bool = False
    full: bool = False
    closed: bool = False
    dropped: bool = False

    def check_room(self) -> None:
        if self.full:
            raise LimitExceeded("full")

    def append(self, data: bytes, timestamp: int, rotate: int, ticket: Any) -> Any:
        replaced = self.calls.pop().ticket if self.keeps_newest and self.calls else None
        self.calls.append(Call("frame", timestamp, data, rotate, ticket))
        return replaced

    def end(self, timestamp: int) -> None:
        if not self.closed:
            self.closed = True
            self.calls.append(Call("end", timestamp))

    def drop(self) -> None:
        self.dropped = True

    def answer(self, output: dict[str, Any] | None = None, error: str = "") -> None:
        """Answer the call that waits first."""
        self.session.outcome(self, self.calls.pop(0), output, error)  # type: ignore[arg-type]


class FakeModels:
    """Stands in for `StatefulModels`."""

    def __init__(self) -> None:
        self.queues: dict[str, FakeQueue] = {}
        self.budget = self
        self.idle = True
        self.stopped = False

    def check(self, _more: int, _who: str = "") -> None:
        """There is room."""

    def open(self, name: str, _sid: str, _timestamp: int, session: Session, *_more: object) -> FakeQueue:
        if name == "nix":
            raise UnknownModel("there is no model 'nix'")
        queue = self.queues[name] = FakeQueue(name, session)
        return queue

    def stop(self) -> None:
        self.stopped = True


class Client:
    """A subscriber that keeps what it is told."""

    def __init__(self) -> None:
        self.predictions: list[Prediction] = []
        self.ended_sessions: list[Session] = []

    def predicted(self, session: Session, prediction: Prediction) -> None:
        self.predictions.append(prediction)

    def ended(self, session: Session) -> None:
        self.ended_sessions.append(session)


class World:
    """Sessions of two models, and time."""

    def __init__(self, later: Later, *names: str) -> None:
        self.models = FakeModels()
        self.sessions = Sessions(
            self.models,  # type: ignore[arg-type]
            names,
            Limits(max_frame_bytes=10_000, session_idle=60.0),
            deadline=DEADLINE,
            clock=later.clock,
        )
        self.client = Client()

    def open(self, camera: str = "") -> tuple[Session, list[FakeQueue]]:
        session = self.sessions.open("connection", "alice", camera, rotate=0, timestamp=1000, subscriber=self.client)
        return session, list(self.models.queues.values())


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Later:
    later = Later()
    replace_in_hub(monkeypatch, merging, call_later=later)
    return later


def test_a_prediction_waits_for_all_models_and_the_later_models_keys_count(later: Later) -> None:
    world = World(later, "pulse", "blink")
    session, (pulse, blink) = world.open()
    assert session.append(FRAME, 1001) == 1
    blink.answer({"common": "blink", "blinks": 3})
    assert world.client.predictions == []
    later.move(0.1)
    pulse.answer({"common": "pulse", "HR": 70})
    assert world.client.predictions == [
        {"common": "blink", "HR": 70, "blinks": 3, "success": True, "timestamp": 1001, "recv_ts": 1001, "seq": 1}
        | {"frame": {"size": [64, 48], "mode": "RGB"}, "age_ms": 100.0}
    ]


def test_predictions_carry_the_cameras_name_where_it_has_one_the_last_word_too(later: Later) -> None:
    world = World(later, "pulse")
    session, (pulse,) = world.open("front door")
    assert session.camera == "front door"
    session.append(FRAME, 1)
    pulse.answer({"HR": 70, "camera": "what a model may say"})
    session.end(2)
    pulse.answer({"frames": 1})
    assert [prediction["camera"] for prediction in world.client.predictions] == ["front door"] * 2


def test_who_watches_is_told_of_every_session(later: Later) -> None:
    class Watcher(SessionWatcher):
        def began(self, session: Session) -> None:
            told.append(("began", session.id))

        def predicted(self, session: Session, prediction: Prediction) -> None:
            told.append((prediction["seq"], session.id))

        def ended(self, session: Session) -> None:
            told.append(("ended", session.id))

    world, told = World(later, "pulse"), list[Any]()
    world.sessions.watch(SessionWatcher())
    world.sessions.watch(Watcher())
    session, (pulse,) = world.open()
    session.append(FRAME, 1)
    pulse.answer({"HR": 70})
    session.abandon()
    assert told == [("began", session.id), (1, session.id), ("ended", session.id)]


def test_predictions_keep_the_order_of_the_frames(later: Later) -> None:
    world = World(later, "pulse", "blink")
    session, (pulse, blink) = world.open()
    session.append(FRAME, 1)
    session.append(FRAME, 2)
    blink.answer()
    blink.answer()
    assert world.client.predictions == []
    pulse.answer()
    pulse.answer(error="it failed")
    assert [prediction["seq"] for prediction in world.client.predictions] == [1, 2]
    assert "errors" not in world.client.predictions[0]
    assert world.client.predictions[1]["errors"] == {"pulse": "it failed"}


def test_what_comes_after_the_deadline_goes_out_with_the_next_prediction(later: Later) -> None:
    world = World(later, "pulse", "blink")
    session, (pulse, blink) = world.open()
    session.append(FRAME, 1)
    blink.answer({"blinks": 1})
    later.move(DEADLINE)
    assert [prediction.get("blinks") for prediction in world.client.predictions] == [1]
    pulse.answer({"HR": 70}, error="hm")
    session.append(FRAME, 2)
    blink.answer({"blinks": 2})
    pulse.answer({"HR": 71})
    late = world.client.predictions[1]
    assert (late["HR"], late["blinks"], late["errors"]) == (71, 2, {"pulse": "hm"})


def test_a_frame_that_newer_ones_replaced_gets_no_prediction(later: Later) -> None:
    world = World(later, "pulse")
    session, (pulse,) = world.open()
    pulse.keeps_newest = True
    for timestamp in (1, 2, 3):
        session.append(FRAME, timestamp)
    pulse.answer({"HR": 70})
    assert [prediction["seq"] for prediction in world.client.predictions] == [3]


def test_the_end_waits_for_the_models_last_words_and_then_nothing_is_left(later: Later) -> None:
    world = World(later, "pulse", "blink")
    session, (pulse, blink) = world.open()
    session.append(FRAME, 1)
    session.end(9000)
    assert session.state is SessionState.ENDING
    assert not session.running
    for queue in (pulse, blink):
        queue.answer()
        queue.answer({queue.name: "last"})
    first, last = world.client.predictions
    assert "frame" in first
    assert last == {"pulse": "last", "blink": "last", "success": True, "timestamp": 9000, "recv_ts": 9000, "seq": 1}
    assert session.state is SessionState.ENDED
    assert world.client.ended_sessions == [session]
    assert world.sessions.open_sessions == {}
    assert later.timers == []


def test_models_that_say_nothing_at_the_end_cost_no_prediction(later: Later) -> None:
    world = World(later, "pulse")
    session, (pulse,) = world.open()
    session.end()
    pulse.answer()
    assert world.client.predictions == []
    assert world.client.ended_sessions == [session]


def test_the_end_waits_no_longer_than_its_patience_whatever_the_deadline(later: Later) -> None:
    world = World(later, "pulse", "blink")
    world.sessions.deadline = 2 * END_PATIENCE
    session, (pulse, blink) = world.open()
    session.append(FRAME, 1)
    session.end(2)
    blink.answer({"blinks": 1})
    blink.answer({"blinks": 1, "fatigue": 0.5})
    later.move(END_PATIENCE - 0.1)
    assert world.client.predictions == []
    later.move(0.2)
    assert [(prediction["timestamp"], prediction["blinks"]) for prediction in world.client.predictions] == [
        (1, 1),
        (2, 1),
    ]
    assert session.state is SessionState.ENDED
    assert (pulse.dropped, blink.dropped) == (True, True)
    pulse.answer({"HR": 70})
    assert len(world.client.predictions) == 2


def test_an_abandoned_session_ends_at_its_models_and_sends_nothing(later: Later) -> None:
    world = World(later, "pulse")
    session, (pulse,) = world.open()
    session.append(FRAME, 1)
    later.move(0.1)
    session.abandon()
    session.abandon()
    assert [call.op for call in pulse.calls] == ["frame", "end"]
    assert pulse.calls[-1].timestamp == 101
    assert pulse.dropped
    later.move(100)
    pulse.answer({"HR": 70})
    pulse.answer({"HR": 70})
    assert world.client.predictions == []
    assert world.client.ended_sessions == [session]


def test_a_model_that_cannot_be_used_is_named_each_time_and_without_any_no_session_opens(later: Later) -> None:
    world = World(later, "pulse", "nix")
    session, (pulse,) = world.open()
    session.append(FRAME, 1)
    pulse.answer({"HR": 70})
    assert world.client.predictions[0]["errors"] == {"nix": "there is no model 'nix'"}
    with pytest.raises(ModelUnavailable, match="there is no model 'nix'"):
        World(later, "nix").open()
    with pytest.raises(ModelUnavailable, match="--session-models"):
        World(later).open()


def test_refused_frames_count_and_change_nothing(later: Later) -> None:
    world = World(later, "pulse", "blink")
    session, (pulse, blink) = world.open()
    with pytest.raises(PictureError):
        session.append(b"no picture", 1)
    with pytest.raises(LimitExceeded, match="10001 bytes"):
        session.append(bytes(10_001), 1)
    with pytest.raises(LimitExceeded, match="takes 60000000 bytes once it is decoded; at most 50331648 are"):
        session.append(LARGE, 1)
    blink.full = True
    with pytest.raises(LimitExceeded, match="full"):
        session.append(FRAME, 1)
    assert (pulse.calls, blink.calls, session.received) == ([], [], 4)


def test_silent_sessions_end_and_a_stop_ends_all(later: Later) -> None:
    world = World(later, "pulse")
    session, (pulse,) = world.open()
    later.move(59)
    world.sessions.end_idle()
    assert session.running
    later.move(2)
    world.sessions.end_idle()
    assert session.state is SessionState.ENDING
    assert pulse.calls[-1].timestamp == 1000 + 61_000
    pulse.answer()
    world.open()
    world.models.queues["pulse"].session.end(LATEST)
    world.models.queues["pulse"].answer()
    world.sessions.stop(0.0)
    assert world.models.stopped
    with pytest.raises(Stopping):
        world.open()


def test_frames_that_wait_are_charged_to_their_client() -> None:
    budget = Budget(Limits(memory_share=1000, memory_budget=5000), log=lambda _line: None)
    everybody = FrameBudget(10_000)
    frames = SessionFrames(everybody, budget.account("10.0.0.1").charge("frames"))
    frames.check(600)
    frames.add(600)
    assert (everybody.bytes, budget.used) == (600, 600)
    with pytest.raises(LimitExceeded, match="waits in the server"):
        frames.check(401)
    frames.add(-600)
    frames.check(1000)
    assert (everybody.bytes, budget.used) == (0, 0)
    with pytest.raises(LimitExceeded, match="all sessions"):
        frames.check(10_001)
