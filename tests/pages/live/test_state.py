"""What all pages are told once a second: made once for all that see the same, in pieces."""

from __future__ import annotations

import json
import time
from types import SimpleNamespace
from typing import Any

import pytest
from tests.later import Later

from imageserver import metrics
from imageserver.accounts.database import User
from imageserver.inference.server.model import ModelState
from imageserver.inference.server.training.run import TrainingState
from imageserver.limits import Limits
from imageserver.pages.live import state as live_state
from imageserver.pages.live.figures import Figures
from imageserver.pages.live.state import States, View
from imageserver.streams import overview
from imageserver.streams.overview import Overview, session_values
from imageserver.streams.session import Session
from imageserver.streams.stream import Stream, Streams, StreamSubscriber
from imageserver.transport import fairness

MANIFEST: dict[str, Any] = {
    "title": "A model",
    "listed": True,
    "stateful": False,
    "batch": SimpleNamespace(max_batch=8),
}


class FigureStandIn:
    """Says how often it was asked."""

    def __init__(self) -> None:
        self.asked = 0

    def models(self) -> list[Any]:
        self.asked += 1
        return []

    def server(self) -> dict[str, Any]:
        return {"version": "1"}

    def trainings(self) -> list[Any]:
        return []


class World:
    """Streams that are real, and states of them."""

    def __init__(self, clock: Any = None, **limits: Any) -> None:
        self.time = Later()
        engine: Any = None
        self.streams = Streams(engine, Limits())
        self.sessions: Any = SimpleNamespace(open_sessions={})
        self.figures: Any = FigureStandIn()
        self.snippets: dict[str, list[dict[str, Any]]] = {}
        clock = clock or self.time.clock
        overview = Overview(self.streams, self.sessions, clock=clock)
        self.states = States(overview, self.figures, self._snippets, Limits(**limits), clock)

    def _snippets(self, user: User | None) -> list[dict[str, Any]]:
        return self.snippets.get(user.name if user else "", [])

    def stream(self, name: str, user: str = "", camera: str = "") -> Stream:
        options: dict[str, Any] = {"protocol": "test", "model": "m", "hz": 0.0, "rotate": 0}
        return self.streams.open(name, user or name, camera, subscriber=StreamSubscriber(), **options)

    def told(self, view: View) -> dict[str, Any]:
        """What a view is told now."""
        self.states.refresh({view})
        data = self.states.texts[view]
        found: dict[str, Any] = json.loads(data[{126: 4, 127: 10}.get(data[1], 2) :])
        return found


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(fairness, "pause", lambda: None)
    return World()


def ids(state: dict[str, Any]) -> list[str]:
    return [row["id"] for row in state["streams"]]


def test_all_that_see_the_same_have_the_same_text(world: World) -> None:
    world.stream("1")
    one, other = View((), "", User("a")), View((), "", User("b"))
    bound = View(("kitchen",), "", User("c", only=("kitchen",)))
    world.states.refresh({one, bound})
    world.states.refresh({other})
    assert world.states.texts[one] is world.states.texts[other]
    assert len(world.states.texts) == 2 and world.figures.asked == 1


def test_the_second_camera_of_a_name_is_seen_by_who_is_bound_to_it(world: World) -> None:
    world.stream("1", "alice", "kitchen")
    world.stream("2", "bob", "kitchen")
    world.stream("3", "bob", "garden")
    rows = world.told(View(("kitchen",), "", User("c", only=("kitchen",))))["streams"]
    assert [row["name"] for row in rows] == ["kitchen", "kitchen (2)"]


def test_a_state_holds_for_a_second(world: World) -> None:
    world.stream("1")
    first = world.told(View())
    world.stream("2")
    assert world.told(View()) == first
    assert ids(world.told(View((), "2"))) == ["2"], "a new view has not to wait"
    assert world.states.due_in == live_state.EVERY
    world.time.move(1)
    assert ids(world.told(View())) == ["1", "2"]
    assert world.figures.asked == 2
    assert View((), "2") not in world.states.texts, "nobody asked for it again"


def test_rows_are_bounded_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fairness, "pause", lambda: None)
    world, hits = World(live_rows=3), metrics.LIMITS_HIT.child("live-rows")
    before = hits.value
    for number in range(10):
        world.stream(f"id{number}", camera="even" if number % 2 == 0 else "odd")
    state = world.told(View())
    assert ids(state) == ["id0", "id1", "id2"] and state["total"] == 10
    state = world.told(View((), "odd"))
    assert ids(state) == ["id1", "id3", "id5"] and state["total"] == 5
    assert ids(world.told(View(("even",), "id4"))) == ["id4"]
    assert ids(world.told(View(("even",), "id3"))) == []
    world.time.move(1)
    world.states.refresh({View(), View((), "odd")})
    assert hits.value == before + 2, "once for each view"


def test_states_take_a_part_of_the_time_however_often_they_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    monkeypatch.setattr(fairness, "pause", lambda: None)
    world.told(View())
    assert world.states.rest == live_state.SOON
    monkeypatch.setattr(world.figures, "server", lambda: world.time.move(0.5) or {})
    world.time.move(1)
    world.told(View())
    assert (world.states.rest, world.states.due_in) == (2.0, 1.5), "after half a second's work"
    world.states.forget()
    assert world.states.rest == 2.0, "whoever is hidden and seen again has to wait as well"


def test_snippets_are_those_of_the_user(world: World) -> None:
    world.snippets = {"": [{"id": 1}], "cook": [{"id": 2}]}
    assert world.told(View())["snippets"] == [{"id": 1}]
    assert world.told(View(("kitchen",), "", User("cook", only=("kitchen",))))["snippets"] == [{"id": 2}]


