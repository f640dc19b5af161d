"""The login guard of several front ends: whoever spreads attempts over them gets no more, whatever comes at once."""

from __future__ import annotations

import threading
from collections import Counter
from typing import Any

import pytest

from imageserver.limits import Limits


@pytest.fixture
def guards(place: Any) -> Any:
    """Of three front ends, with limits of the test's."""
    from imageserver.accounts.postgresql.guard import SharedGuard

    def made(**limits: Any) -> list[Any]:
        return [SharedGuard(place, Limits(**limits)) for _ in range(3)]

    return made


def fail(guard: Any, owner: str, name: str) -> bool:
    """A wrong attempt; whether it was let in to be checked."""
    if guard.reserve(owner, name):
        return False
    guard.settle(owner, name, "wrong")
    return True


def test_failures_at_one_count_at_all(guards: Any) -> None:
    three = guards(login_attempts=6)
    assert sum(fail(three[number % 3], "192.0.2.1", f"user {number}") for number in range(30)) == 6
    assert all(guard.reserve("192.0.2.1", "user x") > 1 for guard in three)
    assert not any(guard.reserve("192.0.2.2", "user x") for guard in three), "nobody else pays"


def test_so_do_those_for_one_name_from_many_addresses(guards: Any) -> None:
    three = guards(login_attempts=4)
    taken = [fail(three[number % 3], f"192.0.2.{number}", "user alice") for number in range(4)]
    assert all(taken)
    assert fail(three[0], "192.0.2.9", "user alice"), "an address that has not failed for that name may try"
    assert three[1].reserve("192.0.2.9", "user alice") > 0
    assert three[1].reserve("192.0.2.9", "user bob") == 0.0


def test_what_comes_at_the_same_moment_is_no_more(guards: Any) -> None:
    three, taken = guards(login_attempts=5), Counter[bool]()
    start = threading.Barrier(6)

    def attack(guard: Any) -> None:
        start.wait()
        for _ in range(5):
            taken[not guard.reserve("192.0.2.1", "user alice")] += 1  # and it is not known yet what came out

    threads = [threading.Thread(target=attack, args=(guard,)) for guard in three * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert taken[True] == 5


def test_what_was_right_counts_for_nothing_and_is_trusted_everywhere(guards: Any) -> None:
    first, second, third = guards(login_attempts=4)
    for _ in range(8):
        assert first.reserve("192.0.2.1", "user alice") == 0.0
        first.settle("192.0.2.1", "user alice", "right")
    while fail(second, "192.0.2.1", "user bob"):
        pass
    assert second.reserve("192.0.2.1", "user carol") > 0
    assert third.reserve("192.0.2.1", "user alice") == 0.0, "a neighbour's guesses keep nobody out"


def test_what_is_settled_counts_no_more(guards: Any, place: Any) -> None:
    first, second, _third = guards(login_attempts=1)
    for outcome in ("right", "released") * 2:
        assert first.reserve("192.0.2.1", "user alice") == 0.0
        assert second.reserve("192.0.2.1", "user bob") > 0, "one at a time"
        first.settle("192.0.2.1", "user alice", outcome)
        assert second.reserve("192.0.2.1", "user bob") == 0.0
        second.settle("192.0.2.1", "user bob", "released")
    with place.connection() as connection:
        assert connection.execute("SELECT count(*) FROM failures").fetchone()[0] == 1, "that alice was right"


def test_what_nobody_settles_is_free_again_after_a_while(guards: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A front end was killed while it checked."""
    from imageserver.accounts.postgresql import guard

    monkeypatch.setattr(guard, "LEASE", 0.0)
    first, second, _third = guards(login_attempts=2)
    for _ in range(5):
        assert first.reserve("192.0.2.1", "user alice") == 0.0
    monkeypatch.setattr(guard, "LEASE", 30.0)
    assert [second.reserve("192.0.2.1", "user alice") for _ in range(3)] == [0.0, 0.0, 1.0]
    second.settle("192.0.2.1", "user alice", "released")
    assert second.reserve("192.0.2.1", "user alice") == 0.0


def test_who_is_trusted_reserves_nothing_and_still_fails(guards: Any) -> None:
    first, second, _third = guards(login_attempts=4)
    for _ in range(4):
        first.settle("192.0.2.1", "user alice", "wrong")
    assert second.reserve("192.0.2.1", "user bob") > 0


def test_without_a_limit_nothing_is_asked(guards: Any) -> None:
    assert all(fail(guard, "192.0.2.1", "user alice") for guard in guards(login_attempts=0) * 50)


def test_what_is_kept_is_bounded(guards: Any, place: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from imageserver.accounts.postgresql import guard

    monkeypatch.setattr(guard, "_SWEEP", 1.0)
    first = guards(login_attempts=2, login_records=16)[0]
    while fail(first, "192.0.2.1", "user alice"):
        pass
    for number in range(40):
        fail(first, f"198.51.100.{number}", f"user {number}")
    with place.connection() as connection:
        assert connection.execute("SELECT count(*) FROM failures").fetchone()[0] <= 48
    assert first.reserve("192.0.2.1", "user alice") > 0, "who has to pause is forgotten last"
