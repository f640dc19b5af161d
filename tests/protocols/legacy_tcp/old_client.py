"""A client as those of the field, written from the protocol document alone. Works on ordinary and on green sockets."""

from __future__ import annotations

import hashlib
import socket
from typing import Any


class OldClient:
    """One connection. `piece`: bytes a write; every method returns the server's reply bytes."""

    def __init__(self, sock: Any, piece: int = 0) -> None:
        self.sock, self.piece = sock, piece
        self.sock.settimeout(60)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def __enter__(self) -> OldClient:
        assert self.read(1) == b"?"
        return self

    def __exit__(self, *_exception: object) -> None:
        self.sock.close()

    def send(self, data: bytes) -> None:
        if not self.piece:
            self.sock.sendall(data)
            return
        for at in range(0, len(data), self.piece):
            self.sock.sendall(data[at : at + self.piece])

    def read(self, count: int) -> bytes:
        """Exactly `count` bytes, fewer at the end of the stream."""
        data = b""
        while len(data) < count and (more := self.sock.recv(count - len(data))):
            data += more
        return data

    def rest(self) -> bytes:
        """Everything until the server closes."""
        data = b""
        while more := self.sock.recv(4096):
            data += more
        return data

    def command(self, *parts: bytes) -> bytes:
        """Send each part and read the reply of one byte to it."""
        replies = b""
        for part in parts:
            self.send(part)
            replies += self.read(1)
        return replies

    def file(self, data: bytes) -> bytes:
        replies = self.command(b"FILE", str(len(data)).ljust(10, "z").encode())
        self.send(data)
        return replies

    def predict(self) -> bytes:
        reply = self.command(b"PRED")
        return reply + self.read(1) if reply == b"0" else reply

    def hash(self, data: bytes) -> bytes:
        return self.command(b"HASH", hashlib.sha256(data).hexdigest().encode())

    def bye(self) -> bytes:
        self.send(b"BYE!")
        return self.rest()
