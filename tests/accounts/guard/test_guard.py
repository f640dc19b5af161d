"""The guard: what is reserved, what waits and what pauses, by a clock that the test turns."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from imageserver.accounts.guard.guard import Claim, Guard
from imageserver.errors import LoginPaused
from imageserver.limits import Limits

HOME, WORK, CAFE = "address 192.0.2.1", "address 198.51.100.2", "address 203.0.113.3"


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


class Watched:
    """A guard and its clock, with whole attempts in a line."""

    def __init__(self, attempts: int = 4, pause: float = 300.0, **limits: float) -> None:
        self.clock, self.lines = Clock(), list[str]()
        named = Limits(login_attempts=attempts, login_pause=pause, **limits)  # type: ignore[arg-type]
        self.guard = Guard(named, self.clock)

    def attempt(self, owner: str, name: str = "alice", *, right: bool = False) -> str:
        claim = Claim(owner, name)
        try:
            assert self.guard.reserve(claim), "one after the other, none has to wait"
        except LoginPaused:
            return "paused"
        if right:
            self.guard.right(claim)
            return "right"
        self.lines += self.guard.wrong(claim)
        return "wrong"

    def pause(self, owner: str, name: str = "alice") -> float:
        """Seconds until an attempt is looked at."""
        try:
            self.guard.may(Claim(owner, name))
        except LoginPaused as paused:
            return paused.seconds
        return 0


def test_what_is_being_checked_and_what_failed_are_together_never_more_than_the_limit() -> None:
    watched = Watched(attempts=4)
    guard, claims = watched.guard, [Claim(HOME, f"user {number}") for number in range(6)]
    assert [guard.reserve(claim) for claim in claims] == [True] * 4 + [False] * 2
    guard.right(claims[0])
    assert guard.reserve(claims[4]), "one that was right takes no room"
    for claim in claims[1:5]:
        guard.wrong(claim)
    with pytest.raises(LoginPaused):
        guard.reserve(claims[5])


def test_one_that_nobody_could_tell_counts_for_nothing() -> None:
    watched = Watched(attempts=1)
    for _ in range(5):
        assert watched.guard.reserve(Claim(HOME, "alice"))
        watched.guard.release(Claim(HOME, "alice"))
    assert watched.attempt(HOME) == "wrong"


def test_pauses_double_up_to_their_bound_and_are_forgotten_after_quiet() -> None:
    watched = Watched(attempts=2, pause=30.0)
    assert [watched.attempt(HOME, name) for name in "abc"] == ["wrong", "wrong", "paused"]
    pauses = []
    for name in "defghij":
        pauses.append(watched.pause(HOME, name))
        watched.clock.now += pauses[-1]
        assert watched.attempt(HOME, name) == "wrong"
    # The first two are longer than 2 s and 4 s: until there is room in the minute.
    assert pauses == [60, 4, 56, 16, 44, 30, 30]
    watched.clock.now += watched.pause(HOME) + 60 + 30
    assert [watched.attempt(HOME) for _ in range(3)] == ["wrong", "wrong", "paused"], "all is forgotten"


def test_in_a_pause_one_at_a_time_is_looked_at() -> None:
    watched = Watched(attempts=2)
    for _ in range(2):
        watched.attempt(HOME)
    watched.clock.now += watched.pause(HOME)
    assert watched.guard.reserve(Claim(HOME, "alice"))
    assert not watched.guard.reserve(Claim(HOME, "bob"))
    watched.guard.wrong(Claim(HOME, "alice"))
    with pytest.raises(LoginPaused):
        watched.guard.reserve(Claim(HOME, "bob"))


def test_an_attacker_with_an_account_gains_nothing_by_logging_in_between() -> None:
    watched = Watched(attempts=4)
    found = []
    for _ in range(20):
        found += [watched.attempt(HOME, "eve", right=True), watched.attempt(HOME, "alice")]
    assert found.count("wrong") == 4


def test_each_pause_is_said_once() -> None:
    watched = Watched(attempts=2)
    for _ in range(50):
        watched.attempt(HOME)
    assert [line for line in watched.lines if HOME in line] == [
        f"too many logins from {HOME} failed: it has to pause for 60 s (--login-attempts)"
    ]


# ---- names --------------------------------------------------------------------------------------------------------


def test_who_did_not_fail_for_a_name_gets_in_however_many_others_do() -> None:
    watched = Watched(attempts=4)
    for number in range(500):
        assert watched.attempt(f"address of bot {number}") == "wrong"
    assert watched.attempt(HOME, right=True) == "right"


def test_addresses_that_failed_for_an_attacked_name_pause_for_that_name_alone() -> None:
    watched = Watched(attempts=10)
    addresses = [f"address of bot {number}" for number in range(5)]
    found = Counter(watched.attempt(address) for _ in range(60) for address in addresses)
    assert found["wrong"] <= 10 + len(addresses)
    assert watched.pause(addresses[0], "alice") > 0
    assert watched.pause(addresses[0], "bob") == 0
    # Over an hour they get no further than an address for itself would.
    for _ in range(3600):
        watched.clock.now += 1
        found.update(watched.attempt(address) for address in addresses)
    assert found["wrong"] < 150
    assert len([line for line in watched.lines if "logins as 'alice' failed" in line]) == 1


def test_after_a_mistake_for_an_attacked_name_the_right_password_gets_in_for_good() -> None:
    watched = Watched(attempts=8)
    watched.attempt(HOME)
    for number in range(8):
        watched.attempt(f"address of bot {number}")
    assert watched.attempt(HOME) == "paused"
    watched.clock.now += watched.pause(HOME)
    assert watched.attempt(HOME, right=True) == "right"
    assert watched.pause(HOME) == 0


def test_what_a_client_calls_itself_makes_no_lines_of_the_log() -> None:
    watched = Watched(attempts=1)
    watched.attempt(HOME, "user x\nwarning: all is well")
    assert len(watched.lines) == 2
    assert "\n" not in "".join(watched.lines)


# ---- who was right lately -----------------------------------------------------------------------------------------


def test_who_was_right_lately_is_not_paused_by_others_at_the_same_address() -> None:
    watched = Watched(attempts=8, login_trust=3600)
    assert watched.attempt(HOME, "alice", right=True) == "right"
    for _ in range(20):
        watched.attempt(HOME, "eve")
    assert watched.attempt(HOME, "bob") == "paused"
    assert watched.attempt(HOME, "alice", right=True) == "right"
    assert [watched.attempt(HOME, "alice") for _ in range(3)] == ["wrong", "wrong", "paused"], "a quarter is its own"
    watched.clock.now += 3600
    for _ in range(20):
        watched.attempt(HOME, "eve")
    assert watched.attempt(HOME, "alice") == "paused", "that was too long ago"


def test_a_neighbour_gains_nothing_by_the_logins_of_who_is_attacked() -> None:
    watched, found = Watched(attempts=8), Counter[str]()
    for _ in range(3600):
        found[watched.attempt(HOME, "alice", right=True)] += 1
        found.update(watched.attempt(HOME, "alice") for _ in range(5))
        watched.clock.now += 1
    assert found["wrong"] < 60, "8 in the first minute, then one in each pause"


def test_many_at_once_who_were_right_lately_wait_and_are_not_refused() -> None:
    watched = Watched(attempts=8)
    alice = Claim(HOME, "alice")
    watched.attempt(HOME, right=True)
    for _ in range(20):
        watched.attempt(HOME, "eve")
    assert [watched.guard.reserve(alice) for _ in range(3)] == [True, True, False]
    watched.guard.right(alice)
    assert watched.guard.reserve(alice)


# ---- memory -------------------------------------------------------------------------------------------------------


def test_a_million_addresses_cost_a_bounded_memory_and_free_nobody_who_pauses() -> None:
    watched = Watched(attempts=2, login_records=100)
    for _ in range(2):
        watched.attempt(HOME)
    for number in range(5000):
        watched.attempt(f"address of bot {number}", f"user {number}")
        watched.clock.now += 0.001
    guard = watched.guard
    assert max(len(records) for records in (guard._addresses, guard._names, guard._pairs)) <= 100
    assert not guard._flying
    assert watched.attempt(HOME) == "paused"


def test_what_is_over_is_forgotten_without_being_asked_for() -> None:
    watched = Watched(attempts=2, pause=10.0)
    for number in range(50):
        watched.attempt(f"address of bot {number}", f"user {number}")
        watched.attempt(f"address of bot {number}", f"user {number}")
    watched.clock.now += 200
    watched.attempt(HOME)
    guard = watched.guard
    assert [len(records) for records in (guard._addresses, guard._names, guard._pairs)] == [1, 1, 1]


def test_at_random_no_address_ever_has_more_than_the_limit_in_a_minute() -> None:
    chance, watched, failed = random.Random(1), Watched(attempts=5, pause=20.0), dict[str, list[float]]()
    flying: list[Claim] = []
    for _ in range(20_000):
        watched.clock.now += chance.expovariate(2)
        claim = Claim(chance.choice([HOME, WORK, CAFE]), chance.choice(["alice", "bob", ""]))
        try:
            if watched.guard.reserve(claim):
                flying.append(claim)
        except LoginPaused:
            pass
        while flying and chance.random() < 0.6:
            claim = flying.pop(chance.randrange(len(flying)))
            watched.guard.wrong(claim)
            times = failed.setdefault(claim.owner, [])
            times.append(watched.clock.now)
        for owner, times in failed.items():
            lately = sum(when > watched.clock.now - 60 for when in times)
            assert lately + sum(claim.owner == owner for claim in flying) <= 5