def test_sessions_are_listed_with_what_their_models_say_now(world: World) -> None:
    session = Session.__new__(Session)
    last = {"success": True, "HR": 61.2, "blinks": 3, "frame": {"size": [4, 3]}, "age_ms": 7.5, "seq": 9, "mesh": [1]}
    called = world.streams.names.take("session-1", "", user="anna", address="", connection="c")
    about = {"id": "session-1", "number": 5, "user": "anna", "called": called, "protocol": "sessions"}
    session.__dict__ |= about | {"model": "pulse", "received": 9, "answered_count": 9, "dropped": 0, "begun": 0.0}
    session.last_prediction = last
    world.sessions.open_sessions["session-1"] = session
    world.stream("1")
    (row, other) = world.told(View())["streams"]
    assert (row["kind"], row["values"], row["size"]) == ("session", {"HR": 61.2, "blinks": 3}, [4, 3])
    assert (other["kind"], "values" in other) == ("stream", False)


def test_values_are_few_and_short() -> None:
    many = {f"value {number}": number for number in range(100)}
    long = {"note": "x" * 65, "list": [1], "none": None, "k" * 70: 1}
    assert len(session_values(long | many)) == overview.MOST_VALUES
    shown = session_values({"errors": {}, "timestamp": 1, "word": "open", "k" * 70: True})
    assert shown == {"word": "open", "k" * 64: True}


def test_thousands_of_streams_never_hold_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between two pauses there are 5 ms of the processor at most, the best of three times: the machine may be busy."""
    world = World(time.monotonic)
    for number in range(2000):
        world.stream(f"id{number}", camera=f"camera {number}")
    held: list[float] = []
    began = 0.0

    def pause() -> None:
        nonlocal began
        held.append(time.thread_time() - began)
        began = time.thread_time()

    monkeypatch.setattr(fairness, "pause", pause)
    views = [View(), *(View((), f"camera {number}") for number in range(20))]
    longest = []
    for _ in range(3):
        held.clear()
        world.states.forget()
        began = time.thread_time()
        world.states.refresh(views)
        pause()
        longest.append(max(held))
        assert world.states.texts.keys() == set(views)
    assert min(longest) < 0.005, longest


def model(name: str, state: str = "ready", **manifest: Any) -> Any:
    about = SimpleNamespace(**MANIFEST | manifest)
    unusable, trouble = state == "failed", "it does not load"
    common: dict[str, Any] = {"runtime": "python", "waiting": [1, 2], "unusable": unusable, "trouble": trouble}
    return SimpleNamespace(name=name, manifest=about, state=ModelState(state), **common)


def figures(models: list[Any], most: int = 100, clock: Any = lambda: 5.0) -> Figures:
    engine: Any = SimpleNamespace(models={each.name: each for each in models}, worker_pids=lambda: [1, 2])
    stateful: Any = SimpleNamespace(state=lambda _name: ("resting", ""))
    event = {"state": TrainingState.TRAINING, "text": "epoch 1 of 3", "part": 1 / 3}
    trainings: Any = SimpleNamespace(trainable=lambda name: name == "lenet", latest=lambda: [("lenet", True, event)])
    budget: Any = SimpleNamespace(used=5, total=100.0)
    return Figures(engine, stateful, trainings, budget, most, lambda: "it is gone", clock)


def test_models_are_told_with_their_rates_those_in_use_first() -> None:
    now = [100.0]
    hidden = model("hidden", "absent", listed=False)
    found = figures([model("b"), model("a", "absent"), model("lenet", "failed"), hidden], clock=lambda: now[0])
    found.models()
    sizes = metrics.BATCH_SIZE
    for _ in range(4):
        sizes.observe(5, "b")
    now[0] += 2
    b, lenet, a = found.models()
    assert [b["name"], lenet["name"], a["name"]] == ["b", "lenet", "a"]
    assert (b["fps"], b["batch"], b["max_batch"], b["queue"], b["error"]) == (10.0, 5.0, 8, 2, "")
    assert (lenet["state"], lenet["error"], lenet["trainable"]) == ("failed", "it does not load", True)
    assert (a["fps"], a["batch"]) == (0.0, None)


def test_rates_are_those_of_late_also_when_nobody_looked_before() -> None:
    now = [100.0]
    found = figures([model("late")], clock=lambda: now[0])
    found.models()
    metrics.BATCH_SIZE.observe(50, "late")
    now[0] += 3600
    assert found.models()[0]["fps"] == 0.0
    metrics.BATCH_SIZE.observe(5, "late")
    now[0] += 1
    assert found.models()[0]["fps"] == 5.0


def test_models_of_sessions_have_a_state_of_their_own() -> None:
    (found,) = figures([model("pulse", "absent", stateful=True)]).models()
    assert (found["state"], found["stateful"]) == ("resting", True)


def test_a_thousand_models_are_bounded() -> None:
    assert len(figures([model(f"m{number}") for number in range(1000)], 100).models()) == 100


def test_trainings_and_the_server_are_told() -> None:
    found = figures([])
    expected = {"model": "lenet", "running": True, "state": "training", "text": "epoch 1 of 3", "part": 0.3333}
    assert found.trainings() == [expected]
    metrics.LATEST_LAGS.clear()
    assert found.server()["lag_ms"] == {"p50": None, "p99": None}
    metrics.LATEST_LAGS.extend([0.001] * 99 + [0.02])
    server = found.server()
    assert server["lag_ms"] == {"p50": 1.0, "p99": 20.0}
    assert (server["budget"], server["workers"], server["uptime_s"]) == ({"used": 5, "total": 100}, 2, 0)
    assert (server["memory"] > 1e6, server["lacking"]) == (True, "it is gone")
