"""Logins: who is accepted when, how many are checked at the same time, and how often an address may be wrong."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import argon2
import pytest

from imageserver import metrics
from imageserver.accounts.database import ROLES, User, UserDB
from imageserver.accounts.login import Logins
from imageserver.errors import LimitExceeded
from imageserver.limits import Limits
from imageserver.transport import hub

CHEAP = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
HOME, WORK = "192.0.2.1", "192.0.2.2"


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def logins(required: bool = True, clock: Callable[[], float] = time.monotonic, **limits: int) -> Logins:
    users = UserDB(None, CHEAP)
    users.add("alice", "secret", model="lenet")
    return Logins(users, Limits(**limits), required=required, log=lambda _line: None, clock=clock)


def hits(name: str) -> Any:
    return metrics.LIMITS_HIT.child(name).value


def test_with_auth_the_password_counts() -> None:
    checks = logins()
    alice = checks.check("alice", "secret", HOME)
    assert alice == User("alice", frozenset({"camera"}), "lenet")
    assert checks.check("alice", "wrong", HOME) is None
    assert checks.check("bob", "secret", HOME) is None


def test_without_it_every_name_passes_with_the_defaults_of_a_known_user() -> None:
    checks = logins(required=False)
    assert checks.check("bob", "whatever", HOME) == User("bob", frozenset(ROLES))
    alice = checks.check("alice", "wrong", HOME)
    assert alice is not None
    assert alice.model == "lenet"
    assert checks.check("alice", "wrong", HOME, always=True) is None


@pytest.mark.parametrize("required", [True, False])
def test_a_connection_is_verified_by_a_right_password_alone(required: bool) -> None:
    checks = logins(required)
    checks.login("one", "alice", "wrong", HOME)
    checks.login("two", "bob", "secret", HOME)
    checks.login("three", "alice", "secret", HOME)
    verified = [checks.verified(connection) for connection in ("one", "two", "three")]
    assert [user and user.name for user in verified] == [None, None, "alice"]
    checks.forget("three")
    assert checks.verified("three") is None


def test_an_address_that_was_wrong_too_often_has_to_wait_a_minute() -> None:
    clock, before = Clock(), hits("login-attempts")
    checks = logins(clock=clock, login_attempts=2)
    for _ in range(2):
        assert checks.check("alice", "wrong", HOME) is None
        clock.now += 10
    with pytest.raises(LimitExceeded, match="2 logins from 192.0.2.1 were refused within a minute"):
        checks.check("alice", "secret", HOME)
    assert hits("login-attempts") == before + 1
    assert checks.check("alice", "secret", WORK)
    clock.now += 50
    assert checks.check("alice", "wrong", HOME) is None


def test_refusals_of_a_minute_ago_are_forgotten_and_a_network_is_one_address() -> None:
    clock = Clock()
    checks = logins(clock=clock, login_attempts=2)
    for number in range(50):
        assert checks.check("alice", "wrong", f"192.0.2.{number}") is None
        clock.now += 10
    assert len(checks._refusals) <= 7
    for number in range(2):
        assert checks.check("alice", "wrong", f"2001:db8::{number}") is None
    with pytest.raises(LimitExceeded):
        checks.check("alice", "wrong", "2001:db8::ffff")
    assert checks.check("alice", "wrong", "2001:db8:1::1") is None


def test_what_was_right_a_moment_ago_never_waits() -> None:
    checks = logins(login_attempts=1)
    assert checks.check("alice", "secret", HOME)
    assert checks.check("alice", "wrong", HOME) is None
    assert checks.check("alice", "secret", HOME)


def test_without_a_limit_no_refusal_is_kept() -> None:
    checks = logins(login_attempts=0)
    for _ in range(100):
        assert checks.check("alice", "wrong", HOME) is None
    assert not any("192.0.2.1" in repr(value) for value in vars(checks).values())


def test_only_so_many_may_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    before, may_go_on = hits("login-queue"), threading.Event()
    checks = logins(login_threads=1, login_queue=3)
    check = checks.users.check
    monkeypatch.setattr(checks.users, "check", lambda name, password: may_go_on.wait(60) and check(name, password))
    found: list[str] = []

    def log_in() -> None:
        try:
            found.append("accepted" if checks.check("alice", "secret", HOME) else "refused")
        except LimitExceeded:
            found.append("too many")

    tasks = [hub.spawn(log_in) for _ in range(5)]
    while len(found) < 2:
        hub.sleep(0.005)
    assert found == ["too many"] * 2
    may_go_on.set()
    for task in tasks:
        task.wait()
    assert sorted(found) == ["accepted"] * 3 + ["too many"] * 2
    assert hits("login-queue") == before + 2


def test_requests_that_always_carry_credentials_are_checked_once_there_is_a_user() -> None:
    users = UserDB(None, CHEAP)
    checks = Logins(users, Limits(), required=False, log=print)
    assert not checks.checked()
    users.add("alice", "secret")
    assert checks.checked()
