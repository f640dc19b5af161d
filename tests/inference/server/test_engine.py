"""The engine with real worker processes: batches, crashes, reloads. The loop runs in the test's own thread."""

from __future__ import annotations

import os
import shutil
import signal
import weakref
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from tests.running import PATIENCE, TEST_MODELS, alive, picture
from tests.turning import until

from imageserver import metrics
from imageserver.errors import LimitExceeded, ModelUnavailable, Stopping, UnknownModel
from imageserver.inference.server import overdue, restart_limit
from imageserver.inference.server.batching import Work
from imageserver.inference.server.engine import Engine
from imageserver.inference.server.jails.rights import Jails
from imageserver.inference.shared import wire
from imageserver.inference.shared.registry import Registry
from imageserver.transport import hub


class Source:
    """Offers one picture at a time and keeps what becomes of each."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.results: list[wire.Result] = []
        self.losses = self.taken = 0

    wanted = True

    def take(self, model: str) -> Work | None:
        self.taken += 1
        return Work(self.data)

    def answered(self, work: Work, result: wire.Result) -> None:
        self.results.append(result)

    def lost(self, work: Work, reason: str) -> None:
        self.losses += 1


class Running:
    """An engine over a copy of the test models."""

    def __init__(self, models: Path, workers: int = 1, max_requests: int = 4, load_limit: float = 300.0) -> None:
        self.models = models
        self.lines: list[str] = []
        self.engine = Engine(
            Registry(models),
            workers=workers,
            worker_arguments=[],
            jails=Jails([models], models.parent / "cache"),
            time_limit=20.0,
            max_requests=max_requests,
            load_limit=load_limit,
            log=self.lines.append,
            warn=self.lines.append,
        )


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    models = tmp_path / "models"
    shutil.copytree(TEST_MODELS, models)
    found = Running(models)
    found.engine.start(["echo"])
    assert found.engine.wait_ready("echo"), found.lines
    yield found
    pids = found.engine.worker_pids()
    found.engine.stop(1.0)
    assert not any(alive(pid) for pid in pids)


def test_one_picture_one_answer(running: Running) -> None:
    assert running.engine.ask("echo", picture(200))["label"] == "200"


def test_what_is_no_picture_is_said_so_and_does_not_spoil_its_batch(running: Running) -> None:
    good, bad = Source(picture(40)), Source(b"no picture at all")
    running.engine.submit(bad, "echo")
    running.engine.submit(good, "echo")
    until(lambda: good.results and bad.results)
    assert good.results[0]["label"] == "40"
    assert bad.results[0]["reason"] == "picture"


def test_unknown_models_are_named_with_those_that_exist(running: Running) -> None:
    with pytest.raises(UnknownModel, match=r"no model 'nix'.*echo"):
        running.engine.ask("nix", picture())


def test_a_killed_worker_is_replaced_and_its_request_tried_again(running: Running) -> None:
    """The slow model holds the request while its worker dies."""
    restarts = metrics.WORKER_RESTARTS.total()
    assert "label" in running.engine.ask("slow", picture())
    killer = hub.spawn_later(0.05, os.kill, running.engine.worker_pids()[0], signal.SIGKILL)
    result = running.engine.ask("slow", picture(), deadline=PATIENCE)
    killer.cancel()
    assert "label" in result
    assert metrics.WORKER_RESTARTS.total() == restarts + 1


def test_a_source_hears_that_its_picture_was_lost(running: Running) -> None:
    assert "label" in running.engine.ask("slow", picture())
    source = Source(picture())
    running.engine.submit(source, "slow")
    until(lambda: source.taken)
    os.kill(running.engine.worker_pids()[0], signal.SIGKILL)
    until(lambda: source.losses + len(source.results))
    assert source.losses == 1
    assert running.engine.ask("echo", picture(7), deadline=PATIENCE)["label"] == "7", "others go on with the new worker"


def test_a_model_that_keeps_crashing_is_disabled_and_the_others_are_not(running: Running) -> None:
    for number in range(restart_limit.MOST):
        result = running.engine.ask("crash", picture(number + 1), deadline=PATIENCE)
        assert "ended while 'crash' ran" in result["error"]
    until(lambda: running.engine.models["crash"].state == "disabled")
    with pytest.raises(ModelUnavailable, match=f"'crash' is disabled: its worker died {restart_limit.MOST} times"):
        running.engine.ask("crash", picture())
    assert running.engine.ask("echo", picture(9), deadline=PATIENCE)["label"] == "9"
    assert any("crash is disabled" in line for line in running.lines)


def test_requests_beyond_the_bound_are_refused_at_once(running: Running) -> None:
    assert "label" in running.engine.ask("slow", picture())
    tasks = [hub.spawn(running.engine.ask, "slow", picture()) for _ in range(4)]
    hub.sleep(0)
    with pytest.raises(LimitExceeded, match="4 requests wait"):
        running.engine.ask("slow", picture())
    assert all("label" in task.wait() for task in tasks)


def test_a_new_folder_is_found_and_a_broken_change_keeps_the_old_version(running: Running) -> None:
    shutil.copytree(running.models / "echo", running.models / "echo2")
    until(lambda: "echo2" in running.engine.models)
    assert running.engine.ask("echo2", picture(5), deadline=PATIENCE)["label"] == "5"
    (running.models / "echo2" / "model.py").write_text("this is no Python")
    until(lambda: any("former version" in line for line in running.lines))
    assert running.engine.ask("echo2", picture(6))["label"] == "6"
    shutil.rmtree(running.models / "echo2")
    until(lambda: "echo2" not in running.engine.models)
    with pytest.raises(UnknownModel):
        running.engine.ask("echo2", picture())


def test_a_model_is_loaded_anew_when_somebody_asks_for_that(running: Running) -> None:
    engine, catalogue = running.engine, running.engine.catalogue
    for number in range(restart_limit.MOST):
        engine.ask("crash", picture(number + 1), deadline=PATIENCE)
    until(lambda: engine.models["crash"].state == "disabled")
    assert catalogue.reload("crash")
    assert engine.models["crash"].state == "loading" and not catalogue.reload("crash"), "once is enough"
    assert engine.wait_ready("crash")
    before = engine.models["echo"].manifest
    assert catalogue.reload("echo")
    assert engine.models["echo"].state == "ready", "it serves on meanwhile"
    assert not catalogue.reload("echo")
    until(lambda: not engine.models["echo"].replacing)
    assert engine.models["echo"].manifest is not before and engine.ask("echo", picture(7))["label"] == "7"
    assert catalogue.reload("echoer") and engine.models["echoer"].state == "absent", "sessions load it"
    with pytest.raises(UnknownModel):
        catalogue.reload("nothing")


def test_asking_for_models_that_are_not_there_touches_no_disk(running: Running) -> None:
    """Every unknown name had all folders listed, on the loop: 2 ms of it for each packet of a client."""
    shutil.rmtree(running.models)
    for number in range(100):
        with pytest.raises(UnknownModel):
            running.engine.check(f"nothing-{number}")
    assert not [line for line in running.lines if "cannot be read" in line]


def test_trouble_that_all_workers_have_is_told_once(running: Running) -> None:
    for _worker in range(2):
        running.engine.catalogue.failed("slow", "no such luck", served=False)
    with pytest.raises(ModelUnavailable, match="^the model 'slow' does not load: no such luck$"):
        running.engine.ask("slow", picture())
    (running.models / "slow" / "model.py").write_text("this is no Python")
    until(lambda: running.engine.models["slow"].state == "absent")
    running.engine.catalogue.failed("slow", "no such luck", served=False)
    told = [line for line in running.lines if "slow" in line]
    assert told == ["model slow does not load: no such luck"] * 2, "once for each version"


def test_sources_take_turns_and_run_together(running: Running) -> None:
    sources = [Source(picture(grey)) for grey in range(0, 200, 10)]
    for source in sources:
        running.engine.submit(source, "echo")
    until(lambda: all(source.results for source in sources))
    assert [source.results[0]["label"] for source in sources] == [str(grey) for grey in range(0, 200, 10)]


HANGS = """
import time

