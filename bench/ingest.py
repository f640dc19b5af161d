"""Frames handled per second over Socket.IO: the whole server, against the reference server of Socket.IO on Node.

    python bench/ingest.py [--rounds 3] [--seconds 3] [--idle 5000] [--check]

Server on one processor, generator on another, eight clients at full speed, servers in turn. The server authenticates
the clients and offers each frame to its stream; `--hz` keeps all but the first from running, so frames are replaced,
none decoded. Also: round trip of an acknowledgement, the same while a neighbour never pauses, and idle connections.
Without Node there are no ratios.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import re
import resource
import selectors
import shutil
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psutil

HERE = Path(__file__).resolve().parent
SRC = HERE.parent / "src"
sys.path[:0] = [str(SRC)]

import bootstrap

bootstrap.provide_package()

from imageserver.commands.plan.frames import masked

SIZES = (8_000, 40_000, 150_000)
MARKS = {8_000: 0.8, 40_000: 1.0, 150_000: 1.0}
"""Least ratio to the reference server."""
CLIENTS = 8
USER = ("bench", "a password of the benchmark")
HEADER = b'451-["receiveImage",{"_placeholder":true,"num":0}]'


class Client:
    """A client of generation 4 on a blocking socket, in the namespace /."""

    def __init__(self, port: int, log_in: bool = True) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port), 30)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.rest = b""
        self.sock.sendall(
            b"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: localhost\r\n"
            b"Upgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        self.wait_for(b"0{")  # Node loses what comes right behind the request
        self.sock.sendall(masked(1, b"40"))
        self.wait_for(b"40{")
        if log_in:
            self.sock.sendall(masked(1, b"42" + json.dumps(["authenticate", *USER, "answer"]).encode()))
            self.wait_for(b'42["answer",true]')

    def wait_for(self, text: bytes) -> None:
        """Read until `text` has come."""
        while text not in self.rest:
            data = self.sock.recv(65536)
            if not data:
                raise ConnectionError(f"the server closed before it sent {text!r}: {self.rest[-200:]!r}")
            self.rest += data
        self.rest = self.rest[self.rest.index(text) + len(text) :]

    def ask(self) -> float:
        """Seconds until an event is acknowledged."""
        begun = time.perf_counter()
        self.sock.sendall(masked(1, b'421["nobody knows this event"]'))
        self.wait_for(b"431[")
        return time.perf_counter() - begun


def generate(port: int, size: int, seconds: float) -> None:
    """Send frames from all clients as fast as the server takes them."""
    pieces = []
    for index in range(max(4, 1_000_000 // size)):
        key = struct.pack(">I", 0x01020304 * (index % 60 + 1) & 0xFFFFFFFF | 0x01010101)
        pieces.append(masked(1, HEADER, key) + masked(2, b"\xff\xd8" + bytes(size - 2), key))
    data = memoryview(b"".join(pieces))
    selector = selectors.DefaultSelector()
    sent = {}
    for _ in range(CLIENTS):
        client = Client(port)
        client.sock.setblocking(False)
        selector.register(client.sock, selectors.EVENT_WRITE, client)
        sent[client.sock] = 0
    print("sending", flush=True)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for key_, _events in selector.select(0.1):
            sock: Any = key_.fileobj
            try:
                at = sent[sock] + sock.send(data[sent[sock] :])
            except BlockingIOError:
                continue
            sent[sock] = at if at < len(data) else 0


class Ours:
    """The server in a process of its own."""

    name = "ImageServer"

    def __init__(self, folder: str) -> None:
        command = [sys.executable, str(SRC / "ImageServer.py"), "-i", "127.0.0.1", "-p", "0", "--tcp-port", "off", "-a"]
        command += ["--user", ":".join(USER), "--hz", "0.001", "--workers", "1", "--data", folder]
        # Standard output as a file: what the server says must never make it wait.
        self._said = Path(folder, "said.txt")
        with self._said.open("wb") as said:
            self.process = subprocess.Popen(pinned(0, command), stdout=said, stderr=subprocess.STDOUT)
        self.port = self._wait_ready()

    def _wait_ready(self) -> int:
        end = time.monotonic() + 120
        while time.monotonic() < end and self.process.poll() is None:
            found = re.search(r"127\.0\.0\.1:(\d+)", self._said.read_text())
            if found is not None:
                try:
                    urllib.request.urlopen(f"http://127.0.0.1:{found[1]}/health/ready", timeout=5)
                    return int(found[1])
                except OSError:
                    pass  # not yet
            time.sleep(0.2)
        raise SystemExit(f"the server did not become ready:\n{self._said.read_text()}")

    def frames(self) -> int:
        """Frames handled so far."""
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}/metrics")
        credentials = ":".join(USER).encode()
        request.add_header("Authorization", "Basic " + base64.b64encode(credentials).decode())
        with urllib.request.urlopen(request, timeout=30) as answer:
            text = answer.read().decode()
        found = re.search(r'^imageserver_frames_received_total\{protocol="camstream"\} (\S+)', text, re.MULTILINE)
        return int(float(found[1])) if found else 0

    def resident(self) -> int:
        return psutil.Process(self.process.pid).memory_info().rss

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(20)


class Reference:
    """Node's server in a process of its own."""

    name = "Node socket.io"

    def __init__(self, node: str) -> None:
        command = [node, str(HERE / "reference" / "server.js")]
        self.process = subprocess.Popen(pinned(0, command), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline())

    def frames(self) -> int:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def stop(self) -> None:
        self.process.communicate()


