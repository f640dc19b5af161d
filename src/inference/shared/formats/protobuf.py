"""Protocol Buffers as they lie in a file, as far as it takes to find a few fields in them: tags, lengths, numbers.

Source: the encoding in protobuf.dev/programming-guides/encoding. What is not asked for is skipped, unread, so that a
file with gigabytes of weights costs what its structure costs. Groups, which no one writes any more, are refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
"""Kinds of fields."""
_HEAD = 20
"""Bytes that a tag and a length take at most."""


class Field(NamedTuple):
    """A field: its number and kind, and where its bytes lie; of a `VARINT` `start` is its value and `end` is 0."""

    number: int
    kind: int
    start: int
    end: int


def fields(stream: BinaryIO, start: int, end: int) -> Iterator[Field]:
    """The fields of a message that lies in `stream` from `start` to `end`.

    Raises:
        ValueError: it is no message, or cut short.
    """
    while start < end:
        stream.seek(start)
        head = stream.read(min(_HEAD, end - start))
        tag, at = _varint(head, 0)
        number, kind = tag >> 3, tag & 7
        if not 0 < number < 2**29:
            raise ValueError("is damaged: it holds a field without a number")
        if kind == VARINT:
            value, at = _varint(head, at)
            yield Field(number, kind, value, 0)
            start += at
            continue
        if kind == BYTES:
            size, at = _varint(head, at)
        elif kind in (FIXED32, FIXED64):
            size = 4 if kind == FIXED32 else 8
        else:
            raise ValueError(f"is damaged: it holds a field of the kind {kind}, which there is not")
        if size > end - start - at:
            raise ValueError("is cut short: it ends within a field")
        yield Field(number, kind, start + at, start + at + size)
        start += at + size


def _varint(head: bytes, at: int) -> tuple[int, int]:
    """The number at a place, and the place behind it. ValueError."""
    value = 0
    for index in range(10):
        if at + index >= len(head):
            raise ValueError("is cut short: it ends within a number")
        byte = head[at + index]
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return value & (2**64 - 1), at + index + 1
    raise ValueError("is damaged: it holds a number of more than 64 bits")
