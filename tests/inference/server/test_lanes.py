"""What a stateful worker is called with, and what its sessions hear, step by step: the worker is played."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from imageserver.errors import LimitExceeded
from imageserver.inference.server.stateful.lanes import CAUTIOUS, Lanes
from imageserver.inference.server.stateful.queues import Call, FrameBudget, ModelQueue, QueueState


class Worker:
    """A model's worker that answers when it is told to; `calls` are those that ran, `heard` what sessions were told."""

    name = "played"

    def __init__(self, *, parallel: int = 1, every_frame: bool = True) -> None:
        self.settings: Any = SimpleNamespace(every_frame=every_frame, queue=4, parallel=parallel, time_limit_s=5.0)
        self.now, self.error, self.ready = 0.0, "", True
        self.calls: list[tuple[str, str]] = []
        self.heard: list[tuple[str, str, str]] = []
        self.budget = FrameBudget(1000)
        self.lanes = Lanes(self.settings, self, lambda: self.now)
        self.wants = self.lanes.wants
        self.number = 0
        self.lanes.made(0)

    def check(self, owner: str = "", picture: Any = b"") -> None: ...

    def run(self, _lane: int, number: int, queue: ModelQueue, call: Call) -> None:
        self.number = number
        self.calls.append((queue.sid, call.op))

    def outcome(self, queue: ModelQueue, call: Call, _output: dict[str, Any] | None, error: str) -> None:
        self.heard.append((queue.sid, call.op, error))

    def open(self, sid: str = "a") -> ModelQueue:
        queue = ModelQueue(self, sid, 0, self, self.budget)
        self.lanes.open(queue)
        self.wants(queue)
        return queue

    def answer(self, **more: Any) -> None:
        """The answer to the call that was sent last."""
        self.lanes.outcome({"op": "outcome", "id": self.number, "output": None, **more})

    def die(self) -> None:
        self.ready = False
        if len(self.lanes.running) > 1:
            self.lanes.suspect()
        self.lanes.forget()
        self.lanes.lose("it died", None)
        self.ready = True
        self.lanes.made(0)
        self.lanes.advance()


def frame(queue: ModelQueue) -> None:
    queue.append(b"picture", 1, 0, None)


def test_a_session_from_start_to_end() -> None:
    worker = Worker()
    queue = worker.open()
    assert queue.state is QueueState.STARTING
    frame(queue)
    queue.end(2)
    assert queue.closed
    worker.answer()
    assert queue.state is QueueState.BEGUN
    worker.answer()
    assert queue.state is QueueState.ENDING
    assert not worker.lanes.idle
    worker.answer()
    assert queue.state is QueueState.ENDED
    assert worker.calls == [("a", "start"), ("a", "frame"), ("a", "end")]
    assert worker.heard == [("a", "frame", ""), ("a", "end", "")]
    assert worker.lanes.idle
    assert worker.budget.bytes == 0


def test_what_a_session_was_to_begin_for_fails_with_its_start() -> None:
    worker = Worker()
    queue = worker.open()
    frame(queue)
    worker.answer(error="no such luck")
    assert worker.heard == [("a", "frame", "no such luck")]
    assert queue.state is QueueState.FORGOTTEN
    frame(queue)
    assert queue.state is QueueState.STARTING, "it begins anew with the next frame"


def test_a_session_begins_anew_in_a_new_worker_with_its_next_frame() -> None:
    worker = Worker()
    queue = worker.open()
    worker.answer()
    frame(queue)
    frame(queue)
    worker.die()
    assert worker.heard == [("a", "frame", "it died")]
    assert worker.calls[-1] == ("a", "start")
    worker.answer()
    worker.answer()
    assert worker.heard[1:] == [("a", "frame", "")]


def test_a_start_that_was_lost_by_another_s_fault_is_made_up_for() -> None:
    worker = Worker()
    queue = worker.open()
    worker.die()
    assert worker.heard == []
    assert queue.state is QueueState.STARTING
    assert worker.calls == [("a", "start")] * 2