def pinned(index: int, command: list[str]) -> list[str]:
    """A command that keeps to one processor, where there are two and a way to say so."""
    processors, taskset = sorted(os.sched_getaffinity(0)), shutil.which("taskset")
    return command if taskset is None or len(processors) < 2 else [taskset, "-c", str(processors[index]), *command]


def reference() -> Reference | None:
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        return None
    if not (HERE / "reference" / "node_modules").exists():
        subprocess.run(
            [npm, "ci", "--prefix", str(HERE / "reference"), "--no-audit", "--no-fund", "--loglevel", "error"],
            check=True,
        )
    return Reference(node)


def rate(server: Ours | Reference, size: int, seconds: float) -> float:
    """Frames a second that the server handles."""
    command = [sys.executable, __file__, "--generate", str(server.port), str(size), str(seconds + 1.5)]
    with subprocess.Popen(pinned(1, command), stdout=subprocess.PIPE, text=True) as generator:
        assert generator.stdout is not None
        generator.stdout.readline()
        time.sleep(0.5)
        first, begun = server.frames(), time.monotonic()
        time.sleep(seconds)
        last, ended = server.frames(), time.monotonic()
    return (last - first) / (ended - begun)


def idle(server: Ours, count: int) -> tuple[float, float]:
    """Seconds for 1,000 clients to connect, and KB resident for each of `count`."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    count = min(count, hard - 100)
    with ExitStack() as stack:
        stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        for _ in range(20):
            stack.enter_context(Client(server.port, log_in=False).sock)
        before, begun, took = server.resident(), time.monotonic(), 0.0
        for index in range(count):
            stack.enter_context(Client(server.port, log_in=False).sock)
            if index == 999:
                took = time.monotonic() - begun
        return took, (server.resident() - before) / count / 1000


def compare(ours: Ours, theirs: Reference | None, rounds: int, seconds: float) -> list[str]:
    """Print the rates of both servers for each size; which marks are missed."""
    missed = []
    print(f"frames handled per second, {CLIENTS} clients, median of {rounds} rounds\n")
    print(f"{'frame':>8} {ours.name:>14} {Reference.name:>16} {'ratio':>7}")
    for size in SIZES:
        ratios, mine, others = [], [], []
        for _ in range(rounds):
            mine.append(rate(ours, size, seconds))
            if theirs is not None:
                others.append(rate(theirs, size, seconds))
                ratios.append(mine[-1] / others[-1])
        line = f"{size:>8,} {statistics.median(mine):>14,.0f}"
        if ratios:
            ratio = statistics.median(ratios)
            line += f" {statistics.median(others):>16,.0f} {ratio:>7.2f}"
            if ratio < MARKS[size]:
                missed.append(f"{size} bytes: {ratio:.2f} of the reference, {MARKS[size]} is the mark")
        print(line, flush=True)
    return missed


def acknowledge(server: Ours) -> list[str]:
    """Print how long an acknowledgement takes, alone and beside others; which marks are missed."""
    client = Client(server.port)
    quiet = sorted(client.ask() for _ in range(2000))
    print(f"acknowledgement: p50 {quiet[1000] * 1e3:.3f} ms, p99 {quiet[1980] * 1e3:.3f} ms")
    command = [sys.executable, __file__, "--generate", str(server.port), "8000", "4"]
    with subprocess.Popen(pinned(1, command), stdout=subprocess.PIPE, text=True) as generator:
        assert generator.stdout is not None
        generator.stdout.readline()
        end, busy = time.monotonic() + 3, []
        while time.monotonic() < end:
            busy.append(client.ask())
            time.sleep(0.005)
    busy.sort()
    times = f"p50 {statistics.median(busy) * 1e3:.1f} ms, p99 {busy[int(len(busy) * 0.99)] * 1e3:.1f} ms"
    print(f"the same beside {CLIENTS} clients that never pause: {times}")
    return [] if quiet[1000] < 0.001 else ["an acknowledgement takes 1 ms or more"]


def stay(server: Ours, count: int) -> list[str]:
    """Print what `count` idle connections take; which marks are missed."""
    took, each = idle(server, count)
    print(f"idle connections: 1,000 in {took:.2f} s; {count:,} held, {each:.1f} KB resident each")
    missed = []
    if took >= 5:
        missed.append(f"1,000 connections took {took:.1f} s, 5 is the mark")
    if each > 40:
        missed.append(f"an idle connection takes {each:.0f} KB, 40 is the mark")
    return missed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--idle", type=int, default=5000, help="idle connections to hold")
    parser.add_argument("--check", action="store_true", help="fail when a mark is missed")
    parser.add_argument("--generate", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.generate:
        generate(int(options.generate[0]), int(options.generate[1]), float(options.generate[2]))
        return 0
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        ours, theirs = Ours(folder), reference()
        stack.callback(ours.stop)
        if theirs is not None:
            stack.callback(theirs.stop)
        rate(ours, SIZES[0], 0.5)
        before = ours.resident()
        missed = compare(ours, theirs, options.rounds, options.seconds)
        print(f"\nresident memory: {before / 1e6:.0f} MB before, {ours.resident() / 1e6:.0f} MB after")
        missed += acknowledge(ours) + stay(ours, options.idle)
    for sentence in missed:
        print("missed:", sentence)
    return 1 if options.check and missed else 0


if __name__ == "__main__":
    sys.exit(main())
