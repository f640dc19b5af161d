"""Versions of a model that each have a worker of their own: which of them serves, and which one goes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from imageserver.inference.server import pool as pools
from imageserver.inference.server.batching import Waiting
from imageserver.inference.server.catalogue import ModelCatalogue
from imageserver.inference.server.jails.rights import Jails
from imageserver.inference.server.model import ModelState, SharedModel
from imageserver.inference.server.pool import Pool
from imageserver.inference.server.worker import SharedWorker
from imageserver.inference.shared import manifest as manifests
from imageserver.inference.shared import wire
from imageserver.inference.shared.elsewhere import cluster
from imageserver.limits import Limits

MODEL = """
kind = "custom"
[input]
width = 8
height = 8
[runtime]
runtime = "python"
"""


class Process:
    """A worker process as the server sees it, without one."""

    def __init__(
        self, name: str, _module: str, _arguments: Any, on_message: Any, on_exit: Any, jail: Any, arena: Any
    ) -> None:
        self.name, self.pid, self.exit_text, self.was_killed = name, 1, "signal SIGKILL", True
        self.say, self.exits, self.arena = on_message, on_exit, arena
        self.sent: list[wire.Message] = []
        self.send = self.sent.append

    def end(self) -> None:
        """It is told to."""

    kill = end


class Far:
    """A pool and a catalogue with one model, `far`, on a cluster."""

    def __init__(self, folder: Path) -> None:
        made = folder / "models" / "far"
        made.mkdir(parents=True)
        (made / "model.toml").write_text(MODEL + '[cluster]\nreplicas = "4"')
        (made / "model.py").touch()
        jails = Jails([made.parent], folder / "cache", cluster=cluster.address("ray://head.example.org:7"))
        self.model = SharedModel(manifests.read(made), Waiting(1, 0.0))
        models, self.now, self.log = {"far": self.model}, 100.0, list[str]()
        clock: Any = lambda: self.now  # noqa: E731
        bounds: Any = {"time_limit": 15.0, "limits": Limits(), "jails": jails, "warn": self.log.append, "clock": clock}
        self.pool = Pool(models, workers=0, arguments=[], **bounds)
        registry: Any = SimpleNamespace()
        self.catalogue = ModelCatalogue(
            models, registry, self.pool, log=self.log.append, warn=self.log.append, clock=clock
        )
        self.pool.start(self.catalogue)

    @property
    def workers(self) -> list[SharedWorker]:
        """Those that are not about to end, the earliest first."""
        return [worker for worker in self.pool._workers if not worker.retired]

    def edit(self) -> SharedWorker:
        """Its folder changes, or somebody asks for it first; the worker that is to load it."""
        if self.model.state is ModelState.ABSENT:
            self.catalogue.prepare("far")
        else:
            self.catalogue._adopt(manifests.read(self.model.manifest.folder))
        self.say(self.workers[-1], "hello")
        return self.workers[-1]

    def say(self, worker: SharedWorker, what: str, **more: Any) -> None:
        """A message of a worker's."""
        about = {"runtime": "python", "seconds": 1.0, "warnings": [], "decoded_as": [3, 0], "error": "nobody answers"}
        process: Any = worker.process
        process.say({"op": what, "model": "far", **about, **more})

    @property
    def serves(self) -> list[SharedWorker]:
        return [worker for worker in self.pool._workers if "far" in worker.loaded]


@pytest.fixture
def far(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Far]:
    monkeypatch.setattr("imageserver.inference.server.worker.ChildProcess", Process)
    found = Far(tmp_path)
    yield found
    found.pool.stop(0.0)


def test_a_former_version_that_is_reached_again_serves_and_leaves_the_newer_one_alone(far: Far) -> None:
    first = far.edit()
    far.say(first, "loaded")
    far.say(first, "unreachable")
    assert (far.model.state, far.serves) == (ModelState.UNREACHABLE, [])
    second = far.edit()
    far.say(second, "unreachable")
    far.say(first, "loaded")
    assert (far.model.state, far.serves, far.workers) == (ModelState.READY, [first], [first, second])
    assert far.model.replacing and not far.catalogue.reload("far"), "the newer one is still on its way"
    far.say(second, "loaded")
    assert (far.serves, far.workers, far.model.replacing) == ([second], [second], False)
    far.say(first, "loaded")
    assert far.serves == [second]


def test_of_two_changes_in_one_load_the_later_one_is_loaded(far: Far) -> None:
    first, second = far.edit(), far.edit()
    far.say(first, "loaded")
    assert (far.serves, far.workers) == ([], [second]), "what never loaded goes when there is a newer one"
    far.say(second, "loaded")
    assert (far.serves, far.model.state) == ([second], ModelState.READY)


def test_however_often_it_changes_there_are_two_workers(far: Far) -> None:
    first = far.edit()
    far.say(first, "loaded")
    for _ in range(5):
        last = far.edit()
        far.say(last, "unreachable")
    assert (far.serves, far.workers) == ([first], [first, last])
    far.say(last, "loaded")
    assert far.workers == [last]


def test_a_former_version_that_fails_or_dies_leaves_the_newer_one_to_come(far: Far) -> None:
    first = far.edit()
    far.say(first, "loaded")
    second = far.edit()
    far.say(first, "failed", error="its weights are gone")
    assert (far.serves, far.workers, far.model.state) == ([], [second], ModelState.UNREACHABLE)
    far.say(second, "loaded")
    assert far.model.state is ModelState.READY
    third = far.edit()
    process: Any = second.process
    process.exits()
    assert far.workers == [third], "it is loading: nothing else has to start"
    process = third.process
    process.exits()
    pools.hub.sleep(0.05)
    assert len(far.workers) == 1
