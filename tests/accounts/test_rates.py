"""How often a door may be used by one user or address."""

from __future__ import annotations

from imageserver.accounts.doors import HTTP, Door, Login
from imageserver.accounts.rates import MOST_OWNERS, Rates
from imageserver.limits import Limits

DOOR = Door(HTTP, "POST", "/", Login.NEVER, rate="change_rate")


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_so_many_a_minute_at_once_or_one_after_the_other() -> None:
    clock = Clock()
    rates = Rates(Limits(change_rate=6), clock)
    assert [rates.take(DOOR, "address 1") for _ in range(6)] == [0.0] * 6
    assert round(rates.take(DOOR, "address 1"), 6) == 10.0
    assert rates.take(DOOR, "address 2") == 0.0, "others are not concerned"
    clock.now += 10
    assert rates.take(DOOR, "address 1") == 0.0
    assert rates.take(DOOR, "address 1") > 9
    clock.now += 3600
    assert [rates.take(DOOR, "address 1") > 0 for _ in range(7)] == [False] * 6 + [True]


def test_without_a_rate_nothing_is_kept() -> None:
    rates = Rates(Limits(change_rate=0))
    for door in (DOOR, Door(HTTP, "GET", "/", Login.NEVER), Door(HTTP, "GET", "/x", Login.NEVER, rate="hz")):
        assert {rates.take(door, "me") for _ in range(1000)} == {0.0}
    assert not rates._earned


def test_what_is_kept_is_bounded() -> None:
    rates = Rates(Limits(change_rate=1))
    for number in range(MOST_OWNERS + 10):
        rates.take(DOOR, f"address {number}")
    assert len(rates._earned) == MOST_OWNERS
