"""The wire formats of Engine.IO 3 and 4 as tables of bytes, after the protocol documents."""

from __future__ import annotations

import contextlib
import re
from base64 import b64encode, encodebytes
from types import ModuleType
from urllib.parse import quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imageserver.errors import DecodeError
from imageserver.transport.engineio import packet as engineio_packet
from imageserver.transport.engineio import v3, v4
from imageserver.transport.engineio.packet import MESSAGE, NOOP, OPEN, PING, EnginePacket

TEXT, BINARY = "text/plain; charset=UTF-8", "application/octet-stream"
HELLO, EURO, BYTES, SMILE = (
    EnginePacket(MESSAGE, "hello"),
    EnginePacket(MESSAGE, "€"),
    EnginePacket(MESSAGE, b"\1\2\3\4"),
    EnginePacket(MESSAGE, "a😀"),
)

PAYLOADS = [  # codec, base64, packets, body, content type
    (v4, False, [HELLO], b"4hello", TEXT),
    (v4, False, [HELLO, EURO], "4hello\x1e4€".encode(), TEXT),
    (v4, False, [HELLO, BYTES, EnginePacket(PING), EnginePacket(OPEN, "{}")], b"4hello\x1ebAQIDBA==\x1e2\x1e0{}", TEXT),
    (v3, False, [HELLO], b"6:4hello", TEXT),
    (v3, False, [HELLO, EURO], "6:4hello2:4€".encode(), TEXT),
    (v3, False, [SMILE, HELLO], "4:4a😀6:4hello".encode(), TEXT),
    (v3, True, [BYTES], b"10:b4AQIDBA==", TEXT),
    (v3, True, [HELLO, BYTES], b"6:4hello10:b4AQIDBA==", TEXT),
    (v3, False, [HELLO, BYTES], b"\x00\x06\xff4hello\x01\x05\xff\x04\x01\x02\x03\x04", BINARY),
    (
        v3,
        False,
        [EURO, EnginePacket(MESSAGE, bytes(300))],
        b"\x00\x04\xff4\xe2\x82\xac\x01\x03\x00\x01\xff\x04" + bytes(300),
        BINARY,
    ),
    (v3, False, [EnginePacket(NOOP)], b"1:6", TEXT),
]


@pytest.mark.parametrize(("codec", "base64", "packets", "body", "content_type"), PAYLOADS)
def test_payloads(codec: ModuleType, base64: bool, packets: list[EnginePacket], body: bytes, content_type: str) -> None:
    assert codec.encode_payload(packets, base64=base64) == (body, content_type)
    assert codec.decode_payload(body, longest=10**6, text=10**6, most=len(packets)) == packets


MESSAGES = [  # codec, base64, packet, WebSocket message
    (v3, False, HELLO, "4hello"), (v4, False, HELLO, "4hello"),
    (v3, False, BYTES, b"\4\1\2\3\4"), (v4, False, BYTES, b"\1\2\3\4"),
    (v3, True, BYTES, "b4AQIDBA=="), (v4, True, BYTES, "bAQIDBA=="),
    (v3, False, EnginePacket(PING, "probe"), "2probe"), (v4, False, EnginePacket(PING, "probe"), "2probe"),
    (v3, False, EnginePacket(MESSAGE, b""), b"\4"), (v4, False, EnginePacket(MESSAGE, b""), b""),
    (v4, True, EnginePacket(MESSAGE, b""), "b"),
]  # fmt: skip


@pytest.mark.parametrize(("codec", "base64", "packet", "message"), MESSAGES)
def test_messages(codec: ModuleType, base64: bool, packet: EnginePacket, message: str | bytes) -> None:
    assert codec.encode_packet(packet, base64=base64) == message
    binary = isinstance(message, str) and message.startswith("b")
    assert (codec.decode_binary(str(message).encode()) if binary else codec.decode_packet(message)) == packet


