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
from urllib.parse import parse_qs

from imageserver.errors import DecodeError
from imageserver.transport.engineio.packet import (
    BINARY_TYPE,
    NOOP,
    SCRIPT_TYPE,
    TEXT_TYPE,
    EnginePacket,
    Pause,
    decode_base64,
    decode_text,
    encode_base64,
    no_pause,
    packet_type,
)

VERSION = 3

_MOST_DIGITS = 10
"""Decimal digits of a length: enough for every body that is let in."""

_FOUR_BYTES = (b"\xf0", b"\xf1", b"\xf2", b"\xf3", b"\xf4")
"""What a character beyond the basic plane begins with in UTF-8."""


def encode_packet(packet: EnginePacket, *, base64: bool) -> str | bytes:
    """A packet as one WebSocket message; `base64` when the client cannot take binary ones."""
    if isinstance(packet.data, str):
        return f"{packet.type}{packet.data}"
    if base64:
        return f"b{packet.type}{encode_base64(packet.data)}"
    return bytes((packet.type,)) + packet.data


def decode_packet(message: str | bytes, pause: Pause = no_pause) -> EnginePacket:
    """The packet of one WebSocket message. Raises `DecodeError`."""
    if isinstance(message, bytes):
        if not message or message[0] > NOOP:
            raise DecodeError("a binary message must begin with the byte of a packet type")
        return EnginePacket(message[0], message[1:])
    if message[:1] == "b":
        return EnginePacket(packet_type(message[1:2]), decode_base64(message[2:], pause))
    return decode_text(message)


def encode_payload(packets: Sequence[EnginePacket], *, base64: bool) -> tuple[bytes, str]:
    """Packets as the body of a polling answer, and its content type; binary only when a packet is."""
    if not base64 and any(isinstance(packet.data, bytes) for packet in packets):
        return b"".join(map(_encode_framed, packets)), BINARY_TYPE
    texts = [str(encode_packet(packet, base64=True)) for packet in packets]
    return "".join(f"{_utf16_length(text)}:{text}" for text in texts).encode(), TEXT_TYPE


def decode_payload(body: bytes, *, most: int, pause: Pause = no_pause) -> list[EnginePacket]:
    """The packets of a polling POST's body, at most `most` of them. Raises `DecodeError`.

    The body's first byte tells the framing, whatever the session or the content type says.
    """
    return _decode_framed(body, most, pause) if body[:1] in (b"\0", b"\1") else _decode_text(body, most, pause)


def encode_jsonp(body: bytes, index: str) -> tuple[bytes, str]:
    """A text payload as the script that a JSONP client runs, and its content type; `index` is the query's `j`."""
    number = re.sub("[^0-9]", "", index)[:20]
    # These two end a line in a script but not in JSON; the slash keeps "</script>" out of a page.
    text = json.dumps(body.decode(), ensure_ascii=True).replace("</", "<\\/")
    return f"___eio[{number}]({text});".encode(), SCRIPT_TYPE


def decode_jsonp(body: bytes) -> bytes:
    """The payload in a JSONP client's form post: field `d`, whose line breaks are escaped. Raises `DecodeError`."""
    try:
        values = parse_qs(body.decode(), keep_blank_values=True, max_num_fields=2)["d"]
    except (KeyError, ValueError):
        raise DecodeError("a JSONP post without its field d") from None
    # A form cannot carry "\n" unchanged, so the client sends it as backslash and n, and a backslash before n doubled.
    return re.sub(r"(\\)?\\n", lambda found: "\\n" if found[1] else "\n", values[0]).encode()


def _utf16_length(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-16-le", "surrogatepass")) // 2


def _encode_framed(packet: EnginePacket) -> bytes:
    if isinstance(packet.data, str):
        kind, content = b"\0", f"{packet.type}{packet.data}".encode()
    else:
        kind, content = b"\1", bytes((packet.type,)) + packet.data
    return kind + bytes(int(digit) for digit in str(len(content))) + b"\xff" + content


def _decode_framed(body: bytes, most: int, pause: Pause) -> list[EnginePacket]:
    packets: list[EnginePacket] = []
    at = 0
    while at < len(body):
        if len(packets) == most:
            raise DecodeError(f"a payload may have {most} packets", "max_payload_packets")
        kind = body[at]
        colon = body.find(b"\xff", at + 1, at + 2 + _MOST_DIGITS)
        digits = body[at + 1 : colon]
        if kind > 1 or colon < 0 or not digits or max(digits) > 9:
            raise DecodeError("a binary payload whose framing is broken")
        at = colon + 1
        length = int("".join(map(str, digits)))
        content = body[at : at + length]
        if len(content) < length:
            raise DecodeError("a payload that ends too early")
        at += length
        if kind:
            packets.append(decode_packet(content))
            continue
        try:
            packets.append(decode_packet(content.decode(), pause))
        except UnicodeDecodeError:
            raise DecodeError("a text packet that is not UTF-8") from None
    return _some(packets)


def _decode_text(body: bytes, most: int, pause: Pause) -> list[EnginePacket]:
    try:
        text = body.decode()
    except UnicodeDecodeError:
        raise DecodeError("a payload that is not UTF-8") from None
    # Beyond the basic plane a character counts two, so lengths and positions are taken in UTF-16 there.
    wide = text.encode("utf-16-le") if any(lead in body for lead in _FOUR_BYTES) else None
    packets: list[EnginePacket] = []
    at, end = 0, len(text) if wide is None else len(wide) // 2
    while at < end:
        if len(packets) == most:
            raise DecodeError(f"a payload may have {most} packets", "max_payload_packets")
        until = at + _MOST_DIGITS + 1
        head = text[at:until] if wide is None else wide[2 * at : 2 * until].decode("utf-16-le", "replace")
        digits, colon, _ = head.partition(":")
        if not colon or not (digits.isascii() and digits.isdigit()):
            raise DecodeError("a payload whose framing is broken")
        at += len(digits) + 1
        length = int(digits)
        if at + length > end:
            raise DecodeError("a payload that ends too early")
        content = text[at : at + length] if wide is None else _narrow(wide[2 * at : 2 * (at + length)])
        at += length
        packets.append(decode_packet(content, pause))
    return _some(packets)


def _narrow(data: bytes) -> str:
    try:
        return data.decode("utf-16-le")
    except UnicodeDecodeError:
        raise DecodeError("a packet's length that cuts a character in two") from None


def _some(packets: list[EnginePacket]) -> list[EnginePacket]:
    if not packets:
        raise DecodeError("a payload without a packet")
    return packets
