"""A socket whose client has said everything already: what the server makes of it does not depend on the clock."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any


class ScriptedSocket(socket.socket):
    """A socket whose client has sent everything, in pieces of these sizes, and has closed."""

    def __init__(self, data: bytes, sizes: Callable[[], int]) -> None:
        super().__init__(socket.AF_UNIX)
        self._data, self._sizes, self._at = data, sizes, 0
        self.sent = bytearray()

    def recv(self, size: int, _flags: int = 0) -> bytes:
        piece = self._data[self._at : self._at + min(size, self._sizes())]
        self._at += len(piece)
        return piece

    def recv_into(self, into: Any, _size: int = 0, _flags: int = 0) -> int:
        piece = self.recv(len(into))
        into[: len(piece)] = piece
        return len(piece)

    def send(self, data: Any, _flags: int = 0) -> int:
        self.sent += data
        return len(data)

    def sendall(self, data: Any, _flags: int = 0) -> None:
        self.sent += data

    def getsockname(self) -> tuple[str, int]:
        return "127.0.0.1", 8080

    def settimeout(self, _seconds: float | None) -> None:
        """Everything is there already."""

    def setblocking(self, _flag: bool) -> None:
        """Everything is there already."""

    def setsockopt(self, *_arguments: Any) -> None:
        """It does not matter how it is sent."""
