"""Frames and messages of WebSocket: however the bytes are cut, the same comes of them; and close frames."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from random import Random

from tests.fuzz.sockets import ScriptedSocket
from tests.fuzz.target import Defect, Target

from imageserver.errors import ProtocolError
from imageserver.limits import Limits
from imageserver.transport.budget import Budget
from imageserver.transport.websocket import frames
from imageserver.transport.websocket.connection import WebSocket, WebSocketState
from imageserver.transport.websocket.frames import BINARY, CLOSE, FRAGMENT, PING, PONG, TEXT, Chunk, Receiver

LIMIT, TEXT_LIMIT = 2**18, 2**12
_chunk = Chunk()
SIZES = (0, 1, 4, 5, 125, 126, 127, 300, TEXT_LIMIT, TEXT_LIMIT + 1, 65535, 65536, 65537, 70000, LIMIT, LIMIT + 1)


def masked(opcode: int, payload: bytes, *, final: bool = True, key: int = 0x3D21FA37) -> bytes:
    """A client's frame."""
    header = bytearray(frames.frame_header(opcode & 15, len(payload)))
    header[0] = opcode | (0x80 if final else 0)
    header[1] |= 0x80
    whole = (len(payload) + 3) // 4
    number = int.from_bytes(payload, "little") ^ int.from_bytes(struct.pack("<I", key) * whole, "little")
    return bytes(header) + struct.pack("<I", key) + number.to_bytes(4 * whole, "little")[: len(payload)]


def receive(data: bytes, sizes: Callable[[], int]) -> list[tuple[int, bytes]]:
    """What comes of bytes that arrive in pieces of these sizes, as far as there is room for them."""
    kept = 0

    def reserve(size: int) -> bool:
        nonlocal kept
        kept = size
        return size <= LIMIT

    receiver, said = Receiver(LIMIT, lambda: 1.0, TEXT_LIMIT, reserve), []
    at = 0
    try:
        while at < len(data):
            room = receiver.room(_chunk)
            count = min(len(room), sizes(), len(data) - at)
            room[:count] = data[at : at + count]
            at += count
            said += receiver.parse(_chunk, count)
            if receiver.size > LIMIT + frames.LONG_BYTES + 14:
                raise Defect(f"{receiver.size} bytes of a message are kept")
            if (receiver.since is None) != (receiver.size == 0) and not receiver._opcode:
                raise Defect(f"{receiver.size} bytes are incomplete since {receiver.since}")
    except ProtocolError as error:
        said.append((-int(error.code), b""))
    return [message for message in said if message[0] != FRAGMENT]


def stream(data: bytes) -> None:
    """The bytes of a client, cut in three ways."""
    whole = receive(data, lambda: 1 << 30)
    for opcode, payload in whole:
        if len(payload) > LIMIT:
            raise Defect(f"a message of {len(payload)} bytes")
        if opcode == CLOSE:
            close(payload)
    random = Random(zlib.crc32(data))
    cuts = [lambda: random.choice((1, 2, 3, 7, 50, 1000, 70_000))]
    cuts += [lambda: 1] if len(data) <= 300 else []
    for sizes in cuts:
        pieces = receive(data, sizes)
        if not same(whole, pieces):
            raise Defect(f"in pieces {pieces!r:.500} came of it, whole {whole!r:.500}")


def same(one: list[tuple[int, bytes]], other: list[tuple[int, bytes]]) -> bool:
    """Whether a client is told the same. A text over its limit is refused in pieces, but not where it came whole."""
    refused = (-int(frames.CloseCode.MESSAGE_TOO_BIG), b"")
    for said, also in ((one, other), (other, one)):
        if said and said[-1] == refused and said[:-1] == also[: len(said) - 1]:
            rest = also[len(said) - 1 :]
            if any(len(payload) > TEXT_LIMIT and opcode == TEXT for opcode, payload in rest):
                return True
    return one == other


def close(payload: bytes) -> None:
    """A close frame: what it says can be said again."""
    try:
        code, reason = frames.parse_close(payload)
    except ProtocolError:
        return
    again = frames.close_payload(code, reason)
    if len(payload) <= 125 and again != payload:
        raise Defect(f"{payload!r} came back as {again!r}")


BYE = b"bye"
"""At which the server's side closes."""
LIMITS = Limits(max_message_bytes=LIMIT, max_pings=50)


def served(
    data: bytes, sizes: Callable[[], int]
) -> tuple[list[tuple[int, bytes]], list[tuple[int, bytes]], int | None]:
    """The messages of a connection, the frames that it was sent, and why it ended."""
    budget = Budget(LIMITS, log=lambda _line: None, memory=lambda: 2**40)
    account = budget.account("192.0.2.1")
    said = []
    with ScriptedSocket(data, sizes) as sock:
        ws = WebSocket(sock, b"", LIMITS, lambda: 0.0, account=account, max_text=TEXT_LIMIT)
        for opcode, payload in ws.messages():
            if ws.state is not WebSocketState.OPEN:
                raise Defect("a message behind the close")
            said.append((opcode, payload))
            if payload == BYE:
                ws.close(1000, "bye")
        ws.ended()
    if ws.state is not WebSocketState.CLOSED or budget.used:
        raise Defect(f"it ended as {ws.state} with {budget.used} bytes charged")
    return said, sent_frames(bytes(sock.sent)), ws.close_code


