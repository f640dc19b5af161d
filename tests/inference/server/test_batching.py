"""Which sources run together, and when."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imageserver.inference.server.batching import QueuedSource, Waiting, Work


def test_nobody_waiting_is_never_due() -> None:
    assert Waiting(4, 0.01).due_in(0.0) is None


def test_a_full_batch_is_due_at_once() -> None:
    waiting = Waiting(2, 10.0)
    waiting.add("a", 0.0)
    assert not waiting.full
    waiting.add("b", 0.0)
    assert waiting.full
    assert waiting.due_in(0.0) == 0.0


@pytest.mark.parametrize(("now", "due"), [(5.0, 0.25), (5.2, pytest.approx(0.05)), (5.25, 0.0), (9.0, 0.0)])
def test_a_small_batch_is_due_when_its_first_has_waited(now: float, due: float) -> None:
    waiting = Waiting(4, 0.25)
    waiting.add("first", 5.0)
    waiting.add("second", 5.1)
    assert waiting.due_in(now) == due


def test_put_back_goes_first_with_its_own_time() -> None:
    waiting = Waiting(4, 1.0)
    waiting.add("b", 7.0)
    waiting.put_back(QueuedSource("a", 3.0))
    assert waiting.since == 3.0
    assert [waiting.pop().source, waiting.pop().source, waiting.pop()] == ["a", "b", None]


def test_who_gives_up_leaves_and_the_others_keep_their_turns() -> None:
    waiting = Waiting(4, 1.0)
    for name in ("a", "b", "c"):
        waiting.add(name, 0.0)
    waiting.put_back(QueuedSource("d", 0.0, Work(b"taken already")))
    for name in ("b", "d", "not there"):
        waiting.discard(name)
    assert [turn.source for turn in waiting.drain()] == ["a", "c"]


def test_who_waited_for_a_former_version_waits_for_the_new_one() -> None:
    former, new = Waiting(4, 1.0), Waiting(2, 1.0)
    former.add("a", 5.0)
    new.take_over(former)
    assert (len(former), len(new), new.since) == (0, 1, 5.0)


@given(st.lists(st.integers(), max_size=20), st.integers(1, 8))
def test_turns_are_taken_in_order_of_arrival(sources: list[int], most: int) -> None:
    waiting = Waiting(most, 0.0)
    for number, source in enumerate(sources):
        waiting.add(source, float(number))
    assert [turn.source for turn in waiting.drain()] == sources
    assert len(waiting) == 0
