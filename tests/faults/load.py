"""Honest cameras in a process of their own, and what became of their frames.

    with Cameras(server.port, count=4, hz=5) as cameras:
        cameras.settle()
        ...                             # the fault
        figures = cameras.figures()     # since the last look

They speak Socket.IO of either generation over WebSocket, with nothing between them and the socket that could wait or
try again unseen. `marked` ones send pictures that say whose they are, and look whether each answer is that to their own
(for models that read it, as bench/rig/model.py). As a program it reads its settings, and then its commands, as lines of
JSON.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import random
import ssl
import struct
import subprocess
import sys
import time
import zlib
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

PATIENCE = 60.0
"""Seconds until a test gives up waiting for the process of the cameras."""
HEARTBEAT = 20.0
"""Seconds between two pings of a client of generation 3."""
AGAIN = (1.0, 5.0)
"""Seconds between two attempts to connect, the first and the longest; by up to half more or less, as clients do."""
FRAME = b'451-["receiveImage",{"_placeholder":true,"num":0}]'
TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10


@dataclass
class Figures:
    """What cameras saw since somebody looked last. Ages in milliseconds, from sending a frame to its answer."""

    seconds: float = 0.0
    connected: int = 0
    """Cameras that are connected now."""
    lost: int = 0
    """Connections that ended."""
    most_lost: int = 0
    """The same of that camera of which the most ended."""
    refused: int = 0
    """Attempts to connect that failed."""
    sent: int = 0
    answered: int = 0
    errors: dict[str, int] = field(default_factory=dict)
    """Sentences of `frame_error`, and how often."""
    ages: list[float] = field(default_factory=list)
    """Of all answers, sorted."""
    silence: float = 0.0
    """Seconds between two answers of one camera, the longest; up to now for one that waits, connected or not."""
    wrong: int = 0
    """Answers to marked cameras that are to another picture than that which they sent with this number."""

    def age(self, share: float) -> float:
        """The age below which `share` of the answers came, such as 0.99; 0 without any."""
        return self.ages[min(len(self.ages) - 1, int(share * len(self.ages)))] if self.ages else 0.0

    def add(self, other: Figures) -> None:
        """Put those of other cameras, or of a later time, to these."""
        self.lost, self.refused = self.lost + other.lost, self.refused + other.refused
        self.sent, self.answered = self.sent + other.sent, self.answered + other.answered
        self.errors = dict(Counter(self.errors) + Counter(other.errors))
        self.ages = sorted([*self.ages, *other.ages])
        self.silence = max(self.silence, other.silence)
        self.most_lost = max(self.most_lost, other.most_lost)
        self.wrong += other.wrong

    def __str__(self) -> str:
        return (
            f"{self.answered} of {self.sent} frames answered, ages p50 {self.age(0.5):.0f} ms, "
            f"p99 {self.age(0.99):.0f} ms, longest silence {self.silence:.2f} s, {self.lost} connections lost"
        )


@dataclass
class Wishes:
    """How the cameras are to be. `pictures`: files that are sent in turn; none: a plain JPEG of 64x48."""

    port: int
    count: int = 4
    hz: float = 5.0
    user: str = ""
    password: str = ""
    query: str = ""
    """Further options of the connection, such as `&name=door`."""
    configure: dict[str, Any] = field(default_factory=dict)
    """Options of the stream, such as `{"model": "echo"}`."""
    reconnect: bool = False
    generation: int = 4
    """Of Engine.IO: 3 or 4."""
    tls: bool = False
    source: str = "127.0.0.1"
    """The address that they come from."""
    pictures: list[str] = field(default_factory=list)
    marked: int = 0
    """The mark of the first camera, those of the others follow; each is called `camera-` and its mark. 0: none has."""
    logins: list[list[str]] = field(default_factory=list)
    """Names and passwords of the cameras, in turn; none: all have `user` and `password`."""


class Cameras:
    """The process of the cameras, as a context. Arguments are those of `Wishes`."""

    def __init__(self, port: int, **wishes: Any) -> None:
        self._wishes = Wishes(port, **wishes)
        self.process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )
        self._ask(asdict(self._wishes))

    def __enter__(self) -> Cameras:
        return self

    def __exit__(self, *_exception: object) -> None:
        assert self.process.stdin and self.process.stdout
        self.process.stdin.close()
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()

    def _ask(self, what: object) -> Any:
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(json.dumps(what) + "\n")
        line = self.process.stdout.readline()
        assert line, "the process of the cameras ended"
        return json.loads(line)

    def figures(self) -> Figures:
        """What happened since the last call."""
        return Figures(**self._ask("figures"))

    def look(self) -> Figures:
        """The same, without beginning anew."""
        return Figures(**self._ask("look"))

    def settle(self, answers: int = 1) -> Cameras:
        """Wait until all are connected and have had so many answers each; then begin anew."""
        end = time.monotonic() + PATIENCE
        while (now := self.look()).connected < self._wishes.count or now.answered < answers * self._wishes.count:
            assert time.monotonic() < end, f"the cameras are not all answered: {now}, {now.errors}"
            time.sleep(0.05)
        self.figures()
        return self

    def during(self, seconds: float) -> Figures:
        """What happens in the next `seconds`, alone: such as a quiet figure."""
        self.figures()
        time.sleep(seconds)
        return self.figures()


class _Camera:
    """One camera: connects, sends, counts."""

    def __init__(self, wishes: Wishes, index: int, pictures: list[bytes], figures: Figures) -> None:
        self._wishes, self._pictures, self.figures = wishes, pictures, figures
        logins = wishes.logins or [[wishes.user, wishes.password]]
        self._user, self._password = logins[index % len(logins)]
        self._mark = wishes.marked and wishes.marked + index
        self.heard = time.monotonic()
        self.lost = 0
        self._sent: dict[int, float] = {}
        self._seq = 0
        self._before = 0
        """Frames of former connections: the server begins to count anew, and what is in the pictures does not."""

    async def live(self) -> None:
        """Be connected; again and again where that is wished."""
        delay = AGAIN[0]
        while True:
            connected = False
            try:
                reader, writer = await self._connect()
                connected, delay = True, AGAIN[0]
                self.figures.connected += 1
                sending = asyncio.create_task(self._send(writer))
                try:
                    await self._listen(reader, writer)
                finally:
                    sending.cancel()
                    writer.transport.abort()
            except (OSError, ValueError, EOFError):
                pass
            if connected:
                self.figures.connected -= 1
                self.figures.lost += 1
                self.lost += 1
            else:
                self.figures.refused += 1
            if not self._wishes.reconnect:
                return
            await asyncio.sleep(min(delay * random.uniform(0.5, 1.5), AGAIN[1]))
            delay = min(2 * delay, AGAIN[1])

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        wishes = self._wishes
        secure = ssl._create_unverified_context() if wishes.tls else None
        opening = asyncio.open_connection(
            "127.0.0.1", wishes.port, limit=2**22, local_addr=(wishes.source, 0), ssl=secure
        )
        reader, writer = await asyncio.wait_for(opening, 20)
        try:
            async with asyncio.timeout(20):
                await self._shake_hands(reader, writer)
        except BaseException:
            writer.transport.abort()
            raise
        return reader, writer

    async def _shake_hands(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        wishes = self._wishes
        login = {"user": self._user, "password": self._password} if self._user else None
        query = wishes.query + (f"&name=camera-{self._mark}" if self._mark else "")
        head = [
            f"GET /socket.io/?EIO={wishes.generation}&transport=websocket{query} HTTP/1.1",
            "Host: localhost",
            "Upgrade: websocket",
            "Connection: Upgrade",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: " + base64.b64encode(os.urandom(16)).decode(),
        ]
        writer.write("\r\n".join([*head, "", ""]).encode())
        if b" 101 " not in await reader.readuntil(b"\r\n\r\n"):
            raise ValueError("not switched")
        await self._expect(reader, b"0{")
        if wishes.generation == 4:
            writer.write(_masked(TEXT, b"40" + (json.dumps(login).encode() if login else b"")))
        await self._expect(reader, b"40")
        if login:
            said = ["authenticate", self._user, self._password, "answer"]
            writer.write(_masked(TEXT, b"42" + json.dumps(said).encode()))
            await self._expect(reader, b'42["answer",true]')
        if wishes.configure:
            writer.write(_masked(TEXT, b'420["configure",' + json.dumps(wishes.configure).encode() + b"]"))
            await self._expect(reader, b"430")

    async def _expect(self, reader: asyncio.StreamReader, start: bytes) -> None:
        _opcode, text = await _frame(reader)
        if not text.startswith(start):
            raise ValueError(f"expected {start!r}, heard {text[:200]!r}")

    async def _send(self, writer: asyncio.StreamWriter) -> None:
        self._before += self._seq
        self._sent, self._seq = {}, 0
        await asyncio.sleep(random.random() / self._wishes.hz)  # not all at the same moment
        due = time.monotonic()
        beat = due + HEARTBEAT if self._wishes.generation == 3 else 0.0  # there it is the client who asks
        while True:
            self._seq += 1
            writer.write(_masked(TEXT, FRAME) + _masked(BINARY, self._picture()))
            if beat and time.monotonic() > beat:
                writer.write(_masked(TEXT, b"2"))
                beat += HEARTBEAT
            self._sent[self._seq] = time.monotonic()
            self.figures.sent += 1
            with contextlib.suppress(OSError):
                await writer.drain()
            due = max(due + 1 / self._wishes.hz, time.monotonic())
            await asyncio.sleep(due - time.monotonic())

    def _picture(self) -> bytes:
        """The next one, as it is sent: in generation 3 a binary message says that it is a message."""
        if not self._mark:
            picture = self._pictures[self._seq % len(self._pictures)]
        else:
            picture = marked(self._mark, self._before + self._seq)
        return b"\x04" + picture if self._wishes.generation == 3 else picture

    async def _listen(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            opcode, data = await _frame(reader)
            if opcode == CLOSE:
                return
            if opcode == PING:
                writer.write(_masked(PONG, data))
            elif data == b"2":
                writer.write(_masked(TEXT, b"3"))
            elif data.startswith(b'42["'):
                event, answer = json.loads(data[2:])[:2]
                self._hear(event, answer)
            elif data[:2] in (b"41", b"1"):
                return

    def _hear(self, event: str, answer: Any) -> None:
        if event not in ("prediction", "frame_error"):
            return
        now = time.monotonic()
        told = json.loads(answer)
        sent = self._sent.pop(told.get("seq", 0), None)
        self.figures.silence = max(self.figures.silence, now - self.heard)
        self.heard = now
        if event == "frame_error":
            self.figures.errors[told["error"]] = self.figures.errors.get(told["error"], 0) + 1
            return
        self.figures.answered += 1
        right = f"{self._mark}.{self._before + told.get('seq', 0)}"
        if self._mark and told.get("label") != right:
            self.figures.wrong += 1
            print(f"the answer to {right} was {told.get('label')}", file=sys.stderr, flush=True)
        if sent is not None:
            self.figures.ages.append((now - sent) * 1e3)
            for older in [seq for seq in self._sent if seq < told["seq"]]:  # replaced by newer ones
                del self._sent[older]


def _masked(opcode: int, payload: bytes) -> bytes:
    """A client's frame, with a mask of zeros."""
    size = len(payload)
    if size < 126:
        head = struct.pack(">BB", 0x80 | opcode, 0x80 | size)
    elif size < 65536:
        head = struct.pack(">BBH", 0x80 | opcode, 0xFE, size)
    else:
        head = struct.pack(">BBQ", 0x80 | opcode, 0xFF, size)
    return head + bytes(4) + payload


