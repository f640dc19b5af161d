"""Logins: who is accepted when, how many are checked at the same time, and how often an address may be wrong."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.passwords import CHEAP

from imageserver import metrics
from imageserver.accounts import credentials
from imageserver.accounts.credentials import Credentials
from imageserver.accounts.database import User, UserDB
from imageserver.accounts.doors import Login
from imageserver.accounts.login import LOOKED_UP_AT_ONCE, Logins
from imageserver.errors import LimitExceeded, LoginPaused, UsersUnavailable
from imageserver.limits import Limits
from imageserver.transport import hub

HOME, WORK = "192.0.2.1", "198.51.100.2"
ALICE = credentials.password("alice", "secret")


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def logins(
    required: bool = True,
    clock: Callable[[], float] = time.monotonic,
    log: Callable[[str], None] = lambda _line: None,
    **limits: int,
) -> Logins:
    users = UserDB(None, CHEAP)
    users.add("alice", "secret", model="lenet")
    return Logins(users, Limits(**limits), required=required, log=log, clock=clock)


def wrong(number: int = 0, name: str = "alice") -> Credentials:
    return credentials.password(name, f"guess {number}")


def hits(name: str) -> Any:
    return metrics.LIMITS_HIT.child(name).value


class Crowd:
    """Attempts at the same time, and what became of them."""

    def __init__(self, checks: Logins, *attempts: tuple[Credentials, str]) -> None:
        self.found: list[str] = []
        self._tasks = [hub.spawn(self._try, checks, *attempt) for attempt in attempts]

    def _try(self, checks: Logins, shown: Credentials, address: str) -> None:
        try:
            self.found.append("accepted" if checks.check(shown, address) else "refused")
        except LoginPaused:
            self.found.append("paused")
        except LimitExceeded:
            self.found.append("too many")

    def wait(self) -> list[str]:
        for task in self._tasks:
            task.wait()
        return self.found


class Counted:
    """Counts what is hashed, and lets it go on only once it may."""

    def __init__(self, checks: Logins, monkeypatch: pytest.MonkeyPatch) -> None:
        self.names: list[str] = []
        self.may_go_on = threading.Event()
        self._check = checks.users.check
        monkeypatch.setattr(checks.users, "check", self)

    def __call__(self, name: str, password: str) -> User | None:
        self.names.append(name)
        assert self.may_go_on.wait(60)
        return self._check(name, password)


# ---- who is accepted ----------------------------------------------------------------------------------------------


def test_the_password_counts_or_a_token_in_its_place_or_a_page() -> None:
    checks = logins()
    assert checks.check(ALICE, HOME) == User("alice", frozenset({"camera"}), "lenet")
    assert checks.check(wrong(), HOME) is None
    assert checks.check(credentials.password("bob", "secret"), HOME) is None
    checks.users.add("bob", "secret")
    token = checks.users.add_token("alice")[1]
    for shown in (credentials.token(token), credentials.password("alice", token)):
        found = checks.check(shown, HOME)
        assert found is not None
        assert (found.name, found.credential.partition(" ")[0]) == ("alice", "token")
    alice = checks.check(ALICE, HOME)
    assert alice is not None
    cookie = checks.users.open_page(alice, HOME)
    assert checks.check(credentials.page(cookie), HOME) == alice
    assert checks.check(credentials.password("bob", token), HOME) is None
    assert checks.check(credentials.token("ist_x_y"), HOME) is None
    assert checks.check(credentials.page("x"), HOME) is None


def test_at_an_open_door_who_cannot_be_told_is_nobody() -> None:
    checks = logins(required=False, login_attempts=1)
    assert checks.identify(ALICE, WORK)
    assert checks.identify(wrong(), HOME) is None
    assert checks.identify(ALICE, HOME) is None  # a pause
    assert Logins(UserDB(None, CHEAP), Limits(), required=False, log=print).identify(ALICE, HOME) is None


@pytest.mark.parametrize("required", [True, False])
@pytest.mark.parametrize("shown", [wrong(), wrong(name="bob"), wrong(name="b" * 200), credentials.password("", "x")])
def test_each_wrong_pair_costs_a_hash(required: bool, shown: Credentials, monkeypatch: pytest.MonkeyPatch) -> None:
    checks = logins(required)
    counted = Counted(checks, monkeypatch)
    counted.may_go_on.set()
    assert (checks.check if required else checks.identify)(shown, HOME) is None
    assert len(counted.names) == 1


def test_what_was_right_a_moment_ago_is_not_hashed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    checks = logins()
    counted = Counted(checks, monkeypatch)
    counted.may_go_on.set()
    assert all(checks.check(ALICE, HOME) for _ in range(3))
    assert len(counted.names) == 1


# ---- which doors ask ----------------------------------------------------------------------------------------------


def test_which_doors_ask(tmp_path: Path) -> None:
    users = UserDB(tmp_path / "users.db", CHEAP)
    checks = Logins(users, Limits(), required=False, log=print)

    def asked() -> list[str]:
        return [login.name for login in Login if checks.asked(login)]

    assert asked() == ["ALWAYS"]
    users.add("alice", "secret")
    closed = ["USERS", "PROGRAMS", "ALWAYS"]
    assert asked() == closed
    users.remove("alice")
    assert asked() == closed
    (tmp_path / "users.db").unlink()
    assert asked() == closed
    assert Logins(users, Limits(), required=True, log=print).asked(Login.AUTH)


def test_users_that_cannot_be_read_count_against_nobody(tmp_path: Path) -> None:
    path, lines = tmp_path / "users.db", list[str]()
    path.write_bytes(b"")
    checks = Logins(UserDB(path, CHEAP), Limits(login_attempts=1), required=True, log=lines.append)
    for _ in range(3):
        with pytest.raises(UsersUnavailable, match="the server's log says why") as raised:
            checks.check(ALICE, HOME)
        assert str(tmp_path) not in str(raised.value)
    assert len(lines) == 1
    assert str(path) in lines[0]
    UserDB(tmp_path / "backup.db", CHEAP).add("alice", "secret")
    (tmp_path / "backup.db").rename(path)
    assert checks.check(ALICE, HOME)


def test_users_that_cannot_be_read_are_one_line_and_one_when_they_can(tmp_path: Path) -> None:
    path, clock, lines = tmp_path / "users.db", Clock(), list[str]()
    users = UserDB(path, CHEAP)
    users.add("alice", "secret")
    before = path.read_bytes()
    checks = Logins(users, Limits(login_attempts=1), required=True, log=lines.append, clock=clock)
    for _again in range(2):
        path.write_bytes(b"")
        for _minute in range(5):
            with pytest.raises(UsersUnavailable):
                checks.check(ALICE, HOME)
            clock.now += 100
        path.write_bytes(before)
        for _login in range(3):
            assert checks.check(ALICE, HOME)
    assert [line.partition(":")[0] for line in lines] == ["nobody can log in", "users can log in again"] * 2


def test_users_that_another_program_holds_take_few_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of pages, too, which send their cookie with every request."""
    checks, inside, most, free = logins(), [], [], threading.Event()

    def held(_secret: str) -> None:
        inside.append(1)
        most.append(len(inside))
        free.wait(10)
        inside.pop()

    monkeypatch.setattr(checks.users, "check_page", held)
    page = credentials.page("x")
    tasks = [hub.spawn(checks.check, page, HOME) for _ in range(30)]
    while len(most) < LOOKED_UP_AT_ONCE:
        hub.sleep(0.01)
    began = time.monotonic()
    hub.in_thread(lambda: None)  # somebody else's, such as a picture for the disk
    assert time.monotonic() - began < 5
    free.set()
    for task in tasks:
        task.wait()
    assert max(most) == LOOKED_UP_AT_ONCE and len(most) == 30


