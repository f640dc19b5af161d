"""Packets of Socket.IO with their attachments, as one client sends them: what handlers are called with does not depend
on whether a header was seen before, what is sent again is the same, and nothing beyond a limit is kept."""

from __future__ import annotations

import functools
import itertools
import json
from collections.abc import Iterator
from random import Random
from types import SimpleNamespace
from typing import Any

from tests.fuzz.target import Defect, Target

from imageserver.limits import Limits
from imageserver.transport.budget import unlimited
from imageserver.transport.engineio.packet import EnginePacket
from imageserver.transport.socketio.events import EventReader
from imageserver.transport.socketio.header_cache import LONGEST_HEADER
from imageserver.transport.socketio.members import Members
from imageserver.transport.socketio.packets import Json, SocketPacket, group_of

LIMITS = Limits(max_message_bytes=2**16)
CLIENT = "client"
Message = tuple[bool, bytes]
"""Whether it is binary, and what is in it."""


class Session(SimpleNamespace):
    """Stands for one of Engine.IO, of generation 3, whose ids are none of chance."""

    __hash__ = object.__hash__


class OneClient:
    """An engine and its members with one client, and what has become of what it sent."""

    def __init__(self) -> None:
        self.happened: list[object] = []
        self.open = True
        ws = SimpleNamespace(incoming=SimpleNamespace(receiver=SimpleNamespace(most_kept=None, arrived=0)))
        session: Any = Session(
            sid=CLIENT, account=unlimited(), ws=ws, posting=None, generation=3, query="EIO=3&key=a", address="", who="",
            send=lambda group: self.happened.append(("sent", group.packets)),
        )  # fmt: skip
        engine: Any = SimpleNamespace(
            limits=LIMITS, log=lambda _line: None, clock=lambda: 0.0, sessions={CLIENT: session},
            new_id=itertools.count().__next__, who=lambda _sid: "a client", owner=lambda _sid: "", close=self._close,
            send=lambda _sid, group: self.happened.append(("sent", group.packets)),
        )  # fmt: skip
        ours = {name: functools.partial(self._event, name) for name in ("*", "receiveImage", "connect", "disconnect")}
        handlers: Any = {"/": ours, "/ns": ours}
        self.members = Members(engine, handlers)
        self.reader = EventReader(engine, handlers, self.members)
        self.reader._attachments.sweep = Any  # nothing is waited for here
        self.members.join(session, "/", None)

    def _close(self, _sid: str) -> None:
        self.open = False
        self.reader.forget(CLIENT)
        self.members.disconnected(CLIENT, "transport close")
        if self.members.where or self.members.joined or self.members.early:
            raise Defect(f"a member is left: {self.members.where}")

    def _event(self, *arguments: Any) -> str:
        self.happened.append(("event", *arguments))
        return "yes"

    def take(self, messages: Iterator[Message], *, offered: bool) -> list[object]:
        """What becomes of messages; `offered`: to the headers seen before, as what comes over a WebSocket is."""
        for binary, data in messages:
            if binary:
                self.reader.message(CLIENT, data)
            elif not (offered and self.reader.offer(CLIENT, b"4" + data)):
                self.reader.message(CLIENT, data.decode())
            waiting = self.reader.waiting.get(CLIENT)
            if getattr(waiting, "size", 0) > LIMITS.max_message_bytes:
                raise Defect("more bytes of attachments wait than a message may have")
            if not self.open:
                if waiting is not None:
                    raise Defect(f"a packet waits for a client that was disconnected: {waiting!r}")
                return [*self.happened, "closed"]
        return self.happened


def messages(data: bytes) -> Iterator[Message]:
    """Lines: after `!` binary, otherwise text; as long as it is UTF-8."""
    for line in data.split(b"\n"):
        if line[:1] == b"!":
            yield True, line[1:]
        else:
            try:
                line.decode()
            except UnicodeDecodeError:
                return
            yield False, line


def client(data: bytes) -> None:
    """The messages of one client, thrice over, so that headers are seen again."""
    repeated = data + b"\n" + data + b"\n" + data
    once = OneClient().take(messages(repeated), offered=False)
    cached = OneClient().take(messages(repeated), offered=True)
    if once != cached:
        raise Defect(f"parsed {once!r:.800}; looked up {cached!r:.800}")


def packet(data: bytes) -> None:
    """One packet: encoded and decoded again it is the same."""
    try:
        found = SocketPacket(encoded_packet=data.decode() or " ")
    except (ValueError, IndexError, KeyError, RecursionError):
        return
    if found.packet_type > 6 or found.attachment_count or not isinstance(found.data, (list, dict, type(None))):
        return
    try:
        group = group_of(SocketPacket(found.packet_type, found.data, found.namespace, found.id))
    except RecursionError:
        return
    (carried,) = group.packets
    if not isinstance(carried, EnginePacket) or not isinstance(carried.data, str):
        raise Defect(f"{carried!r} carries a text")
    again = SocketPacket(encoded_packet=carried.data)
    # 1e999 is read as infinity, which no JSON has: null comes back.
    said = [(pkt.packet_type, pkt.namespace or "/", pkt.id, Json.dumps(pkt.data)) for pkt in (found, again)]
    if said[0] != said[1]:
        raise Defect(f"{said[0]!r:.400} came back as {said[1]!r:.400}")


