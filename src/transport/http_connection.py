"""One HTTP connection: requests in, WSGI calls, answers out, with every limit of time and size.

The grammar of HTTP/1.1 is h11's; this file is about time, sockets and WSGI.
"""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable, Iterable
from email.utils import formatdate
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_to_bytes

import h11

import metrics
from transport import hub

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication, WSGIEnvironment

    from transport.http import HttpServer

READ_BYTES = 64 * 1024

Headers = list[tuple[str, str]]


class Refusal(Exception):
    """The request ends here, with this status and sentence; `limit` names the limit that it ran into, or is ""."""

    def __init__(self, status: int, sentence: str, limit: str = "") -> None:
        super().__init__(sentence)
        self.status, self.sentence, self.limit = status, sentence, limit


_REASONS = {
    400: "Bad Request", 408: "Request Timeout", 413: "Content Too Large", 414: "URI Too Long", 429: "Too Many Requests",
    431: "Request Header Fields Too Large", 500: "Internal Server Error", 501: "Not Implemented", 503: "Service Unavailable",
}  # fmt: skip


class Connection:
    """A client's connection, from the accept to the close."""

    __slots__ = ("_body", "_events", "_peer", "_port", "_server", "_taken", "idle", "sock")

    def __init__(self, server: HttpServer, sock: hub.Socket, peer: str, port: int) -> None:
        self.sock = sock
        self.idle = True
        """Whether nothing is being asked or answered, so that it may be closed at any moment."""
        self._server, self._peer, self._port = server, peer, port
        self._events: h11.Connection | None = h11.Connection(h11.SERVER, max_incomplete_event_size=server.limits.header_bytes)
        self._body: _Body | None = None
        self._taken = False

    def run(self) -> None:
        """Serve request after request, until either side has enough."""
        server = self._server
        direct = not server.trusted(self._peer)  # behind a proxy each request has an address of its own
        if direct and not server.enter(self._peer):
            hub.shut(self.sock)
            self.sock.close()
            return
        try:
            hub.no_delay(self.sock)
            if server.ssl_context is not None:
                self.sock = hub.start_tls(self.sock, server.ssl_context, server.limits.handshake_seconds)
            while self._one_request() and not server.stopping:
                self.idle = True
        except hub.TimedOut:
            metrics.LIMITS_HIT.inc("handshake_seconds")
        except (OSError, EOFError):
            pass  # the client has gone, or speaks no TLS: nobody is left to be told
        finally:
            if direct:
                server.leave(self._peer)
            hub.shut(self.sock)
            self.sock.close()

    def cut(self) -> None:
        """End it from outside: whatever waits for the socket sees the end of the stream."""
        hub.shut(self.sock)

    def take_over(self) -> tuple[hub.Socket, bytes]:
        """Give the socket to whoever upgrades the protocol, with what was read beyond the request.

        The connection stays open until the application returns.
        """
        events, self._events, self._taken = self._events, None, True
        assert events is not None
        event = events.next_event()
        while event is not h11.PAUSED and event is not h11.NEED_DATA:
            event = events.next_event()
        return self.sock, bytes(events.trailing_data[0])

    def continue_body(self) -> None:
        """Send "100 Continue" to a client that waits for it."""
        events = self._events
        if events is not None and events.they_are_waiting_for_100_continue:
            self._send(h11.InformationalResponse(status_code=100, headers=[], reason=b"Continue"))

    def next_event(self, timeout: float) -> Any:
        """The next event of the request; the time is for each read. Raises OSError (TimeoutError), Refusal."""
        events = self._events
        assert events is not None
        try:
            event = events.next_event()
            if event is h11.NEED_DATA:
                self.sock.settimeout(max(timeout, 0.001))
                events.receive_data(self.sock.recv(READ_BYTES))
                event = events.next_event()
        except h11.RemoteProtocolError as error:
            status = error.error_status_hint
            limit = "header_bytes" if status == 431 else ""
            raise Refusal(status, f"This is not a proper HTTP request: {error}.", limit) from None
        return event

    def _one_request(self) -> bool:
        """Serve one request; whether the connection can carry another."""
        self._body = None
        try:
            request = self._head()
            if request is None:
                return False
            self.idle = False
            environ = self._environ(request)
        except Refusal as refusal:
            self.idle = False
            self._answer_refusal(refusal)
            self._linger()
            return False
        address = environ["REMOTE_ADDR"]
        counted = address != self._peer and self._server.trusted(self._peer)
        if counted and not self._server.enter(address):
            self._answer_refusal(Refusal(429, "Too many connections from this address."))
            return self._finish()
        try:
            self._call(self._server.application(environ["PATH_INFO"]), environ)
        finally:
            if counted:
                self._server.leave(address)
        return not self._taken and self._finish()

    def _head(self) -> h11.Request | None:
        limits, clock = self._server.limits, self._server.clock
        events = self._events
        assert events is not None
        event: Any = events.next_event() if events.trailing_data[0] else h11.NEED_DATA
        fresh = True
        end = clock() + limits.keep_alive_seconds
        while event is h11.NEED_DATA:
            if fresh and events.trailing_data[0]:
                fresh, end = False, clock() + limits.header_seconds
            try:
                event = self.next_event(end - clock())
            except TimeoutError:
                if fresh:
                    return None
                sentence = f"The request's headers took longer than {limits.header_seconds:g} seconds."
                raise Refusal(408, sentence, "header_seconds") from None
        if not isinstance(event, h11.Request):
            return None  # the client closed
        return event

    def _environ(self, request: h11.Request) -> WSGIEnvironment:
        limits, server = self._server.limits, self._server
        if len(request.method) + len(request.target) + 10 > limits.request_line_bytes:
            raise Refusal(414, f"The request line is longer than {limits.request_line_bytes} bytes.", "request_line_bytes")
        target = request.target.decode("latin-1")
        if target[:1] != "/" and "://" in target:  # absolute form, section 3.2.2 of RFC 9112
            target = "/" + target.split("://", 1)[1].partition("/")[2]
        path, _, query = target.partition("?")
        host, port = self.sock.getsockname()[:2]
        environ: WSGIEnvironment = {
            "REQUEST_METHOD": request.method.decode("ascii"),
            "SCRIPT_NAME": "",
            "PATH_INFO": unquote_to_bytes(path).decode("latin-1"),
            "QUERY_STRING": query,
            "RAW_URI": target,
            "SERVER_NAME": host,
            "SERVER_PORT": str(port),
            "SERVER_PROTOCOL": f"HTTP/{request.http_version.decode('ascii')}",
            "REMOTE_ADDR": self._peer,
            "REMOTE_PORT": str(self._port),
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "http" if server.ssl_context is None else "https",
            "wsgi.errors": sys.stderr,
            "wsgi.multithread": False,
            "wsgi.multiprocess": False,
            "wsgi.run_once": False,
            "wsgi.input_terminated": True,
            "transport.connection": self,
        }
        for raw_name, raw_value in request.headers:
            if b"_" in raw_name:
                continue  # it would pass for the header with a dash, which a proxy may have removed
            name = raw_name.decode("ascii").upper().replace("-", "_")
            value = raw_value.decode("latin-1")
            if name not in ("CONTENT_TYPE", "CONTENT_LENGTH"):
                name = "HTTP_" + name
            if name in environ:
                value = environ[name] + ("; " if name == "HTTP_COOKIE" else ",") + value
            environ[name] = value
        if server.trusted(self._peer):
            environ["REMOTE_ADDR"] = server.client_address(self._peer, environ.get("HTTP_X_FORWARDED_FOR", ""))
            if environ.get("HTTP_X_FORWARDED_PROTO") in ("http", "https"):
                environ["wsgi.url_scheme"] = environ["HTTP_X_FORWARDED_PROTO"]
        if int(environ.get("CONTENT_LENGTH") or 0) > limits.body_bytes:
            raise Refusal(413, f"A request body may have {limits.body_bytes} bytes.", "body_bytes")
        self._body = _Body(self, server)
        environ["wsgi.input"] = io.BufferedReader(self._body)
        return environ

    def _call(self, app: WSGIApplication, environ: WSGIEnvironment) -> None:
        """Call the application and send what it answers."""
        answer = _Answer(self, environ["REQUEST_METHOD"])
        try:
            result = app(environ, answer.start_response)
            try:
                if not self._taken:
                    answer.send_all(result)
            finally:
                close = getattr(result, "close", None)
                if close is not None:
                    close()
        except Refusal as refusal:
            answer.refuse(refusal)
        except (OSError, EOFError):
            self._give_up()  # the client went away, or did not take its answer in time
        except Exception as error:  # noqa: BLE001
            # Whatever an application forgot to catch: this request fails, the server goes on.
            place = place_of(error)
            self._server.log(f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']} failed: {type(error).__name__}: {error} ({place})")
            answer.refuse(Refusal(500, "Something went wrong in the server; its log says what."))

    def _finish(self) -> bool:
        """Read what the client still sends of its request, then make ready for the next. Whether there can be one."""
        events = self._events
        assert events is not None
        if events.their_state is h11.SEND_BODY and not events.they_are_waiting_for_100_continue:
            self._drain()
        if events.our_state is h11.DONE and events.their_state is h11.DONE:
            events.start_next_cycle()
            return True
        if events.our_state is not h11.ERROR:
            self._linger()
        return False

    def _drain(self) -> None:
        """Drop the rest of a body: a client that is cut off while it sends may never see the answer."""
        limits, clock = self._server.limits, self._server.clock
        end, left = clock() + limits.drain_seconds, limits.drain_bytes
        while left > 0 and clock() < end:
            try:
                event = self.next_event(end - clock())
            except (Refusal, TimeoutError):
                return
            if isinstance(event, h11.Data):
                left -= len(event.data)
            elif event is not h11.NEED_DATA:
                return

    def _linger(self) -> None:
        """Say that nothing more comes and wait a moment for the client to close, so that no reset overtakes the answer."""
        clock = self._server.clock
        try:
            hub.shut(self.sock, reading=False)
            end, left = clock() + 1, self._server.limits.drain_bytes
            while left > 0 and clock() < end:
                self.sock.settimeout(max(end - clock(), 0.001))
                got = len(self.sock.recv(READ_BYTES))
                if not got:
                    return
                left -= got
        except OSError:
            pass  # closed or too slow: either way it had its chance

    def _answer_refusal(self, refusal: Refusal) -> None:
        _Answer(self, "GET").refuse(refusal)

    def _give_up(self) -> None:
        if self._events is not None:
            self._events.send_failed()

    def _send(self, *events: h11.Event) -> None:
        assert self._events is not None
        data = b"".join(self._events.send(event) or b"" for event in events)
        if data:
            self.sock.settimeout(self._server.limits.send_seconds)
            self.sock.sendall(data)


class _Answer:
    """The WSGI side of one response."""

    def __init__(self, connection: Connection, method: str) -> None:
        self._connection, self._method = connection, method
        self._head: h11.Response | None = None
        self.started = False

    def start_response(self, status: str, headers: Headers, exc_info: Any = None) -> Callable[[bytes], object]:
        if exc_info is not None and self.started:
            raise exc_info[1].with_traceback(exc_info[2])
        code, _, reason = status.partition(" ")
        names = {name.lower() for name, _ in headers}
        extra = [] if "date" in names else [("Date", formatdate(usegmt=True))]
        if self._connection._server.stopping and "connection" not in names:
            extra.append(("Connection", "close"))
        self._head = h11.Response(
            status_code=int(code),
            headers=[(name.encode("latin-1"), value.encode("latin-1")) for name, value in [*headers, *extra]],
            reason=reason.encode("latin-1"),
        )
        return self._write

    def send_all(self, result: Iterable[bytes]) -> None:
        if isinstance(result, (list, tuple)) and self._head is not None and not self.started:
            body = b"".join(result)
            self._complete_length(len(body))
            self._send(body, last=True)
            return
        for part in result:
            if part:
                self._write(part)
        self._send(b"", last=True)

    def refuse(self, refusal: Refusal) -> None:
        """Answer with a refusal, in place of whatever the application had begun but not sent."""
        connection = self._connection
        if refusal.limit:
            metrics.LIMITS_HIT.inc(refusal.limit)
            connection._server.log(f"a request of {connection._peer} was refused: {refusal.sentence}")
        if self.started or connection._taken:
            connection._give_up()
            return
        body = json.dumps({"error": refusal.sentence}).encode()
        headers = [("Content-Type", "application/json"), ("Content-Length", str(len(body))), ("Connection", "close")]
        try:
            self.start_response(f"{refusal.status} {_REASONS.get(refusal.status, 'Refused')}", headers)
            self._send(body, last=True)
        except (OSError, EOFError, h11.LocalProtocolError):
            connection._give_up()

    def _write(self, data: bytes) -> None:
        self._send(data)

    def _complete_length(self, length: int) -> None:
        head = self._head
        assert head is not None
        if not any(name in (b"content-length", b"transfer-encoding") for name, _ in head.headers) and head.status_code not in (204, 304):
            headers = [*head.headers.raw_items(), (b"Content-Length", str(length).encode())]
            self._head = h11.Response(status_code=head.status_code, headers=headers, reason=head.reason)

    def _send(self, data: bytes, last: bool = False) -> None:
        head = self._head
        events: list[h11.Event] = []
        if head is None:
            raise RuntimeError("the application answered without start_response")
        body = self._connection._body
        if body is not None and body.failure is not None and not self.started:
            raise body.failure  # whatever the application made of the failed read, this is what happened
        if not self.started:
            self.started = True
            events.append(head)
        if data and self._method != "HEAD" and head.status_code not in (204, 304):
            events.append(h11.Data(data=data))
        if last:
            events.append(h11.EndOfMessage())
        self._connection._send(*events)


class _Body(io.RawIOBase):
    """`wsgi.input`, unbuffered: the body's bytes, however they are framed, and its limits."""

    def __init__(self, connection: Connection, server: HttpServer) -> None:
        self._connection, self._limits, self._clock = connection, server.limits, server.clock
        self._begun = server.clock()
        self._count = 0
        self._left = memoryview(b"")
        self._ended = False
        self.failure: Refusal | None = None

    def readable(self) -> bool:
        return True

    def readinto(self, into: Any) -> int:
        if not self._left and not self._ended:
            self._fill()
        count = min(len(self._left), len(into))
        into[:count] = self._left[:count]
        self._left = self._left[count:]
        return count

    def _fill(self) -> None:
        limits = self._limits
        self._connection.continue_body()
        while True:
            # The average is what counts: what came early may be followed by a pause.
            end = self._begun + limits.body_grace_seconds + self._count / limits.body_rate
            try:
                left = end - self._clock()
                if left <= 0:
                    raise TimeoutError
                event = self._connection.next_event(left)
            except TimeoutError:
                sentence = f"The request's body came at less than {limits.body_rate} bytes a second."
                self.failure = Refusal(408, sentence, "body_rate")
                raise self.failure from None
            except Refusal as refusal:
                self.failure = refusal
                raise
            if isinstance(event, h11.Data):
                self._count += len(event.data)
                if self._count > limits.body_bytes:
                    self.failure = Refusal(413, f"A request body may have {limits.body_bytes} bytes.", "body_bytes")
                    raise self.failure
                self._left = memoryview(bytes(event.data))
                return
            if event is not h11.NEED_DATA:
                self._ended = True
                return


def place_of(error: BaseException) -> str:
    """File and line where an exception was raised, for the log."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return "unknown place"
    return f"{trace.tb_frame.f_code.co_filename.rpartition('/')[2]}:{trace.tb_lineno}"
