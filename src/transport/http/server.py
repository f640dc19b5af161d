"""The HTTP listener: accepts connections, holds their limits, and knows which path goes to which application.

Applications are WSGI (PEP 3333), one green thread for each connection. Those of this package find under
`environ["transport.connection"]` the `HttpChannel`, from which a WebSocket takes over the socket, and under
`environ["transport.account"]` the `Account` of the client, to which the request's body and its answer are charged.
Headers that they leave under `environ["transport.headers"]` go with a refusal in place of their answer, too.
"""

from __future__ import annotations

import contextlib
import ssl
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from imageserver.limits import Limits
from imageserver.transport import descriptors, hub
from imageserver.transport.budget import Budget
from imageserver.transport.http.channel import linger
from imageserver.transport.http.clients import ClientAddresses
from imageserver.transport.http.connection import HttpConnection
from imageserver.transport.listener import Listener

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

__all__ = ["HttpServer", "Limits"]

_FULL = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain\r\nContent-Length: 29\r\nRetry-After: 5\r\n"
    b"Connection: close\r\n\r\nToo many connections; retry.\n"
)
_ALERT = b"\x15\x03\x01\x00\x02\x02\x50"
"""The record of TLS that says: fatal, internal error."""

_LEAVING, _LEAVING_BYTES = 64, 64 * 1024
"""Clients that are turned away at a time and may still read why, and what each may send meanwhile."""


class HttpServer(Listener):
    """Serves WSGI applications on a listening socket.

    `trusted_proxies`: addresses or networks ("10.0.0.1", "10.0.0.0/8") whose X-Forwarded-For and X-Forwarded-Proto
    are believed. `log` takes one line at a time. `ssl_context`: serve TLS. `budget`: of the bytes that wait, one for
    all ports; its own by default. ValueError for a proxy that is no address.
    """

    def __init__(
        self,
        listener: hub.Socket,
        limits: Limits | None = None,
        *,
        trusted_proxies: Iterable[str] = (),
        log: Callable[[str], None],
        ssl_context: ssl.SSLContext | None = None,
        budget: Budget | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(listener, "tcp", limits or Limits(), log=log, clock=clock)
        self.ssl_context = ssl_context
        self._leaving = 0
        self.budget = budget or Budget(self.limits, log=log)
        self.clients = ClientAddresses(trusted_proxies, self.limits.max_per_address, log)
        self._routes: list[tuple[str, WSGIApplication]] = []

    def route(self, prefix: str, app: WSGIApplication) -> None:
        """Send `prefix` and every path below it to `app`; of several, the longest wins. "" takes the rest."""
        self._routes = sorted([*self._routes, (prefix, app)], key=lambda route: -len(route[0]))

    def application(self, path: str) -> WSGIApplication:
        """The application for a path."""
        for prefix, app in self._routes:
            if path == prefix or path.startswith(prefix.rstrip("/") + "/") or not prefix:
                return app
        return _not_found

    def admit(self, sock: hub.Socket, host: str, port: int) -> HttpConnection | None:
        """A connection, unless there are too many."""
        if len(self.connections) >= self.limits.max_connections:
            self.refuse(sock, host, f"{len(self.connections)} connections are open", "max_connections")
            return None
        return HttpConnection(self, sock, host, port)

    def turn_away(self, sock: hub.Socket) -> None:
        """Answer 503, or over TLS, where that would need a handshake, with an alert."""
        sock.setblocking(False)
        with contextlib.suppress(OSError):  # it may have gone already
            hub.send_nowait(sock, _FULL if self.ssl_context is None else _ALERT)
        if self._leaving < min(_LEAVING, descriptors.spare_of(self.limits.spare_descriptors) // 4):
            hub.spawn(self._see_off, sock)
        else:
            hub.shut(sock)
            sock.close()

    def _see_off(self, sock: hub.Socket) -> None:
        """Give a client that was turned away a moment to read why: what it still sends would bring a reset before."""
        self._leaving += 1
        try:
            linger(sock, self.clock, _LEAVING_BYTES)
        finally:
            self._leaving -= 1
            hub.shut(sock)
            sock.close()


def _not_found(_environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
    start_response("404 Not Found", [("Content-Type", "text/plain"), ("Content-Length", "10")])
    return [b"Not found\n"]
