"""A model that was disabled for its own faults comes back by trial: real processes, a clock that is put forward."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.running import PATIENCE, TEST_MODELS, picture
from tests.turning import until

from imageserver.errors import ModelUnavailable
from imageserver.inference.server.engine import Engine
from imageserver.inference.server.jails.rights import Jails
from imageserver.inference.server.model import ModelState
from imageserver.inference.server.restart_limit import FIRST, LONGEST, MOST, TrialPause
from imageserver.inference.server.stateful.models import StatefulModels
from imageserver.inference.server.stateful.queues import Call, ModelQueue
from imageserver.inference.shared import manifest as manifests
from imageserver.inference.shared.registry import Registry

MOODY = """
import os
from pathlib import Path

class Model:
    def __init__(self, folder, manifest):
        self._ill = Path(folder).parent / "ill"

    def predict(self, batch):
        if self._ill.exists() and any(picture.any() for picture in batch):
            os.kill(os.getpid(), 9)
        return [{"label": "well", "score": 1.0, "labels": []} for _picture in batch]
"""


class Running:
    """An engine with the models echo and moody; moody is ill while the file says so."""

    def __init__(self, models: Path) -> None:
        shutil.copytree(TEST_MODELS / "echo", models / "echo")
        shutil.copytree(TEST_MODELS / "echo", models / "moody")
        (models / "moody" / "model.py").write_text(MOODY)
        self.ill = models / "ill"
        self.ill.touch()
        self.lines: list[str] = []
        self.ahead = 0.0
        self.engine = Engine(
            Registry(models),
            workers=1,
            worker_arguments=[],
            jails=Jails([models], models / "cache"),
            time_limit=1000.0,
            max_requests=10,
            log=self.lines.append,
            warn=self.lines.append,
            clock=lambda: time.monotonic() + self.ahead,
        )

    @property
    def state(self) -> ModelState:
        return self.engine.models["moody"].state

    def until(self, state: ModelState) -> None:
        until(lambda: self.state is state)

    def disable(self) -> None:
        for number in range(MOST):
            self.engine.ask("moody", picture(number + 1), deadline=PATIENCE)
        self.until(ModelState.DISABLED)


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    models = tmp_path / "models"
    models.mkdir()
    found = Running(models)
    found.engine.start(["echo", "moody"])
    assert found.engine.wait_ready("echo"), found.lines
    assert found.engine.wait_ready("moody"), found.lines
    yield found
    found.engine.stop(1.0)


def test_a_disabled_model_comes_back_when_it_answers_at_its_trial(running: Running) -> None:
    running.disable()
    with pytest.raises(ModelUnavailable, match="'moody' is disabled: .*; it is tried again after 30 s"):
        running.engine.ask("moody", picture())
    running.engine.catalogue.begin_trials()
    assert running.state is ModelState.DISABLED, "not before its pause has passed"
    assert running.engine.ask("echo", picture(6), deadline=PATIENCE)["label"] == "6"
    workers = running.engine.worker_pids()
    running.ahead += FIRST
    running.engine.catalogue.begin_trials()
    with pytest.raises(ModelUnavailable, match="'moody' is on trial: its worker died 5 times within 60 s$"):
        running.engine.ask("moody", picture())
    assert running.engine.ask("echo", picture(7), deadline=PATIENCE)["label"] == "7"
    running.until(ModelState.DISABLED)
    assert running.engine.worker_pids() == workers, "the worker of the trial ended, and no other"
    assert (
        "disabled: at its trial its worker ended by signal SIGKILL; it is tried again after 60 s" in running.lines[-1]
    )
    running.ill.unlink()
    running.ahead += 2 * FIRST
    running.engine.catalogue.begin_trials()
    running.until(ModelState.READY)
    assert running.engine.ask("moody", picture(), deadline=PATIENCE)["label"] == "well"
    assert any(line == "model moody has answered at its trial and is loaded again" for line in running.lines)


def test_a_model_for_sessions_is_tried_again_and_its_sessions_go_on(tmp_path: Path) -> None:
    models, lines, ahead = tmp_path / "models", [], 0.0
    shutil.copytree(TEST_MODELS / "sleeper", models / "sleeper")
    code = models / "sleeper" / "model.py"
    good = code.read_text()
    code.write_text("this is no Python")
    found = manifests.read(models / "sleeper")
    stateful = StatefulModels(
        lambda _name: found,
        arguments=[],
        jails=Jails([models], tmp_path / "cache"),
        slot_bytes=2**20,
        max_bytes=2**20,
        put_off_time=30.0,
        log=lines.append,
        warn=lines.append,
        clock=lambda: time.monotonic() + ahead,
    )
    session = Session()
    queue = stateful.open("sleeper", "a", 0, session)
    until(lambda: lines)
    assert "sleeper is disabled for sessions" in lines[0]
    assert "it is tried again after 30 s, or when its folder changes" in lines[0]
    with pytest.raises(ModelUnavailable, match="cannot be used: .* after 30 s"):
        queue.append(picture(7), 1, 0, None)
    code.write_text(good)
    ahead = FIRST
    queue.append(picture(7), 1, 0, None)
    until(lambda: session.outputs)
    assert session.outputs == [{"sleeper_number": 7, "common": "sleeper"}]
    stateful.stop()


class Session:
    """Keeps what its model returned."""

    def __init__(self) -> None:
        self.outputs: list[Any] = []

    def outcome(self, queue: ModelQueue, call: Call, output: dict[str, Any] | None, error: str) -> None:
        self.outputs.append(output or error)


def test_pauses_grow_and_are_forgotten_after_a_good_while() -> None:
    pause = TrialPause()
    now, pauses = 0.0, []
    for _trial in range(9):
        pauses.append(pause.next(now))
        assert not pause.over(now + pauses[-1] - 1)
        now += pauses[-1]
        assert pause.over(now)
    assert pauses == [30.0, 60.0, 120.0, 240.0, 480.0, 960.0, 1920.0, LONGEST, LONGEST]
    assert pause.next(now + LONGEST) == LONGEST
    assert pause.next(now + 3 * LONGEST + 1) == FIRST
    pause.next(now + 3 * LONGEST + 1)
    pause.forget()
    assert pause.next(now + 3 * LONGEST + 1) == FIRST
