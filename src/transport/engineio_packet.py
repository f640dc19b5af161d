"""What both generations of Engine.IO have in common: the packet, its types, and the errors of decoding."""

from __future__ import annotations

import binascii
import json
from typing import NamedTuple

OPEN, CLOSE, PING, PONG, MESSAGE, UPGRADE, NOOP = range(7)

TEXT_TYPE = "text/plain; charset=UTF-8"
BINARY_TYPE = "application/octet-stream"
SCRIPT_TYPE = "text/javascript; charset=UTF-8"


class Packet(NamedTuple):
    """One Engine.IO packet. `data` is text as str or binary as bytes; only messages can be binary."""

    type: int
    data: str | bytes = ""


class DecodeError(ValueError):
    """Bytes that are no packet or payload of this protocol; `limit` names the limit that was exceeded, or is ""."""

    def __init__(self, reason: str, limit: str = "") -> None:
        super().__init__(reason)
        self.limit = limit


def packet_type(character: str) -> int:
    """The type that a packet begins with. Raises `DecodeError`."""
    if len(character) != 1 or character not in "0123456":
        raise DecodeError(f"{character!r} is no packet type")
    return int(character)


def decode_text(text: str) -> Packet:
    """A packet that came as text: its type's digit, then the data. Raises `DecodeError`."""
    return Packet(packet_type(text[:1]), text[1:])


def decode_base64(text: str) -> bytes:
    """Bytes from base64; line breaks are allowed, since Java's encoder puts one after each 76 characters. Raises `DecodeError`."""
    if "\n" in text:
        text = text.replace("\r", "").replace("\n", "")
    try:
        return binascii.a2b_base64(text, strict_mode=True) if text else b""
    except ValueError:
        raise DecodeError("binary data that is not base64") from None


def encode_base64(data: bytes) -> str:
    """Base64 without line breaks."""
    return binascii.b2a_base64(data, newline=False).decode("ascii")


def open_data(fields: dict[str, object]) -> str:
    """The JSON of an OPEN packet."""
    return json.dumps(fields, separators=(",", ":"))
