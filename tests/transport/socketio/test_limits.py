"""Each limit of Engine.IO, Socket.IO and WebSocket exceeded; handlers that fail or block; what a client sees of it."""

from __future__ import annotations

import base64
import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
import websocket
from tests.conformance.peer import framed
from tests.transport.sio import PATH, Sio

Serve = Callable[..., Any]

SMALL = {
    "max_message_bytes": 100_000, "max_payload_bytes": 200_000, "max_payload_packets": 8, "max_attachments": 2,
    "max_namespaces": 3, "max_outgoing_bytes": 300_000, "max_pings": 5,
}  # fmt: skip
HASTY = {**SMALL, "message_time": 0.3, "attachment_time": 0.4, "join_time": 0.4}
"""Where time is the limit: on a slow machine others need longer."""

PLACES = [{"_placeholder": True, "num": index} for index in range(3)]


def frame_begin(ws: websocket.WebSocket, length: int, sent: bytes, opcode: int = 0x82) -> None:
    """Send the beginning of a frame that says it is longer."""
    ws.sock.sendall(bytes((opcode, 0xFF)) + length.to_bytes(8, "big") + bytes(4) + sent)


@pytest.mark.parametrize("version", [3, 4])
@pytest.mark.parametrize(("limit", "send", "code"), [
    ("message_bytes", lambda one: frame_begin(one.ws, 101_000, b""), 1009),
    ("message_bytes", lambda one: frame_begin(one.ws, 101_000, b"", 0x81), 1009),
    ("message_seconds", lambda one: frame_begin(one.ws, 90_000, b"begun"), 1008),
    ("attachments", lambda one: one.ws.send("453-" + json.dumps(["echo", *PLACES])), None),
    ("attachments_seconds", lambda one: one.ws.send("451-" + json.dumps(["echo", PLACES[0]])), None),
    ("pings_per_second", lambda one: [one.ws.ping() for _ in range(6)], 1008),
    ("queue_bytes", lambda one: one.emit("flood", 300, 100_000), None),
])  # fmt: skip
def test_limit_of_a_websocket(
    serve: Serve, limit: str, version: int, send: Callable[[Sio], None], code: int | None
) -> None:
    served = serve(socketio=HASTY if limit.endswith("_seconds") else SMALL)
    before = served.state()["limits"].get(limit, 0)
    one = Sio(served, version)
    send(one)
    if limit != "queue_bytes":  # such a one does not read
        assert one.closed() == code
    assert served.wait(lambda state: state["limits"].get(limit, 0) == before + 1)
    if limit == "queue_bytes":
        one.closed()
    served.wait(lambda state: not any(state["leftovers"]))


@pytest.mark.parametrize("version", [3, 4])
@pytest.mark.parametrize(("frame", "code"), [
    (b"\xf1\x80\0\0\0\0", 1002), (b"\x81\x011", 1002), (b"\x89\xfe\0\x7e\0\0\0\0", 1002), (b"\x80\x80\0\0\0\0", 1002),
    (b"\x81\x82\0\0\0\x004\xff", 1007), (b"\x88\x81\0\0\0\0x", 1002),
])  # fmt: skip
def test_malformed_frame(serve: Serve, version: int, frame: bytes, code: int) -> None:
    served = serve()
    one = Sio(served, version)
    lines = len(served.state()["log"])
    one.ws.sock.sendall(frame)
    assert one.closed() == code
    log = [line for line in served.state()["log"][lines:] if not line.startswith("gone ")]
    assert len(log) == 1
    assert log[0].startswith(f"a WebSocket of 127.0.0.1 is closed with {code}: ")


@pytest.mark.parametrize("version", [3, 4])
def test_base64_is_longer_than_what_it_stands_for(serve: Serve, version: int) -> None:
    served = serve(socketio=SMALL)
    data = bytes(99_000)
    one = Sio(served, version, b64=1)
    one.ws.send("451-7" + json.dumps(["echo", PLACES[0]]))
    one.ws.send(("b4" if version == 3 else "b") + base64.b64encode(data).decode())
    assert one.recv().startswith("461-7")
    assert base64.b64decode(one.recv().removeprefix("b4" if version == 3 else "b")) == data
    frame_begin(one.ws, 160_000, b"", 0x81)
    assert one.closed() == 1009


