"""Speaking to the conformance server without any library of Socket.IO's."""

from __future__ import annotations

import json
import socket
import time
from typing import Any

import requests
import websocket

ENGINE_PATH = "/engine.io/"


class Peer:
    """The server's address, spoken to without any library of Socket.IO's."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.http = requests.Session()
        self._sockets: list[websocket.WebSocket] = []

    def url(self, path: str, **query: Any) -> str:
        return f"http://127.0.0.1:{self.port}{path}?" + "&".join(f"{name}={value}" for name, value in query.items())

    def request(self, method: str, path: str, data: bytes | str | None = None, **query: Any) -> requests.Response:
        body = data.encode() if isinstance(data, str) else data
        return self.http.request(method, self.url(path, **query), data=body, timeout=10)

    def close(self) -> None:
        self.http.close()
        for ws in self._sockets:
            ws.shutdown()

    def websocket(self, path: str, **query: Any) -> websocket.WebSocket:
        ws = websocket.WebSocket()
        self._sockets.append(ws)
        sock = socket.create_connection(("127.0.0.1", self.port), 10)  # ours to close: a refused upgrade leaves it open
        try:
            ws.connect(self.url(path, **query).replace("http", "ws"), timeout=10, suppress_origin=True, socket=sock)
        except websocket.WebSocketException:
            sock.close()
            raise
        return ws


def framed(version: int, *packets: str) -> str:
    """Packets as a text payload of a generation."""
    return "\x1e".join(packets) if version == 4 else "".join(f"{len(packet)}:{packet}" for packet in packets)


class Polling:
    """An Engine.IO session over polling."""

    def __init__(self, peer: Peer, version: int, **query: Any) -> None:
        self.peer, self.query = peer, {"EIO": version, "transport": "polling", **query}
        text = peer.request("GET", ENGINE_PATH, **self.query).text
        self.handshake = json.loads(text[text.index("{") :])
        self.query["sid"] = self.handshake["sid"]
        self.url = peer.url(ENGINE_PATH, **self.query)

    def get(self) -> Any:
        return self.peer.request("GET", ENGINE_PATH, **self.query)

    def post(self, data: bytes | str) -> Any:
        return self.peer.request("POST", ENGINE_PATH, data, **self.query)


def fetch(url: str, data: bytes | None = None) -> requests.Response:
    """A request on a connection of its own, for those that run at once."""
    return requests.request("GET" if data is None else "POST", url, data=data, timeout=10)


def closed(ws: websocket.WebSocket, heartbeats: bool = False) -> int | None:
    """Wait for the close frame, skipping messages; its code, None when it has none. Fails after 10 s.

    `heartbeats`: answer the server's, so that they are not what ends it.
    """
    end = time.monotonic() + 10
    while time.monotonic() < end:
        opcode, data = ws.recv_data(control_frame=True)
        if opcode == websocket.ABNF.OPCODE_CLOSE:
            ws.close()
            return int.from_bytes(data[:2], "big") if data else None
        if heartbeats and data == b"2":
            ws.send("3")
    raise AssertionError("the server did not close")