@pytest.mark.parametrize(("codec", "body"), [(v4, b"bAQID\r\nBA==\n"), (v3, b"13:b4AQID\r\nBA==\n")])
def test_base64_with_line_breaks(codec: ModuleType, body: bytes) -> None:
    assert codec.decode_payload(body, longest=10**6, text=10**6, most=1) == [BYTES]


@pytest.mark.parametrize("piece", [1, 4, 7, 8, 76, 77, 78, 1000])
@pytest.mark.parametrize("size", [0, 1, 2, 3, 57, 58, 300])
def test_base64_in_pieces(monkeypatch: pytest.MonkeyPatch, piece: int, size: int) -> None:
    """A large one is decoded piece by piece, with a pause after each, wherever its line breaks are."""
    monkeypatch.setattr(engineio_packet, "PIECE", piece)
    data = (bytes(range(256)) * 2)[:size]
    broken = encodebytes(data).decode()
    for text in (b64encode(data).decode(), broken, broken.replace("\n", "\r\n")):
        pauses: list[None] = []
        assert engineio_packet.decode_base64(text.encode(), lambda pauses=pauses: pauses.append(None)) == data
        assert len(pauses) == max(0, -(-len(text) // piece) - 1)


@pytest.mark.parametrize("piece", [4, 5, 8, 1000])
@pytest.mark.parametrize(
    "text", ["AA==AAAA", "AAA=AAAA", "AAAAA", "AAAAAA", "====", "AA=A", "AAAA\nA===", "AAAAé", "AA-_", "AA AA"]
)
def test_broken_base64_in_pieces(monkeypatch: pytest.MonkeyPatch, piece: int, text: str) -> None:
    monkeypatch.setattr(engineio_packet, "PIECE", piece)
    with pytest.raises(DecodeError):
        engineio_packet.decode_base64(text.encode())


BROKEN = [
    (v4, b""), (v4, b"abc"), (v4, b"4a\x1e"), (v4, b"7"), (v4, b"\xff"), (v4, b"b!!!!"), (v4, b"bAQIDBA"), (v4, "４hello".encode()),
    (v3, b""), (v3, b"abc"), (v3, b"6:4hell"), (v3, b"5:4hello!"), (v3, b":4"), (v3, b"-1:4"), (v3, b"0:"), (v3, b"99999999999:4"),
    (v3, b"2:4\xff"), (v3, "2:4😀".encode()), (v3, "²:4a".encode()), (v3, b"1:b"), (v3, b"3:b4!"), (v3, b"\x00\x06\xff4hell"),
    (v3, b"\x00\xff"), (v3, b"\x01\x01\xff\x09"), (v3, b"\x01\x0a\xff\x04"), (v3, b"\x00\x02\xff4\xff"), (v3, b"\x00" + b"\x01" * 30),
    (v3, b"\x00\x01\xff4\x07"),
]  # fmt: skip


@pytest.mark.parametrize(("codec", "body"), BROKEN)
def test_broken_payloads(codec: ModuleType, body: bytes) -> None:
    with pytest.raises(DecodeError):
        codec.decode_payload(body, longest=10**6, text=10**6, most=10)


@pytest.mark.parametrize(("codec", "body"), [(v4, b"4\x1e4\x1e4"), (v3, b"1:41:41:4"), (v3, b"\x00\x01\xff4" * 3)])
def test_too_many_packets(codec: ModuleType, body: bytes) -> None:
    assert len(codec.decode_payload(body, longest=10**6, text=10**6, most=3)) == 3
    with pytest.raises(DecodeError) as refused:
        codec.decode_payload(body, longest=10**6, text=10**6, most=2)
    assert refused.value.limit == "max_payload_packets"


def test_broken_binary_message() -> None:
    for message in (b"", b"\x07abc"):
        with pytest.raises(DecodeError):
            v3.decode_packet(message)


def test_jsonp() -> None:
    assert v3.encode_jsonp(b'4:4"</', "7);alert(1") == (b'___eio[71]("4:4\\"<\\/");', "text/javascript; charset=UTF-8")
    assert v3.decode_jsonp(b"d=8%3A4a%5Cnb%5C%5Cncd") == b"8:4a\nb\\ncd"
    for body in (b"", b"e=1", b"\xff", b"d"):
        with pytest.raises(DecodeError):
            v3.decode_payload(v3.decode_jsonp(body), longest=10**6, text=10**6, most=1)


def utf16_length(text: str) -> int:
    """As JavaScript counts."""
    return len(text.encode("utf-16-le")) // 2


TEXTS = st.lists(st.text(st.sampled_from("aé€😀\\n%&+\n"), max_size=40), min_size=1, max_size=4)


@pytest.mark.parametrize("piece", [3, 4, 7, 16, 2**16])
@given(texts=TEXTS)
def test_text_payloads_in_pieces(piece: int, texts: list[str]) -> None:
    body = "".join(f"{utf16_length(text) + 1}:4{text}" for text in texts)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(v3, "PIECE", piece)
        packets = v3.decode_payload(body.encode(), most=10, longest=1000, text=1000)
    assert packets == [EnginePacket(MESSAGE, text) for text in texts]


@pytest.mark.parametrize("piece", [3, 4, 7, 16, 2**16])
@given(text=st.text(st.sampled_from("aé😀\\n%&+\n"), max_size=60))
def test_jsonp_in_pieces(piece: int, text: str) -> None:
    unescaped = re.sub(r"(\\)?\\n", lambda found: "\\n" if found[1] else "\n", text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(v3, "PIECE", piece)
        assert v3.decode_jsonp(f"d={quote_plus(text)}".encode()) == unescaped.encode()


@pytest.mark.parametrize(
    "body",
    [
        b"900000:4" + b"x" * 900_000,
        b"900000:4" + "€".encode() * 900_000,
        b"900000:4" + b"\x80" * 2_700_000,
        b"900000:4" + "😀".encode() * 450_000,
    ],
)
def test_a_large_text_payload_is_gone_through_in_pieces(body: bytes) -> None:
    pauses: list[None] = []
    with contextlib.suppress(DecodeError):
        v3.decode_payload(body, most=1, longest=2**20, text=2**20, pause=lambda: pauses.append(None))
    assert len(pauses) >= 900_000 // v3.PIECE


def test_a_jsonp_post_is_gone_through_in_pieces() -> None:
    pauses: list[None] = []
    body = b"d=" + b"%5Cn" * 100_000
    assert v3.decode_jsonp(body, lambda: pauses.append(None)) == b"\n" * 100_000
    assert len(pauses) >= len(body) // v3.PIECE


LONG = [(v3, b"11:4aaaaaaaaaa"), (v3, b"\x00\x01\x01\xff4aaaaaaaaaa"), (v4, b"4aaaaaaaaaa")]


@pytest.mark.parametrize(("codec", "body"), LONG)
def test_a_packet_that_is_too_long(codec: ModuleType, body: bytes) -> None:
    assert len(codec.decode_payload(body, most=1, longest=11, text=11)) == 1
    with pytest.raises(DecodeError) as refused:
        codec.decode_payload(body, most=1, longest=10, text=11)
    assert refused.value.limit == "max_message_bytes"


def test_large_frames_of_a_binary_payload_have_a_pause_after_each() -> None:
    pauses: list[None] = []
    body = (b"\x01" + bytes(map(int, str(v3.PIECE))) + b"\xff\4" + bytes(v3.PIECE - 1)) * 3
    packets = v3.decode_payload(body, most=3, longest=2**20, text=0, pause=lambda: pauses.append(None))
    assert [(type(packet.data), len(packet.data)) for packet in packets] == [(bytes, v3.PIECE - 1)] * 3
    assert len(pauses) == 3


@pytest.mark.parametrize("body", [b"d=%00%01%FF4", b"d=1:4"])
def test_a_payload_of_jsonp_may_have_either_framing(body: bytes) -> None:
    with contextlib.suppress(DecodeError):
        assert v3.decode_payload(v3.decode_jsonp(body), most=1, longest=9, text=9) == [EnginePacket(MESSAGE, "")]
