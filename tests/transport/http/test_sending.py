"""Answers over TLS and without: whole, one behind the other, and to clients that take them slowly."""

from __future__ import annotations

import http.client
import ssl
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from imageserver.app import certificates
from imageserver.limits import Limits
from imageserver.transport import hub
from imageserver.transport.http.server import HttpServer

LARGE = bytes(range(256)) * 40_000  # more than the kernel takes at once


class Site:
    """A server in the test's own loop, which answers with `LARGE` or with the length of what was sent."""

    def __init__(self, folder: Path, *, tls: bool) -> None:
        self.log: list[str] = []
        context = None
        self._trust = None
        if tls:
            cert, key = certificates.self_signed(folder, self.log.append, ["localhost"])
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(cert, key)
            self._trust = ssl.create_default_context(cafile=str(cert))
        limits = Limits(send_time=0.4, min_body_rate=100_000, body_grace=5.0)
        listener = hub.listen("127.0.0.1", 0)
        self.server = HttpServer(listener, limits, log=self.log.append, ssl_context=context)
        self.server.route("", self._answer)
        hub.spawn(self.server.serve)

    def _answer(self, environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        return [LARGE if environ["REQUEST_METHOD"] == "GET" else b"%d" % len(environ["wsgi.input"].read())]

    def client(self) -> http.client.HTTPConnection:
        """To be used in a thread."""
        if self._trust is None:
            return http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=20)
        return http.client.HTTPSConnection("localhost", self.server.port, timeout=20, context=self._trust)


@pytest.fixture(params=[False, True], ids=["plain", "tls"])
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path, tls=request.param)
    yield made
    made.server.stop(0.0)
    hub.sleep(0.05)


def test_large_answers_one_behind_the_other(site: Site) -> None:
    def talk() -> list[bytes]:
        with closing(site.client()) as client:
            answers = []
            for method, body in (("GET", None), ("POST", LARGE), ("GET", None)):
                client.request(method, "/", body)
                answers.append(client.getresponse().read())
            return answers

    assert hub.in_thread(talk) == [LARGE, b"10240000", LARGE]
    assert not site.log


def test_the_head_comes_in_one_piece(site: Site) -> None:
    def first() -> bytes:
        with closing(site.client()) as client:
            client.connect()
            client.sock.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            return bytes(client.sock.recv(4096))

    assert b"\r\n\r\n" in hub.in_thread(first)


def test_who_takes_nothing_more_is_given_up(site: Site) -> None:
    done = threading.Event()

    def reads_nothing_more() -> None:
        with closing(site.client()) as client:
            client.connect()
            client.sock.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            client.sock.recv(100)
            done.wait(20)

    task = hub.spawn(hub.in_thread, reads_nothing_more)
    while not site.log:
        hub.sleep(0.01)
    done.set()
    task.wait()
    assert "of its answer for 0.4 seconds; it is given up (--send-time)" in site.log[0]
