"""A live page without a browser: what it hears on `/live`, round by round."""

from __future__ import annotations

import json
import struct
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import websocket
from tests.running import PATIENCE, Server

Message = dict[str, Any]


class Viewer:
    """A page's connection; it answers rounds when the test says so. Use as a context."""

    def __init__(self, server: Server, *, headers: dict[str, str] | None = None) -> None:
        address = f"ws://127.0.0.1:{server.port}/live"
        self.ws = websocket.create_connection(address, timeout=PATIENCE, header=headers)
        self.hello = self.hear()
        self.heard: list[Message] = []

    def __enter__(self) -> Viewer:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.ws.shutdown()

    def say(self, **message: Any) -> None:
        self.ws.send(json.dumps(message))

    def hear(self) -> Message:
        """The next message; a frame as its header with `picture`. Why the connection has ended, as `closed`."""
        opcode, data = self.ws.recv_data()
        if opcode == websocket.ABNF.OPCODE_CLOSE:
            (code,) = struct.unpack(">H", data[:2])
            return {"type": "closed", "code": code, "text": data[2:].decode()}
        if opcode == websocket.ABNF.OPCODE_TEXT:
            found: Message = json.loads(data)
            return found
        (length,) = struct.unpack_from("<I", data)
        header: Message = json.loads(data[4 : 4 + length])
        return header | {"kind": header["type"], "type": "frame", "picture": data[4 + length :]}

    def round(self) -> list[Message]:
        """All messages of the next round, its end among them; it is not answered."""
        found: list[Message] = []
        while not found or found[-1]["type"] not in ("round", "closed"):
            found.append(self.hear())
        return found

    def rounds(self) -> Iterator[Message]:
        """What is heard, for ever; rounds are answered, as by a page that is quick."""
        while True:
            message = self.hear()
            self.heard.append(message)
            if message["type"] == "round":
                self.say(round=message["n"])
            else:
                yield message

    def until(self, kind: str, condition: Callable[[Message], Any] = lambda _message: True) -> Message:
        """Go on until there is a message of this type for which the condition holds."""
        begun = time.monotonic()
        for message in self.rounds():
            assert message["type"] != "closed" or kind == "closed", message
            assert time.monotonic() - begun < PATIENCE, f"no {kind} as it was wanted; the last was {message}"
            if message["type"] == kind and condition(message):
                return message
        raise AssertionError

    def listed(self, name: str) -> Message:
        """Go on until a stream of this name is listed; its row."""
        state = self.until("state", lambda state: [row for row in state["streams"] if row["name"] == name])
        row: Message = next(row for row in state["streams"] if row["name"] == name)
        return row

    def is_silent(self) -> bool:
        """Whether nothing has come that was not heard."""
        self.ws.sock.settimeout(0)
        try:
            return not self.ws.sock.recv(1)
        except BlockingIOError:
            return True
        finally:
            self.ws.sock.settimeout(PATIENCE)


class QuickViewer(Viewer):
    """One that hears and answers everything in a thread of its own."""

    def __init__(self, server: Server, *ids: str) -> None:
        super().__init__(server)
        self.frames = 0
        if ids:
            self.say(watch=list(ids))
        self._thread = threading.Thread(target=self._go_on, daemon=True)
        self._thread.start()

    def __exit__(self, *_exception: object) -> None:
        super().__exit__()
        self._thread.join(PATIENCE)

    def _go_on(self) -> None:
        try:
            for message in self.rounds():
                self.heard.clear()
                self.frames += message["type"] == "frame"
        except (OSError, websocket.WebSocketException):
            return