# ---- the guard ----------------------------------------------------------------------------------------------------


def test_an_address_that_was_wrong_too_often_pauses_and_says_so_once() -> None:
    clock, before, lines = Clock(), hits("login-attempts"), list[str]()
    checks = logins(clock=clock, log=lines.append, login_attempts=2)
    for number in range(2):
        assert checks.check(wrong(number), HOME) is None
        clock.now += 10
    for _ in range(5):
        with pytest.raises(LoginPaused, match="try again in 40 seconds") as raised:
            checks.check(ALICE, HOME)
    assert raised.value.seconds == 40
    assert hits("login-attempts") == before + 5
    pauses = [line for line in lines if "has to pause" in line]
    assert pauses == ["too many logins from address 192.0.2.1 failed: it has to pause for 50 s (--login-attempts)"]
    assert checks.check(ALICE, WORK), "another address is none the wiser"
    clock.now += 40
    assert checks.check(ALICE, HOME)


def test_of_guesses_at_once_no_more_than_the_limit_is_hashed(monkeypatch: pytest.MonkeyPatch) -> None:
    checks = logins(login_attempts=10, login_queue=2000)
    counted = Counted(checks, monkeypatch)
    crowd = Crowd(checks, *((wrong(number), HOME) for number in range(300)))
    counted.may_go_on.set()
    found = crowd.wait()
    assert len(counted.names) == found.count("refused") == 10
    assert found.count("paused") == 290


