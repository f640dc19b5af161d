"""Packets and payloads of Engine.IO, both generations: what is decoded is encoded to the same again."""

from __future__ import annotations

import contextlib
from random import Random
from types import ModuleType, SimpleNamespace
from typing import Any

from tests.fuzz.target import Defect, Target

from imageserver.errors import DecodeError
from imageserver.transport.budget import unlimited
from imageserver.transport.engineio import v3, v4, websocket
from imageserver.transport.engineio.packet import EnginePacket

MOST, LONGEST, TEXT = 16, 2**20, 2**14
TEXTS = ("", "hello", "€", "\U0001f600" * 3, "\x1e", "b", '2["a",{"b":1}]', "0" * 130)


def payload(codec: ModuleType, body: bytes) -> None:
    """Decode a body; encode what it says, decode that."""
    try:
        packets = codec.decode_payload(body, most=MOST, longest=LONGEST, text=TEXT)
    except DecodeError:
        return
    if len(packets) > MOST or any(isinstance(packet.data, str) and len(packet.data) > TEXT for packet in packets):
        raise Defect("more packets, or longer ones, than are allowed")
    for base64 in (True, False):
        again, _ = codec.encode_payload(packets, base64=base64)
        if len(again) <= LONGEST and again != body:
            found = codec.decode_payload(again, most=MOST, longest=2 * LONGEST, text=4 * TEXT)
            if found != packets:
                raise Defect(f"{packets!r} came back as {found!r}")


def packet(codec: ModuleType, message: bytes) -> None:
    """A message of a WebSocket, as text and as binary."""
    decoded = []
    with contextlib.suppress(DecodeError, UnicodeDecodeError):
        decoded.append(codec.decode_binary(message) if message[:1] == b"b" else codec.decode_packet(message.decode()))
    with contextlib.suppress(DecodeError):
        decoded.append(codec.decode_packet(message))
    for found in decoded:
        again = codec.encode_packet(found, base64=False)
        if codec.decode_packet(again) != found:
            raise Defect(f"{found!r} came back otherwise")


def over_websocket(codec: ModuleType, payload: bytes) -> None:
    """A text message as a session on a WebSocket reads it: within the limit of texts."""
    session: Any = SimpleNamespace(codec=codec, max_text=TEXT, account=unlimited())
    with contextlib.suppress(DecodeError, UnicodeDecodeError):
        found = websocket._decode_text(session, payload)
        if isinstance(found.data, str) and len(found.data.encode()) > TEXT:
            raise Defect("a text over its limit")
        if session.codec.decode_packet(codec.encode_packet(found, base64=False)) != found:
            raise Defect(f"{found!r} came back otherwise")


def jsonp(body: bytes) -> None:
    """A form, cut into pieces of another size: the same payload."""
    results = []
    whole = v3.PIECE
    begin = body.find(b"&d=") + 4  # where the field begins is looked for in the first piece alone
    for size in (whole, begin + 5, begin + 2):
        v3.PIECE = size
        try:
            results.append(v3.decode_jsonp(body))
        except DecodeError as error:
            results.append(str(error))
        finally:
            v3.PIECE = whole
        if len(body) > 4096:
            break
    if any(result != results[0] for result in results):
        raise Defect(f"pieces make a difference: {results!r}")


def packets(random: Random) -> list[EnginePacket]:
    """Some packets."""
    count = random.choice((1, 1, 2, 3, MOST, MOST + 1))
    return [
        EnginePacket(4, random.randbytes(random.randrange(9)))
        if random.random() < 0.4
        else EnginePacket(random.randrange(7), random.choice(TEXTS))
        for _ in range(count)
    ]


def shape_of(codec: ModuleType) -> object:
    return lambda random: codec.encode_payload(packets(random), base64=random.random() < 0.5)[0]


def jsonp_form(random: Random) -> bytes:
    parts = (
        b"\\",
        b"\\n",
        b"\\\\n",
        b"%5C",
        b"%5Cn",
        b"+",
        b"%",
        b"%4",
        b"%ff",
        b"\n",
        b"4:",
        b"12",
        b"&",
        b"\xff",
        b"n",
    )
    return random.choice((b"d=", b"a=b&d=", b"x&d=")) + b"".join(random.choices(parts, k=random.randrange(12)))


_PACKET_WORDS = (
    b"b",
    b"4",
    b"b4",
    b"=",
    b"==",
    b"\n",
    b"\x1e",
    b":",
    b"\xff",
    b"\x00",
    b"\x01",
    b"\x04",
    b"\xe2\x82\xac",
)

TARGETS = [
    Target(
        name="engineio-3-payload",
        run=lambda data: payload(v3, data),
        seeds=(
            b"6:4hello2:4\xe2\x82\xac", b"10:b4AQIDBA==", b"\x00\x06\xff4hello\x01\x05\xff\x04\x01\x02\x03\x04",
            b'97:0{"sid":1}2:40', b"3:4\xf0\x9f\x98\x80", b"1:2" * MOST,
        ),
        covers=("transport.engineio.v3", "transport.engineio.packet"),
        words=_PACKET_WORDS, shape=shape_of(v3), longest=2**20,
    ),
    Target(
        name="engineio-4-payload",
        run=lambda data: payload(v4, data),
        seeds=(b"4hello\x1e2\x1e4\xe2\x82\xac", b"bAQIDBA==", b"bAQ\nID\r\nBA==\x1e4a", b'40{"a":1}',
               b"2\x1e" * (MOST - 1) + b"3"),
        covers=("transport.engineio.v4", "transport.engineio.packet"),
        words=_PACKET_WORDS, shape=shape_of(v4), longest=2**20,
    ),
    Target(
        name="engineio-3-packet",
        run=lambda data: packet(v3, data),
        seeds=(b"4hello", b"b4AQIDBA==", b"\x04\x01\x02", b"2probe", b"6"),
        covers=("transport.engineio.v3", "transport.engineio.packet"),
        words=_PACKET_WORDS, longest=2**20,
    ),
    Target(
        name="engineio-4-packet",
        run=lambda data: packet(v4, data),
        seeds=(b"4hello", b"bAQIDBA==", b"\x04\x01\x02", b"2probe", b"6"),
        covers=("transport.engineio.v4", "transport.engineio.packet"),
        words=_PACKET_WORDS, longest=2**20,
    ),
    *(
        Target(
            name=f"engineio-{codec.VERSION}-websocket",
            run=lambda data, codec=codec: over_websocket(codec, data),
            seeds=(b"4hello", b"bAQIDBA==", b"b4AQID", b"2probe", b"4\xe2\x82", b"4" + b"a" * (TEXT + 1)),
            covers=("transport.engineio.websocket",),
            words=_PACKET_WORDS, longest=2**18,
        )
        for codec in (v3, v4)
    ),
    Target(
        name="engineio-jsonp",
        run=jsonp,
        seeds=(b"d=6%3A4hello", b"a=b&d=4%5Cn%5C%5Cn+%25", b"d=\\\\n\\n", b"d="),
        covers=("transport.engineio.v3",),
        words=(b"d=", b"&d=", b"\\", b"%5C", b"n", b"%"), shape=jsonp_form, longest=2**20,
        byte_memory=256,  # of one piece at a time: each of its "%" is an object for a moment
    ),
]  # fmt: skip