def test_version_of_websocket_that_is_not_spoken(serve: Serve) -> None:
    asked = {
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Version": "8",
        "Sec-WebSocket-Key": "A" * 22 + "==",
    }
    served = serve()
    answer = served.http.get(served.url(PATH, EIO=4, transport="websocket"), headers=asked)
    assert (answer.status_code, answer.headers["sec-websocket-version"]) == (400, "13")


@pytest.mark.parametrize("version", [3, 4])
def test_a_post_that_is_cut_off_closes(serve: Serve, version: int) -> None:
    """Its message is lost for ever, so the client must not go on as if it had arrived."""
    served = serve()
    text = served.request("GET", PATH, EIO=version, transport="polling").text
    query = {
        "EIO": version,
        "transport": "polling",
        "sid": json.loads(text[text.index("{") : text.index("}") + 1])["sid"],
    }
    with socket.create_connection(("127.0.0.1", served.port), 10) as sock:
        path = served.url(PATH, **query).partition(str(served.port))[2]
        sock.sendall(f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n42[".encode())
        sock.shutdown(socket.SHUT_WR)
        assert sock.recv(65536).startswith(b"HTTP/1.1 400")
    assert served.request("POST", PATH, "40" if version == 4 else "1:2", **query).status_code == 400


def test_fragments_count_together(serve: Serve) -> None:
    served = serve(socketio=SMALL)
    before = served.state()["limits"].get("message_bytes", 0)
    one = Sio(served)
    for opcode in (0x02, 0x00, 0x00):
        one.ws.sock.sendall(bytes((opcode, 0xFE)) + (60_000).to_bytes(2, "big") + bytes(4) + bytes(60_000))
    assert one.closed() == 1009
    assert served.state()["limits"]["message_bytes"] == before + 1


def test_pings_of_generation_3(serve: Serve) -> None:
    served = serve(socketio=SMALL)
    one = Sio(served, 3)
    for _ in range(6):
        one.ws.send("2")
    assert one.closed() == 1008


@pytest.mark.parametrize(("version", "auth", "closes"), [(4, None, True), (4, {"refuse": 1}, True)])
def test_a_connection_must_join(serve: Serve, version: int, auth: Any, closes: bool) -> None:
    served = serve(socketio=HASTY)
    one = Sio(served, version, auth=auth, join=auth is not None)
    if auth:
        assert json.loads(one.joined[2:]) == {"message": "Not with this key"}
    one.closed()
    served.hit("connect_seconds")


def test_polling_connection_must_join(serve: Serve) -> None:
    served = serve(socketio=HASTY)
    opened = json.loads(served.request("GET", PATH, EIO=4, transport="polling").text[1:])
    served.wait(
        lambda _state: served.request("GET", PATH, EIO=4, transport="polling", sid=opened["sid"]).status_code == 400
    )


def test_slow_connect_handler_is_waited_for(serve: Serve) -> None:
    one = Sio(serve(socketio=HASTY), auth={"wait": 1})
    assert one.joined.startswith("40{")
    assert one.ask("echo", 1) == [1]
    one.ws.shutdown()


def test_namespaces(serve: Serve) -> None:
    served = serve(socketio=SMALL)
    one = Sio(served)
    for index in range(2):
        one.ws.send(f"40/{index}")
        assert one.recv().startswith(f"40/{index},{{")
    one.ws.send("40/2")
    assert one.recv() == '44/2,{"message":"A connection may be in 3 namespaces"}'
    served.hit("namespaces")
    one.ws.shutdown()


@pytest.mark.parametrize(("limit", "body", "status"), [
    ("payload_bytes", "4" + "x" * 200_000, 413), ("payload_packets", "\x1e".join(["41"] * 9), 413),
    ("message_bytes", "b" + "A" * 160_000, 413), ("max-text-bytes", "4" + "x" * 65_537, 413),
])  # fmt: skip
def test_limit_of_polling(serve: Serve, limit: str, body: str, status: int) -> None:
    served = serve(socketio=SMALL)
    before = served.state()["limits"].get(limit, 0)
    opened = json.loads(served.request("GET", PATH, EIO=4, transport="polling").text[1:])
    query = {"EIO": 4, "transport": "polling", "sid": opened["sid"]}
    assert served.request("POST", PATH, body, **query).status_code == status
    assert served.request("GET", PATH, **query).status_code == 400
    assert served.state()["limits"][limit] == before + 1


def test_queue_of_a_polling_client(serve: Serve) -> None:
    served = serve(socketio=SMALL)
    text = served.request("GET", PATH, EIO=3, transport="polling").text
    query = {"EIO": 3, "transport": "polling", "sid": json.loads(text[text.index("{") : text.index("}") + 1])["sid"]}
    event = '42["flood",5,90000]'
    served.request("POST", PATH, f"{len(event)}:{event}", **query)
    assert served.request("GET", PATH, **query).status_code == 400
    served.hit("queue_bytes")


def test_newest_wins(serve: Serve) -> None:
    served = serve()
    one = Sio(served)
    one.emit("newest", 1000)
    served.wait(lambda state: "all emitted" in state["log"])  # nothing is read before: the kernel must not take it all
    assert one.recv().startswith("451-")
    assert len(one.recv()) == 8_000_000
    seen = []
    while not seen or seen[-1] != 999:
        seen.append(json.loads(one.recv()[2:])[1])
    assert len(seen) < 10  # those that waited behind the large one were replaced
    one.ws.shutdown()


@pytest.mark.parametrize(("event", "error"), [
    (["fail", "other"], "the event 'fail' failed in the server; its log says why"),
    (["fail", "ours"], "no picture"),
    (["two", 1], "the event 'two' takes other arguments"),
    (["two", 1, 2, 3], "the event 'two' takes other arguments"),
])  # fmt: skip
@pytest.mark.parametrize("version", [3, 4])
def test_failing_handler(serve: Serve, version: int, event: list[Any], error: str) -> None:
    served = serve()
    one = Sio(served, version)
    [answer] = one.ask(*event)
    assert json.loads(answer) == {"success": False, "error": error}
    assert one.ask("echo", 1) == [1]
    if event == ["fail", "other"]:
        assert any("RuntimeError: a secret of the handler (server.py:" in line for line in served.state()["log"])
    one.ws.shutdown()


def test_failing_connect_handler(serve: Serve) -> None:
    one = Sio(serve(), auth={"fail": 1})
    assert json.loads(one.joined[2:]) == {"message": "The server could not let you in; its log says why."}
    one.ws.shutdown()


@pytest.mark.parametrize("version", [3, 4])
def test_blocking_handler_keeps_heartbeats_and_order(serve: Serve, version: int) -> None:
    served = serve(socketio={"ping_interval": 0.2, "ping_timeout": 0.2})
    one, other = Sio(served, version), Sio(served)
    one.emit("block", 1.0, number=1)
    one.emit("echo", "after", number=2)
    assert one.recv() == '42["blocking"]'
    began = time.monotonic()
    while time.monotonic() - began < 0.6:
        assert other.ask("echo", 1) == [1]  # nobody else waits
        if version == 3:
            one.ws.send("2")
        time.sleep(0.1)
    answers = [answer for answer in iter(one.recv, '432["after"]') if answer != "3"]
    assert answers == ['431["done"]']
    one.ws.shutdown()
    other.ws.shutdown()


def test_kicked_client_is_closed(serve: Serve) -> None:
    one = Sio(serve(socketio={"close_time": 0.1}))
    one.emit("kick")
    assert one.recv() == "41"
    one.emit("echo", "nobody hears it", data=b"x")
    one.closed()


@pytest.mark.parametrize("version", [3, 4])
def test_a_client_is_closed_at_once_where_that_is_wanted(serve: Serve, version: int) -> None:
    served = serve(socketio={"close_time": 60})
    one = Sio(served, version)
    one.emit("kick", True)
    assert one.recv() == "41"
    assert one.closed() is None
    query = {"EIO": version, "transport": "polling"}
    opened = served.request("GET", PATH, **query).text
    query["sid"] = opened[opened.index('"sid":"') + 7 :].partition('"')[0]
    join = [] if version == 3 else ["40"]
    served.request("POST", PATH, framed(version, *join, '42["kick",true]'), **query)
    assert served.request("GET", PATH, **query).text.endswith(framed(version, "41", "1"))
    assert served.request("GET", PATH, **query).status_code == 400
    served.wait(lambda state: not any(state["leftovers"]))


def test_names(serve: Serve) -> None:
    served = serve()
    for version in (3, 4):
        one = Sio(served, version)
        [[sid, generation, address]] = one.ask("name")
        assert (generation, address) == (version, "127.0.0.1")
        assert (sid == one.opened["sid"]) == (version == 3)
        one.ws.send("40/0")
        joined = one.recv()
        one.ws.send('42/0,1["name"]')
        [name] = json.loads(one.recv().removeprefix("43/0,1"))
        if version == 3:
            assert (joined, name) == ("40/0,", f"/0#{one.opened['sid']}")
        else:
            assert (joined, name != sid) == (f'40/0,{{"sid":"{name}"}}', True)
        one.ws.shutdown()


@pytest.mark.parametrize(("origin", "allowed"), [
    (None, True), ("http://127.0.0.1:{port}", True), ("http://friend.example", True), ("http://127.0.0.1", False),
    ("https://127.0.0.1:{port}", False), ("http://stranger.example", False), ("null", False),
])  # fmt: skip
def test_origins(serve: Serve, origin: str | None, allowed: bool) -> None:
    served = serve(origins=["http://friend.example"])
    headers = {} if origin is None else {"Origin": origin.format(port=served.port)}
    answer = served.http.get(served.url(PATH, EIO=4, transport="polling"), headers=headers)
    assert answer.status_code == (200 if allowed else 403)
    assert answer.headers.get("access-control-allow-origin") == (headers.get("Origin") if allowed else None)
    if not allowed:
        assert any(repr(headers["Origin"]) in line and "--cors-origin" in line for line in served.state()["log"])


@pytest.mark.parametrize("transport", ["polling", "websocket"])
@pytest.mark.parametrize(
    "headers", [{"Origin": "http://evil.example"}, {"User-Agent": "Mozilla/5.0"}, {"Cookie": "a=b"}], ids=str
)
def test_a_page_whose_name_was_made_to_lead_here_gets_no_session(
    serve: Serve, transport: str, headers: dict[str, str]
) -> None:
    served = serve(origins=["http://friend.example"])
    upgrade = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13"}
    upgrade["Sec-WebSocket-Key"] = "dGhlIHNhbXBsZSBub25jZQ=="
    sent = (upgrade if transport == "websocket" else {}) | headers | {"Host": "evil.example"}
    answer = served.http.get(served.url(PATH, EIO=4, transport=transport), headers=sent)
    assert (answer.status_code, answer.json()["code"]) == (403, 4)
    assert "'evil.example'" in answer.json()["message"]
    assert any("--server-name" in line for line in served.state()["log"])


def test_programs_may_name_any_host(serve: Serve) -> None:
    answer = serve().http.get(serve().url(PATH, EIO=4, transport="polling"), headers={"Host": "any.example"})
    assert answer.status_code == 200


def test_preflight(serve: Serve) -> None:
    served = serve(origins=["http://friend.example"])
    asked = {"Origin": "http://friend.example", "Access-Control-Request-Headers": "content-type"}
    asked["Access-Control-Request-Private-Network"] = "true"
    answer = served.http.options(served.url(PATH, EIO=4, transport="polling"), headers=asked)
    assert answer.headers["access-control-allow-headers"] == "content-type"
    assert "POST" in answer.headers["access-control-allow-methods"]
    assert answer.headers["access-control-allow-private-network"] == "true"
    assert answer.headers["access-control-max-age"] == "600"


def test_plain_websocket(serve: Serve) -> None:
    served = serve(websocket={"max_message_bytes": 1000, "max_outgoing_bytes": 300_000})
    ws = served.websocket("/ws")
    ws.send("hello")
    assert ws.recv() == "hello"
    ws.send_binary(b"\0\1")
    assert ws.recv() == b"\0\1"
    assert served.request("GET", "/ws").status_code == 426
    ws.send("flood")  # and nobody reads
    served.hit("queue_bytes")
    ws.shutdown()
    served.wait(lambda state: state["connections"]["websocket"] == 0)


def test_vanishing_clients_leave_nothing(serve: Serve) -> None:
    served = serve(socketio={"ping_interval": 0.3, "ping_timeout": 0.3, "join_time": 0.5})
    before = served.state()
    for turn in range(10):
        for version in (3, 4):
            one = Sio(served, version)
            one.ws.send("451-" + json.dumps(["echo", PLACES[0]]))
            served.request("GET", PATH, EIO=version, transport="polling")
            if turn % 2:
                one.ws.sock.setsockopt(
                    socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0"
                )  # a reset instead of an end
            one.ws.shutdown()
    after = served.wait(lambda state: not any(state["leftovers"]))
    served.wait(
        lambda state: state["descriptors"] <= before["descriptors"] and state["greenlets"] <= before["greenlets"] + 1
    )
    assert any(line.startswith("gone ") for line in after["log"])


def test_nobody_waits_for_one_that_asks_without_waiting_for_answers(serve: Serve) -> None:
    """Requests sent one behind the other, for as long as another client has its events answered."""
    served = serve()
    other, stopping = Sio(served), threading.Event()
    burst = b"GET /echo HTTP/1.1\r\nHost: localhost\r\n\r\n" * 500

    def send(sock: socket.socket) -> None:
        while not stopping.is_set():
            sock.sendall(burst)

    def take(sock: socket.socket) -> None:
        with contextlib.suppress(ConnectionResetError):  # at the end the server has answers left
            while sock.recv(2**20):
                pass

    with socket.create_connection(("127.0.0.1", served.port), 10) as busy:
        threads = [threading.Thread(target=function, args=(busy,)) for function in (send, take)]
        for thread in threads:
            thread.start()
        try:
            for index in range(50):
                assert other.ask("echo", index) == [index]
        finally:
            stopping.set()
            threads[0].join()
            busy.shutdown(socket.SHUT_RDWR)
            threads[1].join()
    other.ws.shutdown()


def test_nobody_waits_for_one_that_never_pauses(serve: Serve) -> None:
    """Turns, not times: while one client sends without pause, another's requests are served between its frames."""
    served = serve()
    busy, other = Sio(served), Sio(served)
    burst = websocket.ABNF.create_frame(json.dumps(["quiet", "x" * 100]).replace("[", "42[", 1), 1).format() * 2000
    stopping = threading.Event()

    def send() -> None:
        while not stopping.is_set():
            busy.ws.sock.sendall(burst)

    sender = threading.Thread(target=send)
    sender.start()
    try:
        for index in range(50):
            assert other.ask("echo", index) == [index]
        with socket.create_connection(("127.0.0.1", served.port), 10) as fresh:
            fresh.sendall(b"GET / HTTP/1.0\r\n\r\n")
            assert b"200 OK" in fresh.recv(65536)
    finally:
        stopping.set()
        sender.join()
    assert busy.ask("echo", "still here") == ["still here"]
    busy.ws.shutdown()
    other.ws.shutdown()


@pytest.mark.parametrize("version", [3, 4])
@pytest.mark.parametrize("head", ["42[", "452-[", "40["])
def test_text_is_measured_before_json_is_made_of_it(serve: Serve, version: int, head: str) -> None:
    served = serve()
    before = served.state()["limits"].get("max-text-bytes", 0)
    one = Sio(served, version)
    one.ws.send(head + "[]," * 30_000 + "0]")
    one.closed()
    assert served.wait(lambda state: state["limits"].get("max-text-bytes", 0) == before + 1)
    assert any("(--max-text-bytes)" in line for line in served.state()["log"])


@pytest.mark.parametrize(("limit", "packet"), [
    ("max-name-length", '42["' + "x" * 257 + '"]'), ("max-name-length", "40/" + "x" * 257 + ","),
    ("max-name-length", '451-["' + "x" * 257 + '",{"_placeholder":true,"num":0}]'),
    ("request_line_bytes", "40/0?" + "a=b&" * 2100 + ","),
])  # fmt: skip
@pytest.mark.parametrize("version", [3, 4])
def test_names_and_queries_have_a_length(serve: Serve, version: int, limit: str, packet: str) -> None:
    served = serve()
    before = served.state()["limits"].get(limit, 0)
    one = Sio(served, version)
    assert one.ask("echo", "x" * 300) == ["x" * 300]
    one.ws.send(packet)
    one.closed()
    assert served.wait(lambda state: state["limits"].get(limit, 0) == before + 1)


def test_small_packets_that_nobody_fetches_count_as_what_they_take(serve: Serve) -> None:
    """Pings of generation 3: what each of them keeps in the server is a hundred times their byte."""
    served = serve(socketio=SMALL)
    text = served.request("GET", PATH, EIO=3, transport="polling").text
    query = {"EIO": 3, "transport": "polling", "sid": text.partition('"sid":"')[2].partition('"')[0]}
    posts = 0
    while served.request("POST", PATH, "2:2x" * 8, **query).text == "ok":
        posts += 1
    assert posts * 8 <= 300
    served.hit("queue_bytes")
