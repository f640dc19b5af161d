"""RFC 6455 as a table of bytes: whole, in pieces, and broken."""

from __future__ import annotations

import random

import pytest

from imageserver.errors import ProtocolError
from imageserver.transport.websocket import frames
from imageserver.transport.websocket.frames import (
    BINARY,
    CLOSE,
    FRAGMENT,
    LONG_READ_BYTES,
    PING,
    TEXT,
    Chunk,
    CloseCode,
    Receiver,
)

KEY = b"\x37\xfa\x21\x3d"  # of the examples in section 5.7


def masked(opcode: int, payload: bytes, final: bool = True, key: bytes = KEY) -> bytes:
    """A client's frame."""
    header = bytearray(frames.frame_header(opcode, len(payload)))
    header[0] = opcode | (0x80 if final else 0)
    header[1] |= 0x80
    return bytes(header) + key + bytes(byte ^ key[index & 3] for index, byte in enumerate(payload))


def receive(data: bytes, pieces: int = 1 << 30, limit: int = 1 << 24) -> list[tuple[int, bytes]]:
    """What a receiver makes of `data` that comes in pieces of at most so many bytes."""
    receiver, chunk, messages = Receiver(limit, lambda: 1.0), Chunk(), []
    while data:
        room = receiver.room(chunk)
        count = min(len(room), pieces, len(data))
        room[:count], data = data[:count], data[count:]
        messages += receiver.parse(chunk, count)
    return [message for message in messages if message[0] != FRAGMENT]


def test_examples_of_the_rfc() -> None:
    assert receive(bytes.fromhex("818537fa213d7f9f4d5158")) == [(TEXT, b"Hello")]
    assert frames.frame(TEXT, b"Hello") == bytes.fromhex("810548656c6c6f")
    assert frames.frame(PING, b"Hello") == bytes.fromhex("890548656c6c6f")
    assert frames.frame_header(BINARY, 256) == bytes.fromhex("827e0100")
    assert frames.frame_header(BINARY, 65536) == bytes.fromhex("827f0000000000010000")
    assert frames.accept_key("dGhlIHNhbXBsZSBub25jZQ==") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


@pytest.mark.parametrize("size", [0, 1, 2, 3, 4, 5, 7, 8, 9, 125, 126, 127, 65535, 65536, 65537, 300_001])
@pytest.mark.parametrize("pieces", [1 << 30, 4096, 1000])
def test_sizes(size: int, pieces: int) -> None:
    payload = random.Random(size).randbytes(size)
    data = b"".join(
        masked(BINARY, payload[:cut], key=bytes([cut, 2, 3, 4])) for cut in range(min(size + 1, 9))
    ) + masked(TEXT, payload)
    expected = [(BINARY, payload[:cut]) for cut in range(min(size + 1, 9))] + [(TEXT, payload)]
    assert receive(data, pieces) == expected


@pytest.mark.parametrize("pieces", range(1, 40))
def test_pieces(pieces: int) -> None:
    data = (
        masked(TEXT, b"ab", final=False) + masked(PING, b"?") + masked(0, b"", final=False) + masked(0, b"c" * 200)
        + masked(BINARY, b"d" * 131) + masked(CLOSE, b"\x03\xe8bye")
    )  # fmt: skip
    assert receive(data, pieces) == [
        (PING, b"?"),
        (TEXT, b"ab" + b"c" * 200),
        (BINARY, b"d" * 131),
        (CLOSE, b"\x03\xe8bye"),
    ]


@pytest.mark.parametrize("cut", range(1, 7))
def test_nothing_is_incomplete_behind_a_ping_that_came_in_two_pieces(cut: int) -> None:
    receiver, chunk, ping = Receiver(1000, lambda: 1.0), Chunk(), masked(PING, b"?")
    feed(receiver, chunk, ping[:cut])
    assert receiver.since == 1.0
    assert feed(receiver, chunk, ping[cut:]) == [(PING, b"?")]
    assert receiver.since is None  # else an idle client would be told that its message takes too long
    feed(receiver, chunk, masked(TEXT, b"a", final=False) + ping[:cut])
    feed(receiver, chunk, ping[cut:])
    assert receiver.since == 1.0  # the fragment's message goes on


@pytest.mark.parametrize("kept", [2, 6, 7])
def test_a_broken_frame_is_refused_as_soon_as_its_first_bytes_are_there(kept: int) -> None:
    receiver, chunk = Receiver(1000, lambda: 1.0), Chunk()
    with pytest.raises(ProtocolError):
        feed(receiver, chunk, (b"\xf2\xfe" + bytes(6))[:kept])


