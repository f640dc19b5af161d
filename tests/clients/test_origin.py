"""What the client programs say of themselves: they are no browsers, so a server answers them under any name."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable

import pytest

from client_programs.relay import Room
from imageserver_client.camera import Camera
from imageserver_client.errors import Unreachable


def head_of(connect: Callable[[str], object]) -> bytes:
    """The head of the first request to a server that answers 404."""
    heads: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            sock, _address = listener.accept()
            with sock:
                heads.append(sock.recv(65536))
                sock.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")

        thread = threading.Thread(target=serve)
        thread.start()
        with pytest.raises(Unreachable):
            connect(f"127.0.0.1:{listener.getsockname()[1]}")
        thread.join()
    return heads[0]


@pytest.mark.parametrize("connect", [Room, lambda server: Camera(server, timeout=5).__enter__()])
def test_clients_send_no_origin(connect: Callable[[str], object]) -> None:
    head = head_of(connect)
    assert b"upgrade: websocket" in head.lower()
    assert b"\r\norigin:" not in head.lower()