def test_a_session_of_which_no_worker_knows_ends_without_a_call() -> None:
    worker = Worker()
    queue = worker.open()
    worker.answer()
    worker.die()
    assert queue.state is QueueState.FORGOTTEN
    queue.end(2)
    assert worker.heard == [("a", "end", "")]
    assert worker.calls == [("a", "start")]


@pytest.mark.parametrize("began", [False, True])
def test_a_dropped_session_ends_there_only_if_it_began(began: bool) -> None:
    worker = Worker()
    worker.ready = began
    queue = worker.open()
    if began:
        worker.answer()
        frame(queue)
    frame(queue)
    queue.end(2)
    queue.drop()
    if began:
        worker.answer()
        worker.answer()
    assert [op for _sid, op in worker.calls] == (["start", "frame", "end"] if began else [])
    assert queue.state is QueueState.ENDED
    assert worker.budget.bytes == 0


def test_sessions_of_one_lane_take_turns_and_others_run_beside_them() -> None:
    worker = Worker(parallel=2)
    first, _second, third = (worker.open(sid) for sid in "abc")
    assert worker.calls == [("a", "start"), ("b", "start")], "the third waits in the first's lane"
    frame(first)
    frame(third)
    worker.lanes.outcome({"id": 1})
    assert worker.calls[-1] == ("c", "start")


def test_a_call_counts_against_the_limit_once_its_model_object_is_made() -> None:
    worker = Worker()
    worker.open()
    worker.now = 5.1
    assert worker.lanes.too_slow(300.0) is not None
    worker.lanes.forget()
    assert worker.lanes.too_slow(300.0) is None


def test_a_disabled_model_answers_everything_that_waits() -> None:
    worker = Worker()
    worker.ready = False
    queue = worker.open()
    frame(queue)
    queue.end(2)
    worker.error = "it is disabled"
    worker.lanes.advance()
    assert worker.heard == [("a", "frame", "it is disabled"), ("a", "end", "it is disabled")]
    assert worker.lanes.idle


def test_a_full_queue_refuses_and_a_newer_frame_replaces_where_the_model_wants_that() -> None:
    worker = Worker()
    worker.ready = False
    queue = worker.open()
    for _ in range(4):
        frame(queue)
    with pytest.raises(LimitExceeded, match="4 frames wait for the model 'played' already"):
        frame(queue)
    newest = Worker(every_frame=False)
    newest.ready = False
    queue = newest.open()
    assert queue.append(b"one", 1, 0, "first") is None
    assert queue.append(b"two!", 2, 0, "second") == "first"
    assert newest.budget.bytes == 4


def test_after_an_end_under_several_calls_one_runs_at_a_time() -> None:
    """Until each session that ran has had an answer: the next end tells whose it is."""
    worker = Worker(parallel=2)
    queues = [worker.open("a"), worker.open("b")]
    worker.lanes.made(1)
    worker.lanes.outcome({"op": "outcome", "id": 1, "output": None})
    worker.lanes.outcome({"op": "outcome", "id": 2, "output": None})
    for queue in queues:
        frame(queue)
        frame(queue)
    assert len(worker.lanes.running) == 2
    worker.die()
    worker.lanes.made(1)
    assert [running.queue.sid for running in worker.lanes.running] == ["a"]
    worker.answer()
    assert [running.queue.sid for running in worker.lanes.running] == ["a"], "its frame, after its start"
    worker.answer()
    assert [running.queue.sid for running in worker.lanes.running] == ["b"]
    frame(queues[0])
    assert len(worker.lanes.running) == 1
    worker.answer()
    assert len(worker.lanes.running) == 2, "all were answered"


def test_one_at_a_time_has_an_end() -> None:
    worker = Worker(parallel=2)
    queues = [worker.open("a"), worker.open("b")]
    worker.die()
    assert len(worker.lanes.running) == 1
    worker.now += CAUTIOUS
    frame(queues[0])
    frame(queues[1])
    assert len(worker.lanes.running) == 2
