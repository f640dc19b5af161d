"""The engine with real worker processes: batches, crashes, reloads. The loop runs in the test's own thread."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.running import PATIENCE, TEST_MODELS, alive, picture

from imageserver import metrics
from imageserver.errors import LimitExceeded, ModelUnavailable, Stopping, UnknownModel
from imageserver.inference.server import crash_limit
from imageserver.inference.server.engine import Engine
from imageserver.inference.server.pool import Work
from imageserver.inference.shared import wire
from imageserver.inference.shared.registry import Registry
from imageserver.transport import hub


class Source:
    """Offers one picture at a time and keeps what becomes of each."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.results: list[wire.Result] = []
        self.losses = self.taken = 0

    def take(self, model: str) -> Work | None:
        self.taken += 1
        return Work(self.data)

    def answered(self, work: Work, result: wire.Result) -> None:
        self.results.append(result)

    def lost(self, work: Work, reason: str) -> None:
        self.losses += 1


def until(condition: object) -> None:
    """Let the loop turn until `condition()` holds."""
    assert callable(condition)
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        hub.sleep(0.01)


class Running:
    """An engine over a copy of the test models."""

    def __init__(self, models: Path, workers: int = 1, max_requests: int = 4) -> None:
        self.models = models
        self.lines: list[str] = []
        self.engine = Engine(
            Registry(models),
            workers=workers,
            worker_arguments=[],
            time_limit=20.0,
            max_requests=max_requests,
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
    failures = 0
    while running.engine.models["crash"].state != "disabled":
        with pytest.raises(Exception, match=r"died|disabled"):
            running.engine.ask("crash", picture(), deadline=PATIENCE)
        failures += 1
        assert failures <= crash_limit.MOST
    with pytest.raises(ModelUnavailable, match=f"'crash' is disabled: its worker died {crash_limit.MOST} times"):
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
    assert running.engine.ask("echo2", picture(5), deadline=PATIENCE)["label"] == "5"
    (running.models / "echo2" / "model.py").write_text("this is no Python")
    until(lambda: any("former version" in line for line in running.lines))
    assert running.engine.ask("echo2", picture(6))["label"] == "6"
    shutil.rmtree(running.models / "echo2")
    until(lambda: "echo2" not in running.engine.models)
    with pytest.raises(UnknownModel):
        running.engine.ask("echo2", picture())


def test_trouble_that_all_workers_have_is_told_once(running: Running) -> None:
    for _worker in range(2):
        running.engine.failed("slow", "no such luck", served=False)
    with pytest.raises(ModelUnavailable, match="^the model 'slow' does not load: no such luck$"):
        running.engine.ask("slow", picture())
    (running.models / "slow" / "model.py").write_text("this is no Python")
    until(lambda: running.engine.models["slow"].state == "absent")
    running.engine.failed("slow", "no such luck", served=False)
    told = [line for line in running.lines if "slow" in line]
    assert told == ["model slow does not load: no such luck"] * 2, "once for each version"


def test_sources_take_turns_and_run_together(running: Running) -> None:
    sources = [Source(picture(grey)) for grey in range(0, 200, 10)]
    for source in sources:
        running.engine.submit(source, "echo")
    until(lambda: all(source.results for source in sources))
    assert [source.results[0]["label"] for source in sources] == [str(grey) for grey in range(0, 200, 10)]


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
    assert waits.results == [{"error": "the server is stopping", "reason": "model"}]
    with pytest.raises(Stopping):
        running.engine.submit(runs, "slow")
    assert not any(alive(pid) for pid in running.engine.worker_pids())
