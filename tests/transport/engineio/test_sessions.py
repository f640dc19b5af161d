"""A session's moves between its transports, and its polls."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import requests
import websocket
from tests.conformance.peer import Polling, fetch, framed
from tests.transport.sio import PATH

from imageserver.limits import Limits
from imageserver.transport import fairness
from imageserver.transport.engineio import polling, v4

Serve = Callable[..., Any]


class Polls(Polling):
    """A session over polling at the path of Socket.IO, in the namespace `/`."""

    def __init__(self, served: Any, version: int) -> None:
        query = {"EIO": version, "transport": "polling"}
        text = fetch(served.url(PATH, **query)).text
        self.version, self.peer = version, served
        self.query = {**query, "sid": text[text.index('"sid":"') + 7 :].partition('"')[0]}
        self.url = served.url(PATH, **self.query)
        if version == 4:
            assert fetch(self.url, b"40").text == "ok"
            assert fetch(self.url).text.startswith("40{")


@pytest.mark.parametrize("version", [3, 4])
def test_what_a_post_brought_is_handled_before_what_comes_over_the_new_transport(serve: Serve, version: int) -> None:
    served = serve()
    begun = len(served.state()["log"])
    session = Polls(served, version)
    body = framed(version, '42["step","first",0.4]', '42["step","second",0]')
    posting = threading.Thread(target=fetch, args=(session.url, body.encode()))
    posting.start()
    served.wait(lambda state: "first begins" in state["log"][begun:])
    ws = served.websocket(PATH, EIO=version, transport="websocket", sid=session.query["sid"])
    ws.send("2probe")
    assert ws.recv() == "3probe"
    ws.send("5")
    ws.send('42["step","third",0]')
    state = served.wait(lambda state: any(line.startswith("third ends") for line in state["log"][begun:]))
    posting.join()
    steps = [line for line in state["log"][begun:] if " begins" in line or " ends" in line]
    assert steps == [f"{name} {what}" for name in ("first", "second", "third") for what in ("begins", "ends beside 0")]
    ws.shutdown()


def test_old_clients_polls_are_answered_before_they_give_up(serve: Serve) -> None:
    assert polling.OLD_POLL_SECONDS < 10  # the read timeout of Java's client 1.0.0
    served = serve(old_poll_seconds=0.2)
    session = Polls(served, 3)
    for _ in range(3):
        began = time.monotonic()
        assert requests.get(session.url, timeout=5).text == "1:6"
        assert time.monotonic() - began >= 0.19
    assert fetch(session.url, framed(3, '42["quiet",1]').encode()).text == "ok"  # the session lives on


def test_polls_of_generation_4_wait_for_something_to_fetch(serve: Serve) -> None:
    session = Polls(serve(old_poll_seconds=0.2), 4)
    with pytest.raises(requests.ReadTimeout):
        requests.get(session.url, timeout=1)


@pytest.mark.parametrize(("limit", "status"), [("max_connections", 503), ("max_per_address", 429)])
@pytest.mark.parametrize("version", [3, 4])
def test_sessions_count_as_connections(serve: Serve, version: int, limit: str, status: int) -> None:
    """Any number of them can be opened over one connection."""
    served = serve(socketio={limit: 3})
    url = served.url(PATH, EIO=version, transport="polling")

    def end(answer: requests.Response) -> str:
        sid = answer.text.partition('"sid":"')[2].partition('"')[0]
        return f"{url}&sid={sid}"

    with requests.Session() as connection:
        answers = [connection.get(url, timeout=20) for _ in range(5)]
        assert [answer.status_code for answer in answers] == [200] * 3 + [status] * 2
        answers = [connection.post(end(answer), framed(version, "1"), timeout=20) for answer in answers[:3]]
        assert [answer.status_code for answer in answers] == [200] * 3
        again = connection.get(url, timeout=20)
        assert again.status_code == 200
        connection.post(end(again), framed(version, "1"), timeout=20)


@pytest.mark.parametrize("version", [3, 4])
def test_no_headers_are_kept(serve: Serve, version: int) -> None:
    """Thousands of sessions would keep 32 KiB each: those on a WebSocket, on polling, and polls that wait."""
    served = serve()
    headers = {"X-Kept": "x" * 1000}
    url = served.url(PATH, EIO=version, transport="polling")
    sid = requests.get(url, headers=headers, timeout=20).text.partition('"sid":"')[2].partition('"')[0]
    if version == 4:
        fetch(f"{url}&sid={sid}", b"40")
        fetch(f"{url}&sid={sid}")
    polling_thread = threading.Thread(target=lambda: requests.get(f"{url}&sid={sid}", headers=headers, timeout=20))
    polling_thread.start()
    address = served.url(PATH, EIO=version, transport="websocket").replace("http", "ws")
    ws = websocket.create_connection(address, header=headers, timeout=20)
    assert ws.recv().startswith("0{")
    plain = websocket.create_connection(served.url("/ws").replace("http", "ws"), header=headers, timeout=20)
    served.wait(lambda state: state["requests"] == 0 and state["headers"] == 0)
    ws.close()
    plain.close()
    fetch(f"{url}&sid={sid}", framed(version, "1").encode())
    polling_thread.join()


def test_many_packets_in_one_post_let_others_have_their_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock that says that each packet took longer than a turn."""
    pauses, received, ticks = [], [], itertools.count()
    monkeypatch.setattr(fairness.Turn, "pass_on", lambda _turn: pauses.append(len(received)))
    owner = SimpleNamespace(limits=Limits(), clock=lambda: next(ticks))
    session: Any = SimpleNamespace(
        owner=owner, codec=v4, max_text=100, is_open=True, account=None, alive=lambda: None, receive=received.append
    )
    request: Any = SimpleNamespace(read=lambda _most, _account: framed(4, "4a", "4b", "4c").encode())
    polling._receive(request, session)
    assert (len(received), pauses) == (3, [1, 2, 3])
