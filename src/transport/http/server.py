"""The HTTP listener: accepts connections, holds their limits, and knows which path goes to which application.

Applications are WSGI (PEP 3333), one green thread for each connection. Those of this package find under
`environ["transport.connection"]` the `HttpChannel`, from which a WebSocket takes over the socket.
"""

from __future__ import annotations

import contextlib
import errno
import ssl
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from imageserver import metrics
from imageserver.limits import Limits, note
from imageserver.transport import hub
from imageserver.transport.fairness import Turn
from imageserver.transport.http.clients import ClientAddresses
from imageserver.transport.http.connection import HttpConnection

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

__all__ = ["HttpServer", "Limits"]

_FULL = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain\r\nContent-Length: 29\r\nRetry-After: 5\r\n"
    b"Connection: close\r\n\r\nToo many connections; retry.\n"
)


class HttpServer:
    """Serves WSGI applications on a listening socket.

    `trusted_proxies`: addresses or networks ("10.0.0.1", "10.0.0.0/8") whose X-Forwarded-For and X-Forwarded-Proto
    are believed. `log` takes one line at a time. `ssl_context`: serve TLS. ValueError for a proxy that is no address.
    """

    def __init__(
        self,
        listener: hub.Socket,
        limits: Limits | None = None,
        *,
        trusted_proxies: Iterable[str] = (),
        log: Callable[[str], None],
        ssl_context: ssl.SSLContext | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.limits = limits or Limits()
        self.log, self.clock, self.ssl_context = log, clock, ssl_context
        self.stopping = False
        self._listener = listener
        self.clients = ClientAddresses(trusted_proxies, self.limits.max_per_address, log)
        self._routes: list[tuple[str, WSGIApplication]] = []
        self._connections: set[HttpConnection] = set()
        self._gauge = metrics.CONNECTIONS.child("tcp")

    @property
    def address(self) -> tuple[str, int]:
        """Host and port that it listens on."""
        host, port = self._listener.getsockname()[:2]
        return host, port

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return self.address[1]

    def route(self, prefix: str, app: WSGIApplication) -> None:
        """Send `prefix` and every path below it to `app`; of several, the longest wins. "" takes the rest."""
        self._routes = sorted([*self._routes, (prefix, app)], key=lambda route: -len(route[0]))

    def application(self, path: str) -> WSGIApplication:
        """The application for a path."""
        for prefix, app in self._routes:
            if path == prefix or path.startswith(prefix.rstrip("/") + "/") or not prefix:
                return app
        return _not_found

    def serve(self) -> None:
        """Accept until `stop`, then close the listening socket. Blocks; run it in a green thread of its own."""
        with self._listener:
            self._accept()

    def _accept(self) -> None:
        turn = Turn(self.clock)
        while not self.stopping:
            turn.share()  # in a storm of reconnections somebody always waits to be let in
            try:
                sock, address = self._listener.accept()
            except OSError as error:
                if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                    cure = "raise the limit of open files or lower --max-connections"
                    self.log(f"cannot accept a connection: {error.strerror}; {cure}")
                    hub.sleep(0.1)  # those waiting stay in the kernel's queue
                continue
            if len(self._connections) >= self.limits.max_connections:
                self._refuse(sock)
                continue
            connection = HttpConnection(self, sock, address[0], address[1])
            self._connections.add(connection)
            self._gauge.value += 1
            hub.spawn(self._run, connection)

    def stop(self, grace: float) -> None:
        """Accept no more, close what is idle, give running requests `grace` seconds, then cut the rest off."""
        self.stopping = True
        hub.shut(self._listener)  # `serve` wakes up and closes it
        for connection in list(self._connections):
            if connection.idle:
                connection.cut()
        end = self.clock() + grace
        while self._connections and self.clock() < end:
            hub.sleep(0.02)
        for connection in list(self._connections):
            connection.cut()

    def _run(self, connection: HttpConnection) -> None:
        try:
            connection.run()
        finally:
            self._connections.discard(connection)
            self._gauge.value -= 1

    def _refuse(self, sock: hub.Socket) -> None:
        self.log(note(f"{len(self._connections)} connections are open; one more was refused", "max_connections"))
        if self.ssl_context is None:
            sock.setblocking(False)
            with contextlib.suppress(OSError):  # it may have gone already
                hub.send_nowait(sock, _FULL)
        hub.shut(sock)
        sock.close()


def _not_found(_environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
    start_response("404 Not Found", [("Content-Type", "text/plain"), ("Content-Length", "10")])
    return [b"Not found\n"]
