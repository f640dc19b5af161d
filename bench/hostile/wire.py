"""Bare sockets that speak just enough HTTP and WebSocket to be let in, and then say what they like."""

from __future__ import annotations

import base64
import contextlib
import json
import re
import socket
import ssl
import time
from typing import Any

from bench.hostile.target import MALLORY, Target

from imageserver.commands.plan import frames

TIMEOUT = 60.0
RECEIVED = b"receiveImage"


def connect(target: Target, timeout: float = TIMEOUT, tls: bool | None = None) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", target.port), timeout)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if target.secure if tls is None else tls:
        return ssl._create_unverified_context().wrap_socket(sock)
    return sock


def head(method: str, path: str, **headers: str) -> bytes:
    """A request's head; underscores in the headers' names are hyphens."""
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode("latin-1", "replace")


def basic(user: tuple[str, str] = MALLORY) -> dict[str, str]:
    """The header of a login."""
    return {"Authorization": "Basic " + base64.b64encode(":".join(user).encode()).decode()}


def read_answer(sock: socket.socket) -> tuple[int, bytes]:
    """Status and body of an answer; status 0 when the connection ended before."""
    data = b""
    while b"\r\n\r\n" not in data:
        try:
            more = sock.recv(65536)
        except TimeoutError:
            return -1, b""
        except OSError:
            return 0, b""
        if not more:
            return 0, b""
        data += more
    top, _, body = data.partition(b"\r\n\r\n")
    found = re.search(rb"(?i)content-length: *(\d+)", top)
    length = int(found[1]) if found else 0
    while len(body) < length:
        more = sock.recv(1 << 20)
        if not more:
            break
        body += more
    return int(top.split()[1]), body


def told(status: int) -> str:
    """What the attacker saw of a request."""
    return {0: "connection closed", -1: "no answer in time"}.get(status, str(status))


def request(target: Target, method: str, path: str, body: bytes = b"", **headers: str) -> tuple[int, bytes]:
    """One request on a connection of its own; its status is noted."""
    with connect(target) as sock:
        with contextlib.suppress(ConnectionError):  # an early refusal: its answer is there all the same
            sock.sendall(head(method, path, Content_Length=str(len(body)), **headers))
            sock.sendall(body)
        status, answer = read_answer(sock)
    target.seen[told(status)] += 1
    return status, answer


class Polling:
    """A session over polling, on one connection."""

    def __init__(self, target: Target, version: int = 4, query: str = "") -> None:
        self._target = target
        self._sock = connect(target)
        self._path = f"/socket.io/?EIO={version}&transport=polling{query}"
        self._sock.sendall(head("GET", self._path))
        self.status, body = read_answer(self._sock)
        found = re.search(rb'sid\\?":\\?"([^"\\]+)', body)
        self.sid = found[1].decode() if found else ""

    def post(self, body: bytes, kind: str = "text/plain;charset=UTF-8") -> None:
        with contextlib.suppress(ConnectionError):
            length = str(len(body))
            self._sock.sendall(head("POST", f"{self._path}&sid={self.sid}", Content_Length=length, Content_Type=kind))
            self._sock.sendall(body)
        self._target.seen[told(read_answer(self._sock)[0])] += 1

    def close(self) -> None:
        self._sock.close()


def masked(opcode: int, payload: bytes, last: bool = True) -> bytes:
    """A client's WebSocket frame, with a mask of zeros."""
    return frames.masked(opcode, payload, frames.NO_MASK, last)


def frame_head(opcode: int, size: int, last: bool = True) -> bytes:
    """What stands before its payload."""
    return frames.frame_head(opcode, size, frames.NO_MASK, last)


class Socket:
    """A Socket.IO client over WebSocket; in the namespace /, unless `join` is false."""

    def __init__(self, target: Target, version: int = 4, join: bool = True, path: str = "") -> None:
        self.target = target
        self.sock = connect(target)
        self.rest = b""
        path = path or f"/socket.io/?EIO={version}&transport=websocket"
        key = {"Sec_WebSocket_Version": "13", "Sec_WebSocket_Key": "dGhlIHNhbXBsZSBub25jZQ=="}
        login = basic() if path.startswith("/ws") and target.guarded else {}
        self.sock.sendall(head("GET", path, Upgrade="websocket", Connection="Upgrade", **key, **login))
        if path.startswith("/ws"):
            self.wait_for(b"\r\n\r\n")
            return
        self.wait_for(b"0{")
        if version == 4 and join:
            self.send("40")
            self.wait_for(b"40{")

    def wait_for(self, text: bytes) -> None:
        while text not in self.rest:
            data = self.sock.recv(65536)
            if not data:
                raise ConnectionError(f"closed before {text!r}: {self.rest[-200:]!r}")
            self.rest += data
        self.rest = self.rest[self.rest.index(text) + len(text) :]

    def login(self) -> None:
        """As a user, where the server asks for one."""
        if self.target.guarded:
            self.event("authenticate", *MALLORY, "answer")
            self.wait_for(b'42["answer",true]')

    def send(self, text: str | bytes) -> bool:
        """Send a text; whether the server still listens."""
        data = text.encode() if isinstance(text, str) else text
        return self.send_raw(masked(1, data))

    def send_raw(self, data: bytes) -> bool:
        try:
            self.sock.sendall(data)
        except OSError:
            return False
        return True

    def event(self, *values: Any) -> bool:
        return self.send("42" + json.dumps(values, ensure_ascii=False))

    def end(self, seconds: float) -> str:
        """What comes within some seconds: how it ended, or the text that is answered, or that it stayed open."""
        end = time.monotonic() + seconds
        data = self.rest
        while time.monotonic() < end:
            self.sock.settimeout(max(0.05, end - time.monotonic()))
            try:
                more = self.sock.recv(65536)
            except TimeoutError:
                break
            except OSError:
                return "connection reset"
            if not more:
                return f"closed with {code}" if (code := close_code(data)) else "connection closed"
            data = (data + more)[-300:]
        return "open: " + (
            found[0].decode(errors="replace")[:60] if (found := re.findall(rb"4[2-4][ -~]+", data)) else "silence"
        )

    def close(self) -> None:
        self.sock.close()


def close_code(data: bytes) -> int:
    """The code of the close frame at the end of what came, 0 without one."""
    found = data.rfind(b"\x88")
    return int.from_bytes(data[found + 2 : found + 4], "big") if found >= 0 and len(data) >= found + 4 else 0
