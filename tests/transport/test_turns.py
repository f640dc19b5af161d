"""The order of turns while a client sends without pause, on sockets filled beforehand and by a clock of the test's own."""

from __future__ import annotations

import itertools
import socket
from collections.abc import Iterator

import pytest

from transport import hub
from transport.limits import WebSocketLimits
from transport.websocket import TURN_SECONDS, WebSocket
from transport.websocket_frames import BINARY

MESSAGES = 200
COST = TURN_SECONDS / 4
"""Seconds that handling a message takes."""


class Room:
    """WebSockets whose clients have sent everything already; `order` is who was handled when."""

    def __init__(self) -> None:
        self.now = 0.0
        self.order: list[str] = []
        self._far: list[socket.socket] = []
        self._near: list[hub.Socket] = []

    def client(self, name: str, messages: int, payload: bytes = b"x") -> WebSocket:
        near, far = socket.socketpair()
        for end in (near, far):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2**20)
        far.settimeout(10)
        far.sendall((bytes((0x80 | BINARY, 0x80 | len(payload))) + bytes(4) + payload) * messages)
        far.shutdown(socket.SHUT_WR)
        self._far.append(far)
        self._near.append(hub.green(near))
        return WebSocket(self._near[-1], b"", WebSocketLimits(), lambda: self.now)

    def read(self, name: str, ws: WebSocket) -> None:
        for _opcode, _payload in ws.messages():
            self.order.append(name)
            self.now += COST

    def run(self, **messages: int) -> list[str]:
        """Let every client's messages be read; the order in which they were handled."""
        tasks = [hub.spawn(self.read, name, self.client(name, count)) for name, count in messages.items()]
        for task in tasks:
            task.wait()
        return self.order

    def close(self) -> None:
        for end in (*self._far, *self._near):
            end.close()


@pytest.fixture
def room() -> Iterator[Room]:
    one = Room()
    yield one
    one.close()


def runs(order: list[str]) -> list[tuple[str, int]]:
    """How often each was handled in a row."""
    return [(name, len(list(group))) for name, group in itertools.groupby(order)]


def test_two_take_turns(room: Room) -> None:
    order = room.run(a=MESSAGES, b=MESSAGES)
    assert order.count("a") == order.count("b") == MESSAGES
    assert all(length == 4 for _name, length in runs(order))


def test_nobody_waits_for_more_than_one_turn_of_each_other(room: Room) -> None:
    order = room.run(flood=MESSAGES, one=10, two=10, three=10)
    for name in ("one", "two", "three"):
        places = [index for index, handled in enumerate(order) if handled == name]
        assert places[-1] < len(order) - MESSAGES // 2  # long before the flood is over
        assert max(later - earlier for earlier, later in itertools.pairwise(places)) <= 4 * 3 + 1


def test_the_loop_has_its_turn_between_two_of_a_single_client(room: Room) -> None:
    """New connections, heartbeats and what others wait for."""

    def other() -> None:
        while room.order.count("flood") < MESSAGES:
            room.order.append("loop")
            hub.sleep(0)

    task = hub.spawn(other)
    flood = [length for name, length in runs(room.run(flood=MESSAGES)) if name == "flood"]
    task.wait()
    assert max(flood) == 4


def test_a_message_is_handled_before_the_next_is_read(room: Room) -> None:
    """Its own handler does not wait for a client that never pauses: what it sends next is not read ahead without bound."""
    payload, count = b"x" * 100, 6000
    ws = room.client("flood", count, payload)
    messages = ws.messages()
    sock = room._near[0]
    next(messages)
    left = len(sock.recv(2**22, socket.MSG_PEEK))
    assert left > count * len(payload) // 4
    assert sum(1 for _message in messages) == count - 1


def test_bytes_that_make_no_message_end_a_turn_as_well(room: Room) -> None:
    near, far = socket.socketpair()
    room._far.append(far)
    room._near.append(hub.green(near))
    far.settimeout(10)

    def clock() -> float:
        room.now += TURN_SECONDS  # each look at it: a turn is over
        return room.now

    ws = WebSocket(room._near[-1], b"", WebSocketLimits(message_seconds=1000), clock)
    seen: list[int] = []
    task = hub.spawn(lambda: [seen.append(len(payload)) for _opcode, payload in ws.messages()])
    turns = 0
    far.sendall(bytes((0x80 | BINARY, 0xFF)) + (300_000).to_bytes(8, "big") + bytes(4))
    sent = 0
    while sent < 300_000:
        far.sendall(bytes(10_000))
        sent += 10_000
        hub.sleep(0)
        turns += 1
    far.shutdown(socket.SHUT_WR)
    task.wait()
    assert seen == [300_000]
    assert turns == 30  # this green thread ran after every piece
