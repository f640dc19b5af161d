"""Clients that vanish without a word, go half, send a byte now and then, or read nothing: each door drops them in time.

A client vanishes as if its cable had been pulled: a filter on its socket drops whatever comes from the server, so the
kernel neither acknowledges anything nor says that the connection is gone. All clients are slow at the same time, and
the server's end of each connection is looked for in the kernel's table.
"""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import random
import resource
import socket
import ssl
import struct
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from bench.hostile.wire import Polling, Socket, frame_head, head, masked
from tests.faults.load import Cameras
from tests.running import Server

Tell = Callable[[str], None]

pytestmark = pytest.mark.fault(
    "client vanishes without FIN, half-open, 1 byte/s, reads nothing",
    "dropped within the documented time, memory bounded",
)

TIMES = {
    "header-time": 1.0,
    "keep-alive-time": 3.0,
    "body-grace": 1.0,
    "send-time": 1.0,
    "ping-interval": 1.0,
    "ping-timeout": 1.0,
    "join-time": 1.0,
    "close-time": 0.5,
    "ws-send-timeout": 1.0,
    "dead-peer-time": 2.0,
}
LEGACY = 20.0
"""Seconds that the legacy protocol gives for a command; its clients stand on them, so they are no setting."""
LATE = 3.0
"""Seconds that a drop may come late: the kernel asks in ever longer pauses, and two processors are shared."""
DRIP = 0.3
"""Seconds between two bytes of a client that sends slowly."""
MOST_MEMORY = 64.0
"""MB that the server may have more afterwards."""
OPEN_STATES = ("01", "08")
"""Established, and closed by the client alone."""


@dataclass
class Doors:
    """Where the server listens."""

    port: int
    https: int
    tcp: int
    picture: bytes
    """Larger than the kernel's buffers."""

    @property
    def target(self) -> Any:
        """As the attackers of bench/hostile know it."""
        return SimpleNamespace(port=self.port, secure=False, guarded=False, seen=Counter())


@dataclass
class Slow:
    """One slow client. `drip`: what it sends, a byte at a time."""

    door: str
    kind: str
    within: float
    sock: socket.socket
    drip: Iterator[bytes] = field(default_factory=lambda: iter(()))
    kept: tuple[Any, ...] = ()
    """What is to be closed with it."""
    begun: float = field(default_factory=time.monotonic)
    took: float | None = None

    def __str__(self) -> str:
        return f"{self.door}, {self.kind}: {self.took} of {self.within} s"


def vanish(sock: socket.socket) -> None:
    """From now on the kernel drops what comes for this socket, and answers nothing."""
    drop = struct.pack("HBBI", 0x06, 0, 0, 0)  # return 0: not a byte of it
    buffer = ctypes.create_string_buffer(drop)
    sock.setsockopt(socket.SOL_SOCKET, 26, struct.pack("HxxxxxxP", 1, ctypes.addressof(buffer)))  # SO_ATTACH_FILTER


def connect(port: int, *, reads: bool = True) -> socket.socket:
    sock = socket.socket()
    if not reads:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    sock.settimeout(10)
    sock.connect(("127.0.0.1", port))
    return sock


def endless(data: bytes) -> Iterator[bytes]:
    return (bytes((byte,)) for byte in itertools.cycle(data))


BODY = head("POST", "/echo/classify", Content_Length="1000000", Content_Type="image/png")


def http(doors: Doors) -> Iterator[Slow]:
    yield Slow("HTTP, nothing asked", "sends nothing", TIMES["keep-alive-time"], connect(doors.port))
    yield Slow("HTTP, nothing asked", "vanishes", TIMES["dead-peer-time"], connect(doors.port))
    one = connect(doors.port)
    one.sendall(b"GET / HT")
    yield Slow("HTTP, part of a head", "sends nothing", TIMES["header-time"], one)
    one = connect(doors.port)
    yield Slow("HTTP, part of a head", "a byte now and then", TIMES["header-time"] + DRIP, one, endless(b"GET"))
    for kind, drip in (("sends nothing", b""), ("a byte now and then", b"x"), ("vanishes", b"")):
        one = connect(doors.port)
        one.sendall(BODY + b"x" * 1000)
        yield Slow("HTTP, part of a body", kind, TIMES["body-grace"], one, endless(drip))
    one = connect(doors.port)
    one.sendall(head("GET", "/health/live"))
    assert b" 200 " in one.recv(65536)
    yield Slow("HTTP, between two requests", "sends nothing", TIMES["keep-alive-time"], one)
    for kind in ("reads nothing", "vanishes"):
        one = connect(doors.port, reads=False)
        one.sendall(head("GET", "/snippets/1/image"))
        yield Slow("HTTP, a large answer", kind, TIMES["send-time"] + 1, one)


