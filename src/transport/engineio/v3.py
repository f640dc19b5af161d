"""The wire format of Engine.IO protocol 3 (https://github.com/socketio/engine.io-protocol/tree/v3). Pure.

No present Python server speaks it; JavaScript's does under the name `allowEIO3`.
A text payload is `<length>:<packet>` repeated, the length in UTF-16 code units as JavaScript and Java count.
A binary payload is, for each packet, 0 for text or 1 for binary, the length in bytes as one byte for each decimal
digit, 255, and the packet, whose type is a character in a text packet and a byte in a binary one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from urllib.parse import unquote_to_bytes

from imageserver.errors import DecodeError
from imageserver.transport.engineio.packet import (
    BINARY_TYPE,
    NOOP,
    SCRIPT_TYPE,
    TEXT_TYPE,
    EnginePacket,
    Pause,
    check_count,
    check_length,
    check_text,
    decode_base64,
    decode_text,
    encode_base64,
    no_pause,
    packet_type,
)

VERSION = 3

_MOST_DIGITS = 10
"""Decimal digits of a length: enough for every body that is let in."""

Payload = bytes | bytearray

PIECE = 2**16
"""Bytes of a payload looked at before others have their turn: at most 5 ms, whatever they are."""

_CONTINUATION = bytes(range(0x80, 0xC0))
"""What every byte of a character but its first is one of, in UTF-8."""

_BELOW_FOUR_BYTES = bytes(range(0xF0))
"""Every byte but those with which a character beyond the basic plane begins, in UTF-8."""


def encode_packet(packet: EnginePacket, *, base64: bool) -> str | bytes:
    """A packet as one WebSocket message; `base64` when the client cannot take binary ones."""
    if isinstance(packet.data, str):
        return f"{packet.type}{packet.data}"
    if base64:
        return f"b{packet.type}{encode_base64(packet.data)}"
    return bytes((packet.type,)) + packet.data


def decode_packet(message: str | bytes | memoryview) -> EnginePacket:
    """The packet of one WebSocket message that is text or binary. Raises `DecodeError`."""
    if isinstance(message, str):
        return decode_text(message)
    if not message or message[0] > NOOP:
        raise DecodeError("a binary message must begin with the byte of a packet type")
    return EnginePacket(message[0], bytes(message[1:]))


def decode_binary(message: bytes | memoryview, pause: Pause = no_pause) -> EnginePacket:
    """The packet of one message that begins with `b`: binary as text. Raises `DecodeError`."""
    kind = packet_type(bytes(message[1:2]).decode("latin-1"))
    return EnginePacket(kind, decode_base64(memoryview(message)[2:], pause))


def encode_payload(packets: Sequence[EnginePacket], *, base64: bool) -> tuple[bytes, str]:
    """Packets as the body of a polling answer, and its content type; binary only when a packet is."""
    if not base64 and any(isinstance(packet.data, bytes) for packet in packets):
        return b"".join(map(_encode_framed, packets)), BINARY_TYPE
    texts = [str(encode_packet(packet, base64=True)) for packet in packets]
    return "".join(f"{_utf16_length(text)}:{text}" for text in texts).encode(), TEXT_TYPE


def decode_payload(body: Payload, *, most: int, longest: int, text: int, pause: Pause = no_pause) -> list[EnginePacket]:
    """The packets of a polling POST's body.

    The body's first byte tells the framing, whatever the session or the content type says. It is gone through in
    pieces, with a `pause` after each, and a packet is decoded only when its length is allowed.

    Args:
        body: as it came.
        most: packets that it may have.
        longest: bytes that a packet may have in it.
        text: bytes of one that is no binary.
        pause: lets others have their turn.

    Raises:
        DecodeError: it is none, or too large.
    """
    if body[:1] in (b"\0", b"\1"):
        return _decode_framed(body, most, longest, text, pause)
    return _decode_text(body, most, longest, text, pause)


def encode_jsonp(body: bytes, index: str) -> tuple[bytes, str]:
    """A text payload as the script that a JSONP client runs, and its content type; `index` is the query's `j`."""
    number = re.sub("[^0-9]", "", index)[:20]
    # These two end a line in a script but not in JSON; the slash keeps "</script>" out of a page.
    text = json.dumps(body.decode(), ensure_ascii=True).replace("</", "<\\/")
    return f"___eio[{number}]({text});".encode(), SCRIPT_TYPE