def test_a_right_login_waits_for_one_of_another_address_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    checks = logins(login_attempts=100, login_queue=2000, login_threads=1)
    counted = Counted(checks, monkeypatch)
    guesses = Crowd(checks, *((wrong(number, "eve"), HOME) for number in range(50)))
    while not counted.names:
        hub.sleep(0.001)
    alice = Crowd(checks, (ALICE, WORK))
    hub.sleep(0.01)
    counted.may_go_on.set()
    assert alice.wait() == ["accepted"]
    guesses.wait()
    assert counted.names.index("alice") <= 2


def test_a_crowd_behind_one_address_gets_in_though_it_is_larger_than_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    checks = logins(login_attempts=3, login_queue=2000, login_threads=2)
    counted = Counted(checks, monkeypatch)
    crowd = Crowd(checks, *((ALICE, HOME) for _ in range(300)))
    counted.may_go_on.set()
    assert set(crowd.wait()) == {"accepted"}
    assert len(counted.names) <= 2, "the others have waited for what the first ones found out"


def test_nor_does_a_crowd_hash_each_once_what_was_right_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    checks = logins(clock=clock, login_queue=2000, login_threads=2)
    assert checks.check(ALICE, HOME)
    clock.now += 61
    counted = Counted(checks, monkeypatch)
    crowd = Crowd(checks, *((ALICE, HOME) for _ in range(300)))
    counted.may_go_on.set()
    assert set(crowd.wait()) == {"accepted"}
    assert 1 <= len(counted.names) <= 2


def test_a_wrong_password_amid_such_a_crowd_is_hashed_and_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    checks = logins(login_threads=1)
    counted = Counted(checks, monkeypatch)
    crowd = Crowd(checks, (ALICE, HOME), (wrong(name="alice"), HOME), (ALICE, HOME))
    counted.may_go_on.set()
    assert sorted(crowd.wait()) == ["accepted", "accepted", "refused"]
    assert len(counted.names) == 2


def test_tokens_and_keys_are_guarded_alike() -> None:
    checks, lines = logins(login_attempts=3), list[str]()
    checks._log = lines.append
    assert checks.check(credentials.token("ist_aaaa_bbbb"), HOME) is None
    assert checks.check(credentials.password("alice", "ist_aaaa_bbbb"), HOME) is None
    with checks.attempt(HOME, "session key") as attempt:
        attempt.failed(f"session key: {HOME} is refused: the key is wrong")
    with pytest.raises(LoginPaused), checks.attempt(HOME, "session key"):
        raise AssertionError("it must not come to that")
    assert "session key: 192.0.2.1 is refused: the key is wrong" in lines
    with checks.attempt(WORK, "session key"):
        pass


def test_no_line_of_the_log_holds_what_is_secret() -> None:
    lines = list[str]()
    checks = logins(log=lines.append, login_attempts=1)
    token = checks.users.add_token("alice")[1]
    for address, shown in enumerate(
        [
            credentials.password(token, ""),
            credentials.password(token, token),
            credentials.password("bob", token),
            credentials.password("alice", "a secret"),
            credentials.token(f"{token}x"),
        ]
    ):
        assert checks.check(shown, f"192.0.2.{address}") is None
    assert len([line for line in lines if "refused" in line]) == 5
    assert not [line for line in lines if token.rpartition("_")[2] in line or "a secret" in line]


def test_an_error_counts_neither_as_right_nor_as_wrong() -> None:
    checks = logins(login_attempts=1)
    for _ in range(3):
        with pytest.raises(ZeroDivisionError), checks.attempt(HOME, "a key"):
            raise ZeroDivisionError
    assert not checks._guard._flying
    assert not checks._guard._right


def test_without_a_limit_no_refusal_is_kept() -> None:
    checks = logins(login_attempts=0)
    for number in range(100):
        assert checks.check(wrong(number), HOME) is None
    guard = checks._guard
    assert not [*guard._flying, *guard._addresses._calm, *guard._names._calm, *guard._pairs._calm]


def test_only_so_many_may_wait_and_of_one_address_a_quarter(monkeypatch: pytest.MonkeyPatch) -> None:
    before = hits("login-queue")
    checks = logins(login_threads=1, login_queue=8)
    counted = Counted(checks, monkeypatch)
    crowd = Crowd(checks, *((ALICE, HOME) for _ in range(5)))
    while len(crowd.found) < 2:
        hub.sleep(0.001)
    assert crowd.found == ["too many"] * 2, "one is hashed and two wait"
    others = Crowd(checks, *((ALICE, f"203.0.113.{number}") for number in range(8)))
    hub.sleep(0.01)
    counted.may_go_on.set()
    assert sorted(crowd.wait()) == ["accepted"] * 2 + ["too many"] * 3, "who has most waiting gives way"
    assert sorted(others.wait()) == ["accepted"] * 7 + ["too many"]
    assert hits("login-queue") == before + 4
