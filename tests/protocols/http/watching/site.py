"""A server in the test's own loop, streams whose frames are answered when the test says so, and clients in threads."""

from __future__ import annotations

import base64
import contextlib
import http.client
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

from tests.passwords import CHEAP

from imageserver.accounts.database import UserDB
from imageserver.accounts.login import Logins
from imageserver.errors import PictureError
from imageserver.limits import Limits
from imageserver.protocols.http import app
from imageserver.protocols.http.watching.views import WatchingViews
from imageserver.streams.drawings import Drawings
from imageserver.streams.overview import Overview
from imageserver.streams.session import Session, Sessions
from imageserver.streams.stream import Stream, Streams, StreamSubscriber
from imageserver.transport import hub
from imageserver.transport.budget import Budget
from imageserver.transport.http.server import HttpServer
from imageserver.web.access import Access
from imageserver.web.followers import Followers

JPEG = b"\xff\xd8\xff"


class Engine:
    """Answers each frame when `answer` is called."""

    def __init__(self) -> None:
        self.waiting: list[tuple[Any, str]] = []

    def submit(self, source: Any, name: str) -> None:
        self.waiting.append((source, name))

    def answer(self, **result: Any) -> None:
        source, name = self.waiting.pop(0)
        work = source.take(name)
        source.answered(work, result or {"label": "x", "size": [4, 3]})


class Process:
    """Draws: puts a word behind the picture. Counts, and waits where it is told to."""

    def __init__(self) -> None:
        self.drawn: list[bytes] = []
        self.go_on = hub.Event()
        self.go_on.set()

    def draw(self, data: bytes, rotate: int, prediction: dict[str, Any]) -> bytes:
        self.go_on.wait()
        if b"broken" in bytes(data):
            raise PictureError("it cannot be decoded")
        self.drawn.append(bytes(data))
        return bytes(data) + b" drawn"


class WatchedSite:
    """The whole of it. `users`: whether a login is asked."""

    def __init__(self, *, users: bool = False, **limits: Any) -> None:
        self.limits = Limits(**limits)
        self.log: list[str] = []
        self.users = UserDB(None, CHEAP, self.limits)
        self.logins = Logins(self.users, self.limits, required=users, log=self.log.append)
        self.engine, self.process = Engine(), Process()
        engine: Any = self.engine
        process: Any = self.process
        self.streams = Streams(engine, self.limits)
        stateful: Any = mock.Mock()
        self.sessions = Sessions(stateful, (), self.limits, deadline=1.0)
        self.overview = Overview(self.streams, self.sessions)
        self.budget = Budget(self.limits, log=self.log.append)
        self.followers = Followers("stream_followers", self.limits.stream_followers, "streams", self.log.append)
        self.drawings = Drawings(process, self.limits.draw_queue)
        self.views = WatchingViews(self.overview, self.drawings, self.followers, send_time=self.limits.send_time)
        self.views.watch(self.streams, self.sessions)
        listener = hub.listen("127.0.0.1", 0)
        self.server = HttpServer(listener, self.limits, log=self.log.append, budget=self.budget)
        models, trainings = mock.Mock(max_frame_bytes=2**20), mock.Mock()
        models.engine.models = {}
        options: dict[str, Any] = {
            "not_ready": lambda: None,
            "log": self.log.append,
            "most_followers": 1,
            "home": None,
            "pages": lambda _document: (),
        }
        access = Access(self.logins, self.limits)
        self.server.route("", app.application(models, access, trainings, self.views, **options))
        hub.spawn(self.server.serve)

    def close(self) -> None:
        self.streams.stop()
        self.server.close()
        self.server.stop(0.2)

    def stream(self, name: str, camera: str = "", key: str = "") -> Stream:
        options: dict[str, Any] = {"protocol": "camstream", "model": "echo", "hz": 0.0, "rotate": 0}
        account = self.budget.account("10.9.9.9")
        subscriber = StreamSubscriber()
        return self.streams.open(key or f"id-{name}", name, camera, subscriber=subscriber, account=account, **options)

    def session(self, user: str) -> Session:
        found = Session.__new__(Session)  # its models are no part of this
        called = self.streams.names.take("session-1", "", user=user, address="", connection="c")
        known = {"id": "session-1", "number": 10**6, "user": user, "called": called, "begun": 0.0, "dropped": 0}
        counts = {"received": 0, "answered_count": 0, "protocol": "sessions", "model": "pulse"}
        found.__dict__ |= {**known, **counts, "last_prediction": {}}
        self.sessions.open_sessions["session-1"] = found
        return found

    def frame(self, stream: Stream, data: bytes, **result: Any) -> None:
        """A frame comes and is answered."""
        stream.offer(data, 1_700_000_000_123)
        self.engine.answer(**result)

    def connect(self, path: str, user: str = "", **headers: str) -> Viewer:
        """Ask, in a thread, and read the head."""
        if user:
            headers["Authorization"] = "Basic " + base64.b64encode(f"{user}:{user}".encode()).decode()
        return hub.in_thread(Viewer, self.server.port, path, headers)


class Viewer:
    """Somebody who reads an answer that does not end; methods that read are called through the hub's threads."""

    def __init__(self, port: int, path: str, headers: dict[str, str], method: str = "GET") -> None:
        self.client = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        self.client.request(method, path, headers=headers)
        self.sock = self.client.sock
        self.response = self.client.getresponse()
        self.status, self.headers = self.response.status, self.response.headers

    def __enter__(self) -> Viewer:
        return self

    def __exit__(self, *_exception: object) -> None:
        with contextlib.suppress(OSError):  # it has ended
            self.sock.shutdown(socket.SHUT_RDWR)
        self.response.close()
        self.client.close()
        self.sock.close()

    def part(self) -> tuple[dict[str, str], bytes]:
        """The next part of motion JPEG: its headers, and the picture."""
        return hub.in_thread(self._part)

    def _part(self) -> tuple[dict[str, str], bytes]:
        while (line := self.response.readline()) in (b"\r\n", b"--frame\r\n"):
            pass
        headers = {}
        while line.strip():
            name, _, value = line.decode().strip().partition(": ")
            headers[name] = value
            line = self.response.readline()
        data = self.response.read(int(headers["Content-Length"]))
        assert self.response.readline() == b"\r\n"
        assert self.response.readline() == b"--frame\r\n", "a browser shows a picture once it knows that it has ended"
        return headers, data

    def event(self) -> tuple[str, str]:
        """The next event, and its data; comments and `retry` are left out."""
        return hub.in_thread(self._event)

    def _event(self) -> tuple[str, str]:
        kind = data = ""
        while True:
            line = self.response.readline().decode()
            assert line, "the answer has ended"
            name, _, value = line.rstrip("\n").partition(": ")
            if name == "event":
                kind = value
            elif name == "data":
                data = value
            elif not line.strip() and kind:
                return kind, data

    def rest(self) -> bytes:
        """What comes to the end."""
        return hub.in_thread(self._rest)

    def _rest(self) -> bytes:
        try:
            return self.response.read()
        except (http.client.IncompleteRead, ConnectionError) as error:
            return getattr(error, "partial", b"")


def until(condition: Callable[[], Any], what: str) -> None:
    """Wait green until `condition()` holds."""
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end, f"waited in vain for {what}"
        hub.sleep(0.002)


def deaf(port: int, path: str) -> socket.socket:
    """A client that asks and reads nothing."""
    found = socket.create_connection(("127.0.0.1", port))
    found.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    return found


def site(**options: Any) -> Iterator[WatchedSite]:
    """For fixtures."""
    found = WatchedSite(**options)
    yield found
    found.close()
