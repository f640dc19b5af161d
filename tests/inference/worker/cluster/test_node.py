"""What an actor does on its node, without Ray: a model's files sent, a real worker process in its jail, its answers."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
from tests.inference.worker.cluster.test_store import bundle_of
from tests.running import TEST_MODELS, children, picture, until

from imageserver.inference.shared import wire
from imageserver.inference.worker.cluster import answers, delivery
from imageserver.inference.worker.cluster.bundle import Bundle
from imageserver.inference.worker.cluster.child import ChildWorker
from imageserver.inference.worker.cluster.node import LoadOrder, NodeWorker
from imageserver.inference.worker.cluster.settings import NO_ROOM

pytestmark = pytest.mark.long
PATIENCE = 600.0


class Handle:
    """An actor in this process."""

    def __init__(self) -> None:
        self.worker = NodeWorker()

    def ask(self, what: str, *values: Any, seconds: float) -> Any:
        return self.worker.ask(what, *values)

    def kill(self) -> None:
        """It ends with the test."""


@pytest.fixture
def handle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Handle]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    found = Handle()
    yield found
    if found.worker._child is not None:
        found.worker._child.kill()
        found.worker._child.ended.result(PATIENCE)


def loaded(handle: Handle, name: str) -> Bundle:
    """One of the test's models, sent and loaded."""
    delivery.check(handle.ask("about", seconds=1))
    bundle = bundle_of(TEST_MODELS / name)
    delivery.send(handle, bundle, 2**30)
    order = LoadOrder(name, bundle.digest, ("--threads", "1"), True, 2**32, PATIENCE)
    said = delivery.load(handle, bundle, order)
    assert said["runtime"] == "python"
    return bundle


def run(handle: Handle, *pictures: bytes, seconds: float = PATIENCE) -> wire.Message:
    """A batch, as it comes back into its slot."""
    items: list[wire.Item] = []
    data = b""
    for each in pictures:
        items.append({"at": len(data), "size": len(each), "form": wire.CONTENT_IMAGE, "rotate": 0})
        data += each
    slot = memoryview(bytearray(2**20))
    return answers.unpack(handle.ask("run", data, items, seconds, seconds=seconds), slot, len(items))


def test_batches_are_answered_by_a_worker_process_and_its_end_is_told(handle: Handle) -> None:
    loaded(handle, "echo")
    found = run(handle, picture(9), picture(200), b"no picture")["results"]
    assert [each.get("label") for each in found] == ["9", "200", None]
    assert found[2]["reason"] == "picture" and found[0]["size"] == [64, 48]
    both: list[Any] = []
    asking = [threading.Thread(target=lambda: both.append(run(handle, picture(50)))) for _ in range(2)]
    for each in asking:
        each.start()
    for each in asking:
        each.join()
    assert [each["results"][0]["label"] for each in both] == ["50", "50"]
    child = handle.worker._child
    assert child is not None
    assert child._process.pid in children(os.getpid())
    os.kill(child._process.pid, signal.SIGKILL)
    assert handle.ask("watch", seconds=PATIENCE) == "its worker process ended by signal SIGKILL"
    assert run(handle, picture(9)) == {"results": [], "lost": "the worker process died"}
    until(lambda: not Path(child._jail.scratch).exists(), "its scratch folder to be gone")


def test_what_takes_too_long_ends_the_worker_and_a_model_that_does_not_load_is_a_sentence(handle: Handle) -> None:
    loaded(handle, "slow")
    assert run(handle, picture(9), seconds=0.02) == {
        "results": [], "lost": "the worker process died", "ended": True,
    }  # fmt: skip
    assert "as a batch took longer than 0.02 s" in handle.ask("watch", seconds=PATIENCE)
    other = Handle()
    assert "error" in other.ask("nothing", seconds=1)
    assert other.ask("lacking", [["models/a", 1, "../x"]], 1, seconds=1) == {
        "error": "a file of the model is named by no digest"
    }


@pytest.fixture
def stopped(handle: Handle, monkeypatch: pytest.MonkeyPatch) -> tuple[ChildWorker, Future[wire.Message]]:
    """A worker process that is stopped over a batch, and what that batch is answered."""
    monkeypatch.setattr("imageserver.inference.worker.cluster.child.LOOK_EVERY", PATIENCE)
    loaded(handle, "slow")
    child, first = handle.worker._child, Future[wire.Message]()
    assert child is not None
    os.kill(child._process.pid, signal.SIGSTOP)
    threading.Thread(target=lambda: first.set_result(run(handle, picture(9)))).start()
    until(lambda: child._running, "it to run")
    return child, first


def test_one_that_waits_for_its_turn_ends_nothing(
    handle: Handle, stopped: tuple[ChildWorker, Future[wire.Message]]
) -> None:
    child, first = stopped
    assert run(handle, picture(9), seconds=0.02) == {"results": [], "lost": NO_ROOM}
    os.kill(child._process.pid, signal.SIGCONT)
    assert first.result(PATIENCE)["results"][0]["label"] == "9" and child._took > 0.09
    assert run(handle, picture(50))["results"][0]["label"] == "50" and not child.ended.done()


def test_one_that_waits_is_not_to_blame_for_the_end_of_the_worker(
    handle: Handle, stopped: tuple[ChildWorker, Future[wire.Message]]
) -> None:
    child, first = stopped
    second = Future[wire.Message]()
    threading.Thread(target=lambda: second.set_result(run(handle, picture(9)))).start()
    until(lambda: child._next, "it to wait")
    child.kill()
    assert first.result(PATIENCE) == {"results": [], "lost": "the worker process died", "ended": True}
    assert second.result(PATIENCE) == {"results": [], "lost": "the worker process died"}
