"""What waits for a client is charged to its share, refused beyond it, and given back; what is slow is given up."""

from __future__ import annotations

import json
import socket
import struct
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tests.transport.sio import PATH, Sio

Serve = Callable[..., Any]

SHARE = 1_000_000
BOUNDED = {"http": {"memory_share": SHARE, "memory_budget": 5 * SHARE}, "socketio": {"max_message_bytes": 800_000}}
PACE = {"min_body_rate": 20_000, "body_grace": 1.5, "send_time": 0.5}
PACED = {"http": PACE, "socketio": PACE, "websocket": PACE}


@pytest.fixture
def bounded(serve: Serve) -> Iterator[Any]:
    """A server where an address may have a megabyte waiting; afterwards nothing waits."""
    served = serve(**BOUNDED)
    yield served
    served.wait(lambda state: not state["memory"])


def connect(served: Any, *lines: str) -> socket.socket:
    """A connection that has sent the head of a request."""
    sock = socket.create_connection(("127.0.0.1", served.port), 20)
    sock.sendall("\r\n".join([*lines, "Host: localhost", "", ""]).encode())
    return sock


def frame(opcode: int, sent: bytes, length: int | None = None, *, final: bool = True) -> bytes:
    """A client's frame, whose length may be more than what is sent of it."""
    return struct.pack(">BBQ", (0x80 if final else 0) | opcode, 0xFF, length or len(sent)) + bytes(4) + sent


def hits(served: Any, limit: str = "memory-share") -> int:
    return int(served.state()["limits"].get(limit, 0))


def session(served: Any, version: int = 4) -> dict[str, Any]:
    """A session on polling: the query of its requests."""
    text = served.request("GET", PATH, EIO=version, transport="polling").text
    sid = json.loads(text[text.index("{") : text.index("}") + 1])["sid"]
    return {"EIO": version, "transport": "polling", "sid": sid}


def test_a_body_that_does_not_fit_is_refused_before_it_is_sent(bounded: Any) -> None:
    before = hits(bounded)
    with connect(bounded, "POST /echo HTTP/1.1", f"Content-Length: {SHARE + 1}", "Expect: 100-continue") as sock:
        answer = sock.recv(65536)
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b"Retry-After: 5\r\n" in answer
    assert hits(bounded) == before + 1
    assert bounded.request("POST", "/echo", "x" * (SHARE - 1)).json()["length"] == SHARE - 1


def test_bodies_of_one_address_count_together(bounded: Any) -> None:
    """In whatever way they are framed; whoever has its share already goes on."""
    with connect(bounded, "POST /echo HTTP/1.1", "Content-Length: 600000") as first:
        first.sendall(b"x" * 599_999)
        bounded.wait(lambda state: state["memory"] == {"bodies": 599_999})
        with connect(bounded, "POST /echo HTTP/1.1", "Transfer-Encoding: chunked") as second:
            second.sendall(b"61a80\r\n" + b"x" * 400_000 + b"\r\n")
            bounded.wait(lambda state: state["memory"] == {"bodies": 999_999})
            second.sendall(b"2\r\nxx\r\n")
            assert second.recv(65536).startswith(b"HTTP/1.1 503 ")
        bounded.wait(lambda state: state["memory"] == {"bodies": 599_999})
        first.sendall(b"x")
        assert first.recv(65536).startswith(b"HTTP/1.1 200 ")


def test_heads_that_have_come_in_part_count(serve: Serve) -> None:
    served = serve(http={"memory_share": 100_000, "max_header_bytes": 32_768})
    begun = [socket.create_connection(("127.0.0.1", served.port), 20) for _ in range(4)]
    for sock in begun[:3]:
        sock.sendall(b"GET /echo HTTP/1.1\r\nHost: ")
    served.wait(lambda state: state["memory"] == {"heads": 3 * 32_768})
    begun[3].sendall(b"GET /echo HTTP/1.1\r\nHost: ")
    assert begun[3].recv(65536).startswith(b"HTTP/1.1 503 ")
    begun[0].sendall(b"localhost\r\n\r\n")
    assert begun[0].recv(65536).startswith(b"HTTP/1.1 200 ")
    for sock in begun:
        sock.close()
    served.wait(lambda state: not state["memory"])


@pytest.mark.parametrize("pieces", [
    [frame(2, b"x" * 399_000, 400_000)],
    [frame(2, b"x" * 1000, final=False), *([frame(0, b"x" * 1000, final=False)] * 389)],
    [frame(2, b"x" * 350_000, final=False), frame(0, b"x" * 40_000, 50_000)],
])  # fmt: skip
def test_messages_in_assembly_count_together(bounded: Any, pieces: list[bytes]) -> None:
    one, two, three = (Sio(bounded) for _ in range(3))
    for client in (one, two):
        client.ws.sock.sendall(b"".join(pieces))
    bounded.wait(lambda state: state["memory"].get("messages", 0) >= 2 * 390_000)
    three.ws.sock.sendall(b"".join(pieces))
    assert three.closed() == 1013
    one.ws.shutdown()
    bounded.wait(lambda state: state["memory"].get("messages", 0) <= 400_000)
    assert Sio(bounded).ask("echo", data=b"x" * 390_000) == b"x" * 390_000
    two.ws.shutdown()


