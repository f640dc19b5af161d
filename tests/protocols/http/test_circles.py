"""A connection that ends is gone at once, whatever went wrong on it: the garbage collector looks at the old rarely."""

from __future__ import annotations

import gc
import socket
from collections.abc import Iterator

import pytest
from tests.protocols.http.watching import site as sites
from tests.protocols.http.watching.site import WatchedSite, until

from imageserver.transport import hub
from imageserver.transport.http.connection import HttpConnection

LOGIN = b"Authorization: Basic YTph\r\n"
HEADS = {
    "too slow": b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 20_000,
    "idle": b"",
    "malformed": b"GET / HTTP/1.1\r\nbad header\r\n\r\n",
    "too long": b"GET / HTTP/1.1\r\nX: " + b"y" * 100_000,
    "wrong login": b"GET /streams/ HTTP/1.1\r\nHost: localhost\r\n" + LOGIN + b"\r\n",
    "no login": b"GET /streams/ HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "nothing there": b"GET /nothing/of/this HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "not so": b"PATCH /streams/ HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "no picture": b"POST /faces/classify HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n123456789",
    "body too slow": b"POST /faces/classify HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n1",
}


@pytest.fixture(scope="module")
def site() -> Iterator[WatchedSite]:
    yield from sites.site(users=True, header_time=0.05, keep_alive_time=0.05, body_grace=0.05, drain_time=0.05)


@pytest.mark.parametrize("what", HEADS)
def test_nothing_of_it_is_left(site: WatchedSite, what: str) -> None:
    gc.collect()
    before = {id(found) for found in gc.get_objects() if isinstance(found, HttpConnection)}
    gc.disable()
    try:
        hub.in_thread(ask, site.server.port, HEADS[what])
        until(lambda: not len(site.server.connections), "its end")
        left = [found for found in gc.get_objects() if isinstance(found, HttpConnection) and id(found) not in before]
        assert not left
    finally:
        gc.enable()


def ask(port: int, head: bytes) -> None:
    """Send it, and read what comes to the end."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
        client.sendall(head)
        if head.endswith(b"\r\n\r\n"):
            client.shutdown(socket.SHUT_WR)
        while client.recv(65536):
            pass
