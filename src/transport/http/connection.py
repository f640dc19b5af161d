"""One HTTP connection from its accept to its close: the TLS handshake, then request after request, each a WSGI call."""

from __future__ import annotations

import io
import ssl
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol
from urllib.parse import unquote_to_bytes

import h11

from imageserver import metrics
from imageserver.errors import Refusal, TimedOut, describe
from imageserver.limits import Limits
from imageserver.transport import hub
from imageserver.transport.budget import Budget
from imageserver.transport.fairness import handshakes
from imageserver.transport.http.channel import ChannelState, HttpChannel
from imageserver.transport.http.clients import ClientAddresses
from imageserver.transport.http.strictness import path_of
from imageserver.transport.http.wsgi import Body, Response

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication, WSGIEnvironment

_NO_TLS = (
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nContent-Length: 74\r\nConnection: close\r\n\r\n"
    b"This port speaks HTTPS: begin the address with https:// in place of http:\n"
)

_TAKEN_APART = ("CONTENT_TYPE", "HTTP_ACCEPT", "HTTP_AUTHORIZATION", "HTTP_X_FORWARDED_FOR")
"""Headers whose values are taken apart: in 32 KiB of them this took a quarter of a second."""


class Site(Protocol):
    """What a connection needs of the server."""

    limits: Limits
    clients: ClientAddresses
    budget: Budget
    clock: Callable[[], float]
    log: Callable[[str], None]
    ssl_context: ssl.SSLContext | None
    stopping: bool

    def application(self, path: str) -> WSGIApplication:
        """The application for a path."""