def sent_frames(data: bytes) -> list[tuple[int, bytes]]:
    """The frames that a server has sent, all of them short and whole."""
    found = []
    while data:
        size = data[1]
        if size > 125 or not data[0] & 0x80 or len(data) < 2 + size:
            raise Defect(f"no frame: {data[:9]!r}")
        found.append((data[0] & 15, data[2 : 2 + size]))
        data = data[2 + size :]
    return found


def connection(data: bytes) -> None:
    """A connection from its first frame to its end: pings are answered, and nothing is sent behind a close frame."""
    whole = said, sent, _ = served(data, lambda: 1 << 30)
    opcodes = [opcode for opcode, _ in sent]
    if CLOSE in opcodes[:-1] or any(opcode not in (PONG, CLOSE) for opcode in opcodes):
        raise Defect(f"sent {sent!r:.400}")
    if CLOSE in opcodes and sent[-1][1]:
        frames.parse_close(sent[-1][1])
    if len(opcodes) > LIMITS.max_pings + 1:
        raise Defect(f"{len(opcodes)} pings were answered")
    random = Random(zlib.crc32(data))
    pieces = served(data, lambda: random.choice((1, 2, 3, 7, 50, 1000, 70_000)))
    if pieces != whole and not any(opcode == TEXT and len(payload) > TEXT_LIMIT for opcode, payload in said):
        raise Defect(f"whole {whole!r:.500}, in pieces {pieces!r:.500}")


def some_frames(random: Random) -> bytes:
    """A client's frames, most of them proper."""
    sent, open_message = [], False
    for _ in range(random.choice((1, 2, 3, 6, 30))):
        choice = random.random()
        payload = bytes(random.choice(SIZES[:9] if random.random() < 0.95 else SIZES))
        if random.random() < 0.3:
            payload = random.choice((BYE, random.randbytes(min(len(payload), 300))))
        if choice < 0.2:
            opcode, final = random.choice((PING, PONG, CLOSE)), True
            payload = random.choice(
                (payload[:125], struct.pack(">H", random.choice((1000, 1001, 1005, 3000, 99))) + b"bye")
            )
        else:
            final = random.random() < 0.6
            opcode = 0 if open_message else random.choice((TEXT, BINARY))
            open_message = not final
        if random.random() < 0.03:
            opcode = random.randrange(128)
        sent.append(masked(opcode, payload, final=final, key=random.choice((0, 0x3D21FA37, random.getrandbits(32)))))
    data = b"".join(sent)
    return data if random.random() < 0.8 else data[: random.randrange(len(data) + 1)]


TARGETS = [
    Target(
        name="websocket-frames",
        run=stream,
        seeds=(
            bytes.fromhex("818537fa213d7f9f4d5158"),
            masked(TEXT, b"ab", final=False) + masked(PING, b"?") + masked(0, b"c" * 200),
            masked(BINARY, bytes(131)) + masked(CLOSE, b"\x03\xe8bye"),
            masked(BINARY, bytes(65537), final=False) + masked(0, bytes(9)),
            masked(BINARY, b"", final=False) + masked(0, b"", final=False) * 3 + masked(0, b""),
            masked(TEXT, bytes(TEXT_LIMIT + 1), final=False),
            frames.frame(TEXT, b"unmasked"),
            b"\x82\xff\x00\x00\x00\x00\x00\x04\x00\x00abcd",
        ),
        covers=("transport.websocket.frames",),
        words=(masked(0, b"", final=False), masked(PING, b""), b"\x82\xfe", b"\x82\xff", b"\x80\x80", b"\xff" * 8),
        shape=some_frames, longest=2**20,
        memory=2**21, byte_memory=200,  # a short message is an object of a hundred bytes
    ),
    Target(
        name="websocket-connection",
        run=connection,
        seeds=(
            masked(PING, b"?") * 60,
            masked(TEXT, b"a") + masked(PING, b"?") + masked(CLOSE, b"\x03\xe8") + masked(TEXT, b"b"),
            masked(TEXT, BYE) + masked(TEXT, b"a") + masked(PING, b"") + masked(CLOSE, b"\x03\xe8bye"),
            masked(BINARY, bytes(300)) + masked(CLOSE, b"\x03") + masked(PING, b""), masked(CLOSE, b""),
            masked(TEXT, BYE) + masked(PING, b"a", final=False) + masked(TEXT, b"a"),
        ),
        covers=("transport.websocket.connection", "transport.websocket.incoming", "transport.websocket.outgoing"),
        words=(masked(PING, b""), masked(TEXT, BYE), masked(CLOSE, b""), b"\x82\xfe", b"\x80\x80"),
        shape=some_frames, longest=2**18,
        seconds=0.02, byte_seconds=5e-6, memory=2**22, byte_memory=300,
    ),
    Target(
        name="websocket-close",
        run=close,
        seeds=(b"", b"\x03", b"\x03\xe8bye", b"\x03\xed", b"\x03\xe8" + "\u20ac".encode() * 41),
        covers=("transport.websocket.frames",),
        words=(b"\x03\xe8", b"\x0f\xa0", b"\xe2\x82\xac", b"\xed\xa0\x80"), longest=125,
    ),
]  # fmt: skip
