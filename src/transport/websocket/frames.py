"""The frames of RFC 6455 (WebSocket), server side. Pure: bytes in, messages out; no sockets.

Written for gigabytes a second: the caller reads into one large `Chunk`, and `Receiver.parse` walks over whatever
arrived, unmasks every payload where it lies with one vector operation, and copies it out once.
Extensions are never negotiated, so permessage-deflate is off and any reserved bit is an error.
"""

from __future__ import annotations

import base64
import enum
import hashlib
import mmap
import struct
from collections.abc import Callable, Iterator

import numpy

from imageserver.errors import ProtocolError
from imageserver.transport.budget import FULL

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
FRAGMENT = 16
"""No opcode, which have four bits: a fragment is kept, and no message complete. Whoever reads may end the turn."""

CHUNK_BYTES = 1024 * 1024
"""What one read may bring. Large reads open the receive window in large steps, so a sender at full speed is woken
seldom: with 256 KB half as many frames of 40 KB came through, although those stay in the processor's cache."""

LONG_BYTES = 64 * 1024
"""An incomplete frame above this gets memory of its own, which the next reads fill directly."""

LONG_READ_BYTES = 256 * 1024
"""What one read may bring of such a frame: the memory is new, and a hundred clients may have one each."""

LARGE_BYTES = 4 * 1024 * 1024
"""A frame above this takes milliseconds to copy out, into memory that is new."""

_SHORT = struct.Struct(">H")
_LONG = struct.Struct(">Q")
_KEY = struct.Struct("<I")
_WORD = struct.Struct("<Q")
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_EACH_WORD = [sum(1 << 32 * index for index in range(words)) for words in range(33)]
"""A 32-bit number times the entry n is that number n times in a row."""

_LONGEST_HEADER = 14
"""Bytes, the masking key among them."""

_FINAL = (0x80 | BINARY, 0x80 | TEXT)

_xor = numpy.bitwise_xor
_key = numpy.zeros((), numpy.uint64)  # an operand of the XOR; an array of no dimensions spares numpy a conversion


class CloseCode(enum.IntEnum):
    """Why a WebSocket ends, by the names of section 7.4.1 of RFC 6455; those that are used here."""

    NORMAL_CLOSURE = 1000
    GOING_AWAY = 1001
    PROTOCOL_ERROR = 1002
    UNSUPPORTED_DATA = 1003
    NO_STATUS_RCVD = 1005
    """The close frame had no code; never sent as one."""
    ABNORMAL_CLOSURE = 1006
    """There was no close frame; never sent as a code."""
    INVALID_FRAME_PAYLOAD_DATA = 1007
    POLICY_VIOLATION = 1008
    MESSAGE_TOO_BIG = 1009
    SERVICE_RESTART = 1012
    TRY_AGAIN_LATER = 1013
    """Of the registry that the RFC began."""


class Chunk:
    """Memory to read into: `view`, of which `size` bytes may be filled, and `words`, the same as 64-bit words."""

    __slots__ = ("size", "view", "words")

    def __init__(self, size: int = CHUNK_BYTES) -> None:
        # Neither touches the memory, so a chunk costs only what was ever read into it. From 4 MiB on numpy asks for
        # huge pages: with fifty new chunks the kernel took 300 ms to find them.
        # The spare words are there because unmasking works on whole words and restores what lies behind a payload.
        count = size // 8 + 3
        if size <= LARGE_BYTES // 2:
            self.words = numpy.empty(count, numpy.uint64)
        else:
            self.words = numpy.frombuffer(mmap.mmap(-1, 8 * count), numpy.uint64)
        self.view = self.words.data.cast("B")
        self.size = size

    def unmask(self, start: int, stop: int, key: int) -> None:
        """XOR the bytes from `start` to `stop` with the 4 bytes of `key` (little endian) in turn.

        Up to seven bytes before `start` are spoilt: they are a frame's header, or a payload copied out already.
        """
        turn = 8 * (start & 3)
        key = (key << turn | key >> (32 - turn)) & 0xFFFFFFFF
        _key[()] = key << 32 | key
        (behind,) = _WORD.unpack_from(self.view, stop)
        words = self.words[start >> 3 : (stop + 7) >> 3]
        _xor(words, _key, words)
        _WORD.pack_into(self.view, stop, behind)


def unmask_short(payload: memoryview, key: int) -> bytes:
    """At most 125 bytes XOR the 4 bytes of `key` (little endian) in turn: for so few, numpy takes longer to begin."""
    size = len(payload)
    words = (size + 3) >> 2
    return (int.from_bytes(payload, "little") ^ key * _EACH_WORD[words]).to_bytes(4 * words, "little")[:size]


