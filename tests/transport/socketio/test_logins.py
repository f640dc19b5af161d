"""Clients that have not logged in where they have to: how long they may stay, and what they may send meanwhile."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from tests.conformance.peer import framed
from tests.transport.sio import PATH, Sio

Serve = Callable[..., Any]

GUARDED: dict[str, Any] = {"login_required": True, "socketio": {"login_time": 0.3, "max_text_bytes": 200_000}}
LATER: dict[str, Any] = {"login_required": True, "socketio": {"login_time": 1, "max_text_bytes": 200_000}}
PATIENT: dict[str, Any] = {"login_required": True, "socketio": {"max_text_bytes": 200_000}}
OPEN: dict[str, Any] = {"socketio": {"login_time": 0.05, "max_text_bytes": 200_000}}


def poll(served: Any, version: int) -> dict[str, Any]:
    """The query of a new session on polling."""
    text = served.request("GET", PATH, EIO=version, transport="polling").text
    return {"EIO": version, "transport": "polling", "sid": text.partition('"sid":"')[2].partition('"')[0]}


@pytest.mark.parametrize("namespaces", [[], ["0"], ["0", "1"]])
@pytest.mark.parametrize("version", [3, 4])
def test_who_does_not_log_in_is_disconnected(serve: Serve, version: int, namespaces: list[str]) -> None:
    served = serve(**GUARDED)
    before = served.state()
    one = Sio(served, version)
    for name in namespaces:
        one.ws.send(f"40/{name}")
        assert one.recv().startswith(f"40/{name},")
    one.closed()
    after = served.wait(lambda state: not any(state["leftovers"]))
    assert after["limits"]["login-time"] == before["limits"].get("login-time", 0) + 1
    lines = [line for line in after["log"] if one.opened["sid"] in line and "logged in" in line]
    assert lines == [
        f"client {one.opened['sid']} of 127.0.0.1 has not logged in within 0.3 seconds; "
        "it is disconnected (--login-time)"
    ]


@pytest.mark.parametrize("version", [3, 4])
def test_who_does_not_log_in_on_polling_is_told_the_end(serve: Serve, version: int) -> None:
    served = serve(**GUARDED)
    query = poll(served, version)
    if version == 4:
        served.request("POST", PATH, "40", **query)
        served.request("GET", PATH, **query)
    assert served.request("GET", PATH, **query).text == framed(version, "1")
    assert served.request("GET", PATH, **query).status_code == 400


@pytest.mark.parametrize("version", [3, 4])
def test_who_logs_in_stays(serve: Serve, version: int) -> None:
    served = serve(**LATER)
    early, late = Sio(served, version), Sio(served, version)
    assert early.ask("login", True, 0) == ["done"]
    assert late.ask("login", True, 1.5) == ["done"], "the time was over while the login was being checked"
    assert early.ask("echo", 1) == [1]
    assert late.ask("echo", 1) == [1]
    for one in (early, late):
        one.ws.shutdown()


def test_a_login_that_is_being_checked_is_waited_for_and_no_longer(serve: Serve) -> None:
    served = serve(**GUARDED)
    one = Sio(served)
    for number in range(3):
        one.emit("login", False, 0.6, number=number)
    one.closed()
    served.wait(lambda state: not any(state["leftovers"]))


def test_where_nobody_has_to_log_in_nobody_is_disconnected(serve: Serve) -> None:
    served = serve(**OPEN)
    one = Sio(served)
    one.emit("block", 0.2, number=1)
    assert [one.recv(), one.recv()] == ['42["blocking"]', '431["done"]']
    assert "login-time" not in served.state()["limits"]
    one.ws.shutdown()


def test_who_is_not_logged_in_may_send_little_text_and_large_binary(serve: Serve) -> None:
    served = serve(**PATIENT)
    one = Sio(served)
    assert one.ask("echo", "x" * 60_000) == ["x" * 60_000]
    assert len(one.ask("echo", data=bytes(5_000_000))) == 5_000_000
    assert one.ask("login", True, 0) == ["done"]
    assert one.ask("echo", "x" * 100_000) == ["x" * 100_000]
    one.ws.shutdown()
    one = Sio(served)
    one.emit("echo", "x" * 66_000)
    one.closed()
    served.hit("max-text-bytes")


@pytest.mark.parametrize("version", [3, 4])
def test_the_same_on_polling(serve: Serve, version: int) -> None:
    served = serve(**PATIENT)
    text = "42" + json.dumps(["quiet", "x" * 66_000])
    query = poll(served, version)
    assert served.request("POST", PATH, framed(version, text), **query).status_code == 413
    assert served.request("GET", PATH, **query).status_code == 400
    query = poll(served, version)
    opening = ["40"] if version == 4 else []
    login = framed(version, *opening, '42["login",true,0]')
    assert served.request("POST", PATH, login, **query).text == "ok"
    assert served.request("POST", PATH, framed(version, text), **query).text == "ok"
    served.request("POST", PATH, framed(version, "1"), **query)
