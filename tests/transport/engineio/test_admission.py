"""Who gets a session, and for how long without a login: by a clock of the test's own, and over real connections."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import requests
from tests.conformance.peer import fetch, framed
from tests.later import Later, replace_in_hub
from tests.transport.sio import PATH, Sio

from imageserver.errors import EngineRefusal
from imageserver.limits import Limits
from imageserver.transport.engineio import admission
from imageserver.transport.engineio.admission import Admission
from imageserver.transport.http.clients import ClientAddresses

Serve = Callable[..., Any]


class Case:
    """An admission with two connections an address, and sessions that note why they were closed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.later = Later()
        replace_in_hub(monkeypatch, admission, call_later=self.later)
        self.log: list[str] = []
        self.closed: list[str] = []
        self.clients = ClientAddresses((), 2, self.log.append)
        self.admission = Admission(Limits(max_connections=3, login_time=30.0), self.clients, self.log.append)

    def begin(self, sid: str, *, on_polling: bool = False, anonymous: bool = True) -> Any:
        session = SimpleNamespace(sid=sid, anonymous=anonymous, address="192.0.2.1", who=f"client {sid} of 192.0.2.1")
        session.account = SimpleNamespace(owner="address 192.0.2.1")
        session.close = lambda _reason: self.closed.append(sid) or self.admission.leave(session)
        if on_polling:
            self.admission.enter(session.address)
        self.admission.begin(session, on_polling=on_polling)
        return session


@pytest.fixture
def case(monkeypatch: pytest.MonkeyPatch) -> Case:
    return Case(monkeypatch)


def test_an_anonymous_session_ends_in_time_and_is_told_once(case: Case) -> None:
    case.begin("a")
    case.begin("b", anonymous=False)
    case.later.move(29)
    assert case.closed == []
    case.later.move(2)
    assert case.closed == ["a"]
    assert case.log == ["client a of 192.0.2.1 has not logged in within 30 seconds; it is disconnected (--login-time)"]


def test_whoever_logs_in_or_leaves_is_not_timed_any_more(case: Case) -> None:
    case.admission.logged_in(case.begin("a"))
    case.admission.leave(case.begin("b"))
    case.later.move(100)
    assert (case.closed, case.later.timers) == ([], [])


@pytest.mark.parametrize("right", [True, False])
def test_the_time_runs_out_only_after_a_login_that_is_being_checked(case: Case, right: bool) -> None:
    session = case.begin("a")
    with case.admission.checking(session):
        case.later.move(100)
        assert case.closed == []
        if right:
            case.admission.logged_in(session)
    assert case.closed == ([] if right else ["a"])
    with case.admission.checking(session):
        case.later.move(100)
    assert len(case.closed) <= 1


def test_sessions_on_polling_count_until_they_move_or_end(case: Case) -> None:
    first, second = case.begin("a", on_polling=True), case.begin("b", on_polling=True)
    with pytest.raises(EngineRefusal) as refused:
        case.admission.enter("192.0.2.1")
    assert refused.value.status.startswith("429")
    case.admission.upgraded(first)
    case.admission.leave(first)
    third = case.begin("c", on_polling=True)
    for session in (second, third):
        case.admission.leave(session)
    assert case.clients.enter("192.0.2.1")
    with pytest.raises(EngineRefusal) as refused:
        case.admission.check("192.0.2.1", 3)
    assert refused.value.status.startswith("503")
    assert "of 192.0.2.1, was refused (--max-connections)" in case.log[-1]


def test_sessions_and_connections_of_an_address_are_one_count(serve: Serve) -> None:
    served = serve(http={"max_per_address": 5}, one_count=True)
    url = served.url(PATH, EIO=4, transport="polling")
    with requests.Session() as connection:
        answers = [connection.get(url, timeout=20) for _ in range(5)]
        assert [answer.status_code for answer in answers] == [200] * 4 + [429], "the connection counts as well"
        for answer in answers[:4]:
            sid = answer.text.partition('"sid":"')[2].partition('"')[0]
            connection.post(f"{url}&sid={sid}", framed(4, "1"), timeout=20)
        sockets = [Sio(served) for _ in range(4)]
        assert connection.get(url, timeout=20).status_code == 429
        for one in sockets:
            one.ws.shutdown()


def test_behind_a_trusted_proxy_each_client_has_its_own_count(serve: Serve) -> None:
    served = serve(http={"max_per_address": 3}, one_count=True, proxies=["127.0.0.1"])
    url = served.url(PATH, EIO=4, transport="polling")

    def ask(address: str) -> int:
        return requests.get(url, headers={"X-Forwarded-For": address}, timeout=20).status_code

    assert [ask("192.0.2.7") for _ in range(5)] == [200] * 2 + [429] * 3, "the request that asks counts as well"
    assert ask("192.0.2.8") == 200
    assert fetch(served.url("/state")).status_code == 200