def websocket(doors: Doors) -> Iterator[Slow]:
    beat = TIMES["ping-interval"] + TIMES["ping-timeout"] + TIMES["close-time"]
    for version in (3, 4):
        for kind in ("sends nothing", "vanishes"):
            client = Socket(doors.target, version)
            yield Slow(f"Socket.IO {version} over WebSocket", kind, beat, client.sock)
        client = Socket(doors.target, version)
        client.send_raw(frame_head(2, 100_000))
        name = f"Socket.IO {version} over WebSocket, part of a message"
        yield Slow(name, "a byte now and then", TIMES["body-grace"], client.sock, endless(b"x"))
    client = Socket(doors.target, 4, join=False)
    yield Slow(
        "Socket.IO 4, no namespace joined", "sends nothing", TIMES["join-time"] + TIMES["close-time"], client.sock
    )
    client = Socket(doors.target, 4)
    client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    for _ in range(2000):  # each is answered, and with its id
        client.send('420["configure",{"name":"' + "n" * 60 + '"}]')
    pongs = itertools.cycle((masked(1, b"3"),))
    yield Slow("Socket.IO 4, answers", "reads nothing, but beats", TIMES["dead-peer-time"] + 1, client.sock, pongs)


def polling(doors: Doors) -> Iterator[Slow]:
    beat = TIMES["ping-interval"] + TIMES["ping-timeout"]
    for version in (3, 4):
        session = Polling(doors.target, version)
        path = f"/socket.io/?EIO={version}&transport=polling&sid={session.sid}"
        one = connect(doors.port)
        one.sendall(head("GET", path))
        # The poll is answered by the session's end, and its connection waits for a further request.
        yield Slow(f"polling {version}, a poll", "vanishes", beat + TIMES["dead-peer-time"], one, kept=(session,))
        session = Polling(doors.target, version)
        path = f"/socket.io/?EIO={version}&transport=polling&sid={session.sid}"
        one = connect(doors.port)
        one.sendall(head("POST", path, Content_Length="100000"))
        yield Slow(
            f"polling {version}, a post", "a byte now and then", TIMES["body-grace"], one, endless(b"4"), (session,)
        )


def relay(doors: Doors) -> Iterator[Slow]:
    client = Socket(doors.target, path="/ws/slow")
    yield Slow("/ws", "vanishes", TIMES["dead-peer-time"], client.sock)
    client = Socket(doors.target, path="/ws/slow")
    client.send_raw(frame_head(1, 1000))
    yield Slow("/ws, part of a text", "a byte now and then", TIMES["body-grace"], client.sock, endless(b"x"))
    deaf, sender = Socket(doors.target, path="/ws/deaf"), Socket(doors.target, path="/ws/deaf")
    deaf.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    for _ in range(100):
        sender.send("x" * 60_000)
    yield Slow("/ws, texts of others", "reads nothing", TIMES["ws-send-timeout"], deaf.sock, kept=(sender,))


def secure(doors: Doors) -> Iterator[Slow]:
    hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"
    yield Slow("HTTPS, nothing sent", "sends nothing", TIMES["header-time"], connect(doors.https))
    one = connect(doors.https)
    one.sendall(hello[:5])
    yield Slow("HTTPS, a handshake", "a byte now and then", TIMES["header-time"], one, endless(hello[5:]))
    one = connect(doors.https)
    one.sendall(hello)
    yield Slow("HTTPS, a handshake", "vanishes", TIMES["header-time"], one)
    context = ssl._create_unverified_context()
    inside = context.wrap_socket(connect(doors.https))
    yield Slow("HTTPS, nothing asked", "vanishes", TIMES["dead-peer-time"], inside)
    inside = context.wrap_socket(connect(doors.https, reads=False))
    inside.sendall(head("GET", "/snippets/1/image"))
    yield Slow("HTTPS, a large answer", "reads nothing", TIMES["send-time"] + 1, inside)


def legacy(doors: Doors) -> Iterator[Slow]:
    yield Slow("legacy TCP", "vanishes", TIMES["dead-peer-time"], connect(doors.tcp))
    one = connect(doors.tcp)
    one.sendall(b"FILE0000100000" + b"x" * 1000)
    yield Slow("legacy TCP, a file", "vanishes", TIMES["dead-peer-time"], one)
    one = connect(doors.tcp, reads=False)
    one.setblocking(False)
    sent = one.send(b"FILE00000000zz" * 20_000)
    one.setblocking(True)
    assert sent
    yield Slow("legacy TCP, replies", "reads nothing", TIMES["dead-peer-time"] + 1, one)


