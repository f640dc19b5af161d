"""A small Socket.IO client over a WebSocket, for the tests: it sends what it is told, right or wrong."""

from __future__ import annotations

import json
import time
from typing import Any

import websocket
from tests.conformance.peer import Peer

PATH = "/socket.io/"


class Sio:
    """A client in `/`, unless `join` is false. Heartbeats are answered by `recv`."""

    def __init__(self, peer: Peer, version: int = 4, auth: Any = None, join: bool = True, **query: Any) -> None:
        self.version = version
        self.ws = peer.websocket(PATH, EIO=version, transport="websocket", **query)
        self.opened = json.loads(self.recv()[1:])
        if version == 4 and join:
            self.ws.send("40" + ("" if auth is None else json.dumps(auth)))
        self.joined = self.recv() if join else ""

    def recv(self) -> Any:
        while (data := self.ws.recv()) == "2":
            self.ws.send("3")
        return data

    def emit(self, *values: Any, number: int | str = "", data: bytes | None = None) -> None:
        if data is None:
            self.ws.send(f"42{number}" + json.dumps(values))
            return
        self.ws.send(f"451-{number}" + json.dumps([*values, {"_placeholder": True, "num": 0}]))
        self.ws.send_binary(data if self.version == 4 else b"\4" + data)

    def ask(self, *values: Any, data: bytes | None = None) -> Any:
        self.emit(*values, number=7, data=data)
        answer = self.recv()
        if answer.startswith("437"):
            return json.loads(answer[3:])
        assert answer == '461-7[{"_placeholder":true,"num":0}]', answer
        return self.recv()

    def closed(self, seconds: float = 15) -> int | None:
        """Wait for the end; the close frame's code, or None without one."""
        end = time.monotonic() + seconds
        code = None
        while time.monotonic() < end:
            try:
                opcode, data = self.ws.recv_data(control_frame=True)
            except (websocket.WebSocketConnectionClosedException, OSError):
                return code
            if opcode == websocket.ABNF.OPCODE_CLOSE:
                self.ws.shutdown()
                return int.from_bytes(data[:2], "big") if data else None
            if data == b"2":
                self.ws.send("3")
        raise AssertionError("the server did not close")
