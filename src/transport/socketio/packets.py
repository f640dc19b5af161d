"""Socket.IO's packets: python-socketio's, with JSON that every client can read. Pure."""

from __future__ import annotations

import json
import math
from typing import Any

from socketio import packet as packets

from imageserver.transport.engineio.outgoing import Group
from imageserver.transport.engineio.packet import MESSAGE, EnginePacket


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


class Json:
    """What python-socketio calls in place of the module `json`, which reads and writes NaN and Infinity.

    RFC 8259 knows neither: JavaScript's and Java's parsers raise, and the client that receives one is disconnected.
    """

    _encode = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode
    _decode = json.JSONDecoder(parse_constant=_refuse).decode

    @classmethod
    def dumps(cls, value: Any, **_options: Any) -> str:
        """`value` as JSON without blanks; NaN and infinities become null, as in JavaScript. Raises TypeError."""
        try:
            return cls._encode(value)
        except ValueError:
            return cls._encode(_finite(value))

    @classmethod
    def loads(cls, text: str, **_options: Any) -> Any:
        """The value. Raises ValueError."""
        return cls._decode(text)


class SocketPacket(packets.Packet):
    """A Socket.IO packet of either generation."""

    json = Json


def group_of(pkt: SocketPacket, key: str | None = None) -> Group:
    """A Socket.IO packet as the Engine.IO packets that carry it: header and attachments, with nothing between them."""
    encoded = pkt.encode()
    parts = encoded if isinstance(encoded, list) else [encoded]
    return Group([EnginePacket(MESSAGE, bytes(part) if isinstance(part, bytearray) else part) for part in parts], key)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return value
