"""Engine.IO protocols 3 and 4, case by case after the protocol documents and their test suites.

Where a suite sends two requests at once, the first is on its way before the second starts.
"""

from __future__ import annotations

import json
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import websocket
from tests.conformance.conftest import HURRIED
from tests.conformance.peer import ENGINE_PATH as PATH
from tests.conformance.peer import Peer, Polling, closed, fetch, framed

INTERVAL, TIMEOUT = map(float, HURRIED)


@pytest.fixture(params=[3, 4], ids=["EIO3", "EIO4"])
def version(request: pytest.FixtureRequest) -> int:
    number: int = request.param
    return number


def test_handshake_over_polling(peer: Peer, version: int) -> None:
    answer = peer.request("GET", PATH, EIO=version, transport="polling")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/plain; charset=UTF-8"
    text = answer.text
    if version == 3:
        length, _, text = text.partition(":")
        assert int(length) == len(text)
    assert text[0] == "0"
    opened = json.loads(text[1:])
    fields = {"sid", "upgrades", "pingInterval", "pingTimeout"} | ({"maxPayload"} if version == 4 else set())
    assert set(opened) == fields
    assert opened["upgrades"] == ["websocket"]
    assert (opened["pingInterval"], opened["pingTimeout"]) == (25_000, 20_000)
    assert opened.get("maxPayload", 1_000_000) == 1_000_000


def test_handshake_over_websocket(peer: Peer, version: int) -> None:
    ws = peer.websocket(PATH, EIO=version, transport="websocket")
    data = ws.recv()
    assert data[0] == "0"
    assert json.loads(data[1:])["upgrades"] == []
    ws.close()


@pytest.mark.parametrize("query", [{"transport": "polling"}, {"EIO": "abc", "transport": "polling"}, {"EIO": 2, "transport": "polling"},
                                   {"EIO": 5, "transport": "polling"}, {"EIO": 4}, {"EIO": 4, "transport": "abc"}, {"EIO": 3},
                                   {"EIO": 4, "transport": "polling", "sid": "nobody"}, {"EIO": 4, "transport": "websocket"}])  # fmt: skip
def test_refused_requests(peer: Peer, query: dict[str, Any]) -> None:
    answer = peer.request("GET", PATH, **query)
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/json"


@pytest.mark.parametrize("query", [{"transport": "websocket"}, {"EIO": "abc", "transport": "websocket"}, {"EIO": 4},
                                   {"EIO": 4, "transport": "abc"}, {"EIO": 4, "transport": "websocket", "sid": "nobody"}])  # fmt: skip
def test_refused_websockets(peer: Peer, query: dict[str, Any]) -> None:
    with pytest.raises(websocket.WebSocketBadStatusException) as refused:
        peer.websocket(PATH, **query)
    assert refused.value.status_code == 400


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_refused_methods(peer: Peer, version: int, method: str) -> None:
    assert peer.request(method, PATH, "4hello", EIO=version, transport="polling").status_code == 400
    session = Polling(peer, version)
    if method != "POST":
        assert peer.request(method, PATH, "4hello", **session.query).status_code == 400


@pytest.mark.parametrize("packets", [["4hello"], ["4test1", "4test2", "4test3"], ["4"], ["4" + "x" * 70_000]])
def test_text_over_polling(peer: Peer, version: int, packets: list[str]) -> None:
    session = Polling(peer, version)
    posted = session.post(framed(version, *packets))
    assert (posted.status_code, posted.text) == (200, "ok")
    assert posted.headers["content-type"]
    answer = session.get()
    assert answer.status_code == 200
    assert answer.text == framed(version, *packets)


def test_binary_over_polling(peer: Peer, version: int) -> None:
    session = Polling(peer, version, **({"b64": 1} if version == 3 else {}))
    body = "6:4hello10:b4AQIDBA==" if version == 3 else "4hello\x1ebAQIDBA=="
    assert session.post(body).status_code == 200
    assert session.get().text == body


def test_binary_payload_of_generation_3(peer: Peer) -> None:
    session = Polling(peer, 3)
    body = b"\x00\x06\xff4hello\x01\x05\xff\x04\x01\x02\x03\x04"
    assert session.post(body).status_code == 200
    answer = session.get()
    assert answer.content == body
    assert answer.headers["content-type"] == "application/octet-stream"


