"""The replicas of a model, on a cluster of the test's own: threads that answer, wait and die as they are told to."""

from __future__ import annotations

import json
import struct
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from concurrent.futures import TimeoutError as LateError
from typing import Any

import pytest
from tests.running import until

from imageserver.errors import EndpointFailed, ModelError, Unreachable
from imageserver.inference.server.elsewhere.workers import PART_OF_TIMEOUT
from imageserver.inference.shared.elsewhere.cluster import Placement
from imageserver.inference.worker.cluster import connection, node
from imageserver.inference.worker.cluster.bundle import Bundle
from imageserver.inference.worker.cluster.connection import NodeHandle
from imageserver.inference.worker.cluster.fleet import Fleet
from imageserver.inference.worker.cluster.node import LoadOrder
from imageserver.inference.worker.cluster.placing import NodeResources
from imageserver.inference.worker.cluster.settings import NO_ROOM, ClusterSettings

ITEM = {"at": 0, "size": 1, "form": "image", "rotate": 0}
LOADED = {"op": "loaded", "model": "m", "runtime": "python", "seconds": 0.1, "warnings": [], "decoded_as": [3, 16]}


def packed(done: dict[str, Any]) -> bytes:
    body = json.dumps(done).encode()
    return struct.pack("<I", len(body)) + body


class Actor:
    """One that answers at once, but for batches where `gate` is closed."""

    def __init__(self, cluster: Pretended) -> None:
        self.cluster, self.gone = cluster, threading.Event()
        self.ended: Future[str] = Future()
        self.gate = threading.Event()
        self.gate.set()
        self.running = 0
        self.times: list[tuple[float, float]] = []
        """Seconds for each batch: for it to be answered there, and for its answer to come."""

    def ask(self, what: str, *values: Any, seconds: float) -> Any:
        if self.gone.is_set():
            raise EndpointFailed("the actor died")
        match what:
            case "about":
                self._wait(self.cluster.room, seconds)
                return {"host": "node", **node.versions(), **self.cluster.about}
            case "lacking":
                if self.cluster.fault:
                    raise EndpointFailed(self.cluster.fault)
                return []
            case "load":
                if self.cluster.failing:
                    raise ModelError(self.cluster.failing)
                return LOADED
            case "watch":
                try:
                    return self.ended.result(seconds)
                except LateError:
                    raise EndpointFailed("late") from None
            case "run":
                self.running += 1
                self.times.append((values[2], seconds))
                self._wait(self.gate, seconds)
                return self.cluster.answer

    def kill(self) -> None:
        self.gone.set()
        if not self.ended.done():
            self.ended.set_exception(EndpointFailed("the actor was killed"))

    def _wait(self, event: threading.Event, seconds: float) -> None:
        end = time.monotonic() + seconds
        while not event.wait(0.005):
            if self.gone.is_set():
                raise EndpointFailed("the actor died")
            if time.monotonic() > end:
                raise EndpointFailed("late")


class Pretended:
    """A cluster."""

    def __init__(self) -> None:
        self.actors: list[Actor] = []
        self.room = threading.Event()
        self.room.set()
        self.about: dict[str, str] = {}
        self.failing = self.away = self.fault = ""
        self.answer: object = packed({"results": [{"label": "a"}]})

    def nodes(self) -> list[NodeResources]:
        return [NodeResources(8, 0, 2**34)]

    def start(self, placement: Placement) -> NodeHandle:
        if self.away:
            raise Unreachable(self.away)
        self.actors.append(Actor(self))
        return self.actors[-1]

    def close(self) -> None:
        for actor in self.actors:
            actor.kill()


class Made:
    """A fleet over it, of 2 to 4 replicas."""

    def __init__(self, least: int = 2, most: int = 4, **settings: Any) -> None:
        self.cluster, self.notes, self.now = Pretended(), list[str](), 1000.0
        order = LoadOrder("m", "0" * 64, (), True, 0, 10.0)
        bounds = ClusterSettings(**{"seconds": 5.0, **settings})
        placement = Placement(least=least, most=most)
        clock: Callable[[], float] = lambda: self.now + time.monotonic()  # noqa: E731
        self.fleet = Fleet(self.cluster, Bundle("m", ()), order, placement, bounds, self.notes.append, clock)

    def ready(self, count: int) -> None:
        def there() -> bool:
            self.fleet.step()
            return self.fleet.ready == count

        until(there, f"{count} replicas")

    def run(self) -> dict[str, Any]:
        return self.fleet.run(memoryview(bytearray(10)), [ITEM])  # type: ignore[list-item]

    def begin(self) -> Future[dict[str, Any]]:
        """A batch in a thread of its own."""
        found: Future[dict[str, Any]] = Future()
        threading.Thread(target=lambda: found.set_result(self.run()), daemon=True).start()
        return found

    @property
    def alive(self) -> list[Actor]:
        return [actor for actor in self.cluster.actors if not actor.gone.is_set()]


@pytest.fixture
def made() -> Iterator[Made]:
    found = Made()
    yield found
    found.fleet.stop()
    until(lambda: not found.fleet._replicas.all, "their threads to end")


