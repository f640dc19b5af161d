"""The relay of Snap under a crowd: 200 clients of a room, of which 20 never read, while one more sends 1,000 texts.

    python bench/relay.py [--clients 200] [--deaf 20] [--texts 1000] [--bytes 1000] [--rounds 3] [--check]

A real server; the clients are one other process on raw sockets. Shown: the time until everybody who reads has every
text in order, counted from the first text sent; the time until those who never read are dropped (--ws-send-timeout is
3 s here, 10 by default); and the server's resident memory. With --check: exit code 1 when a text is missing or out of
order, delivery takes over 2 s, a deaf client stays, or memory grows by more than the deaf may have waiting.
"""

from __future__ import annotations

import argparse
import re
import selectors
import socket
import statistics
import struct
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "src")]
import bootstrap

bootstrap.provide_package()

import psutil
from tests.running import Server, until

from imageserver.protocols.snap.relay import QUEUE_BYTES

SECONDS = 2.0
SEND_TIMEOUT = 3.0
DEAF_WINDOW = 16 * 1024
"""Of those who never read: what their own kernels have taken counts as read, and by default that may be 100 KB."""
REQUEST = (
    b"GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


def join(port: int, window: int = 0) -> socket.socket:
    """A client of the relay, its handshake done. `window`: bytes that its kernel takes for it."""
    sock = socket.socket()
    sock.settimeout(30)
    if window:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window)
    sock.connect(("127.0.0.1", port))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.sendall(REQUEST)
    answer = b""
    while not answer.endswith(b"\r\n\r\n"):
        answer += sock.recv(1)
    assert answer.startswith(b"HTTP/1.1 101"), answer
    return sock


def text(number: int, size: int) -> bytes:
    """The text of this number, `size` bytes long."""
    return f"{number} ".encode().ljust(size, b"x")


def frame(payload: bytes, masked: bool) -> bytes:
    """A text frame; a mask of zeros leaves the payload as it is."""
    bit = 0x80 if masked else 0
    head = (
        struct.pack(">BB", 0x81, bit | len(payload))
        if len(payload) < 126
        else struct.pack(">BBH", 0x81, bit | 126, len(payload))
    )
    return head + bytes(4 if masked else 0) + payload


class Round:
    """One room full of clients."""

    def __init__(self, port: int, clients: int, deaf: int) -> None:
        self.sender = join(port)
        self.deaf = [join(port, DEAF_WINDOW) for _ in range(deaf)]
        self.readers = [join(port) for _ in range(clients - deaf)]

    def run(self, texts: int, size: int) -> float:
        """Seconds until every reader has all; AssertionError when one of them gets anything else."""
        waiting = memoryview(b"".join(frame(text(number, size), True) for number in range(texts)))
        expected = b"".join(frame(text(number, size), False) for number in range(texts))
        selector = selectors.DefaultSelector()
        counts = dict.fromkeys(self.readers, 0)
        for sock in (self.sender, *self.readers):
            sock.setblocking(False)
        for sock in self.readers:
            selector.register(sock, selectors.EVENT_READ)
        selector.register(self.sender, selectors.EVENT_WRITE)
        left, begun = len(self.readers), time.monotonic()
        while left:
            for key, _events in selector.select(30):
                sock = key.fileobj
                assert isinstance(sock, socket.socket)
                if sock is self.sender:
                    waiting = waiting[sock.send(waiting) :]
                    if not waiting:
                        selector.unregister(sock)
                    continue
                data = sock.recv(2**18)
                at = counts[sock]
                assert data, "a client that reads was dropped"
                assert data == expected[at : at + len(data)], "a text is missing, torn or out of order"
                counts[sock] = at + len(data)
                if counts[sock] == len(expected):
                    selector.unregister(sock)
                    left -= 1
        return time.monotonic() - begun

    def close(self) -> None:
        for sock in (self.sender, *self.deaf, *self.readers):
            sock.close()


def connections(server: Server) -> int:
    """How many relay clients the server has."""
    found = re.search(rb'imageserver_connections\{transport="relay"\} ([\d.]+)', server.get("/metrics")[1])
    return int(float(found[1])) if found else 0


def measure(server: Server, size: int, options: argparse.Namespace) -> list[str]:
    """Run the rounds with texts of `size` bytes and print their figures; which marks are missed."""
    missed, delivered, dropped = [], [], []
    process = psutil.Process(server.process.pid)
    staying = options.clients - options.deaf + 1
    before = most = process.memory_info().rss
    for _ in range(options.rounds):
        crowd = Round(server.port, options.clients, options.deaf)
        begun = time.monotonic()
        try:
            delivered.append(crowd.run(options.texts, size))
            most = max(most, process.memory_info().rss)
            while connections(server) > staying and time.monotonic() < begun + 60:
                most = max(most, process.memory_info().rss)
                time.sleep(0.1)
            dropped.append(time.monotonic() - begun)
            if stayed := connections(server) - staying:
                missed.append(f"{size} bytes: {stayed} clients that never read are still there")
        finally:
            crowd.close()
        until(lambda: not connections(server), "the clients' end")
    took = statistics.median(delivered)
    rate = options.texts * (options.clients - options.deaf) / took
    memory = f"{before / 1e6:.0f} → {most / 1e6:.0f} MB"
    print(f"{size:>8,} {took:>12.2f} s {rate:>10,.0f} {statistics.median(dropped):>11.1f} s {memory:>22}", flush=True)
    if size <= 1000 and took > SECONDS:
        missed.append(f"{size} bytes: delivered in {took:.2f} s, {SECONDS:g} is the mark")
    if most - before > options.deaf * QUEUE_BYTES + 32 * 2**20:
        missed.append(f"{size} bytes: memory grew by {(most - before) / 1e6:.0f} MB")
    return missed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--deaf", type=int, default=20)
    parser.add_argument("--texts", type=int, default=1000)
    parser.add_argument(
        "--bytes", type=int, nargs="*", default=[100, 1000, 8000], help="of a text (default: 100, 1000 and 8000)"
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--check", action="store_true", help="fail when a mark is missed")
    options = parser.parse_args()
    missed = []
    with (
        tempfile.TemporaryDirectory() as folder,
        Server("--ws-send-timeout", str(SEND_TIMEOUT), data=Path(folder)) as server,
    ):
        server.ready()
        crowd = f"{options.clients} clients, {options.deaf} never read"
        print(f"{crowd}; {options.texts:,} texts; medians of {options.rounds} rounds\n")
        print(f"{'text':>8} {'all delivered':>14} {'texts/s':>10} {'deaf dropped':>13} {'resident memory, most':>22}")
        for size in options.bytes:
            missed += measure(server, size, options)
    for sentence in missed:
        print("missed:", sentence)
    return 1 if options.check and missed else 0


if __name__ == "__main__":
    sys.exit(main())
