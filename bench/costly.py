#!/usr/bin/env python3
"""What costly pictures of one client cost another: rate and latency of an honest camera and of honest requests.

    python bench/costly.py [--pictures deep large texts ordinary] [--by rest stream] [--senders 48] [--seconds 60]

A real server on this machine with the model faces. The attacker sends from 127.0.0.2: requests as fast as they are
answered, or a frame a second of each stream. The
honest client is a camera (Socket.IO, 640x480, 10 a second) and a program (REST, 640x480, 5 a second) at 127.0.0.1.

    deep      PNG, 7071x7071, 16 bits, transparency: 389 KB
    large     PNG, 7071x7071, 8 bits, transparency: as large as --max-decoded-bytes lets in
    texts     PNG, 64x64, with 22 compressed texts of 8 MB each
    ordinary  PNG, 2800x2800, 8 bits: just below --costly-bytes
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import http.client
import json
import os
import struct
import subprocess
import sys
import tempfile
import threading
import time
import zlib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT)]

import psutil
import requests
import socketio
from tests.running import Server, children, picture

ATTACKER = "127.0.0.2"


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png(side: int, depth: int, channels: int, between: bytes = b"") -> bytes:
    """A black PNG; its colour type by the number of channels."""
    colour = {1: 0, 3: 2, 4: 6}[channels]
    packer = zlib.compressobj(9)
    row = bytes(1 + side * channels * depth // 8)
    rows = b"".join([*(packer.compress(row) for _ in range(side)), packer.flush()])
    header = struct.pack(">IIBBBBB", side, side, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + between + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


PICTURES = {
    "deep": lambda: png(7071, 16, 4),
    "large": lambda: png(7071, 8, 4),
    "texts": lambda: png(64, 8, 3, chunk(b"zTXt", b"x\0\0" + zlib.compress(bytes(7_900_000), 9)) * 22),
    "ordinary": lambda: png(2800, 8, 3),
}


class Requests(threading.Thread):
    """Posts a picture again and again, at most `hz` times a second; keeps status and seconds of each."""

    def __init__(self, port: int, data: bytes, address: str, hz: float, until: threading.Event) -> None:
        super().__init__(daemon=True)
        self.answers: list[tuple[int, float, float]] = []
        self.said = ""
        self._port, self._data, self._address, self._hz, self._until = port, data, address, hz, until

    def run(self) -> None:
        while not self._until.is_set():
            begun = time.perf_counter()
            status = self._post()
            took = time.perf_counter() - begun
            self.answers.append((status, took, begun))
            if self._hz and took < 1 / self._hz:
                time.sleep(1 / self._hz - took)

    def _post(self) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60, source_address=(self._address, 0))
        try:
            connection.request("POST", "/faces/classify", self._data, {"Content-Type": "image/png"})
            answer = connection.getresponse()
            body = answer.read()
            if answer.status != 200:
                self.said = body.decode()
            return answer.status
        except OSError as error:
            self.said = repr(error)
            return 0
        finally:
            connection.close()


class Camera(threading.Thread):
    """Sends a frame `hz` times a second; `ages` has the seconds from each frame to its prediction."""

    def __init__(self, port: int, data: bytes, address: str, hz: float, until: threading.Event) -> None:
        super().__init__(daemon=True)
        self.answers: list[tuple[int, float, float]] = []
        self.said = ""
        self._sent: dict[int, float] = {}
        self._data, self._hz, self._until = data, hz, until
        session = requests.Session()
        if address != "127.0.0.1":
            adapter = requests.adapters.HTTPAdapter()
            adapter.init_poolmanager(8, 8, source_address=(address, 0))
            session.mount("http://", adapter)
        self._client = socketio.Client(http_session=session)
        self._client.on("prediction", self._predicted)
        self._client.on("frame_error", self._refused)
        self._url = f"http://127.0.0.1:{port}"
        self._transports = ["websocket"] if address == "127.0.0.1" else ["polling"]

    def _predicted(self, text: str) -> None:
        begun = self._sent.pop(json.loads(text)["seq"], None)
        if begun is not None:
            self.answers.append((200, time.perf_counter() - begun, begun))

    def _refused(self, text: str) -> None:
        self.said = text
        self.answers.append((400, 0.0, time.perf_counter()))

    def run(self) -> None:
        with contextlib.suppress(socketio.exceptions.SocketIOError):
            self._client.connect(self._url, transports=self._transports, wait_timeout=30)
            number = 0
            while not self._until.wait(1 / self._hz):
                number += 1
                self._sent[number] = time.perf_counter()
                self._client.emit("receiveImage", self._data)
            self._client.disconnect()


class Memory(threading.Thread):
    """The largest resident size of the server, of a worker and of all together, in MB."""

    def __init__(self, pid: int, until: threading.Event) -> None:
        super().__init__(daemon=True)
        self.server = self.child = self.all = 0.0
        self._pid, self._until = pid, until

    def run(self) -> None:
        while not self._until.wait(0.1):
            with contextlib.suppress(psutil.Error, OSError):
                own = psutil.Process(self._pid).memory_info().rss / 2**20
                others = [psutil.Process(pid).memory_info().rss / 2**20 for pid in children(self._pid)]
                self.server = max(self.server, own)
                self.child = max(self.child, *others, 0)
                self.all = max(self.all, own + sum(others))


def share(values: list[float], part: float) -> float:
    """A quantile, in ms."""
    return sorted(values)[min(len(values) - 1, int(len(values) * part))] * 1000 if values else float("nan")


def tell(name: str, answers: list[tuple[int, float, float]], since: float, seconds: float) -> None:
    """A line on the answers to what was sent within `seconds` from `since` on."""
    within = [(status, took) for status, took, begun in answers if since <= begun < since + seconds]
    good = [took for status, took in within if status == 200]
    text = f"{len(good) / seconds:5.1f}/s  p50 {share(good, 0.5):6.0f}  p99 {share(good, 0.99):6.0f} ms"
    print(f"  {name:24} {text}  failed {len(within) - len(good)}", flush=True)


def attack(kind: str, by: str, senders: int, seconds: float, workers: int) -> None:
    """One attack on a server of its own, and what the honest client saw before, during and behind it."""
    before, after = 10.0, 10.0
    good = picture(90, 640, 480)
    print(f"{kind} by {by}: {senders} senders, {workers} workers", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        options = ["--workers", str(workers)]
        with Server(*options, data=Path(folder), models=None, model="faces") as server:
            server.ready()
            end = threading.Event()
            honest = Camera(server.port, good, "127.0.0.1", 10, end), Requests(server.port, good, "127.0.0.1", 5, end)
            memory = Memory(server.process.pid, end)
            for thread in (*honest, memory):
                thread.start()
            time.sleep(2)
            start = time.perf_counter()
            time.sleep(before)
            quiet = memory.server, memory.all
            words = [
                "--attack",
                server.port,
                "--pictures",
                kind,
                "--by",
                by,
                "--senders",
                senders,
                "--seconds",
                seconds,
            ]
            command = [sys.executable, __file__, *map(str, words)]
            bots = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
            assert bots.stdout is not None
            bots.stdout.readline()
            attacked = time.perf_counter()
            answers = bots.stdout.read()
            over = attacked + seconds
            bots.wait()
            time.sleep(max(0.0, over + after - time.perf_counter()))
            end.set()
            time.sleep(0.5)
            for name, client in zip(("camera", "requests"), honest, strict=True):
                tell(f"{name} before", client.answers, start, before)
                tell(f"{name} during", client.answers, attacked, seconds)
                tell(f"{name} behind", client.answers, over, after)
            print(f"  the attacker's answers   {answers.strip()}")
            lost = [line for line in server.lines if "a new worker starts" in line]
            disabled = [line for line in server.lines if "is disabled" in line]
            print(f"  workers lost             {len(lost)}  {disabled[0] if disabled else ''}")
            print(f"  server                   {quiet[0]:.0f} MB before, {memory.server:.0f} MB at most")
            print(
                f"  largest child            {memory.child:.0f} MB; all together {quiet[1]:.0f}, then {memory.all:.0f}"
            )


def send(port: int, kind: str, by: str, senders: int, seconds: float) -> None:
    """The attacker's process: says when it begins, and at the end what it was answered."""
    calm, data = threading.Event(), PICTURES[kind]()
    sender = Requests if by == "rest" else Camera
    bots = [sender(port, data, ATTACKER, 0 if by == "rest" else 1, calm) for _ in range(senders)]
    os.nice(10)  # its own work is not what is measured
    print("begins", flush=True)
    for bot in bots:
        bot.start()
    time.sleep(seconds)
    calm.set()
    counts = collections.Counter(status for bot in bots for status, _took, _begun in list(bot.answers))
    said = collections.Counter(bot.said[:150] for bot in bots if bot.said)
    print(dict(counts), *(text for text, _count in said.most_common(1)), flush=True)
    os._exit(0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", nargs="+", choices=PICTURES, default=list(PICTURES))
    parser.add_argument("--by", nargs="+", choices=("rest", "stream"), default=["rest", "stream"])
    parser.add_argument("--senders", type=int, default=48)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--attack", type=int, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.attack:
        send(options.attack, options.pictures[0], options.by[0], options.senders, options.seconds)
    for kind in options.pictures:
        for by in options.by:
            attack(kind, by, options.senders, options.seconds, options.workers)


if __name__ == "__main__":
    main()
