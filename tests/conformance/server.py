"""A server from src/transport alone, for the conformance suites of the Socket.IO project and the Autobahn suite.

    python tests/conformance/server.py PORT [PING_INTERVAL PING_TIMEOUT]

/engine.io   echoes every message, in both generations of Engine.IO
/socket.io   the namespaces / and /custom: on connect emits `auth`; answers `message` by `message-back`, acknowledges
             `message-with-ack`
/echo        a plain WebSocket that echoes every message
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]
import bootstrap

bootstrap.provide_package()

from tests.conformance.plain import websocket_app

from imageserver.limits import Limits
from imageserver.transport import hub
from imageserver.transport.engineio.outgoing import Group
from imageserver.transport.engineio.packet import MESSAGE, EnginePacket
from imageserver.transport.engineio.server import EngineServer
from imageserver.transport.http.origins import Origins
from imageserver.transport.http.server import HttpServer
from imageserver.transport.socketio.server import SocketIOServer
from imageserver.transport.websocket.connection import WebSocket

INTERVAL, TIMEOUT = map(float, sys.argv[2:] or (0.3, 0.2))  # in seconds, as those suites expect
LIMITS = Limits(
    ping_interval=INTERVAL, ping_timeout=TIMEOUT, max_message_bytes=1_000_000, max_text_bytes=1_000_000, join_time=1
)

GREETING_SECONDS = 0.005


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def engine() -> EngineServer:
    """An Engine.IO server that echoes."""
    server = EngineServer(LIMITS, origins=Origins("*"), log=say)
    server.message = lambda sid, data: server.send(sid, Group([EnginePacket(MESSAGE, data)]))
    return server


def socketio() -> SocketIOServer:
    """The Socket.IO server that the suite of protocol 5 expects."""
    server = SocketIOServer(LIMITS, origins=Origins("*"), log=say)
    for namespace in ("/", "/custom"):

        def connected(sid: str, environ: Any, auth: Any, namespace: str = namespace) -> None:
            def greet() -> None:
                server.emit("auth", auth or {}, to=sid, namespace=namespace)

            if (
                "transport.upgrade" in environ
            ):  # the suite's client misses a message that its library reads in one go with the one before
                hub.spawn_later(GREETING_SECONDS, greet)
            else:
                greet()

        def message(sid: str, *arguments: Any, namespace: str = namespace) -> None:
            server.emit("message-back", *arguments, to=sid, namespace=namespace)

        server.on("connect", connected, namespace)
        server.on("message", message, namespace)
        server.on("message-with-ack", lambda _sid, *arguments: arguments, namespace)
    return server


def echo(ws: WebSocket, _environ: Any) -> None:
    while (message := ws.receive()) is not None:
        ws.send(message)
        ws.outgoing.wait(30)  # the client sets the pace


def main() -> None:
    listener = hub.listen("127.0.0.1", int(sys.argv[1]))
    server = HttpServer(listener, Limits(), log=say)
    server.route("/engine.io/", engine().handle_request)
    server.route("/socket.io/", socketio())
    server.route("/echo", websocket_app(echo))
    print(json.dumps({"port": listener.getsockname()[1]}), flush=True)
    server.serve()


if __name__ == "__main__":
    main()