def test_text_is_refused_before_it_has_come(serve: Serve) -> None:
    served = serve(**BOUNDED)
    one = Sio(served)
    one.ws.sock.sendall(frame(1, b"42[" + b"x" * 1000, 70_000))
    assert one.closed() == 1009
    fragmented = Sio(served)
    fragmented.ws.sock.sendall(frame(1, b"42[" + b"x" * 60_000, final=False) + frame(0, b"x" * 60_000, final=False))
    assert fragmented.closed() == 1009
    with_base64 = Sio(served, b64=1)
    with_base64.ws.send("451-" + json.dumps(["quiet", {"_placeholder": True, "num": 0}]))
    with_base64.ws.send("b" + "QUFB" * 50_000)
    assert with_base64.ask("echo", "still there") == ["still there"]


def test_attachments_of_a_packet_count_together(bounded: Any) -> None:
    """And no more is kept of the next one than is left for it."""
    before = hits(bounded, "message_bytes")
    places = [{"_placeholder": True, "num": index} for index in range(3)]
    for message in (frame(2, b"x" * 360_000), frame(2, b"x", 700_000)):
        one = Sio(bounded)
        one.ws.send("453-" + json.dumps(["echo", *places]))
        one.ws.send_binary(b"x" * 450_000)
        bounded.wait(lambda state: state["memory"] == {"attachments": 450_000})
        one.ws.sock.sendall(message)
        one.closed()
        bounded.wait(lambda state: not state["memory"])
    assert hits(bounded, "message_bytes") == before + 2
    whole = Sio(bounded)
    whole.ws.send("453-" + json.dumps(["quiet", *places]))
    for size in (100_000, 400_000, 300_000):
        whole.ws.send_binary(b"x" * size)
    assert whole.ask("echo", data=b"x" * 700_000), "the next message is as large as any"


@pytest.mark.parametrize(("version", "body"), [(4, b"b" + b"A" * 600_000), (3, b"600002:b4" + b"A" * 600_000)])
def test_a_payload_counts_with_what_it_is_decoded_to(bounded: Any, version: int, body: bytes) -> None:
    query = session(bounded, version)
    refused = bounded.request("POST", PATH, body, **query)
    assert (refused.status_code, refused.headers["Retry-After"]) == (503, "5")
    assert bounded.request("POST", PATH, "40", **query).status_code == 400, "its message is lost, so it has ended"


def test_answers_that_are_not_taken_count(bounded: Any) -> None:
    assert bounded.request("GET", "/large").status_code == 503
    one = Sio(bounded)
    before = hits(bounded)
    one.emit("flood", 200, 100_000)
    bounded.wait(lambda state: state["limits"]["memory-share"] > before)
    bounded.wait(lambda state: not state["memory"])
    one.ws.shutdown()


def test_a_body_that_was_fast_at_first_may_not_pause(serve: Serve) -> None:
    served = serve(**PACED)
    with connect(served, "POST /echo HTTP/1.1", "Content-Length: 6000000") as sock:
        sock.sendall(b"x" * 5_000_000)  # which would buy 250 seconds
        assert sock.recv(65536).startswith(b"HTTP/1.1 408 ")


def test_messages_and_attachments_that_were_fast_at_first_may_not_pause(serve: Serve) -> None:
    served = serve(**PACED)
    before = hits(served, "body_rate")
    one, two = Sio(served), Sio(served)
    one.ws.sock.sendall(frame(2, b"x" * 1_000_000, 2_000_000))
    two.ws.send("453-" + json.dumps(["echo", *({"_placeholder": True, "num": index} for index in range(3))]))
    two.ws.send_binary(b"x" * 1_000_000)
    assert one.closed() == 1008
    two.closed()
    assert hits(served, "body_rate") == before + 2


def test_who_takes_an_answer_by_the_byte_is_given_up(serve: Serve) -> None:
    served = serve(**PACED)
    before = hits(served, "send_seconds")
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.connect(("127.0.0.1", served.port))
        sock.sendall(b"GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n")
        end = time.monotonic() + 15
        while hits(served, "send_seconds") == before and time.monotonic() < end:
            sock.recv(100)  # some kilobytes a second: the server's timeout would begin anew with each of them
            time.sleep(0.02)
    assert hits(served, "send_seconds") == before + 1