def decode_jsonp(body: bytes, pause: Pause = no_pause) -> bytearray:
    """The payload in a JSONP client's form post: field `d`, whose line breaks are escaped. Raises `DecodeError`."""
    at = 2 if body.startswith(b"d=") else body.find(b"&d=", 0, PIECE) + 3
    if at < 2 or not body.startswith(b"d=", at - 2):
        raise DecodeError("a JSONP post without its field d")
    last = body.find(b"&", at)
    last = len(body) if last < 0 else last
    payload, rest = bytearray(), b""  # it grows without being copied, which parts that are joined would be at once
    while at < last:
        end = min(at + PIECE, last)
        escape = body.rfind(b"%", end - 2, end) if end < last else -1  # a piece ends before an escape that it would cut
        end = end if escape < 0 else escape
        piece = rest + unquote_to_bytes(body[at:end].replace(b"+", b" "))
        at = end
        if b"\xff" in piece:
            raise DecodeError("a payload that is not UTF-8")
        # Backslashes at the end belong to what follows, when that is an n; more than two make no difference.
        kept = min(2, len(piece) - len(piece.rstrip(b"\\"))) if at < last else 0
        piece, rest = piece[: len(piece) - kept], piece[len(piece) - kept :]
        # A form cannot carry "\n" unchanged: the client sends it as backslash and n, and a backslash before n doubled.
        payload += piece.replace(b"\\\\n", b"\xff").replace(b"\\n", b"\n").replace(b"\xff", b"\\n")
        pause()
    return payload


def _utf16_length(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-16-le", "surrogatepass")) // 2


def _encode_framed(packet: EnginePacket) -> bytes:
    if isinstance(packet.data, str):
        kind, content = b"\0", f"{packet.type}{packet.data}".encode()
    else:
        kind, content = b"\1", bytes((packet.type,)) + packet.data
    return kind + bytes(int(digit) for digit in str(len(content))) + b"\xff" + content


def _decode_framed(body: Payload, most: int, longest: int, text: int, pause: Pause) -> list[EnginePacket]:
    packets: list[EnginePacket] = []
    at, view = 0, memoryview(body)
    while at < len(body):
        check_count(len(packets) + 1, most)
        kind = body[at]
        colon = body.find(b"\xff", at + 1, at + 2 + _MOST_DIGITS)
        digits = body[at + 1 : colon]
        if kind > 1 or colon < 0 or not digits or max(digits) > 9:
            raise DecodeError("a binary payload whose framing is broken")
        at = colon + 1
        length = int("".join(map(str, digits)))
        check_length(length, longest)
        end = at + length
        if end > len(body):
            raise DecodeError("a payload that ends too early")
        packets.append(decode_packet(view[at:end]) if kind else _decode_one(body, at, end, text, pause))
        if length >= PIECE:
            pause()
        at = end
    return _some(packets)


def _decode_text(body: Payload, most: int, longest: int, text: int, pause: Pause) -> list[EnginePacket]:
    packets: list[EnginePacket] = []
    at = 0
    while at < len(body):
        check_count(len(packets) + 1, most)
        digits, colon, _ = body[at : at + _MOST_DIGITS + 1].partition(b":")
        if not colon or not digits.isdigit():
            raise DecodeError("a payload whose framing is broken")
        at += len(digits) + 1
        check_length(int(digits), longest)
        if body[at : at + 1] != b"b":
            check_text(int(digits) - 1, text)
        end = _end_of(body, at, int(digits), pause)
        packets.append(_decode_one(body, at, end, len(body), pause))
        at = end
    return _some(packets)


def _decode_one(body: Payload, at: int, end: int, text: int, pause: Pause) -> EnginePacket:
    """The packet in a piece of a payload; of `text` bytes at most where it is no binary. Raises `DecodeError`."""
    if body[at : at + 1] == b"b":
        return decode_binary(memoryview(body)[at:end], pause)
    check_text(end - at - 1, text)
    try:
        return decode_packet(body[at:end].decode())
    except UnicodeDecodeError:
        raise DecodeError("a packet that is not UTF-8, or whose length cuts a character in two") from None


def _end_of(body: Payload, at: int, units: int, pause: Pause) -> int:
    """Where the characters end that begin at `at` and count `units` in UTF-16. DecodeError: there are not so many."""
    last = at + 3 * units  # a unit has three bytes at most
    while units > 0:
        piece = body[at : at + min(units, PIECE)]
        if not piece or at > last:
            raise DecodeError("a payload that ends too early")
        # Every character is counted at its first byte, and one beyond the basic plane counts two.
        if piece.isascii():
            units -= len(piece)
        else:
            units -= len(piece.translate(None, _CONTINUATION)) + len(piece.translate(None, _BELOW_FOUR_BYTES))
        at += len(piece)
        if len(piece) == PIECE:
            pause()
    if units < 0:
        raise DecodeError("a packet's length that cuts a character in two")
    rest = body[at : at + 3]  # of the last character, whose first byte is counted
    return at + len(rest) - len(rest.lstrip(_CONTINUATION))


def _some(packets: list[EnginePacket]) -> list[EnginePacket]:
    if not packets:
        raise DecodeError("a payload without a packet")
    return packets
