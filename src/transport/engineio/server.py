"""An Engine.IO server of both generations: the HTTP side, and the surface that python-socketio's `Server` calls.

It stands where `engineio.Server` stands in python-socketio (`_engineio_server_class`), because python-engineio 4.15
speaks generation 4 only and nearly every method of its `Server` and `Socket` would have to be replaced.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from types import ModuleType
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from imageserver import metrics
from imageserver.transport import fairness, hub
from imageserver.transport.engineio import v3, v4
from imageserver.transport.engineio.packet import MESSAGE, NOOP, DecodeError, Packet
from imageserver.transport.engineio.session import Group, Session
from imageserver.transport.http.channel import Refusal
from imageserver.transport.http.cors import Origins
from imageserver.transport.limits import SocketIOLimits, WebSocketLimits
from imageserver.transport.websocket.connection import TEXT, WebSocket, accept
from imageserver.transport.websocket.frames import NO_STATUS

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

FAREWELL_SECONDS = 1.0
"""How long a closed polling session's last answer waits for the poll that crosses the close on its way."""

UPGRADE_GRACE = 0.05
"""How long a request that comes amid an upgrade waits for the upgrade to complete: the loop may see it first."""

BESIDE_BYTES = 16
"""What a WebSocket message may have beside what it carries: its packet's type, and the time before a session's frame."""

_ORDERLY = ("client disconnect", "server disconnect")
_CODECS = {"3": v3, "4": v4}
_TRANSPORT_UNKNOWN, _SESSION_UNKNOWN, _BAD_METHOD, _BAD_REQUEST, _FORBIDDEN, _BAD_VERSION = range(6)
_SENTENCES = (
    "Transport unknown",
    "Session ID unknown",
    "Bad handshake method",
    "Bad request",
    "Forbidden",
    "Unsupported protocol version",
)

Query = dict[str, str]


