"""The order of turns while a client sends without pause, on sockets filled beforehand and by the test's own clock."""

from __future__ import annotations

import itertools
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from imageserver.limits import Limits
from imageserver.transport import hub
from imageserver.transport.fairness import TURN_SECONDS, SharedTurn, Turn
from imageserver.transport.http.server import HttpServer
from imageserver.transport.websocket import incoming
from imageserver.transport.websocket.connection import WebSocket
from imageserver.transport.websocket.frames import BINARY, Chunk

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
        return WebSocket(self._near[-1], b"", Limits(), lambda: self.now)

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


def test_a_message_is_handled_before_the_next_is_read(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own handler does not wait for a client that never pauses: what comes next is not read without bound."""
    monkeypatch.setattr(incoming, "_chunks", [Chunk(100_000)])  # what one read may bring, a sixth of what is there
    payload, count = b"x" * 100, 6000
    ws = room.client("flood", count, payload)
    messages = ws.messages()
    sock = room._near[0]
    next(messages)
    left = len(sock.recv(2**22, socket.MSG_PEEK))
    assert left > count * len(payload) // 4
    assert sum(1 for _message in messages) == count - 1


def test_however_many_never_pause_others_wait_for_one_of_them(room: Room) -> None:
    waits: list[float] = []

    def other() -> None:
        while len(room.order) < 60 * 20:
            before = room.now
            hub.sleep(0)
            waits.append(room.now - before)

    task = hub.spawn(other)
    room.run(**{f"flood {number}": 20 for number in range(60)})
    task.wait()
    # In the first round they are all new, and nobody knows yet who will pause.
    assert max(waits[2:-1]) <= TURN_SECONDS + 1e-9
    for name in ("flood 0", "flood 59"):  # each has its turn in every round
        places = [index for index, handled in enumerate(room.order) if handled == name]
        assert max(later - earlier for earlier, later in itertools.pairwise(places)) <= 4 * 60


def test_bytes_that_make_no_message_end_a_turn_as_well(room: Room) -> None:
    near, far = socket.socketpair()
    room._far.append(far)
    room._near.append(hub.green(near))
    far.settimeout(10)

    def clock() -> float:
        room.now += TURN_SECONDS  # each look at it: a turn is over
        return room.now

    ws = WebSocket(room._near[-1], b"", Limits(message_time=1000), clock)
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


def test_fragments_end_a_turn_as_well(room: Room) -> None:
    """A read may bring a hundred thousand of them, and they make no message."""
    near, far = socket.socketpair()
    room._far.append(far)
    room._near.append(hub.green(near))

    def clock() -> float:
        room.now += TURN_SECONDS  # each look at it: a turn is over
        return room.now

    ws = WebSocket(room._near[-1], b"", Limits(message_time=1000), clock)
    begin, fragment, end = (bytes((first, 0x81)) + bytes(4) + b"x" for first in (BINARY, 0, 0x80))
    far.sendall(begin + fragment * 100 + end)
    far.shutdown(socket.SHUT_WR)
    turns = 0

    def other() -> None:
        nonlocal turns
        while not room.order:
            turns += 1
            hub.sleep(0)

    task = hub.spawn(lambda: room.order.extend(payload.decode() for _opcode, payload in ws.messages()))
    watching = hub.spawn(other)
    task.wait()
    watching.wait()
    assert room.order == ["x" * 102]
    assert turns > 100


def test_what_comes_after_a_refusal_ends_a_turn_as_well(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is read and dropped, so that the client can read why it was refused."""
    monkeypatch.setattr(incoming, "_chunks", [Chunk(1000)])
    near, far = socket.socketpair()
    far.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2**22)
    room._far.append(far)
    room._near.append(hub.green(near))

    def clock() -> float:
        room.now += TURN_SECONDS  # each look at it: a turn is over
        return room.now

    ws = WebSocket(room._near[-1], b"", Limits(max_message_bytes=1024), clock)
    far.settimeout(10)
    far.sendall(bytes((0x80 | BINARY, 0xFE)) + (2000).to_bytes(2, "big") + bytes(4))
    turns = 0

    def other() -> None:
        nonlocal turns
        while not room.order:
            turns += 1
            hub.sleep(0)

    def read() -> None:
        assert list(ws.messages()) == []
        room.order.append("ended")

    far.sendall(bytes(190_000))
    far.shutdown(socket.SHUT_WR)
    task, watching = hub.spawn(read), hub.spawn(other)
    task.wait()
    watching.wait()
    assert turns >= 3  # for each of its pieces of 64 KiB


