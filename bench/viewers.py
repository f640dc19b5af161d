"""Live pages beside cameras: 16 streams at 10 Hz, first without a page, then with one, then with five.

    python bench/viewers.py [--streams 16] [--hz 10] [--pages 5] [--seconds 10] [--rounds 3] [--deaf 60] [--check]

A real server with LeNet; cameras and pages are two other processes on raw sockets. A page watches all streams, reads
everything and answers each round at once. Shown, as medians of the rounds: the ages of answers, the processor time of
the server process alone (its workers have theirs), frames that a page gets, and the server's resident memory; at the
end the same while one more page reads nothing for a minute. With --check: exit code 1 when with all pages the p99 of
ages is over 1.2 times that without, when five pages take over 1.5 times the processor time of one, or when memory grows
by more than 5 MB beside a page that reads nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import re
import selectors
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "src"), str(ROOT / "bench")]
import bootstrap

bootstrap.provide_package()

import cv2
import numpy as np
import psutil
from ingest import HEADER, masked
from tests.running import Server

AGES, PROCESSOR, MEMORY = 1.2, 1.5, 5 * 2**20
"""The marks: ratio of ages, ratio of processor times, bytes."""
KEY = "dGhlIHNhbXBsZSBub25jZQ=="
WINDOW = 16 * 1024
"""Of a page that reads nothing: what its own kernel has taken counts as read."""


def opened(port: int, path: str, window: int = 0) -> socket.socket:
    """A WebSocket, its handshake done. `window`: bytes that its kernel takes for it."""
    sock = socket.socket()
    sock.settimeout(30)
    if window:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window)
    sock.connect(("127.0.0.1", port))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13"
    sock.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n{upgrade}\r\nSec-WebSocket-Key: {KEY}\r\n\r\n".encode())
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += sock.recv(1)
    assert head.startswith(b"HTTP/1.1 101"), head
    return sock


class Reading:
    """What came on a WebSocket, cut into messages; what is binary is passed over: a page need not cost much."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock, self._rest, self._over = sock, b"", 0

    def messages(self) -> Iterator[tuple[int, bytes]]:
        """Read once, and yield (opcode, payload) of each message that is whole by now."""
        data = self.sock.recv(2**18)
        if not data:
            raise ConnectionError("the server has ended the connection")
        if self._over:
            at = min(self._over, len(data))
            self._over -= at
            if self._over:
                return
            yield 2, b""
            data = data[at:]
        data, at = self._rest + data, 0
        self._rest = b""
        while len(data) - at >= 2:
            length, start = data[at + 1], at + 2
            if size := {126: 2, 127: 8}.get(length, 0):
                length, start = int.from_bytes(data[start : start + size], "big"), start + size
            if len(data) < start + length:
                if data[at] & 15 == 2 and len(data) >= start:
                    self._over = start + length - len(data)
                    return
                break
            yield data[at] & 15, b"" if data[at] & 15 == 2 else data[start : start + length]
            at = start + length
        self._rest = data[at:]


def photograph() -> bytes:
    """A JPEG as a webcam sends it: 640x480, about 40 KB."""
    rng = np.random.default_rng(7)
    coarse = rng.integers(0, 255, (48, 64, 3), np.uint8)
    picture = cv2.GaussianBlur(cv2.resize(coarse, (640, 480), interpolation=cv2.INTER_CUBIC), (0, 0), 2)
    picture = cv2.add(picture, rng.integers(0, 6, picture.shape, np.uint8))
    return bytes(cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 80])[1])


class Phone:
    """A camera of generation 4, which sends at its own times whatever comes back."""

    def __init__(self, port: int, due: float) -> None:
        self.reading = Reading(opened(port, "/socket.io/?EIO=4&transport=websocket"))
        self.sock, self.due = self.reading.sock, due
        self.sock.sendall(masked(1, b"40"))