def feed(receiver: Receiver, chunk: Chunk, data: bytes) -> list[tuple[int, bytes]]:
    """What one read completes."""
    receiver.room(chunk)[: len(data)] = data
    return list(receiver.parse(chunk, len(data)))


@pytest.mark.parametrize(("data", "code"), [
    (frames.frame(TEXT, b"unmasked"), CloseCode.PROTOCOL_ERROR),
    (b"\x81\x05", CloseCode.PROTOCOL_ERROR),
    (masked(3, b""), CloseCode.PROTOCOL_ERROR),
    (masked(11, b""), CloseCode.PROTOCOL_ERROR),
    (masked(TEXT | 0x40, b"compressed"), CloseCode.PROTOCOL_ERROR),
    (masked(0, b"continues nothing"), CloseCode.PROTOCOL_ERROR),
    (masked(TEXT, b"a", final=False) + masked(TEXT, b"b"), CloseCode.PROTOCOL_ERROR),
    (masked(PING, b"x" * 126), CloseCode.PROTOCOL_ERROR),
    (masked(PING, b"x", final=False), CloseCode.PROTOCOL_ERROR),
    (b"\x82\xff\x80" + bytes(7) + KEY, CloseCode.PROTOCOL_ERROR),
    (masked(BINARY, b"x" * 1001), CloseCode.MESSAGE_TOO_BIG),
    (masked(BINARY, b"x" * 600, final=False) + masked(0, b"x" * 401), CloseCode.MESSAGE_TOO_BIG),
    (b"\x82\xff" + (1 << 40).to_bytes(8, "big") + KEY, CloseCode.MESSAGE_TOO_BIG),
])  # fmt: skip
@pytest.mark.parametrize("pieces", [1 << 30, 1])
def test_violations(data: bytes, code: int, pieces: int) -> None:
    with pytest.raises(ProtocolError) as broken:
        receive(data, pieces, limit=1000)
    assert broken.value.code == code
    assert broken.value.limit == ("max_message_bytes" if code == CloseCode.MESSAGE_TOO_BIG else "")


def test_a_read_is_as_long_as_a_turn_allows() -> None:
    """Of a long frame the kernel may have many megabytes."""
    receiver, chunk = Receiver(1 << 24, lambda: 1.0), Chunk()
    beginning = frames.frame_header(BINARY, 1 << 24)
    data = beginning[:1] + bytes([beginning[1] | 0x80]) + beginning[2:] + bytes(4)
    receiver.room(chunk)[: len(data)] = data
    assert list(receiver.parse(chunk, len(data))) == []
    assert len(receiver.room(chunk)) == LONG_READ_BYTES


def test_incomplete_messages_are_dated() -> None:
    now = 5.0
    receiver, chunk = Receiver(1000, lambda: now), Chunk()

    def feed(data: bytes) -> list[tuple[int, bytes]]:
        receiver.room(chunk)[: len(data)] = data
        return list(receiver.parse(chunk, len(data)))

    assert feed(masked(TEXT, b"whole")) == [(TEXT, b"whole")]
    assert receiver.since is None
    feed(b"\x01")
    now = 6.0
    feed(masked(TEXT, b"x", final=False)[1:])
    assert receiver.since == 5.0
    assert feed(masked(PING, b"")) == [(PING, b"")]
    assert receiver.since == 5.0
    assert feed(masked(0, b"y")) == [(TEXT, b"xy")]
    assert receiver.since is None


@pytest.mark.parametrize(("payload", "code", "reason"), [
    (b"", 1005, ""), (b"\x03\xe8", 1000, ""), (b"\x0b\xb8why", 3000, "why"), (b"\x03\xf3", 1011, ""),
])  # fmt: skip
def test_close_payloads(payload: bytes, code: int, reason: str) -> None:
    assert frames.parse_close(payload) == (code, reason)
    assert frames.close_payload(code, reason) == payload


@pytest.mark.parametrize("code", [0, 999, 1004, 1005, 1006, 1015, 1999, 5000])
def test_wrong_close_codes(code: int) -> None:
    with pytest.raises(ProtocolError):
        frames.parse_close(code.to_bytes(2, "big"))


@pytest.mark.parametrize("payload", [b"\x03", b"\x03\xe8\xff"])
def test_wrong_close_payloads(payload: bytes) -> None:
    with pytest.raises(ProtocolError):
        frames.parse_close(payload)


def test_reasons_are_cut_between_characters() -> None:
    assert frames.close_payload(1000, "€" * 60) == b"\x03\xe8" + "€".encode() * 41


@pytest.mark.parametrize("key", ["", "abc", "dGhl", "!GhlIHNhbXBsZSBub25jZQ=="])
def test_wrong_keys(key: str) -> None:
    with pytest.raises(ValueError):
        frames.accept_key(key)