class EngineServer:
    """A WSGI application (`handle_request`), and the sessions behind it.

    `on(event, handler)`: connect(sid, environ), message(sid, data: str | bytes), disconnect(sid, reason).
    Handlers are called in the green thread that reads for the session and must not raise.
    """

    async_mode = "eventlet"

    def __init__(
        self,
        limits: SocketIOLimits | None = None,
        *,
        cors_origins: Iterable[str] = (),
        log: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
        async_handlers: bool = False,
    ) -> None:
        if async_handlers:
            raise ValueError("handlers run in the reading green thread; async_handlers must be False")
        self.limits, self.log, self.clock = limits or SocketIOLimits(), log, clock
        self.sessions: dict[str, Session] = {}
        self.offer_text: Callable[[str, bytes], bool] = lambda _sid, _raw: False
        """Is offered each text message of a WebSocket, raw; True: it was taken, False: decode it and call `message`."""
        self.message: Callable[[str, str | bytes], None] = lambda _sid, _data: None
        self._connect: Callable[[str, WSGIEnvironment], object] = lambda _sid, _environ: None
        self._disconnect: Callable[[str, str], object] = lambda _sid, _reason: None
        self._origins = Origins(cors_origins)
        self._farewells: dict[str, Session] = {}
        chosen = self.limits
        self._ws_limits = WebSocketLimits(
            message_bytes=chosen.message_bytes + BESIDE_BYTES,
            message_seconds=chosen.message_seconds,
            queue_bytes=chosen.queue_bytes,
            pings_per_second=chosen.pings_per_second,
            close_seconds=chosen.close_seconds,
        )
        self._base64_limits = replace(self._ws_limits, message_bytes=chosen.message_bytes + chosen.message_bytes // 2)
        self._gauges = {name: metrics.CONNECTIONS.child(name) for name in ("polling", "websocket")}

    # What python-socketio calls.

    def on(self, event: str, handler: Callable[..., Any]) -> None:
        """Register the handler of `connect`, `message` or `disconnect`. ValueError for another event."""
        if event == "message":
            self.message = handler
        elif event == "connect":
            self._connect = handler
        elif event == "disconnect":
            self._disconnect = handler
        else:
            raise ValueError(f"Engine.IO has no event {event!r}")

    def generate_id(self) -> str:
        """A new identifier: 120 random bits in 20 characters."""
        return secrets.token_urlsafe(15)

    def send(self, sid: str, data: str | bytes) -> None:
        """Send one message; nothing happens when the session is gone."""
        self.send_group(sid, Group([Packet(MESSAGE, data)]))

    def send_group(self, sid: str, group: Group) -> bool:
        """Send packets that belong together; whether the session is open. Never blocks."""
        session = self.sessions.get(sid)
        return session is not None and session.send(group)

    def disconnect(self, sid: str) -> None:
        """Close a session; never blocks."""
        session = self.sessions.get(sid)
        if session is not None:
            session.close("server disconnect")

    def drop(self, sid: str) -> None:
        """Close a session as a lost network would, so that the client tries to come back; never blocks."""
        session = self.sessions.get(sid)
        if session is not None:
            session.close("transport close", ())

    def transport(self, sid: str) -> str:
        """`polling` or `websocket`. KeyError when the session is gone."""
        return "polling" if self.sessions[sid].ws is None else "websocket"

    # What sessions call.

    def forget(self, session: Session) -> None:
        """The session is closed: nothing finds it any more but the poll that fetches its farewell."""
        del self.sessions[session.sid]
        self._gauges["polling" if session.ws is None else "websocket"].value -= 1
        if session.ws is None and session.poll is None and session.reason in _ORDERLY:
            self._farewells[session.sid] = session
            hub.call_later(FAREWELL_SECONDS, self._farewells.pop, session.sid, None)

    def finished(self, session: Session) -> None:
        """The session is closed and nothing of it runs any more."""
        self._disconnect(session.sid, session.reason or "")

    # The HTTP side.

    def handle_request(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """The WSGI application."""
        if not self._origins.allows(environ):
            self.log(f"the origin {environ['HTTP_ORIGIN'][:200]!r} was refused; --cors-origin would allow it")
            return self._refuse(environ, start_response, _FORBIDDEN, origin=False)
        method = environ["REQUEST_METHOD"]
        if method == "OPTIONS":
            return self._answer(environ, start_response, b"", "text/plain")
        query = dict(parse_qsl(environ["QUERY_STRING"], keep_blank_values=True))
        codec = _CODECS.get(query.get("EIO", ""))
        if codec is None:
            return self._refuse(environ, start_response, _BAD_VERSION)
        transport, sid = query.get("transport"), query.get("sid")
        if transport not in ("polling", "websocket"):
            return self._refuse(environ, start_response, _TRANSPORT_UNKNOWN)
        session = None
        if sid:
            session = self.sessions.get(sid)
            if session is None and method == "GET" and transport == "polling" and sid in self._farewells:
                return self._payload(environ, start_response, self._farewells.pop(sid), query)
            if session is None or session.codec is not codec:
                return self._refuse(environ, start_response, _SESSION_UNKNOWN)
        elif method != "GET":
            return self._refuse(environ, start_response, _BAD_METHOD)
        if transport == "websocket":
            base64 = _base64(codec, query) if session is None else session.base64
            ws = accept(environ, self._base64_limits if base64 else self._ws_limits)
            if ws is None:
                return self._refuse(environ, start_response, _BAD_REQUEST, headers=[("Sec-WebSocket-Version", "13")])
            try:
                self._websocket(session or self._new(environ, query, ws), ws)
            finally:
                ws.ended()
            return []
        if session is None:
            session = self._new(environ, query, None)
            with session.run():
                session.open(["websocket"])
                self._connect(session.sid, session.environ)
            return self._payload(environ, start_response, session, query)
        if method == "POST":
            session.settle(UPGRADE_GRACE)
        if method == "GET" and not session.verdict() and self._farewells.pop(session.sid, None) is None:
            return self._refuse(environ, start_response, _SESSION_UNKNOWN)
        if session.ws is not None:
            return self._refuse(environ, start_response, _BAD_REQUEST)
        if method == "GET":
            return self._poll(environ, start_response, session, query)
        if method == "POST":
            return self._post(environ, start_response, session, query)
        return self._refuse(environ, start_response, _BAD_METHOD)

    def _new(self, environ: WSGIEnvironment, query: Query, ws: WebSocket | None) -> Session:
        # The application may look at the request long after it: kept without what belongs to the connection.
        kept = {name: value for name, value in environ.items() if isinstance(value, str)}
        codec = _CODECS[query["EIO"]]
        session = Session(self, self.generate_id(), codec, _base64(codec, query), kept)
        session.ws = ws
        self.sessions[session.sid] = session
        self._gauges["polling" if ws is None else "websocket"].value += 1
        return session

    def _poll(
        self, environ: WSGIEnvironment, start_response: StartResponse, session: Session, query: Query
    ) -> Iterable[bytes]:
        if session.poll is not None:
            session.close("transport error")
            return self._refuse(environ, start_response, _BAD_REQUEST)
        if not session.queue:
            sock = environ["transport.connection"].sock
            poll = hub.Event()
            session.poll, session.poll_sock = poll, sock
            watch = hub.Watch(sock.fileno(), poll.set)
            try:
                woken = poll.wait(UPGRADE_GRACE if session.upgrading is not None else None)
            finally:
                watch.cancel()
                session.poll = session.poll_sock = None
            if woken and not session.queue and session.reason is None and session.ws is None and hub.gone(sock):
                session.close("transport close")
                raise ConnectionResetError("the client went away while its poll waited")
            if session.ws is not None:
                return self._refuse(environ, start_response, _BAD_REQUEST)
            if session.reason is not None and not session.queue:
                return self._refuse(environ, start_response, _SESSION_UNKNOWN)
        return self._payload(environ, start_response, session, query)

    def _payload(
        self, environ: WSGIEnvironment, start_response: StartResponse, session: Session, query: Query
    ) -> Iterable[bytes]:
        packets = session.take() or [Packet(NOOP)]
        body, content_type = session.codec.encode_payload(packets, base64=session.base64)
        if session.codec is v3 and "j" in query:
            body, content_type = v3.encode_jsonp(body, query["j"])
        return self._answer(environ, start_response, body, content_type)

    def _post(
        self, environ: WSGIEnvironment, start_response: StartResponse, session: Session, query: Query
    ) -> Iterable[bytes]:
        if session.posting:
            session.close("transport error")
            return self._refuse(environ, start_response, _BAD_REQUEST)
        if session.poll_sock is not None and hub.gone(session.poll_sock):
            session.close("transport close")  # the loop would have told us in a moment
            return self._refuse(environ, start_response, _SESSION_UNKNOWN)
        session.posting = True
        try:
            with session.run():
                return self._receive(environ, start_response, session, query)
        except (OSError, Refusal):  # the rest of its message will never come
            session.close("transport error")
            raise
        finally:
            session.posting = False

    def _receive(
        self, environ: WSGIEnvironment, start_response: StartResponse, session: Session, query: Query
    ) -> Iterable[bytes]:
        limits = self.limits
        body = environ["wsgi.input"].read(limits.payload_bytes + 1)
        session.alive()
        try:
            if len(body) > limits.payload_bytes:
                raise DecodeError(f"a payload may have {limits.payload_bytes} bytes", "payload_bytes")
            if session.codec is v3 and "j" in query:
                body = v3.decode_jsonp(body)
            packets = session.codec.decode_payload(body, most=limits.payload_packets, pause=fairness.pause)
            if any(len(packet.data) > limits.message_bytes for packet in packets):
                raise DecodeError(f"a message may have {limits.message_bytes} bytes", "message_bytes")
            for packet in packets:
                if session.reason is not None:
                    break
                session.receive(packet)
        except DecodeError as error:
            self.log(f"client {session.sid} is disconnected: {error}")
            if error.limit:
                metrics.LIMITS_HIT.inc(error.limit)
            session.close("transport error")
            return self._refuse(
                environ, start_response, _BAD_REQUEST, "413 Content Too Large" if error.limit else "400 Bad Request"
            )
        return self._answer(environ, start_response, b"ok", "text/html")

    def _websocket(self, session: Session, ws: WebSocket) -> None:
        messages = ws.messages()
        if session.ws is ws:
            with session.run():
                ws.drained = session.flush
                session.open([])
                self._connect(session.sid, session.environ)
                session.read(ws, messages)
            return
        if session.ws is None and session.upgrading is None and self._upgrade(session, ws, messages):
            with session.run():
                session.flush()
                session.read(ws, messages)
            return
        ws.close(NO_STATUS)  # a second WebSocket, or an upgrade that failed: the session goes on without it
        for _message in messages:
            pass

    def _upgrade(self, session: Session, ws: WebSocket, messages: Iterator[tuple[int, bytes]]) -> bool:
        """Do the upgrade from polling; whether the WebSocket is now the session's transport."""
        session.upgrading = ws
        deadline = hub.call_later(self.limits.connect_seconds, ws.abort)
        probed = False
        try:
            for opcode, payload in messages:
                if opcode == TEXT and not probed and payload[:1] == b"2":
                    probed = True
                    ws.send("3" + payload[1:].decode("utf-8", "replace"))
                    if session.poll is not None:
                        session.poll.set()  # answered with NOOP, so that the client can stop polling
                elif opcode == TEXT and probed and payload == b"5" and session.reason is None:
                    session.ws, ws.drained = ws, session.flush
                    self._gauges["polling"].value -= 1
                    self._gauges["websocket"].value += 1
                    return True
                else:
                    break
        finally:
            deadline.cancel()
            session.upgrading = None
            if session.poll is not None:
                session.poll.set()
        return False

    def _answer(
        self, environ: WSGIEnvironment, start_response: StartResponse, body: bytes, content_type: str
    ) -> list[bytes]:
        headers = [("Content-Type", content_type), ("Content-Length", str(len(body))), ("Cache-Control", "no-store")]
        start_response("200 OK", headers + self._origins.headers(environ))
        return [body]

    def _refuse(
        self,
        environ: WSGIEnvironment,
        start_response: StartResponse,
        code: int,
        status: str = "400 Bad Request",
        *,
        origin: bool = True,
        headers: Iterable[tuple[str, str]] = (),
    ) -> list[bytes]:
        body = json.dumps({"code": code, "message": _SENTENCES[code]}, separators=(",", ":")).encode()
        headers = [("Content-Type", "application/json"), ("Content-Length", str(len(body))), *headers]
        start_response(status, headers + (self._origins.headers(environ) if origin else []))
        return [body]


def _base64(codec: ModuleType, query: Query) -> bool:
    """Whether the handshake says that binary must be sent as text."""
    return query.get("b64", "") not in ("", "0", "false") or (codec is v3 and "j" in query)
