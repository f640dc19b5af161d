"""Socket.IO protocol 5, case by case after the protocol document and its test suite; and protocol 4, its elder."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from tests.conformance.peer import Peer, closed

PATH = "/socket.io/"


class Client:
    """A WebSocket that answers heartbeats."""

    def __init__(self, peer: Peer, version: int, **query: str) -> None:
        self.ws = peer.websocket(PATH, EIO=version, transport="websocket", **query)
        self.sid = json.loads(self.ws.recv()[1:])["sid"]

    def recv(self) -> str | bytes:
        while (data := self.ws.recv()) == "2":
            self.ws.send("3")
        return data

    def send(self, *messages: str | bytes) -> None:
        for message in messages:
            if isinstance(message, bytes):
                self.ws.send_binary(message)
            else:
                self.ws.send(message)


@pytest.fixture
def client(peer: Peer) -> Iterator[Client]:
    """One of generation 4, in no namespace yet."""
    one = Client(peer, 4)
    yield one
    one.ws.shutdown()


@pytest.fixture
def joined(client: Client) -> Client:
    """One of generation 4, in the namespace /."""
    client.send("40")
    assert client.recv().startswith("40{")
    assert client.recv() == '42["auth",{}]'
    return client


@pytest.fixture
def elder(peer: Peer) -> Iterator[Client]:
    """One of generation 3, which is in the namespace / without a word."""
    one = Client(peer, 3)
    assert one.recv() == "40"
    assert one.recv() == '42["auth",{}]'
    yield one
    one.ws.shutdown()


@pytest.mark.parametrize(("connect", "prefix", "auth"), [
    ("40", "40", '42["auth",{}]'),
    ('40{"token":"123"}', "40", '42["auth",{"token":"123"}]'),
    ("40/custom,", "40/custom,", '42/custom,["auth",{}]'),
    ("40/custom", "40/custom,", '42/custom,["auth",{}]'),
    ('40/custom,{"token":"abc"}', "40/custom,", '42/custom,["auth",{"token":"abc"}]'),
    ("40/custom,5", "40/custom,", '42/custom,["auth",{}]'),  # the number of an acknowledgement, which is none here
])  # fmt: skip
def test_connect(client: Client, connect: str, prefix: str, auth: str) -> None:
    client.send(connect)
    answer = client.recv()
    assert answer.startswith(prefix + "{")
    assert set(json.loads(answer[len(prefix) :])) == {"sid"}
    assert client.recv() == auth


@pytest.mark.parametrize("connect", ["40/random", "40/random,", '40/random,{"token":"abc"}'])
def test_unknown_namespace(client: Client, connect: str) -> None:
    client.send(connect)
    assert client.recv() == '44/random,{"message":"Invalid namespace"}'


@pytest.mark.parametrize("message", ["4abc", "4", "47", "4{}", "42{}", "42[]", "42[1]", "42", '42abc["message-with-ack",1]', "40{",
                                     '44{"message":"x"}', "45", '45["message"]', "450-[]", '4517-["message"]', '451-["message",', "43[1]",
                                     '42["connect"]', '42["disconnect",1]', '421["connect_error"]', '42["disconnecting"]',
                                     '42["message",NaN]', '42["message",[-Infinity]]', '40/custom,"s"', "40/custom,[]",
                                     '42["newListener"]', '42/custom,["removeListener"]', '451-["connect",{"_placeholder":true,"num":0}]',
                                     '421["message"', "4" + "9" * 300, "45999999999999-[]", '42["message",' + "[" * 5000])  # fmt: skip
def test_malformed_packets_close(joined: Client, message: str) -> None:
    joined.send(message)
    closed(joined.ws)


@pytest.mark.parametrize("messages", [[b"\x01"], ['451-["message",{"_placeholder":true,"num":0}]', '42["message"]'],
                                      ['451-["message",{"_placeholder":true,"num":7}]', b"\x01"],
                                      ['451-["message",{"_placeholder":true,"num":-1}]', b"\x01"],
                                      ['451-["message",[{"_placeholder":true,"num":-1}]]', b"\x01"],
                                      ['451-["message",{"_placeholder":true,"num":"x"}]', b"\x01"]])  # fmt: skip
def test_malformed_binary_closes(joined: Client, messages: list[str | bytes]) -> None:
    joined.send(*messages)
    closed(joined.ws)


@pytest.mark.parametrize("version", [3, 4])
def test_invalid_handshake_closes(peer: Peer, version: int) -> None:
    one = Client(peer, version)
    one.send("4abc")
    closed(one.ws)


def test_no_connect_closes(client: Client) -> None:
    closed(client.ws, heartbeats=True)


@pytest.mark.parametrize("event", ['421["nobody",1]', '42["nobody",1]'])
def test_event_without_a_handler_is_not_acknowledged(joined: Client, event: str) -> None:
    joined.send(event, '42["message"]')
    assert joined.recv() == '42["message-back"]'


def test_leaving_keeps_the_connection(joined: Client) -> None:
    joined.send("41", "40")
    assert joined.recv().startswith("40{")


def test_leaving_a_namespace(joined: Client) -> None:
    joined.send("40/custom")
    assert joined.recv().startswith("40/custom,{")
    assert joined.recv() == '42/custom,["auth",{}]'
    joined.send("41/custom", '42/custom,["message","nobody hears it"]', '42["message","message to main namespace"]')
    assert joined.recv() == '42["message-back","message to main namespace"]'


EVENTS = [
    (['42["message",1,"2",{"3":[true]}]'], ['42["message-back",1,"2",{"3":[true]}]']),
    (['42["message"]'], ['42["message-back"]']),
    (['452-["message",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]', b"\x01\x02\x03", b"\x04\x05\x06"],
     ['452-["message-back",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]', b"\x01\x02\x03", b"\x04\x05\x06"]),
    (['451-["message",{"a":[1,{"_placeholder":true,"num":0}]},"b"]', b""],
     ['451-["message-back",{"a":[1,{"_placeholder":true,"num":0}]},"b"]', b""]),
    (['452-["message",{"_placeholder":true,"num":1},{"_placeholder":true,"num":0}]', b"\x01", b"\x02"],
     ['452-["message-back",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]', b"\x02", b"\x01"]),
    (['42456["message-with-ack",1,"2",{"3":[false]}]'], ['43456[1,"2",{"3":[false]}]']),
    (['420["message-with-ack"]'], ['430[]']),
    (['452-789["message-with-ack",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]', b"\x01\x02\x03", b"\x04\x05\x06"],
     ['462-789[{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]', b"\x01\x02\x03", b"\x04\x05\x06"]),
]  # fmt: skip


@pytest.mark.parametrize(("sent", "answers"), EVENTS)
def test_events(joined: Client, sent: list[str | bytes], answers: list[str | bytes]) -> None:
    for _ in range(3):  # a header seen before goes another way
        joined.send(*sent)
        assert [joined.recv() for _ in answers] == answers


@pytest.mark.parametrize(("sent", "answers"), EVENTS)
def test_events_of_the_elder(elder: Client, sent: list[str | bytes], answers: list[str | bytes]) -> None:
    for _ in range(3):
        elder.send(*(b"\x04" + message if isinstance(message, bytes) else message for message in sent))
        assert [elder.recv() for _ in answers] == [
            b"\x04" + item if isinstance(item, bytes) else item for item in answers
        ]


@pytest.mark.parametrize("number", [1, 7, 300])
def test_numbered_headers_seen_before(joined: Client, number: int) -> None:
    joined.send("40/custom,")
    joined.recv(), joined.recv()
    for step in range(4):
        for place in ("", "/custom,"):
            data = bytes([step])
            joined.send(f'451-{place}{number + step}["message-with-ack",{{"_placeholder":true,"num":0}}]', data)
            assert joined.recv() == f'461-{place}{number + step}[{{"_placeholder":true,"num":0}}]'
            assert joined.recv() == data


def test_payload_that_opens_for_the_elder(peer: Peer) -> None:
    text = peer.request("GET", PATH, EIO=3, transport="polling").text
    length, _, rest = text.partition(":")
    assert rest[int(length) :].startswith("2:40")


def test_elder_joins_with_a_query(elder: Client) -> None:
    elder.send("40/custom?token=abc,")
    assert elder.recv() == "40/custom,"
    assert elder.recv() == '42/custom,["auth",{"token":"abc"}]'
    elder.send('42/custom,["message",1]')
    assert elder.recv() == '42/custom,["message-back",1]'


def test_elder_is_refused_with_a_string(elder: Client) -> None:
    elder.send("40/random")
    assert elder.recv() == '44/random,"Invalid namespace"'


def test_elder_leaving_the_first_namespace_leaves_all(elder: Client) -> None:
    elder.send("40/custom")
    elder.recv(), elder.recv()
    elder.send("41", '42["message"]', '42/custom,["message"]', "2")
    assert elder.recv() == "3"


def test_query_stands_for_auth(peer: Peer) -> None:
    one = Client(peer, 3, key="k", t="abc")
    assert one.recv() == "40"
    assert one.recv() == '42["auth",{"key":"k"}]'