def test_jsonp(peer: Peer) -> None:
    answer = peer.request("GET", PATH, EIO=3, transport="polling", j=7)
    assert answer.headers["content-type"] == "text/javascript; charset=UTF-8"
    assert answer.text.startswith('___eio[7]("')
    text = json.loads(answer.text[len("___eio[7](") : -len(");")])
    sid = json.loads(text[text.index("{") :])["sid"]
    query = {"EIO": 3, "transport": "polling", "sid": sid, "j": 8}
    assert peer.request("POST", PATH, "d=8%3A4a%5Cnb%5C%5Cncd", **query).status_code == 200  # 4a<line break>b\ncd
    assert peer.request("GET", PATH, **query).text == '___eio[8]("8:4a\\nb\\\\ncd");'


def test_invalid_payload_closes(peer: Peer, version: int) -> None:
    session = Polling(peer, version)
    assert session.post("abc").status_code == 400
    assert session.get().status_code == 400


def test_overlapping_polls_close(peer: Peer, version: int) -> None:
    session = Polling(peer, version)
    with ThreadPoolExecutor() as pool:
        first = pool.submit(fetch, session.url)
        time.sleep(0.05)
        second = fetch(session.url + "&t=burst")
        assert first.result().status_code == 200
        assert first.result().text == framed(version, "1")
    assert second.status_code == 400
    assert session.get().status_code == 400


def test_overlapping_posts_close(peer: Peer, version: int) -> None:
    session = Polling(peer, version)
    head = f"POST {session.url[session.url.index('/engine.io') :]} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 6\r\n\r\n4he"
    with socket.create_connection(("127.0.0.1", peer.port), 10) as slow:
        slow.sendall(head.encode())
        time.sleep(0.05)
        assert session.post(framed(version, "4hello")).status_code == 400
    assert session.get().status_code == 400


def test_cancelled_poll_closes(peer: Peer, version: int) -> None:
    session = Polling(peer, version)
    with socket.create_connection(("127.0.0.1", peer.port), 10) as cancelled:
        cancelled.sendall(
            f"GET {session.url[session.url.index('/engine.io') :]} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
        )
        time.sleep(0.05)
    assert session.post(framed(version, "4hello")).status_code == 400


@pytest.mark.parametrize("packets", [["4hello"], ["4"], ["4" + "ü€😀"], ["4" + "y" * 200_000]])
def test_text_over_websocket(peer: Peer, version: int, packets: list[str]) -> None:
    ws = peer.websocket(PATH, EIO=version, transport="websocket")
    ws.recv()
    for packet in packets:
        ws.send(packet)
        answer = ws.recv()
        while answer == "2":  # a ping, where the machine is slow
            ws.send("3")
            answer = ws.recv()
        assert answer == packet
    ws.close()


@pytest.mark.parametrize("size", [0, 1, 4, 65_536, 900_000])
def test_binary_over_websocket(peer: Peer, version: int, size: int) -> None:
    ws = peer.websocket(PATH, EIO=version, transport="websocket")
    ws.recv()
    data = (b"\x04" if version == 3 else b"") + bytes(index & 255 for index in range(size))
    ws.send_binary(data)
    opcode, answer = ws.recv_data()
    while answer == b"2":
        ws.send("3")
        opcode, answer = ws.recv_data()
    assert (opcode, answer) == (websocket.ABNF.OPCODE_BINARY, data)
    ws.close()


def test_base64_over_websocket(peer: Peer, version: int) -> None:
    ws = peer.websocket(PATH, EIO=version, transport="websocket", b64=1)
    ws.recv()
    ws.send_binary(b"\x04\x01\x02" if version == 3 else b"\x01\x02")
    assert ws.recv() == ("b4AQI=" if version == 3 else "bAQI=")
    ws.close()


@pytest.mark.parametrize("message", ["abc", "9", "", "0{}"])
def test_invalid_packet_closes_websocket(peer: Peer, version: int, message: str) -> None:
    ws = peer.websocket(PATH, EIO=version, transport="websocket")
    ws.recv()
    ws.send(message)
    closed(ws)


def test_heartbeat_of_generation_4_over_polling(hurried: Peer) -> None:
    session = Polling(hurried, 4)
    for _ in range(3):
        assert session.get().text == "2"
        assert session.post("3").status_code == 200


def test_heartbeat_of_generation_3_over_polling(hurried: Peer) -> None:
    session = Polling(hurried, 3)
    for data in ("", "probe", "x", "", "y"):  # which takes longer than a silent client has
        time.sleep((INTERVAL + TIMEOUT) / 4)
        assert session.post(framed(3, "2" + data)).status_code == 200
        assert session.get().text == framed(3, "3" + data)


@pytest.mark.parametrize("late", [-0.003, 0, 0.001, 0.1])
def test_silent_polling_client_is_closed(hurried: Peer, version: int, late: float) -> None:
    """A poll at the very end of the time, even one whose own timer was a little early, does not put the end off."""
    session = Polling(hurried, version)
    time.sleep(INTERVAL + TIMEOUT + late)
    assert session.get().status_code == 400