def film(port: int, streams: int, hz: float) -> None:
    """Send frames for ever; print the age of each answer."""
    frame = masked(1, HEADER) + masked(2, photograph())
    began = time.monotonic() + 0.5
    phones = [Phone(port, began + random.random() / hz) for _ in range(streams)]
    selector = selectors.DefaultSelector()
    for phone in phones:
        selector.register(phone.sock, selectors.EVENT_READ, phone)
    while True:
        now = time.monotonic()
        for phone in phones:
            if now >= phone.due:
                phone.sock.sendall(frame)
                phone.due += 1 / hz
        ages = []
        for key, _events in selector.select(max(0.0, min(phone.due for phone in phones) - time.monotonic())):
            for _opcode, payload in key.data.reading.messages():
                if payload == b"2":
                    key.data.sock.sendall(masked(1, b"3"))
                elif found := re.search(rb'"age_ms\\":([\d.]+)', payload):
                    ages.append(f"{time.monotonic()} {found[1].decode()}\n")
        sys.stdout.write("".join(ages))
        sys.stdout.flush()


def look(port: int, pages: int, ids: list[str]) -> None:
    """Be so many pages for ever; print for each frame which page it came to."""
    selector = selectors.DefaultSelector()
    for number in range(pages):
        sock = opened(port, "/live")
        sock.sendall(masked(1, json.dumps({"watch": ids}).encode()))
        selector.register(sock, selectors.EVENT_READ, (number, Reading(sock)))
    while True:
        said = []
        for key, _events in selector.select():
            number, reading = key.data
            for opcode, payload in reading.messages():
                if opcode == 2:
                    said.append(f"{time.monotonic()} {number}\n")
                elif payload.startswith(b'{"type":"round"'):
                    reading.sock.sendall(masked(1, json.dumps({"round": json.loads(payload)["n"]}).encode()))
        sys.stdout.write("".join(said))
        sys.stdout.flush()


class Others:
    """Another process of this file, whose lines, each a time and a figure, are kept in a file."""

    def __init__(self, folder: Path, *arguments: object) -> None:
        self._said = folder / f"{arguments[0]}.{time.monotonic()}".lstrip("-")
        self._arguments = [sys.executable, __file__, *map(str, arguments)]

    def __enter__(self) -> Others:
        with self._said.open("wb") as said:
            self._process = subprocess.Popen(self._arguments, stdout=said)
        return self

    def __exit__(self, *_exception: object) -> None:
        assert self._process.poll() is None, "it has ended before"
        self._process.terminate()
        self._process.wait(20)

    def figures(self, since: float) -> list[float]:
        """Those of lines since a time."""
        lines = [line.split() for line in self._said.read_text().rpartition("\n")[0].splitlines()]
        return [float(figure) for at, figure in lines if float(at) >= since]


@dataclass(frozen=True)
class Measured:
    """A stretch of time: ages in ms, processor time of the server process a second, frames a second for a page."""

    p50: float
    p99: float
    answered: float
    processor: float
    frames: float
    memory: int


class Scene:
    """A server with its cameras."""

    def __init__(self, server: Server, cameras: Others, folder: Path, options: argparse.Namespace) -> None:
        self.server, self._cameras, self._folder, self._options = server, cameras, folder, options
        self._process = psutil.Process(server.process.pid)
        self._ids: list[str] = []

    def wait(self) -> None:
        """Until all cameras stream."""
        while len(self._ids) < self._options.streams or len(self._cameras.figures(0)) < 10 * self._options.streams:
            time.sleep(0.2)
            self._ids = [row["id"] for row in json.loads(self.server.get("/streams/")[1])]

    def measure(self, pages: int, seconds: float) -> Measured:
        """What so many pages cost."""
        looking: Any = Others(self._folder, "--look", self.server.port, pages, json.dumps(self._ids))
        with looking if pages else contextlib.nullcontext() as viewers:
            time.sleep(1.5)
            since, before = time.monotonic(), self._process.cpu_times()
            time.sleep(seconds)
            took, after = time.monotonic() - since, self._process.cpu_times()
            ages = sorted(self._cameras.figures(since))
            frames = len(viewers.figures(since)) / pages if pages else 0
        return Measured(
            p50=statistics.median(ages),
            p99=ages[int(len(ages) * 0.99)],
            answered=len(ages) / took,
            processor=(after.user + after.system - before.user - before.system) / took,
            frames=frames / took,
            memory=self._process.memory_info().rss,
        )

    def deaf(self, pages: int, seconds: float) -> tuple[Measured, int]:
        """The same beside a page more that reads nothing; and bytes by which memory grew."""
        before = self._process.memory_info().rss
        with opened(self.server.port, "/live", WINDOW) as sock:
            sock.sendall(masked(1, json.dumps({"watch": self._ids}).encode()))
            found = self.measure(pages, seconds)
            return found, self._process.memory_info().rss - before


