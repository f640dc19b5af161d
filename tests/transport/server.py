"""The transports with limits from the command line, for the tests that exceed them: server.py JSON. Prints its port.

/socket.io/  handlers for the tests      /ws     a WebSocket that echoes
/echo        the request as JSON         /state  what is open now, the limits hit, and the log
/hold        holds the loop
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import resource
import socket
import ssl
import sys
import threading
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]
import bootstrap

bootstrap.provide_package()

import greenlet
import h11
from tests.conformance.plain import websocket_app

from imageserver import errors, metrics
from imageserver.errors import ConnectionRefused
from imageserver.limits import Limits
from imageserver.transport import hub
from imageserver.transport.engineio import polling
from imageserver.transport.http.clients import ClientAddresses
from imageserver.transport.http.origins import Origins
from imageserver.transport.http.server import HttpServer
from imageserver.transport.socketio.server import SocketIOServer
from imageserver.transport.websocket.connection import WebSocket

OPTIONS = json.loads(sys.argv[1])
LOG: list[str] = []
if "old_poll_seconds" in OPTIONS:
    polling.OLD_POLL_SECONDS = OPTIONS["old_poll_seconds"]


def say(line: str) -> None:
    LOG.append(line)
    del LOG[:-200]


def reply(start_response: Any, value: Any, status: str = "200 OK") -> list[bytes]:
    start_response(status, [("Content-Type", "application/json")])
    return [json.dumps(value).encode()]


def echo_request(environ: Any, start_response: Any) -> list[bytes]:
    body = environ["wsgi.input"].read()
    kept = {name: value for name, value in environ.items() if isinstance(value, str)}
    return reply(start_response, {"length": len(body), "begin": body[:20].decode("latin-1"), "environ": kept})


def refuse(_environ: Any, start_response: Any) -> list[bytes]:
    return reply(start_response, {"error": "no"}, "403 Forbidden")


def stream(_environ: Any, start_response: Any) -> Any:
    start_response("200 OK", [("Content-Type", "text/plain")])
    for index in range(5):
        hub.sleep(0)
        yield str(index).encode() * 10


def no_delay(environ: Any, start_response: Any) -> list[bytes]:
    return reply(
        start_response, environ["transport.connection"].sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    )


def broken(environ: Any, _start_response: Any) -> list[bytes]:
    environ["transport.headers"] = [("X-Kept", "told")]
    raise RuntimeError("a secret of the application")


def large(_environ: Any, start_response: Any) -> list[bytes]:
    return reply(start_response, "x" * 50_000_000)  # more than the kernel takes


def slow(_environ: Any, start_response: Any) -> list[bytes]:
    hub.sleep(0.5)
    return reply(start_response, "done")


def compute(seconds: float) -> None:
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


def keep_gil(seconds: float) -> None:
    """One call of C on a thread beside the loop, which does not let go of the GIL."""
    threading.Thread(target=ctypes.PyDLL(None).usleep, args=[int(seconds * 1e6)]).start()


def hold(environ: Any, start_response: Any) -> list[bytes]:
    """Hold the loop, in one of three ways."""
    query = dict(pair.split("=") for pair in environ["QUERY_STRING"].split("&"))
    {"sleep": time.sleep, "work": compute, "gil": keep_gil}[query["how"]](int(query["milliseconds"]) / 1e3)
    return reply(start_response, "held")


def echo(ws: WebSocket, _environ: Any) -> None:
    while (message := ws.receive()) is not None:
        if message == "flood":
            while ws.send(b"x" * 100_000):
                hub.sleep(0)
            return
        ws.send(message)


def socketio(clients: ClientAddresses | None) -> SocketIOServer:
    server = SocketIOServer(
        Limits(**OPTIONS.get("socketio", {})),
        origins=Origins(OPTIONS.get("origins", ()), log=say),
        clients=clients,
        login_required=OPTIONS.get("login_required", False),
        log=say,
    )

    def connected(_sid: str, _environ: Any, auth: Any) -> None:
        if auth == {"wait": 1}:
            hub.sleep(OPTIONS.get("connect_wait", 1))
        if auth == {"refuse": 1}:
            raise ConnectionRefused("Not with this key")
        if auth == {"fail": 1}:
            raise RuntimeError("a secret of the handler")

    def fail(_sid: str, kind: str) -> None:
        raise errors.PictureError("no picture") if kind == "ours" else RuntimeError("a secret of the handler")

    def flood(sid: str, count: int, size: int) -> None:
        for _ in range(count):
            server.emit("flooded", b"x" * size, to=sid)

    def newest(sid: str, count: int) -> None:
        server.emit("first", b"x" * 8_000_000, to=sid)  # more than the kernel takes at once
        for index in range(count):
            server.emit("prediction", index, to=sid, newest="prediction")
        say("all emitted")

    def block(sid: str, seconds: float) -> str:
        server.emit("blocking", to=sid)
        hub.sleep(seconds)
        return "done"

    def login(sid: str, right: bool, seconds: float) -> str:
        with server.checking_login(sid):
            hub.sleep(seconds)
            if right:
                server.logged_in(sid)
        return "done"

    running: list[str] = []

    def step(_sid: str, name: str, seconds: float) -> None:
        running.append(name)
        say(f"{name} begins")
        hub.sleep(seconds)
        say(f"{name} ends beside {len(running) - 1}")
        running.remove(name)

    def stop(sid: str, size: int) -> None:
        server.emit("last", b"x" * size, to=sid)
        server.emit("last", b"x" * 10, to=sid)
        hub.spawn(server.close_all, 1.0)

    server.on("login", login)
    server.on("step", step)
    server.on("stop", stop)
    server.on("connect", connected)
    server.on("echo", lambda _sid, *arguments: arguments)
    server.on("quiet", lambda _sid, *_arguments: None)
    server.on("two", lambda _sid, _first, _second: None)
    server.on("fail", fail)
    server.on("flood", flood)
    server.on("newest", newest)
    server.on("block", block)
    server.on("kick", lambda sid, close=False: server.disconnect(sid, close=close))
    server.on("name", lambda sid: [sid, server.generation(sid), server.address(sid)])
    server.on("name", lambda sid: sid, "/0")
    server.on("disconnect", lambda sid, reason: say(f"gone {sid} {reason}"))
    for index in range(20):
        server.on("echo", lambda _sid, *arguments: arguments, f"/{index}")
    return server


def main() -> None:
    listener = hub.listen("127.0.0.1", 0)
    server = HttpServer(
        listener, Limits(**OPTIONS.get("http", {})), trusted_proxies=OPTIONS.get("proxies", ()), log=say
    )
    sockets = socketio(server.clients if OPTIONS.get("one_count") else None)

    def state(_environ: Any, start_response: Any) -> list[bytes]:
        gc.collect()
        members, engine = sockets._members, sockets._engine
        kept = [members.where, members.joined, members.early, members.deadlines, members.rooms]
        kept += [members.rooms._manager.rooms, sockets._reader.waiting, engine.sessions, engine.last_answers]
        leftovers = [len(one) for one in kept]
        with open("/proc/self/statm") as statm:
            resident = int(statm.read().split()[1]) * resource.getpagesize()
        return reply(start_response, {
            "limits": {labels[0]: child.value for labels, child in metrics.LIMITS_HIT.children.items()},
            "connections": {labels[0]: child.value for labels, child in metrics.CONNECTIONS.children.items()},
            "log": LOG,
            "leftovers": leftovers,
            "descriptors": len(os.listdir("/proc/self/fd")),
            "greenlets": sum(isinstance(thing, greenlet.greenlet) and not thing.dead for thing in gc.get_objects()),
            "resident": resident,
            "memory": {kind: size for kind, size in server.budget.used_for.items() if size},
            "headers": sum(isinstance(thing, dict) and "HTTP_X_KEPT" in thing for thing in gc.get_objects()),
            "requests": sum(isinstance(thing, h11.Request) for thing in gc.get_objects()),
        })  # fmt: skip

    server.route("", echo_request)
    apps = {
        "/refuse": refuse,
        "/stream": stream,
        "/broken": broken,
        "/slow": slow,
        "/state": state,
        "/socket.io/": sockets,
    }
    apps["/no-delay"], apps["/large"], apps["/hold"] = no_delay, large, hold
    for path, app in apps.items():
        server.route(path, app)
    server.route("/ws", websocket_app(echo, Limits(**OPTIONS.get("websocket", {}))))

    def stop(_environ: Any, start_response: Any) -> list[bytes]:
        hub.spawn_later(0.05, server.stop, 2.0)
        return reply(start_response, "stopping")

    server.route("/stop", stop)
    ports = [server.port]
    if OPTIONS.get("tls"):  # without a certificate: no handshake succeeds
        secure = HttpServer(
            hub.listen("127.0.0.1", 0), server.limits, log=say, ssl_context=ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        )
        hub.spawn(secure.serve)
        ports.append(secure.port)
    gc.freeze()  # as the real server does: /state collects, and looks at all objects
    print(*ports, flush=True)
    server.serve()
    hub.sleep(0.1)
    while server.connections:
        hub.sleep(0.01)


if __name__ == "__main__":
    main()
