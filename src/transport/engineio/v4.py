"""The wire format of Engine.IO protocol 4 (https://socket.io/docs/v4/engine-io-protocol/). Pure.

It takes the place of python-engineio 4.15's `Payload` and `Packet`, in which the number of packets is a class
attribute shared by all servers and a packet remembers its first encoding: one binary broadcast to a polling and a
WebSocket client then reaches the second in the form that was meant for the first.
"""

from __future__ import annotations

from collections.abc import Sequence

from imageserver.errors import DecodeError
from imageserver.transport.engineio.packet import (
    MESSAGE,
    PIECE,
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
)

VERSION = 4

SEPARATOR = "\x1e"
_SEPARATOR = SEPARATOR.encode()


def encode_packet(packet: EnginePacket, *, base64: bool) -> str | bytes:
    """A packet as one WebSocket message; `base64` when the client cannot take binary ones."""
    if isinstance(packet.data, str):
        return f"{packet.type}{packet.data}"
    return "b" + encode_base64(packet.data) if base64 else packet.data


def decode_packet(message: str | bytes) -> EnginePacket:
    """The packet of one WebSocket message that is text or binary. Raises `DecodeError`."""
    return EnginePacket(MESSAGE, message) if isinstance(message, bytes) else decode_text(message)


def decode_binary(message: bytes | memoryview, pause: Pause = no_pause) -> EnginePacket:
    """The packet of one message that begins with `b`: binary as text. Raises `DecodeError`."""
    return EnginePacket(MESSAGE, decode_base64(memoryview(message)[1:], pause))


def encode_payload(packets: Sequence[EnginePacket], *, base64: bool) -> tuple[bytes, str]:
    """Packets as the body of a polling answer, and its content type. Binary is always base64 here."""
    return SEPARATOR.join(str(encode_packet(packet, base64=True)) for packet in packets).encode(), TEXT_TYPE


def decode_payload(body: bytes, *, most: int, longest: int, text: int, pause: Pause = no_pause) -> list[EnginePacket]:
    """The packets of a polling POST's body.

    At most `most`, of `longest` bytes at most, and of `text` bytes where they are no binary. Raises `DecodeError`.
    """
    packets: list[EnginePacket] = []
    at, view = 0, memoryview(body)
    while at <= len(body):
        check_count(len(packets) + 1, most)
        end = body.find(_SEPARATOR, at)
        end = len(body) if end < 0 else end
        check_length(end - at, longest)
        if body[at : at + 1] == b"b":
            packets.append(decode_binary(view[at:end], pause))
        else:
            check_text(end - at - 1, text)
            try:
                packets.append(decode_packet(body[at:end].decode()))
            except UnicodeDecodeError:
                raise DecodeError("a payload that is not UTF-8") from None
        if end - at >= PIECE:
            pause()
        at = end + 1
    return packets
