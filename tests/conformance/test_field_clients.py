"""What Java's clients 1.0.0 and 2.x do beyond the protocol documents, and what they cannot read.

Android apps are built on them.
"""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from tests.conformance.peer import ENGINE_PATH, Peer, Polling, framed

PATH = "/socket.io/"
PLACE = '{"_placeholder":true,"num":0}'
PICTURE = bytes(index * 7 & 255 for index in range(900_000))


class Elder(Polling):
    """Generation 3 over polling, without `b64`."""

    def __init__(self, peer: Peer) -> None:
        self.peer, self.query = peer, {"EIO": 3, "transport": "polling"}
        text = self.get().text
        self.query["sid"] = json.loads(text[text.index("{") : text.index("}") + 1])["sid"]

    def get(self) -> Any:
        return self.peer.request("GET", PATH, **self.query)

    def post(self, data: bytes | str) -> Any:
        return self.peer.request("POST", PATH, data, **self.query)


def binary(*contents: bytes | str) -> bytes:
    """A binary payload of generation 3."""
    body = b""
    for content in contents:
        data = content.encode() if isinstance(content, str) else content
        body += bytes((isinstance(content, bytes), *map(int, str(len(data))))) + b"\xff" + data
    return body


@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize("size", [0, 1, 900_000])
def test_binary_of_java_1(peer: Peer, size: int, together: bool) -> None:
    """Header and attachment come in POSTs of their own; the answer has no `b4…`, and no parameter follows its type."""
    session = Elder(peer)
    header, picture = f'451-["message",{PLACE}]', b"\x04" + PICTURE[:size]
    bodies = [binary(header, picture)] if together else [framed(3, header), binary(picture)]
    for body in bodies:
        posted = session.post(body)
        assert (posted.status_code, posted.text) == (200, "ok")
    answer = session.get()
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.content == binary(f'451-["message-back",{PLACE}]', picture)


def test_text_is_text_before_and_after_binary(peer: Peer) -> None:
    session = Elder(peer)
    session.post(binary('42["message","ü"]'))
    answer = session.get()
    assert answer.headers["content-type"] == "text/plain; charset=UTF-8"
    assert answer.text == framed(3, '42["message-back","\\u00fc"]')


def opened(peer: Peer) -> dict[str, Any]:
    """A session of generation 4 in `/`; its query."""
    query = {"EIO": 4, "transport": "polling"}
    query["sid"] = json.loads(peer.request("GET", PATH, **query).text[1:])["sid"]
    peer.request("POST", PATH, "40", **query)
    assert peer.request("GET", PATH, **query).text.startswith("40{")
    return query


def test_java_2_sends_several_frames_in_one_post_and_breaks_base64(peer: Peer) -> None:
    """Together they are more than maxPayload, which it ignores."""
    query = opened(peer)
    broken = base64.encodebytes(PICTURE).decode()  # a line break after each 76 characters
    assert len(broken.split("\n", 1)[0]) == 76
    events = [f'42["message",{index}]' for index in range(3)]
    body = framed(4, *events, f'451-["message",{PLACE}]', "b" + broken)
    assert len(body) > 1_000_000
    assert peer.request("POST", PATH, body, **query).status_code == 200
    answers = peer.request("GET", PATH, **query).text.split("\x1e")
    assert answers[:3] == [f'42["message-back",{index}]' for index in range(3)]
    assert answers[3:] == [f'451-["message-back",{PLACE}]', "b" + base64.b64encode(PICTURE).decode()]


@pytest.mark.parametrize("version", [3, 4])
def test_b64_belongs_to_the_session(peer: Peer, version: int) -> None:
    """It is given on the handshake only, and makes the answers over polling and over the WebSocket text."""
    letter = "b4" if version == 3 else "b"
    session = Polling(peer, version, b64=1)
    del session.query["b64"]
    session.post(framed(version, letter + "AQI="))
    assert session.get().text == framed(version, letter + "AQI=")
    ws = peer.websocket(ENGINE_PATH, **{**session.query, "transport": "websocket"})
    ws.send("2probe")
    assert ws.recv() == "3probe"
    ws.send("5")
    ws.send_binary(b"\x04\x01\x02" if version == 3 else b"\x01\x02")
    assert ws.recv() == letter + "AQI="
    ws.close()


@pytest.mark.parametrize(("method", "path", "query", "status"), [
    ("GET", ENGINE_PATH, {"EIO": 3, "transport": "polling"}, 200),
    ("GET", ENGINE_PATH, {"EIO": 4, "transport": "polling"}, 200),
    ("HEAD", ENGINE_PATH, {"EIO": 4, "transport": "polling"}, 400),
    ("OPTIONS", ENGINE_PATH, {"EIO": 4, "transport": "polling"}, 200),
    ("POST", ENGINE_PATH, {"EIO": 3, "transport": "polling"}, 400),
    ("GET", ENGINE_PATH, {"EIO": 3, "transport": "polling", "sid": "gone"}, 400),
    ("GET", ENGINE_PATH, {"EIO": 9}, 400),
    ("GET", "/echo", {}, 426),
    ("GET", "/nowhere", {}, 404),
    ("GET", "/" + "x" * 9000, {}, 414),
])  # fmt: skip
def test_every_answer_has_a_content_type(
    peer: Peer, method: str, path: str, query: dict[str, Any], status: int
) -> None:
    answer = peer.request(method, path, **query)
    assert answer.status_code == status
    assert answer.headers["content-type"]


@pytest.mark.parametrize("version", [3, 4])
def test_every_answer_of_a_session_has_a_content_type(peer: Peer, version: int) -> None:
    session = Polling(peer, version)
    hello = framed(version, "4hello")
    answers = [session.post(hello), session.get(), session.post("rubbish"), session.get(), session.post(hello)]
    assert [answer.status_code for answer in answers] == [200, 200, 400, 400, 400]
    assert all(answer.headers["content-type"] for answer in answers)


def test_a_body_too_large_has_an_answer_with_a_content_type(peer: Peer) -> None:
    session = Polling(peer, 3)
    answer = session.post(framed(3, "4" + "x" * 1_000_001))
    assert answer.status_code == 413
    assert answer.headers["content-type"]
