"""The server that the client programs here are run against, on a free port that it prints. Default limits."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "src"))
import bootstrap

bootstrap.provide_package()

from imageserver.errors import ConnectionRefused
from imageserver.transport import hub
from imageserver.transport.http.origins import Origins
from imageserver.transport.http.server import HttpServer
from imageserver.transport.socketio.server import SocketIOServer


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main() -> None:
    server = SocketIOServer(origins=Origins("*"), log=say)
    for namespace in ("/", "/custom"):

        def connected(sid: str, _environ: Any, auth: Any, namespace: str = namespace) -> None:
            server.emit("auth", auth, to=sid, namespace=namespace)

        def message(sid: str, *arguments: Any, namespace: str = namespace) -> None:
            server.emit("message-back", *arguments, to=sid, namespace=namespace)

        server.on("connect", connected, namespace)
        server.on("message", message, namespace)
        server.on("message-with-ack", lambda _sid, *arguments: arguments, namespace)

    def refuse(_sid: str, _environ: Any, _auth: Any) -> None:
        raise ConnectionRefused("Not today")

    def burst(sid: str, count: int) -> None:
        for index in range(count):
            server.emit("step", index, to=sid)

    def shout(sid: str, room: str, *arguments: Any) -> None:
        server.emit("shouted", *arguments, to=room, skip=sid)

    server.on("connect", refuse, "/refused")
    server.on("burst", burst)
    server.on("drop", server.drop)
    server.on("join", server.enter_room)
    server.on("shout", shout)
    listener = hub.listen("127.0.0.1", 0)
    http = HttpServer(listener, log=say)
    http.route("/socket.io/", server)
    print(listener.getsockname()[1], flush=True)
    http.serve()


if __name__ == "__main__":
    main()
