"""One HTTP connection: requests in, WSGI calls, answers out, with every limit of time and size.

The grammar of HTTP/1.1 is h11's; this file is about time, sockets and WSGI.
"""

from __future__ import annotations

import io
import sys
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_to_bytes

import h11

from imageserver import metrics
from imageserver.errors import describe
from imageserver.transport import hub
from imageserver.transport.fairness import Turn
from imageserver.transport.http.wsgi import Answer, Body, Refusal

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication, WSGIEnvironment

    from imageserver.transport.http.server import HttpServer

READ_BYTES = 64 * 1024


class Connection:
    """A client's connection, from the accept to the close."""

    __slots__ = ("_events", "_port", "_turn", "body", "idle", "peer", "server", "sock", "taken")

    def __init__(self, server: HttpServer, sock: hub.Socket, peer: str, port: int) -> None:
        self.sock = sock
        self.idle = True
        """Whether nothing is being asked or answered, so that it may be closed at any moment."""
        self.server, self.peer, self._port = server, peer, port
        self._events: h11.Connection | None = h11.Connection(
            h11.SERVER, max_incomplete_event_size=server.limits.header_bytes
        )
        self.body: Body | None = None
        self.taken = False
        self._turn = Turn(server.clock)

    def run(self) -> None:
        """Serve request after request, until either side has enough."""
        server = self.server
        direct = not server.trusted(self.peer)  # behind a proxy each request has an address of its own
        if direct and not server.enter(self.peer):
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
            server.log(
                f"{self.peer} did not finish its TLS handshake within {server.limits.handshake_seconds:g} seconds"
            )
        except (OSError, EOFError):
            pass  # the client has gone, or speaks no TLS: nobody is left to be told
        finally:
            if direct:
                server.leave(self.peer)
            hub.shut(self.sock)
            self.sock.close()

    def cut(self) -> None:
        """End it from outside: whatever waits for the socket sees the end of the stream."""
        hub.shut(self.sock)

    def take_over(self) -> tuple[hub.Socket, bytes]:
        """Give the socket to whoever upgrades the protocol, with what was read beyond the request.

        The connection stays open until the application returns.
        """
        events = self._events
        assert events is not None
        event = self._parsed(events)
        while event is not h11.PAUSED and event is not h11.NEED_DATA:
            event = self._parsed(events)
        self._events, self.taken = None, True
        return self.sock, bytes(events.trailing_data[0])

    @property
    def expected(self) -> bool:
        """Whether the client waits for "100 Continue" before it sends its body."""
        return self._events is not None and self._events.they_are_waiting_for_100_continue

    def continue_body(self) -> None:
        """Send "100 Continue" to a client that waits for it."""
        if self.expected:
            self.send(h11.InformationalResponse(status_code=100, headers=[], reason=b"Continue"))

    def next_event(self, timeout: float) -> Any:
        """The next event of the request; the time is for each read. Raises OSError (TimeoutError), Refusal."""
        events = self._events
        assert events is not None
        self._turn.share()  # a client that sends without pause always has more to read
        event = self._parsed(events)
        if event is h11.NEED_DATA:
            self.sock.settimeout(max(timeout, 0.001))
            events.receive_data(self.sock.recv(READ_BYTES))
            event = self._parsed(events)
        return event

    def _parsed(self, events: h11.Connection) -> Any:
        """The next event of what has been read. Refusal."""
        try:
            return events.next_event()
        except h11.RemoteProtocolError as error:
            raise self._misread(events, error) from None

    def _misread(self, events: h11.Connection, error: h11.RemoteProtocolError) -> Refusal:
        """The refusal of what h11 could not read."""
        arrived, ended = events.trailing_data
        if (
            error.error_status_hint == 431 and self.body is None
        ):  # it will not wait any longer for the end of the headers
            return (
                self._long_headers() if b"\n" in arrived[: self.server.limits.request_line_bytes] else self._long_line()
            )
        limit = "header_bytes" if error.error_status_hint == 431 else ""
        reason = str(error).partition(": bytearray(")[0]  # what follows is h11's memory
        return Refusal(error.error_status_hint, f"This is not a proper HTTP request: {reason}.", limit, log=not ended)

    def _long_line(self) -> Refusal:
        return Refusal(
            414, f"The request line is longer than {self.server.limits.request_line_bytes} bytes.", "request_line_bytes"
        )

    def _long_headers(self) -> Refusal:
        return Refusal(431, f"The headers are longer than {self.server.limits.header_bytes} bytes.", "header_bytes")

    def _one_request(self) -> bool:
        """Serve one request; whether the connection can carry another."""
        self._turn.share()
        self.body = None
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
        counted = address != self.peer and self.server.trusted(self.peer)
        if counted and not self.server.enter(address):
            self._answer_refusal(Refusal(429, "Too many connections from this address.", log=False))
            return self._finish()
        try:
            self._call(self.server.application(environ["PATH_INFO"]), environ)
        finally:
            if counted:
                self.server.leave(address)
        return not self.taken and self._finish()

    def _head(self) -> h11.Request | None:
        limits, clock = self.server.limits, self.server.clock
        events = self._events
        assert events is not None
        event: Any = (
            self._parsed(events) if events.trailing_data[0] else h11.NEED_DATA
        )  # it may have come with the one before
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
        limits, server = self.server.limits, self.server
        if len(request.method) + len(request.target) + 10 > limits.request_line_bytes:
            raise self._long_line()
        if (
            sum(len(name) + len(value) + 4 for name, value in request.headers) > limits.header_bytes
        ):  # h11 limits what it waits for only
            raise self._long_headers()
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
            "REMOTE_ADDR": self.peer,
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
        if server.trusted(self.peer):
            environ["REMOTE_ADDR"] = server.client_address(self.peer, environ.get("HTTP_X_FORWARDED_FOR", ""))
            if environ.get("HTTP_X_FORWARDED_PROTO") in ("http", "https"):
                environ["wsgi.url_scheme"] = environ["HTTP_X_FORWARDED_PROTO"]
        if "CONTENT_LENGTH" in environ and "HTTP_TRANSFER_ENCODING" in environ:
            # A proxy may have counted where h11 reads chunks, and what one takes for a body the other takes for a request.
            raise Refusal(400, "This is not a proper HTTP request: it has both Content-Length and Transfer-Encoding.")
        if int(environ.get("CONTENT_LENGTH") or 0) > limits.body_bytes:
            raise Refusal(413, f"A request body may have {limits.body_bytes} bytes.", "body_bytes")
        self.body = Body(self, server)
        environ["wsgi.input"] = io.BufferedReader(self.body)
        return environ

    def _call(self, app: WSGIApplication, environ: WSGIEnvironment) -> None:
        """Call the application and send what it answers."""
        answer = Answer(self, environ["REQUEST_METHOD"])
        try:
            result = app(environ, answer.start_response)
            try:
                if not self.taken:
                    answer.send_all(result)
            finally:
                close = getattr(result, "close", None)
                if close is not None:
                    close()
        except Refusal as refusal:
            answer.refuse(refusal)
        except (OSError, EOFError):
            self.give_up()  # the client went away, or did not take its answer in time
        except Exception as error:  # noqa: BLE001
            # Whatever an application forgot to catch: this request fails, the server goes on.
            self.server.log(f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']} failed: {describe(error)}")
            answer.refuse(Refusal(500, "Something went wrong in the server; its log says what.", log=False))

    def _finish(self) -> bool:
        """Read what the client still sends of its request, then make ready for the next. Whether there can be one."""
        events = self._events
        assert events is not None
        if events.their_state is h11.SEND_BODY and not (self.body is not None and self.body.slow):
            self._drain()
        if events.our_state is h11.DONE and events.their_state is h11.DONE:
            events.start_next_cycle()
            return True
        if events.our_state is not h11.ERROR:
            self._linger()
        return False

    def _drain(self) -> None:
        """Drop the rest of a body: a client that is cut off while it sends may never see the answer."""
        limits, clock = self.server.limits, self.server.clock
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
        clock = self.server.clock
        try:
            hub.shut(self.sock, reading=False)
            end, left = clock() + 1, self.server.limits.drain_bytes
            while left > 0 and clock() < end:
                self.sock.settimeout(max(end - clock(), 0.001))
                got = len(self.sock.recv(READ_BYTES))
                if not got:
                    return
                left -= got
        except OSError:
            pass  # closed or too slow: either way it had its chance

    def _answer_refusal(self, refusal: Refusal) -> None:
        Answer(self, "GET").refuse(refusal)

    def give_up(self) -> None:
        """Note that the answer cannot be completed, so that nothing follows it."""
        if self._events is not None:
            self._events.send_failed()

    def send(self, *events: h11.Event) -> None:
        """Send events to the client. Raises OSError (TimeoutError when it takes nothing for `send_seconds`)."""
        assert self._events is not None
        data = b"".join(self._events.send(event) or b"" for event in events)
        if data:
            seconds = self.server.limits.send_seconds
            self.sock.settimeout(seconds)
            try:
                self.sock.sendall(data)
            except TimeoutError:
                metrics.LIMITS_HIT.inc("send_seconds")
                self.server.log(f"{self.peer} took nothing of its answer for {seconds:g} seconds; it is given up")
                raise