class Model:
    def __init__(self, folder, manifest):
        while True:
            time.sleep(1)

    def predict(self, batch): ...
"""


def hanging(models: Path) -> Path:
    """A copy of the test models in which `slow` never finishes to load."""
    shutil.copytree(TEST_MODELS, models)
    (models / "slow" / "model.py").write_text(HANGS)
    return models


def test_requests_that_give_up_leave_the_queue_and_free_their_pictures(tmp_path: Path) -> None:
    class Picture(bytearray):
        """One that can be watched."""

    running = Running(hanging(tmp_path / "models"), max_requests=4)
    running.engine.start([])
    watched: list[weakref.ref[Picture]] = []

    def ask() -> None:
        data = Picture(picture())
        watched.append(weakref.ref(data))
        with pytest.raises(ModelUnavailable, match="did not answer within"):
            running.engine.ask("slow", data, deadline=0.05)

    try:
        for _ in range(3):
            tasks = [hub.spawn(ask) for _ in range(4)]
            for task in tasks:
                task.wait()
            assert len(running.engine.models["slow"].waiting) == 0
        del tasks, task
        until(lambda: not any(each() for each in watched))
        assert len(watched) == 12
    finally:
        running.engine.stop(0.0)


def test_a_model_that_hangs_while_it_loads_is_given_up_and_the_others_load(tmp_path: Path) -> None:
    running = Running(hanging(tmp_path / "models"), load_limit=2.0)
    running.engine.start(["slow", "echo"])
    (first,) = running.engine.worker_pids()
    try:
        assert not running.engine.wait_ready("slow")
        with pytest.raises(ModelUnavailable, match=r"^the model 'slow' does not load: loading took longer than 2 s$"):
            running.engine.ask("slow", picture())
        assert running.engine.wait_ready("echo"), "it waited behind the other"
        assert running.engine.ask("echo", picture(9), deadline=PATIENCE)["label"] == "9"
        assert not alive(first)
        assert len(running.engine.worker_pids()) == 1
        assert running.engine.models["slow"].state == "failed"
        assert sum("took longer than 2 s" in line for line in running.lines) == 2, "what was done, and what it means"
        shutil.copy(TEST_MODELS / "slow" / "model.py", tmp_path / "models" / "slow")
        until(lambda: running.engine.models["slow"].state == "absent")
        assert "label" in running.engine.ask("slow", picture(), deadline=PATIENCE)
    finally:
        running.engine.stop(0.0)


@pytest.mark.parametrize(("name", "count"), [("python", 0), ("tensorflow", 0), ("openvino", 1), ("auto", 1)])
def test_a_conversion_has_time_of_its_own(name: str, count: int) -> None:
    runtime = SimpleNamespace(runtime=name)
    assert overdue.conversions(SimpleNamespace(members=(), runtime=runtime)) == count
    assert overdue.conversions(SimpleNamespace(members=("a", "b", "c"), runtime=runtime)) == 3


def test_large_pictures_cross_the_wall_whole(running: Running) -> None:
    data = picture(77, suffix=".bmp", width=1600, height=1200)
    assert len(data) > 5 * 2**20
    assert running.engine.ask("echo", data)["label"] == "77"


def test_stopping_refuses_what_waits_and_answers_what_runs(tmp_path: Path) -> None:
    running = Running(TEST_MODELS)
    running.engine.start(["slow"])
    assert running.engine.wait_ready("slow"), running.lines
    runs, waits = Source(picture(1)), Source(picture(2))
    running.engine.submit(runs, "slow")
    until(lambda: runs.taken)
    running.engine.submit(waits, "slow")
    running.engine.stop(5.0)
    assert "label" in runs.results[0]
    assert waits.results == [{"error": "the server is stopping", "reason": "busy"}]
    with pytest.raises(Stopping):
        running.engine.submit(runs, "slow")
    assert not any(alive(pid) for pid in running.engine.worker_pids())
