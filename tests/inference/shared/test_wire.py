"""Messages across the wall: whatever a worker writes is a message or a ValueError."""

from __future__ import annotations

import struct

import pytest

from imageserver.inference.shared import wire


@pytest.mark.parametrize("body", [b"[" * 100_000, b'{"op":' * 50_000, b"9" * 5000, b"\xff", b"{", b""])
def test_what_is_no_message_is_a_value_error(body):
    """Also what is nested too deeply: whoever reads knows nothing else."""
    with pytest.raises(ValueError):
        list(wire.Unpacker().feed(struct.pack("<I", len(body)) + body))


def test_messages_come_in_pieces_of_any_length():
    data = wire.pack({"op": "a"}) + wire.pack({"op": "b", "text": "€"})
    unpacker = wire.Unpacker()
    assert [message["op"] for byte in data for message in unpacker.feed(bytes([byte]))] == ["a", "b"]