class Receiver:
    """Bytes from a client to messages. One for each connection; between reads it holds only what is incomplete.

    Args:
        limit: Bytes of a message, over all its fragments.
        clock: Monotonic seconds, to date an incomplete message.
        text_limit: Bytes of a text, refused before more of it is kept; a text that came with one read is as long as
            `limit` allows.
        reserve: Is asked whether so many bytes may be kept in all, before they are when they are many.
    """

    __slots__ = (
        "_clock", "_fragments", "_limit", "_long", "_long_at", "_long_frame", "_opcode", "_reserve", "_rest",
        "_text_limit", "most_kept", "since",
    )  # fmt: skip

    def __init__(
        self,
        limit: int,
        clock: Callable[[], float],
        text_limit: int | None = None,
        reserve: Callable[[int], bool] = lambda _size: True,
    ) -> None:
        self._limit, self._clock, self._reserve = limit, clock, reserve
        self._text_limit = limit if text_limit is None else text_limit
        self.most_kept: int | None = None
        """Bytes that may be kept of the next message, when these are fewer than `limit`."""
        self._rest = b""  # the beginning of a frame that is not complete yet
        self._opcode = 0  # of a fragmented message under way, 0: none
        self._fragments = bytearray()
        self._long: Chunk | None = None  # the payload of a long frame under way
        self._long_at = 0
        self._long_frame = (0, 0, 0)  # that frame's first byte, length in bytes, masking key
        self.since: float | None = None
        """When the incomplete message began to arrive; None while nothing is incomplete."""

    @property
    def arrived(self) -> int:
        """Bytes of the incomplete message that are here."""
        return len(self._rest) + len(self._fragments) + self._long_at

    @property
    def size(self) -> int:
        """Bytes that are kept of it, or will be soon."""
        return len(self._rest) + len(self._fragments) + (0 if self._long is None else self._long.size)

    @property
    def completes_large(self) -> bool:
        """Whether the next read may complete a frame of more than `LARGE_BYTES`."""
        if self._long is None or self._long.size <= LARGE_BYTES:
            return False
        return self._long_frame[1] - self._long_at <= LONG_READ_BYTES

    def room(self, chunk: Chunk) -> memoryview:
        """Where the next bytes belong. Read into it, then call `parse` with the same chunk and the count."""
        if self._long is not None:
            return self._long.view[self._long_at : min(self._long_at + LONG_READ_BYTES, self._long_frame[1])]
        start = len(self._rest)
        chunk.view[:start] = self._rest
        return chunk.view[start : chunk.size]

    def parse(self, chunk: Chunk, count: int) -> Iterator[tuple[int, bytes]]:
        """Yield (opcode, payload) of each message and control frame that the `count` bytes just read complete.

        Text is yielded as bytes, perhaps no UTF-8; a fragment as `FRAGMENT`. `ProtocolError` must end the connection.
        The chunk must not be used otherwise until the iterator is exhausted; payloads are copies.
        """
        if self._long is not None:
            yield from self._go_on_long(self._long, count)
            return
        view, limit, unmask = chunk.view, self._limit, chunk.unmask
        end = len(self._rest) + count
        self._rest = b""
        at = 0
        while end - at >= 6:  # no frame of a client is shorter: two bytes and the masking key
            first, length = view[at], view[at + 1] - 128
            if length < 126:
                start = at + 6
            elif length == 126:
                start = at + 8
                if start > end:
                    break
                (length,) = _SHORT.unpack_from(view, at + 2)
            else:
                start = at + 14
                if start > end:
                    break
                (length,) = _LONG.unpack_from(view, at + 2)
            plain = first in _FINAL and not self._opcode
            if length > limit or length < 0 or not plain:
                self._check(first, length)
            stop = start + length
            if stop > end:
                if length > LONG_BYTES:
                    self._begin_long(first, length, _KEY.unpack_from(view, start - 4)[0], view[start:end])
                    at = end
                break
            (key,) = _KEY.unpack_from(view, start - 4)
            if length < 126:
                payload = unmask_short(view[start:stop], key)
            else:
                unmask(start, stop, key)
                payload = view[start:stop].tobytes()
            at = stop
            if plain:
                self.since = None
                yield first & 15, payload
            else:
                yield from self._frame(first, payload)
        self._keep(view[at:end])

    def forget(self) -> None:
        """Let go of what is incomplete; nothing may follow."""
        self._rest, self._fragments, self._long = b"", bytearray(), None

    def _keep(self, rest: memoryview) -> None:
        """Keep what is incomplete until more has come. Raises `ProtocolError`."""
        self._rest = bytes(rest)
        if 2 <= len(rest) < _LONGEST_HEADER:
            self._check(rest[0], min(rest[1] - 128, 125))  # a broken frame may be shorter than any right one
        if self.since is None and (rest or self._opcode or self._long is not None):
            self.since = self._clock()

    def _begin_long(self, first: int, length: int, key: int, beginning: memoryview) -> None:
        self._keep_more(first & 15, length)
        self._long = Chunk(length)
        self._long_at = len(beginning)
        self._long.view[: self._long_at] = beginning
        self._long_frame = (first, length, key)

    def _go_on_long(self, long: Chunk, count: int) -> Iterator[tuple[int, bytes]]:
        self._long_at += count
        first, length, key = self._long_frame
        if self._long_at == length:
            self._long, self._long_at = None, 0
            long.unmask(0, length, key)
            payload = bytes(long.view[:length])
            del long
            self._reserve(self.size)
            yield from self._frame(first, payload)

    def _keep_more(self, opcode: int, more: int) -> None:
        """Before `more` bytes of a message are kept. Raises `ProtocolError`."""
        size = len(self._fragments) + more
        if size > self._text_limit and TEXT in (opcode, self._opcode):
            raise ProtocolError(
                CloseCode.MESSAGE_TOO_BIG, f"a text may have {self._text_limit} bytes", "max_text_bytes"
            )
        if self.most_kept is not None and size > self.most_kept:
            sentence = f"the attachments of a packet may have {self._limit} bytes together"
            raise ProtocolError(CloseCode.MESSAGE_TOO_BIG, sentence, "max_message_bytes")
        if not self._reserve(size):
            raise ProtocolError(CloseCode.TRY_AGAIN_LATER, FULL)

    def _check(self, first: int, length: int) -> None:
        opcode = first & 15
        if first & 0x70:
            raise ProtocolError(CloseCode.PROTOCOL_ERROR, "reserved bits are set")
        if length < 0:
            raise ProtocolError(CloseCode.PROTOCOL_ERROR, "a client's frame must be masked")
        if opcode >= CLOSE:
            if opcode > PONG:
                raise ProtocolError(CloseCode.PROTOCOL_ERROR, f"unknown opcode {opcode}")
            if length > 125 or not first & 0x80:
                raise ProtocolError(CloseCode.PROTOCOL_ERROR, "a control frame must be whole and of at most 125 bytes")
            return
        if opcode > BINARY:
            raise ProtocolError(CloseCode.PROTOCOL_ERROR, f"unknown opcode {opcode}")
        if (opcode == CONTINUATION) != bool(self._opcode):
            raise ProtocolError(CloseCode.PROTOCOL_ERROR, "fragments are out of order")
        if length >> 63:
            raise ProtocolError(CloseCode.PROTOCOL_ERROR, "the length's highest bit must be 0")
        if length + len(self._fragments) > self._limit:
            raise ProtocolError(
                CloseCode.MESSAGE_TOO_BIG, f"a message may have {self._limit} bytes", "max_message_bytes"
            )

    def _frame(self, first: int, payload: bytes) -> Iterator[tuple[int, bytes]]:
        """Yield what the whole frame completes: itself, the message whose last fragment it is, or `FRAGMENT`."""
        opcode = first & 15
        if opcode >= CLOSE:
            if not self._opcode:
                self.since = None  # of this frame; a message under way keeps its own
            yield opcode, payload
            return
        self._opcode = self._opcode or opcode
        if first & 0x80:
            opcode, self._opcode, self.since = self._opcode, 0, None
            if self._fragments:
                self._fragments += payload
                payload = bytes(self._fragments)
                self._fragments = bytearray()
            yield opcode, payload
        else:
            self._keep_more(opcode, len(payload))
            self._fragments += payload
            yield FRAGMENT, b""


