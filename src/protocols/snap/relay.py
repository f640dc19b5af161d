"""The relay of Snap: whatever text one client of a room sends reaches every other one, in order.

A client that does not read delays nobody: what it does not take waits in the kernel and in a bounded queue,
and one that takes nothing of it for `--ws-send-timeout` is dropped.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from imageserver import limits, metrics
from imageserver.errors import Refused
from imageserver.limits import Limits
from imageserver.transport import hub
from imageserver.transport.fairness import Turn
from imageserver.transport.websocket.connection import WebSocket, accept, encode_text
from imageserver.transport.websocket.frames import CloseCode
from imageserver.web.access import Access
from imageserver.web.application import Application, Route
from imageserver.web.requests import Request

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

PREFIX = "/ws"
MAX_ROOM = 64
MESSAGE_BYTES = 64 * 2**10
"""Bytes of a text; "snap" has four."""
QUEUE_BYTES = 4 * 2**20
"""Bytes of texts that may wait for one client."""
LOOKS = 4
"""Times that a queue is looked at within the timeout.

After a pause of the whole process the loop runs its timers first, and a single look would find that nobody had read
anything.
"""


class Member:
    """One client in a room, and the watch over what waits for it, in the kernel too: that alone holds megabytes."""

    def __init__(self, ws: WebSocket, send_timeout: float) -> None:
        self._ws, self._send_timeout = ws, send_timeout
        self._timer: hub.Timer | None = None
        self._offered = self._taken = 0  # bytes

    def send(self, frame: bytes) -> None:
        """Send an encoded text. Never blocks."""
        self._offered += len(frame)
        if self._ws.write(frame) and self._timer is None:
            self._watch()

    def forget(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _watch(self, looks: int = LOOKS) -> None:
        self._taken = self._offered - self._ws.untaken
        self._timer = hub.call_later(self._send_timeout / LOOKS, self._look, looks)

    def _look(self, looks: int) -> None:
        self._timer = None
        waiting = self._ws.untaken
        if not waiting:
            return
        if self._offered - waiting > self._taken:
            self._watch()  # slow, but it reads
            return
        if looks > 1:
            self._watch(looks - 1)
            return
        limits.hit("ws_send_timeout")
        self._ws.abort()


class Relay:
    """The rooms of `/ws` and `/ws/<room>`, and who is in them."""

    def __init__(self, bounds: Limits) -> None:
        self._limits = replace(bounds, max_message_bytes=MESSAGE_BYTES, max_outgoing_bytes=QUEUE_BYTES)
        self._rooms: dict[str, dict[WebSocket, Member]] = {}
        self._gauge = metrics.CONNECTIONS.child("relay")

    def join(self, request: Request, room: str = "") -> WSGIApplication:
        """Make a WebSocket of the request; what is returned stays in the room until the client leaves."""
        ws = accept(request.environ, self._limits)
        if ws is None:
            raise Refused(426, "this address speaks WebSocket", Upgrade="websocket", Sec_WebSocket_Version="13")
        return functools.partial(self._serve, ws, room)

    def announce(self, room: str, text: str, sender: WebSocket | None = None) -> None:
        """Send a text to everybody in `room` but its sender; None: it is the server's own.

        Waits for nobody, but lets others have their turns: 20,000 members take a tenth of a second.
        """
        frame = encode_text(text)  # once for all
        turn = Turn(time.monotonic)
        turn.begin()
        for ws, member in list(self._rooms.get(room, {}).items()):
            if ws is not sender:
                member.send(frame)
                turn.share()

    def close_all(self) -> None:
        """Tell every client that the server goes away."""
        for members in list(self._rooms.values()):
            for ws in list(members):
                ws.close(CloseCode.GOING_AWAY, "the server is stopping")

    def _serve(
        self, ws: WebSocket, room: str, _environ: WSGIEnvironment, _start_response: StartResponse
    ) -> Iterable[bytes]:
        member = Member(ws, self._limits.ws_send_timeout)
        members = self._rooms.setdefault(room, {})
        members[ws] = member
        self._gauge.value += 1
        try:
            while (message := ws.receive()) is not None:
                if isinstance(message, bytes):
                    ws.close(CloseCode.UNSUPPORTED_DATA, "send text")
                else:
                    self.announce(room, message, ws)
        finally:
            self._gauge.value -= 1
            member.forget()
            del members[ws]
            if not members and self._rooms.get(room) is members:
                del self._rooms[room]
            ws.ended()
        return []


def application(relay: Relay, access: Access, *, log: Callable[[str], None]) -> Application:
    """The application for `/ws`: who may join stands in accounts/doors.py."""
    rooms = (PREFIX, f"{PREFIX}/<string(maxlength={MAX_ROOM}):room>")
    routes = [Route("GET", path, relay.join) for path in rooms]
    nothing = f"a room is one word of at most {MAX_ROOM} characters, as in {PREFIX}/kitchen"
    return Application(routes, access, log=log, nothing=nothing)
