"""A newer version that finds no room on the cluster: what the former one leaves to it, and when."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from imageserver.inference.server.elsewhere import handover
from imageserver.inference.server.elsewhere.handover import Handover


class Worker:
    """As far as a handover knows one."""

    def __init__(self, ready: int = 0) -> None:
        self.own, self.kind, self.places = "far", SimpleNamespace(scaled=True), ready
        self.retired, self.leaves, self.placing_since = False, 0, None
        self.sent: list[int] = []
        self.process = SimpleNamespace(send=lambda message: self.sent.append(message["replicas"]))


class Made:
    def __init__(self, ready: int) -> None:
        self.former, self.newer, self.now = Worker(ready), Worker(), 100.0
        self.workers: list[Any] = [self.former, self.newer]
        self.log: list[str] = []
        self.handover = Handover(self.log.append)

    def tell(self, **states: int) -> None:
        newer: Any = self.newer
        self.handover.count(newer, {"op": "cluster", "states": states}, self.now)

    def wait(self, seconds: float = handover.LEAVE_AFTER) -> list[int]:
        """What the former one was told until then."""
        self.now += seconds
        self.handover.look(self.workers, self.now)
        return self.former.sent


def test_one_replica_after_another_while_none_of_the_newer_version_is_placed() -> None:
    made = Made(ready=3)
    made.tell(placing=3)
    assert made.wait(1.0) == []
    made.tell(placing=2)
    assert made.wait() == made.wait(1.0) == [1], "a little later nothing more is left to it"
    made.former.places = 2
    assert made.wait() == [1, 2]
    made.former.places = 1
    assert made.wait() == made.wait() == [1, 2] and not made.newer.sent
    assert len(made.log) == 1 and "finds no room on the cluster beside the last replica" in made.log[0]


def test_nothing_further_once_one_of_it_is_placed() -> None:
    made = Made(ready=4)
    made.tell(placing=4)
    made.wait()
    made.tell(placing=3, loading=1)
    assert made.wait() == made.wait() == [1]
    made.tell(placing=3, ready=1)
    assert made.wait() == [1]


def test_they_are_taken_back_when_the_newer_version_goes() -> None:
    made = Made(ready=4)
    made.tell(placing=4)
    made.wait()
    made.newer.retired = True
    assert made.wait() == made.wait() == [1, 0]


def test_a_message_that_is_none_is_an_error() -> None:
    with pytest.raises(LookupError):
        Made(ready=1).handover.count(Worker(), {"op": "cluster"}, 0.0)  # type: ignore[arg-type]