def test_batches_go_to_the_one_with_the_fewest(made: Made) -> None:
    made.ready(2)
    made.run()
    assert made.fleet.loaded is not None and made.fleet.loaded["runtime"] == "python"
    for actor in made.cluster.actors:
        actor.gate.clear()
    running = [made.begin() for _ in range(4)]
    until(lambda: sum(actor.running for actor in made.cluster.actors) == 5, "four batches")
    assert [actor.running for actor in made.cluster.actors] == [3, 2]
    waiting = made.begin()
    for actor in made.cluster.actors:
        actor.gate.set()
    assert all(each.result(10)["results"] == [{"label": "a"}] for each in (*running, waiting))
    assert (made.fleet.figures.answered, made.fleet.figures.lost) == (6, 0)


def test_one_that_dies_loses_its_batches_and_another_comes(made: Made) -> None:
    made.ready(2)
    made.fleet.seconds = 0.01
    first, second = made.cluster.actors
    first.gate.clear()
    second.gate.clear()
    running = [made.begin() for _ in range(4)]
    until(lambda: first.running == second.running == 2, "four batches")
    first.kill()
    second.gate.set()
    found = [each.result(10) for each in running]
    assert sorted("lost" in each for each in found) == [False, False, True, True]
    made.ready(2)
    assert len(made.cluster.actors) == 3 and made.fleet.figures.ended == 1
    assert any("is gone while ready" in note for note in made.notes)


def test_a_worker_process_that_ends_takes_its_replica_along(made: Made) -> None:
    made.ready(2)
    made.cluster.answer = packed({"results": [], "lost": "the worker process died", "ended": True})
    assert made.run() == {"results": [], "lost": "the worker process died", "ended": True}
    until(lambda: len(made.alive) == 1, "it to be killed")
    made.alive[0].ended.set_result("its worker process ended by signal SIGKILL")
    made.ready(2)
    until(lambda: any("signal SIGKILL" in note for note in made.notes), "a line")


def test_an_answer_that_is_none_is_lost(made: Made) -> None:
    made.ready(2)
    made.cluster.answer = {"results": "pickled"}
    assert "lost" in made.run()
    assert any("its answer is none" in note for note in until(lambda: made.notes, "a line"))


def test_what_takes_too_long_is_lost_and_the_replica_with_it() -> None:
    made = Made(least=1, seconds=0.05)
    made.ready(1)
    (actor,) = made.cluster.actors
    actor.gate.clear()
    begun = time.monotonic()
    assert "lost" in made.run()
    assert time.monotonic() - begun < 5
    until(actor.gone.is_set, "it to be killed")
    assert made.run() == {"results": [], "lost": NO_ROOM}
    made.fleet.stop()


def test_more_while_pictures_wait_and_drained_before_they_go(made: Made) -> None:
    made.ready(2)
    made.fleet.age = 5.0
    made.now += 2
    made.fleet.step()
    made.now += 2
    made.ready(4)
    made.fleet.age = 0.0
    for actor in made.cluster.actors:
        actor.gate.clear()
    running = [made.begin() for _ in range(4)]
    until(lambda: [actor.running for actor in made.cluster.actors] == [1, 1, 1, 1], "a batch at each")
    for _ in range(3):
        made.now += 61
        made.fleet.step()
    assert made.fleet.ready == 4, "each is busy"
    for actor in made.cluster.actors[1:]:
        actor.gate.set()
    until(lambda: sum(each.done() for each in running) == 3, "three answers")
    for _ in range(3):
        made.now += 61
        made.fleet.step()
    made.cluster.actors[0].gate.set()
    assert all("lost" not in each.result(10) for each in running)
    made.ready(2)
    until(lambda: len(made.alive) == 2, "two to be gone")
    assert made.fleet.figures.ended == 0 and not made.notes, made.notes


def test_what_it_leaves_to_a_newer_version_is_drained_and_comes_back(made: Made) -> None:
    made.ready(2)
    for leaves in (1, 9):
        made.fleet.leaves = leaves
        made.ready(1)
        until(lambda: len(made.alive) == 1, "the other one to be gone")
    assert made.fleet.figures.ended == 0 and not made.notes, made.notes
    made.fleet.leaves = 0
    made.ready(2)


def test_without_room_they_wait_and_nobody_is_blamed(made: Made) -> None:
    made.cluster.room.clear()
    made.fleet.step()
    until(lambda: len(made.cluster.actors) == 2, "two that ask for room")
    made.fleet.step()
    assert (made.fleet.placing, made.fleet.ready, made.fleet.failure) == (2, 0, "")
    made.cluster.room.set()
    made.ready(2)


def test_what_does_not_load_twice_is_told_and_what_the_cluster_says_is_not(made: Made) -> None:
    made.cluster.away = "ConnectionError: 10.0.0.7"
    made.fleet.step()
    until(lambda: len(made.notes) == 2, "two that could not be started")
    assert made.fleet.failure == ""
    made.cluster.away, made.cluster.failing = "", "the model 'm' lacks its weights"
    for _ in range(2):
        made.now += 100
        made.fleet.step()
        until(lambda: not made.fleet._replicas.all, "them to end")
    assert made.fleet.failure == "the model 'm' lacks its weights"