async def _frame(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """One frame of the server, which never fragments."""
    first, size = await reader.readexactly(2)
    if size == 126:
        (size,) = struct.unpack(">H", await reader.readexactly(2))
    elif size == 127:
        (size,) = struct.unpack(">Q", await reader.readexactly(8))
    return first & 0x0F, await reader.readexactly(size)


def _plain() -> bytes:
    """A JPEG of 64x48, grey."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    from tests.running import picture

    return picture()


def marked(mark: int, number: int) -> bytes:
    """A JPEG of 64x64 that says both, with a checksum, in 8 by 8 squares: each is a bit, black or white."""
    import cv2
    import numpy as np

    said = struct.pack(">HI", mark, number)
    bits = np.unpackbits(np.frombuffer(said + struct.pack(">H", zlib.crc32(said) & 0xFFFF), np.uint8))
    squares = np.kron(bits.reshape(8, 8) * np.uint8(255), np.ones((8, 8), np.uint8))
    data: bytes = cv2.imencode(".jpg", squares)[1].tobytes()
    return data


async def _serve(wishes: Wishes) -> None:
    """Run the cameras until standard input ends; answer each command by a line."""
    figures = Figures()
    pictures = [] if wishes.marked else [Path(name).read_bytes() for name in wishes.pictures] or [_plain()]
    cameras = [_Camera(wishes, index, pictures, figures) for index in range(wishes.count)]
    living = [asyncio.create_task(camera.live()) for camera in cameras]
    begun = time.monotonic()
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    print("{}", flush=True)
    while line := await reader.readline():
        now = time.monotonic()
        figures.seconds = now - begun
        figures.silence = max([figures.silence, *(now - camera.heard for camera in cameras)])
        figures.most_lost = max(camera.lost for camera in cameras)
        figures.ages.sort()
        print(json.dumps(asdict(figures)), flush=True)
        if json.loads(line) == "figures":
            figures = Figures(connected=figures.connected)
            begun = now
            for camera in cameras:
                camera.figures = figures
                camera.heard, camera.lost = now, 0
    for task in living:
        task.cancel()
    await asyncio.gather(*living, return_exceptions=True)


if __name__ == "__main__":
    asyncio.run(_serve(Wishes(**json.loads(sys.stdin.readline()))))
