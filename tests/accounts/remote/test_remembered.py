"""Logins that hold while the database is gone: what was right lately, and nothing that was changed since."""

from __future__ import annotations

import pytest

from imageserver.accounts import credentials
from imageserver.accounts.remote import remembered
from imageserver.accounts.remote.remembered import Remembered
from imageserver.accounts.store.users import User


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


ALICE, BOB = User("alice", credential="password"), User("bob", credential="token 1")
SHOWN = credentials.password("alice", "secret")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def memory(clock: Clock) -> Remembered:
    return Remembered(600.0, clock)


def test_what_was_right_holds_for_a_while_and_what_differs_does_not(memory: Remembered, clock: Clock) -> None:
    memory.note(SHOWN, ALICE)
    assert memory.recall(SHOWN) is ALICE
    for other in (
        credentials.password("alice", "Secret"),
        credentials.password("alices", "ecret"),
        credentials.token("secret"),
        credentials.page("secret"),
    ):
        assert memory.recall(other) is None
    clock.now += 600
    assert memory.recall(SHOWN) is None


def test_what_is_wrong_now_is_forgotten(memory: Remembered) -> None:
    memory.note(SHOWN, ALICE)
    memory.note(SHOWN, None)
    assert memory.recall(SHOWN) is None and not memory


def test_what_changed_is_in_doubt_until_it_was_looked_up(memory: Remembered) -> None:
    other = credentials.token("t")
    memory.note(SHOWN, ALICE)
    memory.note(other, BOB)
    memory.doubt()
    some = memory.doubtful(1)
    assert [user for _key, user in some] == [ALICE]
    memory.looked_up(some, [False])
    assert memory.recall(SHOWN) is None and memory.recall(other) is BOB, "in doubt it holds"
    memory.looked_up(memory.doubtful(10), [True])
    assert memory.recall(other) is BOB and not memory.doubtful(10)


def test_it_is_bounded_and_forgets_what_is_over(
    memory: Remembered, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remembered, "MOST", 3)
    for number in range(5):
        memory.note(credentials.token(str(number)), BOB)
    assert len(memory) == 3 and memory.recall(credentials.token("1")) is None
    clock.now += 601
    memory.note(SHOWN, ALICE)
    assert len(memory) == 1


def test_without_a_time_nothing_is_remembered(clock: Clock) -> None:
    memory = Remembered(0.0, clock)
    memory.note(SHOWN, ALICE)
    assert memory.recall(SHOWN) is None and not memory


def test_no_secret_stays_in_memory(memory: Remembered) -> None:
    memory.note(SHOWN, ALICE)
    assert "secret" not in repr(vars(memory))