def test_a_fault_of_a_node_is_none_of_the_model_and_told_once(made: Made) -> None:
    made.cluster.fault = "the node cannot keep the model: No space left on device"
    for _ in range(3):
        made.now += 100
        made.fleet.step()
        until(lambda: not made.fleet._replicas.all, "them to end")
    assert (made.fleet.failure, made.fleet.failing) == ("", True)
    assert [note.partition(" on ")[2] for note in made.notes] == [f"node is gone while loading: {made.cluster.fault}"]
    made.cluster.fault = ""
    made.now += 100
    made.ready(2)
    assert not made.fleet.failing


class Answers:
    """An actor of Ray's that gives this answer."""

    def __init__(self, answer: object) -> None:
        self._answer = answer
        self.ask = self

    def remote(self, *_question: Any) -> Answers:
        return self

    def future(self) -> Future[Any]:
        found: Future[Any] = Future()
        found.set_result(self._answer)
        return found


@pytest.mark.parametrize(
    ("answer", "error"),
    [({"fault": "no space"}, EndpointFailed), ({"error": "no weights"}, ModelError), ({"without": "x"}, ModelError)],
)
def test_what_a_node_says_is_a_fault_of_its_own_or_of_the_model(answer: object, error: type[Exception]) -> None:
    with pytest.raises(error) as raised:
        connection._RayHandle(None, Answers(answer)).ask("load", seconds=1.0)
    assert type(raised.value) is error


def test_another_version_is_a_sentence(made: Made) -> None:
    made.cluster.about = {"imageserver": "0.0.1"}
    made.fleet.step()
    until(lambda: made.fleet.failure, "the sentence")
    assert "has imageserver 0.0.1, this server" in made.fleet.failure


def test_how_many_may_be_ahead(made: Made) -> None:
    made.ready(2)
    assert made.fleet.room == 2, "nobody knows yet what a batch takes"
    made.fleet.seconds = 0.1
    assert made.fleet.room == 4
    made.fleet.seconds = 1.0
    assert made.fleet.room == 2, "a batch of a second would hold frames that are old when it begins"


@pytest.mark.parametrize(("usual", "waits"), [(0.0, 1.0), (0.9, 0.2), (60.0, 0.1)])
def test_what_waited_long_for_a_replica_is_given_to_none(usual: float, waits: float) -> None:
    made = Made(least=1, seconds=2.0)
    made.ready(1)
    made.fleet.seconds = usual
    made.cluster.room.clear()
    made.alive[0].kill()
    until(lambda: not made.fleet.ready, "it to be gone")
    begun = time.monotonic()
    assert made.run() == {"results": [], "lost": NO_ROOM}
    assert waits * 0.9 < time.monotonic() - begun < waits + 0.9
    made.cluster.room.set()
    made.ready(1)
    assert not made.alive[0].running and made.fleet.figures.ended == 1
    made.fleet.stop()


def test_what_a_replica_takes_has_most_of_its_time_left() -> None:
    made = Made(least=1, seconds=40.0)
    made.ready(1)
    made.alive[0].kill()
    until(lambda: not made.fleet.ready, "it to be gone")
    waiting = made.begin()
    made.ready(1)
    assert "lost" not in waiting.result(10)
    assert all(there >= 20.0 for there, _here in made.alive[0].times)
    made.fleet.stop()


def test_the_first_batches_go_to_one_replica_one_by_one(made: Made) -> None:
    made.ready(2)
    for actor in made.cluster.actors:
        actor.gate.clear()
    running = [made.begin() for _ in range(3)]
    until(lambda: [actor.running for actor in made.cluster.actors] == [1, 1], "a batch at each")
    time.sleep(0.05)
    assert [actor.running for actor in made.cluster.actors] == [1, 1]
    for actor in made.cluster.actors:
        actor.gate.set()
    assert all("lost" not in each.result(10) for each in running)


@pytest.mark.parametrize("timeout", [0.1, 1.0, 4.0, 15.0, 3600.0])
def test_an_answer_is_waited_for_no_longer_than_the_server_waits(timeout: float) -> None:
    made = Made(least=1, seconds=timeout * PART_OF_TIMEOUT)
    made.ready(1)
    made.run()
    (there, here) = made.alive[0].times[0]
    assert there < here < timeout * 0.95
    made.fleet.stop()


def test_nobody_waits_for_the_end_of_a_replica_that_says_nothing(made: Made) -> None:
    made.ready(2)
    silent = threading.Event()
    for actor in made.cluster.actors:
        kill = actor.kill
        actor.kill = lambda kill=kill: (silent.wait(20), kill())  # type: ignore[method-assign]
    made.cluster.answer = None
    begun = time.monotonic()
    assert "lost" in made.run()
    assert time.monotonic() - begun < 5
    silent.set()