def test_heartbeat_over_websocket(hurried: Peer, version: int) -> None:
    ws = hurried.websocket(PATH, EIO=version, transport="websocket")
    ws.recv()
    for _ in range(4):
        if version == 4:
            assert ws.recv() == "2"
            ws.send("3")
        else:
            time.sleep(INTERVAL)
            ws.send("2")
            assert ws.recv() == "3"
    ws.close()


def test_silent_websocket_client_is_closed(hurried: Peer, version: int) -> None:
    ws = hurried.websocket(PATH, EIO=version, transport="websocket")
    assert closed(ws) is None


def test_close_over_polling(peer: Peer, version: int) -> None:
    session = Polling(peer, version)
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(fetch, session.url)
        assert fetch(session.url, framed(version, "1").encode()).status_code == 200
        assert (waiting.result().status_code, waiting.result().text) == (200, framed(version, "6"))
    assert session.get().status_code == 400


def test_poll_behind_a_close(peer: Peer, version: int) -> None:
    session = Polling(peer, version)
    assert session.post(framed(version, "1")).status_code == 200
    assert session.get().text == framed(version, "6")
    assert session.get().status_code == 400


def test_close_over_websocket(peer: Peer, version: int) -> None:
    ws = peer.websocket(PATH, EIO=version, transport="websocket")
    ws.recv()
    ws.send("1")
    closed(ws)


def upgraded(peer: Peer, version: int) -> tuple[Polling, websocket.WebSocket]:
    session = Polling(peer, version)
    ws = peer.websocket(PATH, **{**session.query, "transport": "websocket"})
    ws.send("2probe")
    assert ws.recv() == "3probe"
    ws.send("5")
    return session, ws


def test_upgrade(peer: Peer, version: int) -> None:
    _session, ws = upgraded(peer, version)
    ws.send("4hello")
    assert ws.recv() == "4hello"
    ws.close()


def test_upgrade_answers_the_poll_that_waits(peer: Peer, version: int) -> None:
    session = Polling(peer, version)
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(fetch, session.url)
        time.sleep(0.05)
        ws = peer.websocket(PATH, **{**session.query, "transport": "websocket"})
        ws.send("2probe")
        assert ws.recv() == "3probe"
        assert waiting.result().text == framed(version, "6")
    ws.send("5")
    ws.send("4hello")
    assert ws.recv() == "4hello"
    ws.close()


def test_what_waits_goes_over_the_new_transport(peer: Peer, version: int) -> None:
    session = Polling(peer, version)
    session.post(framed(version, "4early"))
    ws = peer.websocket(PATH, **{**session.query, "transport": "websocket"})
    ws.send("2probe")
    assert ws.recv() == "3probe"
    ws.send("5")
    assert ws.recv() == "4early"
    ws.close()


def test_requests_after_an_upgrade_are_refused(peer: Peer, version: int) -> None:
    for turn in range(20):  # neither must overtake the upgrade
        session, ws = upgraded(peer, version)
        requests = [session.get, lambda session=session: session.post(framed(version, "4hello"))]
        for request in requests if turn % 2 else reversed(requests):
            assert request().status_code == 400
        ws.send("4hello")
        assert ws.recv() == "4hello"
        ws.close()


def test_second_websocket_after_an_upgrade_is_closed(peer: Peer, version: int) -> None:
    session, ws = upgraded(peer, version)
    second = peer.websocket(PATH, **{**session.query, "transport": "websocket"})
    closed(second)
    ws.send("4hello")
    assert ws.recv() == "4hello"
    ws.close()


def test_failed_upgrade_leaves_the_session_on_polling(peer: Peer, version: int) -> None:
    session = Polling(peer, version)
    ws = peer.websocket(PATH, **{**session.query, "transport": "websocket"})
    ws.send("4hello")
    closed(ws)
    assert session.post(framed(version, "4hello")).status_code == 200
    assert session.get().text == framed(version, "4hello")


def test_vanished_websocket_leaves_nothing(peer: Peer, version: int) -> None:
    ws = peer.websocket(PATH, EIO=version, transport="websocket")
    sid = json.loads(ws.recv()[1:])["sid"]
    ws.shutdown()
    end = time.monotonic() + 10
    while (
        peer.request("GET", PATH, EIO=version, transport="polling", sid=sid).status_code != 400
        and time.monotonic() < end
    ):
        time.sleep(0.01)
    assert peer.request("GET", PATH, EIO=version, transport="polling", sid=sid).status_code == 400
