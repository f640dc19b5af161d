"""One emit with binary to a room of old and new members, on polling and WebSocket."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator

import pytest
from tests.conformance.peer import Peer

PATH = "/socket.io/"
DATA = bytes(range(256))
HEADER = '51-["shouted",{"_placeholder":true,"num":0},"end"]'
JOIN = '42["join","room"]'
SHOUT = "4" + HEADER.replace('"shouted"', '"shout","room"')


@pytest.fixture
def room(clients_port: int) -> Iterator[Peer]:
    peer = Peer(clients_port)
    yield peer
    peer.close()


def post(peer: Peer, query: dict[str, object], *packets: str) -> None:
    body = "\x1e".join(packets) if query["EIO"] == 4 else "".join(f"{len(packet)}:{packet}" for packet in packets)
    assert peer.request("POST", PATH, body, **query).text == "ok"


def join_by_polling(peer: Peer, version: int, **query: object) -> dict[str, object]:
    query = {"EIO": version, "transport": "polling", **query}
    text = peer.request("GET", PATH, **query).text
    query["sid"] = json.loads(text[text.index("{") : text.index("}") + 1])["sid"]
    if version == 4:
        post(peer, query, "40")
        assert peer.request("GET", PATH, **query).text.startswith("40")
    post(peer, query, JOIN)
    return query


def test_mixed_room(room: Peer) -> None:
    pollers = [join_by_polling(room, 3), join_by_polling(room, 3, b64=1), join_by_polling(room, 4)]
    sockets = {version: room.websocket(PATH, EIO=version, transport="websocket") for version in (3, 4)}
    text = room.websocket(PATH, EIO=4, transport="websocket", b64=1)
    for version, ws in [*sockets.items(), (4, text)]:
        ws.recv()
        if version == 4:
            ws.send("40")
        assert ws.recv().startswith("40")
        ws.recv()  # auth
        ws.send(JOIN)
        ws.send('421["message-with-ack"]')
        assert ws.recv() == "431[]"  # so it is in the room
    speaker = room.websocket(PATH, EIO=4, transport="websocket")
    speaker.send("40")
    speaker.send(SHOUT)
    speaker.send_binary(DATA)

    for version, ws in sockets.items():
        assert ws.recv() == "4" + HEADER
        assert ws.recv() == (b"\x04" if version == 3 else b"") + DATA
    encoded = base64.b64encode(DATA).decode()
    assert text.recv() == "4" + HEADER
    assert text.recv() == "b" + encoded
    bodies = []
    for query in pollers:
        body = b""
        while b"shouted" not in body:
            body = room.request("GET", PATH, **query).content
        bodies.append(body)
    header = ("4" + HEADER).encode()
    framed = b"\x00" + bytes(int(digit) for digit in str(len(header))) + b"\xff" + header
    assert bodies[0] == framed + b"\x01\x02\x05\x07\xff\x04" + DATA
    assert bodies[1].decode() == f"{len(HEADER) + 1}:4{HEADER}{len(encoded) + 2}:b4{encoded}"
    assert bodies[2].decode() == f"4{HEADER}\x1eb{encoded}"