def frame(opcode: int, payload: bytes) -> bytes:
    """One whole, unmasked frame, as a server sends it."""
    return frame_header(opcode, len(payload)) + payload


def frame_header(opcode: int, length: int) -> bytes:
    """What goes before a payload of `length` bytes."""
    if length < 126:
        return bytes((0x80 | opcode, length))
    if length < 65536:
        return bytes((0x80 | opcode, 126)) + _SHORT.pack(length)
    return bytes((0x80 | opcode, 127)) + _LONG.pack(length)


def close_payload(code: int, reason: str = "") -> bytes:
    """The payload of a CLOSE frame; NO_STATUS_RCVD gives an empty one. The reason is cut to what the frame can hold."""
    if code == CloseCode.NO_STATUS_RCVD:
        return b""
    return _SHORT.pack(code) + reason.encode()[:123].decode("utf-8", "ignore").encode()


def parse_close(payload: bytes) -> tuple[int, str]:
    """Code and reason of a CLOSE frame; (NO_STATUS_RCVD, "") for an empty one. Raises `ProtocolError` (section 7.4)."""
    if not payload:
        return CloseCode.NO_STATUS_RCVD, ""
    if len(payload) == 1:
        raise ProtocolError(CloseCode.PROTOCOL_ERROR, "a close code has two bytes")
    (code,) = _SHORT.unpack_from(payload)
    if not ((1000 <= code <= 1014 and code not in (1004, 1005, 1006)) or 3000 <= code <= 4999):
        raise ProtocolError(CloseCode.PROTOCOL_ERROR, f"{code} is no close code")
    try:
        return code, payload[2:].decode()
    except UnicodeDecodeError:
        raise ProtocolError(CloseCode.INVALID_FRAME_PAYLOAD_DATA, "the reason is not UTF-8") from None


def accept_key(key: str) -> str:
    """The Sec-WebSocket-Accept that answers a Sec-WebSocket-Key (section 4.2.2). ValueError when the key is none."""
    if len(base64.b64decode(key, validate=True)) != 16:
        raise ValueError(f"Sec-WebSocket-Key {key!r} is not 16 bytes in base64")
    return base64.b64encode(hashlib.sha1(key.encode() + _GUID, usedforsecurity=False).digest()).decode()
