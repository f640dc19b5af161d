"""A crowd of connections, from a process of its own: so many a second, or so many at once, in one of some forms.

    with Crowd(port, form="reset", rate=1000) as crowd:
        crowd.run(20)                   # what became of them: {"connected": 20000, "503": 17}
    with Crowd(port, form="join") as crowd:
        crowd.gather(10_000)
        ...
        crowd.leave()                   # all at once

As a program it reads its settings, and then its commands, as lines of JSON.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import json
import re
import resource
import select
import socket
import ssl
import struct
import subprocess
import sys
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

FORMS = ("close", "reset", "silent", "request", "tls", "join")
NETWORK = 127 << 24
RESET = struct.pack("ii", 1, 0)
REQUEST = b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n"
JOIN = (
    b"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
    b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    b"\x81\x82\0\0\0\x0040"
)
PONG = b"\x81\x81\0\0\0\x003"
TICK = 0.01
MOST_OPEN = 4000
"""Connections that are open at a time, where the form keeps them: then the oldest goes."""
PATIENCE = 120.0


@dataclass
class Plan:
    """What a crowd does. `addresses`: how many it comes from; the first is 127.0.0.1."""

    port: int
    form: str = "close"
    rate: float = 1000.0
    addresses: int = 1


class Crowd:
    """The process of a crowd, as a context. Arguments are those of `Plan`."""

    def __init__(self, port: int, **plan: Any) -> None:
        self.process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )
        self._ask(asdict(Plan(port, **plan)))

    def __enter__(self) -> Crowd:
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

    def _ask(self, *what: object) -> Counter[str]:
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(json.dumps(what if len(what) > 1 else what[0]) + "\n")
        line = self.process.stdout.readline()
        assert line, "the process of the crowd ended"
        return Counter(json.loads(line))

    def run(self, seconds: float) -> Counter[str]:
        """Connect so many a second for `seconds`; what became of them."""
        return self._ask("run", seconds)

    def gather(self, count: int) -> Counter[str]:
        """Connect so many and keep them, answering heartbeats; what became of them up to now."""
        return self._ask("gather", count)

    def look(self) -> Counter[str]:
        """What became of those that are kept: open, closed, and what they were told."""
        return self._ask("look", 0)

    def leave(self, how: str = "close") -> Counter[str]:
        """Close, or reset, all that are kept, at once."""
        return self._ask("leave", how)


class _Sockets:
    """The sockets of a crowd, and what they heard."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.seen: Counter[str] = Counter()
        self._open: dict[int, socket.socket] = {}
        self._order: deque[int] = deque()
        self._heard: dict[int, bytes] = {}
        self._poll = select.epoll()
        numbers = (NETWORK + 1 + 256 * index for index in itertools.cycle(range(plan.addresses)))
        self._sources = map(socket.inet_ntoa, map(struct.Struct(">I").pack, numbers))
        self._context = ssl._create_unverified_context()

    def connect(self) -> None:
        """One more, as the form says."""
        sock = socket.socket()
        sock.setblocking(False)
        try:
            if self.plan.addresses > 1:
                sock.setsockopt(socket.IPPROTO_IP, 24, 1)  # IP_BIND_ADDRESS_NO_PORT
                sock.bind((next(self._sources), 0))
            sock.connect(("127.0.0.1", self.plan.port))
        except BlockingIOError:
            pass
        except OSError as error:
            self.seen[errno.errorcode.get(error.errno or 0, "error")] += 1
            sock.close()
            return
        self.seen["connected"] += 1
        if self.plan.form in ("close", "reset"):
            _end(sock, self.plan.form)
            return
        if self.plan.form == "tls":
            sock = self._context.wrap_socket(sock, do_handshake_on_connect=False)
        self._open[sock.fileno()] = sock
        self._heard[sock.fileno()] = b""
        self._order.append(sock.fileno())
        self._poll.register(sock.fileno(), select.EPOLLIN | select.EPOLLHUP)
        with contextlib.suppress(OSError):
            if self.plan.form == "tls":
                sock.do_handshake()
            elif self.plan.form in ("request", "join"):
                sock.send(REQUEST if self.plan.form == "request" else JOIN)

    def hear(self, seconds: float) -> None:
        """Read, and answer heartbeats, for so long."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            for number, _events in self._poll.poll(left):
                self._read(number)

    def _read(self, number: int) -> None:
        sock = self._open[number]
        try:
            if isinstance(sock, ssl.SSLSocket) and sock.version() is None:
                sock.do_handshake()
                self.seen["handshake"] += 1
            data = sock.recv(65536)
        except (BlockingIOError, ssl.SSLWantReadError):
            return
        except OSError as error:
            alert = re.search(r"alert[ _]\w+[ _]\w+", str(error).lower())
            self.forget(number, alert[0] if alert else "reset")
            return
        self._heard[number] = (self._heard[number] + data)[:40]
        if data.endswith(b"\x81\x012"):
            with contextlib.suppress(OSError):
                sock.send(PONG)
        if not data:
            self.forget(number, "ended")
        elif self.plan.form == "request" and b"HTTP/1.1 200" in data:
            self.forget(number, "answered")

    def forget(self, number: int, why: str, how: str = "close") -> None:
        """Close one, and count what it was told: the status of an answer, if there was one."""
        sock, heard = self._open.pop(number), self._heard.pop(number)
        status = re.match(rb"HTTP/1.1 (\d+)", heard)
        self.seen[status[1].decode() if status and why == "ended" else why] += 1
        self._poll.unregister(number)
        _end(sock, how)

    def forget_oldest(self, most: int) -> None:
        """Close the oldest, so that `most` are left."""
        while len(self._open) > most and self._order:
            number = self._order.popleft()
            if number in self._open:
                self.forget(number, "kept")

    def forget_all(self, how: str) -> None:
        """Close all at once."""
        for number in list(self._open):
            self.forget(number, "kept", how)

    def gather(self, count: int) -> None:
        """Connect so many, at the plan's rate."""
        self._pace(lambda made, due: made < min(count, due), count)

    def run(self, seconds: float) -> None:
        """Connect at the plan's rate for so long; hear what they are told meanwhile, and a moment longer."""
        self.seen.clear()
        self._pace(lambda made, due: made < due, int(seconds * self.plan.rate))
        self.hear(0.5)
        self.forget_all("reset")

    def _pace(self, more: Callable[[int, float], bool], count: int) -> None:
        begun, made = time.monotonic(), 0
        while made < count:
            due = (time.monotonic() - begun) * self.plan.rate
            while more(made, due):
                self.connect()
                made += 1
            self.forget_oldest(MOST_OPEN if self.plan.form != "join" else count)
            self.hear(TICK)


def _end(sock: socket.socket, how: str) -> None:
    if how == "reset":
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    sock.close()


def main() -> None:
    """Do what standard input says, until it ends."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    sockets = _Sockets(Plan(**json.loads(sys.stdin.readline())))
    print("{}", flush=True)
    lines = select.poll()
    lines.register(sys.stdin, select.POLLIN)
    while True:
        if not lines.poll(0):
            sockets.hear(TICK)
            continue
        line = sys.stdin.readline()
        if not line:
            return
        what, value = json.loads(line)
        if what == "leave":
            sockets.forget_all(value)
        elif what != "look":
            {"run": sockets.run, "gather": sockets.gather}[what](value)
        print(json.dumps({**sockets.seen, "open": len(sockets._open)}), flush=True)


if __name__ == "__main__":
    main()