class HttpConnection:
    """A client's connection. `port` is the client's own."""

    __slots__ = ("_channel", "_port", "_site")

    def __init__(self, site: Site, sock: hub.Socket, peer: str, port: int) -> None:
        self._site, self._port = site, port
        self._channel = HttpChannel(sock, peer, site.limits, site.clock, site.log, site.budget.account(peer))

    @property
    def idle(self) -> bool:
        """Whether nothing is being asked or answered, so that it may be closed at any moment."""
        return self._channel.state is ChannelState.IDLE

    def run(self) -> None:
        """Serve request after request, until either side has enough."""
        site, channel = self._site, self._channel
        direct = not site.clients.trusted(channel.peer)  # behind a proxy each request has an address of its own
        if direct and not site.clients.enter(channel.peer):
            self._close()
            return
        try:
            hub.no_delay(channel.sock)
            if site.ssl_context is None or self._secure(site.ssl_context):
                while self._one_request() and not site.stopping:
                    pass
        except TimedOut:
            metrics.LIMITS_HIT.inc("handshake_seconds")
            site.log(f"{channel.peer} did not finish its TLS handshake within {site.limits.header_time:g} seconds")
        except (OSError, EOFError):
            pass  # the client has gone, or speaks no TLS: nobody is left to be told
        finally:
            if direct:
                site.clients.leave(channel.peer)
            self._close()

    def cut(self) -> None:
        """End it from outside: whatever waits for the socket sees the end of the stream."""
        hub.shut(self._channel.sock)

    def _close(self) -> None:
        hub.shut(self._channel.sock)
        self._channel.sock.close()

    def _secure(self, context: ssl.SSLContext) -> bool:
        """Do the TLS handshake; False when the client speaks plain HTTP, and was told so. Raises OSError, TimedOut."""
        channel, clock = self._channel, self._site.clock
        end = clock() + self._site.limits.header_time
        if b"A" <= hub.peek(channel.sock, end - clock()) <= b"Z":  # a method; a handshake begins with a 22
            channel.sock.sendall(_NO_TLS)
            channel.linger()
            return False
        handshakes.take()
        if clock() >= end:
            raise TimedOut  # no arithmetic for who has no time left: in a flood all others would come too late
        channel.sock = hub.start_tls(channel.sock, context, end - clock())
        return True

    def _one_request(self) -> bool:
        """Serve one request; whether the connection can carry another."""
        channel, clients = self._channel, self._site.clients
        try:
            request = channel.read_head()
            if request is None:
                return False
            body = Body(channel, self._site.limits, self._site.clock)
            environ = self._environ(request, body)
        except Refusal as refusal:
            self._refuse(refusal)
            channel.linger()
            return False
        del request  # its headers would be kept twice, for as long as a WebSocket or a poll lasts
        address = environ["REMOTE_ADDR"]
        counted = address != channel.peer and clients.trusted(channel.peer)
        if counted and not clients.enter(address):
            self._refuse(Refusal(429, "Too many connections from this address.", log=False))
            return channel.finish(drain=True)
        account = environ["transport.account"] = body.account = self._site.budget.account(address)
        body.expected = int(environ.get("CONTENT_LENGTH") or 0)
        try:
            self._call(environ, body)
        finally:
            account.close()
            if counted:
                clients.leave(address)
        return channel.state is not ChannelState.UPGRADED and channel.finish(drain=not body.slow)

    def _environ(self, request: h11.Request, body: Body) -> WSGIEnvironment:
        """What WSGI (PEP 3333) tells the application of a request. Raises Refusal.

        `transport.upgrade` is the Upgrade header, which an application may ignore: those that know none never see it.
        """
        channel = self._channel
        target = path_of(request.target.decode("latin-1"))
        path, _, query = target.partition("?")
        host, port = channel.sock.getsockname()[:2]
        environ: WSGIEnvironment = {
            "REQUEST_METHOD": channel.method,
            "SCRIPT_NAME": "",
            "PATH_INFO": unquote_to_bytes(path).decode("latin-1"),
            "QUERY_STRING": query,
            "RAW_URI": target,
            "SERVER_NAME": host,
            "SERVER_PORT": str(port),
            "SERVER_PROTOCOL": f"HTTP/{request.http_version.decode('ascii')}",
            "REMOTE_ADDR": channel.peer,
            "REMOTE_PORT": str(self._port),
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "http" if self._site.ssl_context is None else "https",
            "wsgi.input": io.BufferedReader(body),
            "wsgi.errors": sys.stderr,
            "wsgi.multithread": False,
            "wsgi.multiprocess": False,
            "wsgi.run_once": False,
            "wsgi.input_terminated": True,
            "transport.connection": channel,
        }
        _add_headers(environ, request, self._site.limits)
        if self._site.clients.trusted(channel.peer):
            environ["REMOTE_ADDR"] = self._site.clients.behind(channel.peer, environ.get("HTTP_X_FORWARDED_FOR", ""))
            if environ.get("HTTP_X_FORWARDED_PROTO") in ("http", "https"):
                environ["wsgi.url_scheme"] = environ["HTTP_X_FORWARDED_PROTO"]
        return environ

    def _call(self, environ: WSGIEnvironment, body: Body) -> None:
        """Call the application and send what it answers."""
        channel, method = self._channel, environ["REQUEST_METHOD"]
        response = Response(channel, method, body, lambda: self._site.stopping)
        try:
            result = self._site.application(environ["PATH_INFO"])(environ, response.start_response)
            try:
                if channel.state is not ChannelState.UPGRADED:
                    response.send_all(result)
            finally:
                close = getattr(result, "close", None)
                if close is not None:
                    close()
        except Refusal as refusal:
            response.refuse(refusal, environ.get("transport.headers", ()))
            _let_go(refusal)
        except (OSError, EOFError) as error:
            channel.give_up()  # the client went away, or did not take its answer in time
            _let_go(error)
        except Exception as error:  # noqa: BLE001
            # Whatever an application forgot to catch: this request fails, the server goes on.
            self._site.log(f"{method} {environ['PATH_INFO']} failed: {describe(error)}")
            failed = Refusal(500, "Something went wrong in the server; its log says what.", log=False)
            response.refuse(failed, environ.get("transport.headers", ()))

    def _refuse(self, refusal: Refusal) -> None:
        Response(self._channel, self._channel.method).refuse(refusal)


def _let_go(error: Exception) -> None:
    """Free what was read of the request: it hangs on the traceback, which refers to itself through the body."""
    error.__traceback__ = error.__context__ = error.__cause__ = None


def _add_headers(environ: WSGIEnvironment, request: h11.Request, limits: Limits) -> None:
    for raw_name, raw_value in request.headers:
        if b"_" in raw_name:
            continue  # it would pass for the header with a dash, which a proxy may have removed
        name = raw_name.decode("ascii").upper().replace("-", "_")
        value = raw_value.decode("latin-1")
        if name == "UPGRADE":
            name = "transport.upgrade"
        elif name not in ("CONTENT_TYPE", "CONTENT_LENGTH"):
            name = "HTTP_" + name
        if name in environ:
            value = environ[name] + ("; " if name == "HTTP_COOKIE" else ",") + value
        environ[name] = value
    most = limits.max_header_value
    for name in _TAKEN_APART:
        if len(environ.get(name, "")) > most:
            title = name.removeprefix("HTTP_").replace("_", "-").title()
            raise Refusal(431, f"The header {title} is longer than {most} bytes.", "max_header_value")
