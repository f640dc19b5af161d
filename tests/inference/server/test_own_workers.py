"""Versions of a model that has a worker of its own follow each other, in whatever order their workers come to load."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.turning import until

from imageserver.inference.server import worker
from imageserver.inference.server.catalogue import ModelCatalogue
from imageserver.inference.server.jails.rights import Jails
from imageserver.inference.server.model import ModelState, SharedModel
from imageserver.inference.server.pool import Pool
from imageserver.inference.server.worker import SharedWorker
from imageserver.inference.shared.registry import Registry
from imageserver.limits import Limits

FAR = """
kind = "classification"
[input]
width = 28
height = 28
[runtime]
runtime = "open_inference"
endpoint = ["http://gpu:8000"]
"""


class Program:
    """The process of a worker, which says what the test has it say."""

    def __init__(
        self,
        name: str,
        _module: str,
        _arguments: list[str],
        on_message: Callable[[Any], None],
        on_exit: Callable[[], None],
        **_: Any,
    ) -> None:
        self.name, self.pid, self.exit_text = name, 0, "code 1"
        self.says, self._on_exit = on_message, on_exit
        self.asked: list[Any] = []
        self.send = self.asked.append
        self._ended = False

    def end(self) -> None:
        if not self._ended:
            self._ended = True
            self._on_exit()


class World:
    """A pool without workers but those of one model that runs elsewhere."""

    def __init__(self, folder: Path) -> None:
        (folder / "models" / "far").mkdir(parents=True)
        (folder / "models" / "far" / "model.toml").write_text(FAR)
        self.models: dict[str, SharedModel] = {}
        self.lines: list[str] = []
        jails = Jails([folder / "models"], folder / "cache")
        told: dict[str, Any] = {"warn": self.lines.append, "clock": time.monotonic}
        self.pool = Pool(
            self.models, workers=0, arguments=[], jails=jails, time_limit=10.0, limits=Limits(), **told
        )  # fmt: skip
        registry = Registry(folder / "models")
        self.catalogue = ModelCatalogue(self.models, registry, self.pool, log=self.lines.append, **told)
        self.catalogue.start(["far"])
        self.pool.start(self.catalogue)
        self.model = self.models["far"]

    @property
    def workers(self) -> list[SharedWorker]:
        """Those that are to serve, in the order in which they were started."""
        return [one for one in self.pool._workers if not one.retired]

    def newer(self) -> SharedWorker:
        """The worker of a newer version, which is being loaded."""
        self.catalogue._adopt(self.model.manifest)
        self.hello(self.workers[-1])
        return self.workers[-1]

    def hello(self, one: SharedWorker) -> None:
        self.say(one, op="hello")

    def loads(self, one: SharedWorker) -> None:
        self.say(one, op="loaded", model="far", runtime="far", seconds=1.0, warnings=[], decoded_as=[3, 28])

    def is_unreachable(self, one: SharedWorker) -> None:
        self.say(one, op="unreachable", model="far", error="nobody answers")

    def say(self, one: SharedWorker, **message: Any) -> None:
        program: Any = one.process
        program.says(message)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setattr(worker, "ChildProcess", Program)
    found = World(tmp_path)
    yield found
    found.pool.stop(0.0)


@pytest.fixture
def serving(world: World) -> SharedWorker:
    """The worker of a version that serves."""
    (first,) = world.workers
    world.hello(first)
    world.loads(first)
    assert world.model.state is ModelState.READY
    return first


def test_the_former_version_serves_until_the_new_one_does(world: World, serving: SharedWorker) -> None:
    newer = world.newer()
    assert world.workers == [serving, newer] and serving.loaded
    world.loads(newer)
    assert world.workers == [newer] and world.model.state is ModelState.READY
    until(lambda: len(world.pool._workers) == 1)


def test_the_former_version_that_is_reached_again_does_not_end_the_new_one(world: World, serving: SharedWorker) -> None:
    world.is_unreachable(serving)
    newer = world.newer()
    world.is_unreachable(newer)
    assert world.model.state is ModelState.UNREACHABLE
    world.loads(serving)
    assert world.model.state is ModelState.READY, "it serves for now"
    assert world.workers == [serving, newer]
    world.loads(newer)
    assert world.workers == [newer]


def test_a_former_version_that_blinks_is_not_told_as_the_new_one(world: World, serving: SharedWorker) -> None:
    newer = world.newer()
    world.loads(serving)
    assert world.model.replacing and world.workers == [serving, newer]


def test_there_are_at_most_two_versions(world: World, serving: SharedWorker) -> None:
    for _ in range(5):
        newest = world.newer()
        world.is_unreachable(newest)
        assert world.workers == [serving, newest]
    world.loads(newest)
    assert world.workers == [newest]


def test_of_two_that_were_started_one_after_the_other_the_later_one_serves(world: World) -> None:
    (first,) = world.workers
    world.hello(first)
    later = world.newer()
    assert world.workers == [later], "what never served is no use any more"
    world.loads(first)
    assert world.workers == [later] and world.model.state is ModelState.LOADING


def test_a_former_version_that_dies_is_not_started_again_but_the_new_one_is(
    world: World, serving: SharedWorker
) -> None:
    newer: Any = world.newer()
    former: Any = serving.process
    former.end()
    assert world.workers == [newer]
    newer.process.end()
    until(lambda: len(world.workers) == 1)
    assert world.workers != [newer]
