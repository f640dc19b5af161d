"""Garbage is looked for among what is new; connections leave none that would have to be looked for."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest

from imageserver.transport.memory import HOUR, Garbage


class Ring:
    """Refers to itself, as nothing should that ends by the thousand."""

    def __init__(self) -> None:
        self.ring = self


class Crowd:
    """How many connections there are, and what time it is."""

    count = 0.0
    now = 0.0


@pytest.fixture
def crowd() -> Iterator[Crowd]:
    before, callbacks = gc.get_threshold(), list(gc.callbacks)
    yield Crowd()
    gc.set_threshold(*before)
    gc.callbacks[:] = callbacks
    gc.unfreeze()


def started(crowd: Crowd) -> Garbage:
    garbage = Garbage(lambda: crowd.count, lambda: crowd.now)
    garbage.start()
    return garbage


def old_ring() -> weakref.ref[Ring]:
    """A ring that ended after it was frozen."""
    ring = Ring()
    gc.collect()
    return weakref.ref(ring)


def test_what_was_there_is_not_looked_at_again(crowd: Crowd) -> None:
    started(crowd)
    kept = [Ring() for _ in range(1000)]
    gc.collect()
    assert len(gc.get_objects()) < len(kept)  # which tells those alone that are looked at


def test_everything_is_looked_at_when_a_crowd_has_left(crowd: Crowd) -> None:
    garbage, left = started(crowd), old_ring()
    for crowd.count in (5000, 3000, 1000, 100, 50):
        garbage.look()
        assert left() is not None, "it still leaves, and that would take long"
    garbage.look()
    assert left() is None


def test_everything_is_looked_at_once_an_hour(crowd: Crowd) -> None:
    garbage, left = started(crowd), old_ring()
    crowd.now = HOUR - 1
    garbage.look()
    assert left() is not None
    crowd.now = HOUR
    garbage.look()
    assert left() is None
