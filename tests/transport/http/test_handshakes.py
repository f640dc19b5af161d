"""TLS handshakes that have to wait for their turn."""

from __future__ import annotations

import socket
import ssl
from pathlib import Path

import pytest

from imageserver.app import certificates
from imageserver.limits import Limits
from imageserver.transport import hub
from imageserver.transport.http import connection
from imageserver.transport.http.server import HttpServer


class Queue:
    """The turn of all handshakes, which comes after `seconds`."""

    def __init__(self, seconds: float) -> None:
        self.seconds, self.now = seconds, 0.0

    def take(self) -> None:
        self.now += self.seconds


def hello() -> bytes:
    """What a client says first."""
    said = ssl.MemoryBIO()
    context = ssl.create_default_context()
    with pytest.raises(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), said, server_hostname="localhost").do_handshake()
    return said.read()


@pytest.mark.parametrize(("seconds", "answered"), [(1.0, True), (3.0, False)])
def test_a_handshake_is_not_done_for_who_has_waited_too_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: float, answered: bool
) -> None:
    waiting = Queue(seconds)
    log: list[str] = []
    monkeypatch.setattr(connection, "handshakes", waiting)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificates.self_signed(tmp_path, print, ["localhost"]))
    server = HttpServer(
        hub.listen("127.0.0.1", 0),
        Limits(header_time=2.0),
        log=log.append,
        ssl_context=context,
        clock=lambda: waiting.now,
    )
    hub.spawn(server.serve)
    try:
        with hub.green(socket.create_connection(server.address)) as client, hub.Timeout(10):
            client.sendall(hello())
            assert bool(client.recv(1)) is answered
    finally:
        server.stop(0.0)
        hub.sleep(0.05)
    late = "127.0.0.1 did not finish its TLS handshake within 2 seconds"
    assert log.count(late) == (0 if answered else 1)
