"""A WebSocket as a WSGI application of its own, for the servers of the tests."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from imageserver import metrics
from imageserver.limits import Limits
from imageserver.transport.websocket.connection import WebSocket, accept

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment


def websocket_app(
    handler: Callable[[WebSocket, WSGIEnvironment], None], limits: Limits | None = None
) -> WSGIApplication:
    """A WSGI application that calls `handler(ws, environ)` for each connection and closes it when that returns."""
    chosen = limits or Limits()
    gauge = metrics.CONNECTIONS.child("websocket")

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
        ws = accept(environ, chosen)
        if ws is None:
            body = b"This address speaks WebSocket.\n"
            headers = [("Content-Type", "text/plain"), ("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13")]
            start_response("426 Upgrade Required", headers)
            return [body]
        gauge.value += 1
        try:
            handler(ws, environ)
        finally:
            gauge.value -= 1
            ws.close()
            while ws.receive() is not None:
                pass  # until the client has answered the close frame
            ws.ended()
        return []

    return app
