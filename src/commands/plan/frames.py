"""WebSocket frames as clients send them: masked (RFC 6455, 5.2 and 5.3). Pure."""

from __future__ import annotations

import struct

KEY = b"\x11\x22\x33\x44"
NO_MASK = bytes(4)
"""A key that leaves a payload as it is, so that it costs nothing to send."""


def frame_head(opcode: int, size: int, key: bytes = KEY, last: bool = True) -> bytes:
    """What stands before a payload of `size` bytes, with the key of its mask. `last`: of its message."""
    first = opcode | (0x80 if last else 0)
    if size < 126:
        return struct.pack(">BB", first, 0x80 | size) + key
    if size < 65536:
        return struct.pack(">BBH", first, 0xFE, size) + key
    return struct.pack(">BBQ", first, 0xFF, size) + key


def masked(opcode: int, payload: bytes, key: bytes = KEY, last: bool = True) -> bytes:
    """A whole frame."""
    size = len(payload)
    if key == NO_MASK:
        return frame_head(opcode, size, key, last) + payload
    pattern = int.from_bytes((key * (size // 4 + 1))[:size], "big")
    return frame_head(opcode, size, key, last) + (int.from_bytes(payload, "big") ^ pattern).to_bytes(size, "big")