class Listening:
    """An HTTP server in this process; what its clients send is there before it begins."""

    def __init__(self) -> None:
        self.now = self.clock_cost = 0.0
        self.order: list[str] = []
        self.server = HttpServer(hub.listen("127.0.0.1", 0), Limits(), log=lambda _line: None, clock=self.clock)
        self._far: list[socket.socket] = []
        self._task: hub.Task | None = None

    def clock(self) -> float:
        self.now += self.clock_cost
        return self.now

    def client(self, sent: bytes = b"") -> None:
        far = socket.create_connection(("127.0.0.1", self.server.port), 10)
        far.sendall(sent)
        self._far.append(far)

    def begin(self) -> None:
        self._task = hub.spawn(self.server.serve)

    def close(self) -> None:
        self.server.stop(0)
        if self._task is not None:
            self._task.wait()
        while self.server.connections:
            hub.sleep(0.001)
        for far in self._far:
            far.close()


@pytest.fixture
def listening() -> Iterator[Listening]:
    one = Listening()
    yield one
    one.close()


def test_requests_sent_without_waiting_for_answers_take_turns(listening: Listening) -> None:
    def app(environ: Any, start_response: Any) -> list[bytes]:
        listening.order.append(environ["PATH_INFO"][1:])
        listening.now += COST
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b""]

    listening.server.route("/", app)
    for name in "ab":
        listening.client(f"POST /{name} HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nxy".encode() * MESSAGES)
    listening.begin()
    while len(listening.order) < 2 * MESSAGES:
        hub.sleep(0)
    assert listening.order.count("a") == MESSAGES
    assert max(length for _name, length in runs(listening.order)) <= 5


def test_others_have_a_turn_while_a_large_body_is_read(listening: Listening) -> None:
    turns_before_the_end: list[int] = []
    turns = 0

    def app(environ: Any, start_response: Any) -> list[bytes]:
        listening.clock_cost = TURN_SECONDS
        assert len(environ["wsgi.input"].read()) == 600_000
        turns_before_the_end.append(turns)
        listening.clock_cost = 0.0
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b""]

    listening.server.route("/", app)
    far = socket.create_connection(("127.0.0.1", listening.server.port), 10)
    listening._far.append(far)
    sent = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 600000\r\n\r\n" + bytes(600_000)
    sender = threading.Thread(target=far.sendall, args=(sent,))  # the kernel may not take it all before somebody reads
    sender.start()
    listening.begin()
    while not turns_before_the_end:
        hub.sleep(0)
        turns += 1
    sender.join()
    assert turns_before_the_end[0] >= 600_000 // 65_536


def test_a_storm_of_connections_is_let_in_by_and_by(listening: Listening) -> None:
    for _ in range(30):
        listening.client()
    listening.clock_cost = TURN_SECONDS
    listening.begin()
    seen: list[int] = []
    while len(listening.server.connections) < 30:
        hub.sleep(0)
        seen.append(len(listening.server.connections))
    listening.clock_cost = 0.0
    assert all(later - earlier <= 1 for earlier, later in itertools.pairwise([0, *seen]))


def test_a_crowd_goes_on_in_order_and_so_many_at_a_time() -> None:
    shared = SharedTurn(3)
    going: list[int] = []
    by_turn: list[int] = []

    def go(number: int) -> None:
        shared.take()
        going.append(number)

    for number in range(10):
        hub.spawn(go, number)
    while len(going) < 10:
        before = len(going)
        hub.sleep(0)
        by_turn.append(len(going) - before)
    assert going == list(range(10))
    assert max(by_turn) == 3


def test_a_shared_turn_is_as_much_shorter() -> None:
    for shared, seconds in ((None, TURN_SECONDS), (SharedTurn(4), TURN_SECONDS / 4)):
        turn = Turn(lambda: 5.0, shared)
        turn.begin()
        assert turn.ends == 5 + seconds


def test_of_a_crowd_that_waits_for_the_next_turn_nobody_is_forgotten() -> None:
    shared = SharedTurn(1)
    tasks = [hub.spawn(shared.take_next) for _ in range(3)]
    with hub.Timeout(5.0):
        for task in tasks:
            task.wait()
