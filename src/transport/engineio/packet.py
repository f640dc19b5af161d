"""What both generations of Engine.IO have in common: the packet, its types, and the errors of decoding."""

from __future__ import annotations

import binascii
import json
from collections.abc import Callable
from typing import NamedTuple

from imageserver.errors import DecodeError

OPEN, CLOSE, PING, PONG, MESSAGE, UPGRADE, NOOP = range(7)

TEXT_TYPE = "text/plain; charset=UTF-8"
BINARY_TYPE = "application/octet-stream"
SCRIPT_TYPE = "text/javascript; charset=UTF-8"

PIECE = 2**20
"""Characters of base64 or of text decoded at once: under 3 ms."""

Pause = Callable[[], None]
"""Is called between the pieces of what would take long, so that others can have their turn."""


class EnginePacket(NamedTuple):
    """One Engine.IO packet. `data` is text as str or binary as bytes; only messages can be binary."""

    type: int
    data: str | bytes = ""


def packet_type(character: str) -> int:
    """The type that a packet begins with. Raises `DecodeError`."""
    if len(character) != 1 or character not in "0123456":
        raise DecodeError(f"{character!r} is no packet type")
    return int(character)


def decode_text(text: str) -> EnginePacket:
    """A packet that came as text: its type's digit, then the data. Raises `DecodeError`."""
    return EnginePacket(packet_type(text[:1]), text[1:])


def check_count(count: int, most: int) -> None:
    """Raises `DecodeError` for a payload of more than `most` packets."""
    if count > most:
        raise DecodeError(f"a payload may have {most} packets", "max_payload_packets")


def check_length(length: int, longest: int) -> None:
    """Raises `DecodeError` for a packet of more than `longest` bytes, before anything is made of it."""
    if length > longest:
        raise DecodeError(f"a message may have {longest} bytes", "max_message_bytes")


def check_text(length: int, longest: int) -> None:
    """Raises `DecodeError` for text of more than `longest` bytes, before it is decoded or JSON is made of it."""
    if length > longest:
        raise DecodeError(f"{length} bytes of text; {longest} are allowed", "max_text_bytes")


def no_pause() -> None:
    """For decoding without a pause."""


def decode_base64(text: bytes | memoryview, pause: Pause = no_pause) -> bytes:
    """Bytes from base64, line breaks allowed: Java's encoder puts one after each 76 characters. Raises DecodeError."""
    parts: list[bytes] = []
    characters = b""
    try:
        for at in range(0, len(text), PIECE):
            if at:
                pause()
            characters += bytes(text[at : at + PIECE]).translate(None, b"\r\n")
            last = at + PIECE >= len(text)
            whole = len(characters) if last else max(0, len(characters) - 1) & ~3
            if not last and b"=" in characters[:whole]:
                raise ValueError
            parts.append(binascii.a2b_base64(characters[:whole], strict_mode=True) if whole else b"")
            characters = characters[whole:]
    except ValueError:
        raise DecodeError("binary data that is not base64") from None
    return b"".join(parts) if len(parts) != 1 else parts[0]


def encode_base64(data: bytes) -> str:
    """Base64 without line breaks."""
    return binascii.b2a_base64(data, newline=False).decode("ascii")


def open_data(fields: dict[str, object]) -> str:
    """The JSON of an OPEN packet."""
    return json.dumps(fields, separators=(",", ":"))
