"""Cameras that measure a server: so many connections of Socket.IO over WebSocket, on sockets alone, in one process.

Their one argument is what they do, as JSON (`Filming`). They print a line of JSON when the time that counts begins, one
with what they saw when it ends, and stay connected until standard input does.
"""

from __future__ import annotations

import heapq
import json
import os
import random
import re
import selectors
import socket
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

from imageserver.commands.plan import pictures
from imageserver.commands.plan.frames import masked
from imageserver.inference.shared import lifetime

PATIENCE = 30.0
"""Seconds for whatever a server has to say."""
_SENT = b'451-["receiveImage",{"_placeholder":true,"num":0}]'
_ANSWER = re.compile(rb'"age_ms\\":([\d.]+).*?"seq\\":(\d+).*?"dropped\\":(\d+)')
_LATEST = 2**18
"""Bytes read at once."""


@dataclass(frozen=True)
class Filming:
    """What the cameras do.

    Args:
        port: of a server on 127.0.0.1 that asks for no login.
        cameras: connections.
        hz: frames a second of each, at times of its own; 0: the next as soon as one is answered; below 0: one alone.
        size: bytes of a frame.
        warm: seconds before the time that counts.
        seconds: that count.
        picture: a file in place of a drawn digit.
        seed: of the times.
    """

    port: int
    cameras: int
    hz: float
    size: int
    warm: float
    seconds: float
    picture: str = ""
    seed: int = 0


@dataclass
class Seen:
    """What they saw in the time that counts; ages in ms, `ages` by the server's clock, `waits` by theirs."""

    sent: int = 0
    answered: int = 0
    replaced: int = 0
    answer_bytes: int = 0
    late_ms: float = 0.0
    """By which the latest frame in a hundred left behind its time: this process was too slow."""
    took: float = 0.0
    ages: list[float] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)


class Camera:
    """One connection."""

    def __init__(self, port: int) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port), PATIENCE)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sent_at: dict[int, float] = {}
        self.sent = self.dropped = 0
        self._rest = b""
        self.sock.sendall(
            b"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
            b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        self._wait_for(b"0{")
        self.sock.sendall(masked(1, b"40"))
        self._wait_for(b"40{")
        self._rest = b""

    def _wait_for(self, text: bytes) -> None:
        while text not in self._rest:
            data = self.sock.recv(_LATEST)
            if not data:
                raise ConnectionError(f"the server closed a connection before it said {text!r}")
            self._rest += data
        self._rest = self._rest[self._rest.index(text) :]

    def send(self, frame: bytes, now: float) -> None:
        self.sent += 1
        self.sent_at[self.sent] = now
        self.sock.sendall(frame)

    def answers(self) -> Iterator[tuple[float, int, int, int]]:
        """Read once; of each answer its age, its number, how many were replaced so far, and its bytes."""
        data = self.sock.recv(_LATEST)
        if not data:
            raise ConnectionError("the server closed a connection")
        data, at = self._rest + data, 0
        while len(data) - at >= 2:
            length, start = data[at + 1], at + 2
            if extra := {126: 2, 127: 8}.get(length, 0):
                length, start = int.from_bytes(data[start : start + extra], "big"), start + extra
            if len(data) < start + length:
                break
            payload = data[start : start + length]
            at = start + length
            if payload == b"2":
                self.sock.sendall(masked(1, b"3"))
            elif found := _ANSWER.search(payload):
                yield float(found[1]), int(found[2]), int(found[3]), at
        self._rest = data[at:]


class Measurement:
    """All cameras of a task, from the first connection to what was seen."""

    def __init__(self, task: Filming) -> None:
        picture = Path(task.picture).read_bytes() if task.picture else pictures.digit()
        self._frame = masked(1, _SENT) + masked(2, pictures.padded(picture, task.size))
        self._task, self._seen, self._counts = task, Seen(), False
        self._late: list[float] = []
        self._cameras = [Camera(task.port) for _number in range(task.cameras)]
        self._selector = selectors.DefaultSelector()
        for camera in self._cameras:
            self._selector.register(camera.sock, selectors.EVENT_READ, camera)
        random_times = random.Random(task.seed)
        began = time.monotonic()
        self._due: list[tuple[float, int]] = []
        for number, camera in enumerate(self._cameras):
            if task.hz > 0:
                self._due.append((began + random_times.random() / task.hz, number))
            else:
                camera.send(self._frame, time.monotonic())
        heapq.heapify(self._due)

    def run(self) -> Iterator[Seen]:
        """Yields when the time that counts begins, and when it ends."""
        self._stream(time.monotonic() + self._task.warm)
        before = sum(camera.dropped for camera in self._cameras)
        self._counts, began = True, time.monotonic()
        yield self._seen
        self._stream(began + self._task.seconds)
        self._seen.took = time.monotonic() - began
        self._seen.replaced = sum(camera.dropped for camera in self._cameras) - before
        self._late.sort()
        self._seen.late_ms = self._late[int(len(self._late) * 0.99)] * 1000 if self._late else 0.0
        yield self._seen

    def _stream(self, end: float) -> None:
        while (now := time.monotonic()) < end:
            while self._due and self._due[0][0] <= now:
                due, number = self._due[0]
                heapq.heapreplace(self._due, (due + 1 / self._task.hz, number))
                self._send(self._cameras[number], now)
                self._late.append(now - due)
                now = time.monotonic()
            until = min(self._due[0][0] if self._due else end, end)
            for key, _events in self._selector.select(max(0.0, until - now)):
                self._read(key.data)

    def _send(self, camera: Camera, now: float) -> None:
        camera.send(self._frame, now)
        self._seen.sent += self._counts

    def _read(self, camera: Camera) -> None:
        for age, number, dropped, size in camera.answers():
            now = time.monotonic()
            sent_at = camera.sent_at.pop(number)
            for older in [each for each in camera.sent_at if each < number]:
                del camera.sent_at[older]  # replaced
            camera.dropped = dropped
            if self._task.hz == 0:
                self._send(camera, now)
            if self._counts:
                self._seen.answered += 1
                self._seen.answer_bytes += size
                self._seen.ages.append(age)
                self._seen.waits.append(round((now - sent_at) * 1000, 3))


def main() -> int:
    """Do the task that the only argument is; returns the exit code."""
    lifetime.end_with_parent()
    measurement = Measurement(Filming(**json.loads(sys.argv[1])))
    for seen in measurement.run():
        print(json.dumps(asdict(seen)), flush=True)
    while os.read(0, 4096):
        pass
    return 0