def legacy_slowly(doors: Doors) -> Iterator[Slow]:
    yield Slow("legacy TCP, no command", "sends nothing", LEGACY, connect(doors.tcp))
    yield Slow("legacy TCP, a command", "a byte now and then", LEGACY, connect(doors.tcp), iter((b"F", b"I", b"L")))
    one = connect(doors.tcp)
    one.sendall(b"FILE0000100000")
    yield Slow("legacy TCP, a file", "a byte now and then", 2 * LEGACY, one, endless(b"x"))


@pytest.fixture
def doors(tmp_path: Path) -> Iterator[tuple[Server, Doors]]:
    """A server with short times and a large picture."""
    options = [word for name, seconds in TIMES.items() for word in (f"--{name}", f"{seconds:g}s")]
    listening = ("--https-port", "0", "--tcp-port", "0", "--tcp-max-per-host", "0", "--workers", "1")
    with Server(*options, *listening, data=tmp_path) as server:
        server.ready()
        https = int(server.wait_for(r"https as well.*:(\d+)")[1])
        tcp = int(server.wait_for(r"legacy TCP.*:(\d+)")[1])
        found = Doors(server.port, https, tcp, noise())
        with connect(server.port) as one:
            one.sendall(head("PUT", "/snippets/1/", Content_Type="image/png", Content_Length=str(len(found.picture))))
            one.sendall(found.picture)
            assert b" 200 " in one.recv(65536)
        yield server, found


def noise() -> bytes:
    """A PNG of 12 MB that cannot be made smaller."""
    import cv2
    import numpy as np

    pixels = np.frombuffer(random.Random(1).randbytes(2000 * 2000 * 3), np.uint8).reshape(2000, 2000, 3)
    done, data = cv2.imencode(".png", pixels, (cv2.IMWRITE_PNG_COMPRESSION, 0))
    assert done
    return data.tobytes()


def held(ports: set[int]) -> set[int]:
    """The clients' ports to which the server still has an open socket."""
    found = set()
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _number, local, remote, state, *_rest = line.split()
        if int(local[-4:], 16) in ports and state in OPEN_STATES:
            found.add(int(remote[-4:], 16))
    return found


def drop_all(doors: Doors, clients: list[Slow]) -> None:
    """Be slow until all are dropped, and note after how long; fails when one is not."""
    number = {client.sock.getsockname()[1]: client for client in clients}
    drip_at = 0.0
    end = time.monotonic() + max(client.within for client in clients) + LATE + 1
    while time.monotonic() < end and any(client.took is None for client in clients):
        open_ones = held({doors.port, doors.https, doors.tcp})
        now = time.monotonic()
        for port, client in number.items():
            if port not in open_ones and client.took is None:
                client.took = round(now - client.begun, 2)
        if now >= drip_at:
            drip_at = now + DRIP
            for client in clients:
                send_a_byte(client)
        time.sleep(0.02)
    late = [str(client) for client in clients if client.took is None or client.took > client.within + LATE]
    assert not late, "\n".join(late)


def send_a_byte(client: Slow) -> None:
    data = next(client.drip, b"")
    if data and client.took is None:
        try:
            socket.socket.send(client.sock, data, socket.MSG_DONTWAIT)
        except OSError:
            client.drip = iter(())


def be_slow(server: Server, doors: Doors, *openers: Callable[[Doors], Iterator[Slow]]) -> list[Slow]:
    """Open all, beside honest cameras; drop them; look at what is left."""
    clients: list[Slow] = []
    with Cameras(server.port, count=2) as cameras, contextlib.ExitStack() as open_ones:
        cameras.settle()
        for client in itertools.chain.from_iterable(opener(doors) for opener in openers):
            for one in (client.sock, *client.kept):
                open_ones.callback(one.close)
            clients.append(client)
            if client.kind == "vanishes":
                vanish(client.sock)
        drop_all(doors, clients)
        figures = cameras.figures()
        assert not figures.lost and figures.answered, figures
    return clients


def memory(server: Server) -> float:
    """What the server's process has, in MB."""
    pages = int(Path(f"/proc/{server.process.pid}/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


def told(clients: list[Slow]) -> str:
    slowest = max(clients, key=lambda client: (client.took or 0) / client.within)
    count = len({client.door for client in clients})
    return f"{len(clients)} clients of {count} doors dropped in time; the tightest: {slowest}"


def test_every_door_drops_who_is_slow(doors: tuple[Server, Doors], tell: Tell) -> None:
    server, found = doors
    before = memory(server)
    clients = be_slow(server, found, http, websocket, polling, relay, secure, legacy)
    more = memory(server) - before
    assert more < MOST_MEMORY
    tell(f"{told(clients)}; memory +{more:.0f} MB")


@pytest.mark.long
def test_the_old_protocol_drops_who_is_slow(doors: tuple[Server, Doors], tell: Tell) -> None:
    """Its times are fixed by clients of many years."""
    tell(told(be_slow(*doors, legacy_slowly)))