def numbers(data: bytes) -> None:
    """JSON as clients of any language read it: neither NaN nor Infinity goes in or out."""
    try:
        value = Json.loads(data.decode())
    except (ValueError, RecursionError):
        return
    json.loads(Json.dumps({"value": [value, float("nan"), float("inf")]}), parse_constant=_no_constant)


def _no_constant(name: str) -> None:
    raise Defect(f"{name} was written")


NAMES = ("a", "receiveImage", "connect", "", "é", "\U0001f600", "disconnect", "n" * 200)
NAMESPACES = ("", "", "", "/,", "/ns,", "/other,", "/ns?a=b,", "/" + "n" * 200 + ",")
SCALARS: tuple[Any, ...] = (None, True, 0, -1, 1.5, "", "text", 10**30, [], {})


def some_messages(random: Random) -> bytes:
    """What a client sends, most of it proper."""
    lines: list[bytes] = []
    for _ in range(random.choice((1, 1, 2, 4))):
        count = random.choice((0, 0, 1, 1, 1, 2, 3, LIMITS.max_attachments + 1))
        values = [_value(random, count, 0) for _ in range(random.randrange(4))]
        values += [{"_placeholder": True, "num": index} for index in range(count)]
        random.shuffle(values)
        kind = (random.choice("56") if random.random() < 0.1 else "5") if count else random.choice("222013")
        number = random.choice(("", "", "0", "7", "007", "9" * 15, "9" * 101))
        body = json.dumps([random.choice(NAMES), *values], ensure_ascii=random.random() < 0.5)
        head = f"{kind}{f'{count}-' if count else ''}{random.choice(NAMESPACES)}{number}"
        lines.append((head + body).replace("\n", "").encode())
        sent = count if random.random() < 0.9 else random.randrange(5)
        lines += [b"!" + random.choice((b"", b"picture", b"x" * 40_000)) for _ in range(min(sent, 20))]
    return b"\n".join(lines)


def _value(random: Random, count: int, depth: int) -> Any:
    choice = random.random()
    if count and choice < 0.3:
        return {
            "_placeholder": random.choice((True, 1, False)),
            "num": random.choice((0, 1, count, -1, True, "0", 0.0)),
        }
    if choice < 0.5 and depth < 3:
        return [_value(random, count, depth + 1) for _ in range(random.randrange(3))]
    if choice < 0.6 and depth < 3:
        return {random.choice(NAMES): _value(random, count, depth + 1)}
    return random.choice(SCALARS)


WORDS = (
    b'{"_placeholder":true,"num":0}', b'["a"', b"451-", b"51-", b"61-0", b"\n", b"\n!", b"/ns,", b"/ns?a=b,", b"0/ns",
    b"1/ns",
    b"12", b"-", b"NaN", b"Infinity", b"\\ud800", b'"\\u0000"', b"\xd9\xa3", b"\xc2\xb2", b"1e999", b"[[",
)  # fmt: skip

TARGETS = [
    Target(
        name="socketio-client",
        run=client,
        seeds=(
            b'51-["receiveImage",{"_placeholder":true,"num":0}]\n!picture', b'2["a",1]\n27["a"]', b'0{"key":"a"}\n1',
            b'52-/ns,7["a",{"b":[{"_placeholder":true,"num":1}]},{"_placeholder":true,"num":0}]\n!one\n!two',
            b'0/ns?key=a,\n2/ns,5["a"]\n1',
            b'51-007["a",{"_placeholder":true,"num":0},"b"]\n!x', b'61-3[{"_placeholder":true,"num":0}]\n!x', b"33[1]",
            b'51-["a",{"_placeholder":true,"num":0}]' + b" " * LONGEST_HEADER + b"\n!x",
        ),
        covers=(
            "transport.socketio.events", "transport.socketio.packets", "transport.socketio.header_cache",
            "transport.socketio.attachments", "transport.socketio.members",
        ),
        words=WORDS, shape=some_messages, longest=2**17,
        seconds=0.01, byte_seconds=1e-5,  # everything is sent six times
        byte_memory=400,
    ),
    Target(
        name="socketio-packet",
        run=packet,
        seeds=(b'2["a",1,{"b":null}]', b'2/ns,12["a"]', b'0/ns,{"token":"a"}', b"1/ns,", b"0", b'4{"message":"a"}',
        b"37[true]"),
        covers=("transport.socketio.packets",),
        words=WORDS, longest=2**17, byte_memory=200,
    ),
    Target(
        name="socketio-json",
        run=numbers,
        seeds=(b'{"a":[1,2.5,-1e3,null,true,"\\u20ac"]}', b"1e999", b"NaN", b'"\\ud800"', b"[[[[1]]]]"),
        covers=("transport.socketio.packets",),
        words=WORDS, longest=2**17, byte_memory=200,
    ),
]  # fmt: skip