def shown(name: str, found: Measured) -> None:
    ages = f"{found.p50:>8.1f} {found.p99:>8.1f} ms"
    rates = f"{found.answered:>8.0f}/s {found.processor * 100:>8.1f} % {found.frames:>8.0f}/s"
    print(f"{name:<28} {ages} {rates} {found.memory / 2**20:>8.1f} MB", flush=True)


def median(found: list[Measured]) -> Measured:
    """Figure by figure."""
    return Measured(*(statistics.median(getattr(one, name) for one in found) for name in Measured.__annotations__))


def run(scene: Scene, options: argparse.Namespace) -> list[str]:
    """Print what was measured; which marks are missed."""
    counts = (0, 1, options.pages)
    found: dict[int, list[Measured]] = {count: [] for count in counts}
    for _ in range(options.rounds):
        for count in counts:
            found[count].append(scene.measure(count, options.seconds))
    print(f"{'':<28} {'age p50':>8} {'p99':>8} {'answered':>13} {'processor':>10} {'to a page':>10} {'resident':>11}")
    alone, one, many = (median(found[count]) for count in counts)
    for name, each in (("no page", alone), ("one page", one), (f"{options.pages} pages", many)):
        shown(name, each)
    ages, processor = many.p99 / alone.p99, many.processor / one.processor
    print(f"\np99 with all pages over that without: {ages:.2f}; processor time over that of one: {processor:.2f}")
    missed = [f"ages: {ages:.2f}, {AGES} is the mark"] if ages > AGES else []
    missed += [f"processor time: {processor:.2f}, {PROCESSOR} is the mark"] if processor > PROCESSOR else []
    if options.deaf:
        beside, grown = scene.deaf(options.pages, options.deaf)
        shown(f"and one deaf for {options.deaf:g} s", beside)
        print(f"memory grew by {grown / 2**20:.1f} MB")
        missed += [f"memory: {grown / 2**20:.1f} MB beside a page that reads nothing"] if grown > MEMORY else []
    return missed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", type=int, default=16)
    parser.add_argument("--hz", type=float, default=10)
    parser.add_argument("--pages", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--deaf", type=float, default=60, help="seconds for which a page reads nothing; 0: not")
    parser.add_argument("--check", action="store_true", help="fail when a mark is missed")
    parser.add_argument("--film", nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("--look", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.film:
        film(int(options.film[0]), int(options.film[1]), float(options.film[2]))
    if options.look:
        look(int(options.look[0]), int(options.look[1]), json.loads(options.look[2]))
    with tempfile.TemporaryDirectory() as name, Server(data=Path(name), models=None, model="lenet") as server:
        server.ready()
        with Others(Path(name), "--film", server.port, options.streams, options.hz) as cameras:
            scene = Scene(server, cameras, Path(name), options)
            scene.wait()
            size = len(photograph())
            print(f"{options.streams} streams at {options.hz:g} Hz, pictures of {size:,} bytes, LeNet\n")
            missed = run(scene, options)
    for sentence in missed:
        print("missed:", sentence)
    return 1 if options.check and missed else 0


if __name__ == "__main__":
    sys.exit(main())
