"""A server of files as it may be met: whole, in parts, broken off, changed, sending on, without end."""

from __future__ import annotations

import contextlib
import hashlib
import re
import socket
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from imageserver.inference.getting.index import IndexedFile


@dataclass
class Mirror:
    """What a server does; may be changed while it serves.

    Attributes:
        content: of every file.
        tag: the ETag; "": none.
        parts: whether it knows of ranges.
        most: bytes of a body after which it closes the connection; None: it does not.
        length: whether it says how long a body is.
        status: what it answers instead, if anything.
        headers: further ones, or others.
        silent: set: it accepts, and says nothing until this is.
        seen: method, path and headers of each request.
    """

    content: bytes
    tag: str = '"1"'
    parts: bool = True
    most: int | None = None
    length: bool = True
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    silent: threading.Event | None = None
    address: str = ""
    seen: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        sent = dict(handler.headers.items())
        self.seen.append((handler.command, handler.path, sent))
        if self.silent is not None:
            self.silent.wait(20)
            return
        start = re.fullmatch("bytes=([0-9]+)-", sent.get("Range", ""))
        fits = sent.get("If-Range", self.tag) == self.tag
        status, begin = (206, int(start[1])) if start and fits and self.parts else (200, 0)
        total = len(self.content)
        headers = {"Content-Length": str(total - begin)} if self.length else {}
        headers |= {"ETag": self.tag} if self.tag else {}
        headers |= {"Content-Range": f"bytes {begin}-{total - 1}/{total}"} if status == 206 else {}
        if begin >= total:
            status, headers = 416, {"Content-Length": "0"}
        handler.send_response(self.status or status)
        for name, value in (headers | self.headers).items():
            handler.send_header(name, value)
        handler.end_headers()
        if handler.command == "GET" and status != 416:
            with contextlib.suppress(OSError):
                handler.wfile.write(self.content[begin:][: self.most])
        handler.close_connection = True

    def asked(self, header: str) -> list[str | None]:
        """A header of all requests."""
        return [sent.get(header) for _method, _path, sent in self.seen]


def pump(source: socket.socket, target: socket.socket) -> None:
    """Hand on what comes, until it ends."""
    with contextlib.suppress(OSError):
        while chunk := source.recv(2**16):
            target.sendall(chunk)
        target.shutdown(socket.SHUT_WR)


@contextlib.contextmanager
def serving(mirror: Mirror, cert: Path | None = None, key: Path | None = None) -> Iterator[Mirror]:
    """Serve on 127.0.0.1 at `mirror.address`; with TLS where there is a certificate, as localhost."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            mirror.answer(self)

        def do_HEAD(self) -> None:
            mirror.answer(self)

        def do_CONNECT(self) -> None:
            """As a proxy does for TLS, whatever the host: it leads to this machine."""
            mirror.seen.append((self.command, self.path, {}))
            with socket.create_connection(("127.0.0.1", int(self.path.partition(":")[2]))) as there:
                self.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
                back = threading.Thread(target=pump, args=(there, self.connection))
                back.start()
                pump(self.connection, there)
                back.join()

        def log_message(self, *_arguments: Any) -> None: ...

    class Quiet(ThreadingHTTPServer):
        def handle_error(self, *_arguments: Any) -> None: ...  # a client that trusts no certificate

    server = Quiet(("127.0.0.1", 0), Handler)
    scheme, host = "http", "127.0.0.1"
    if cert is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(cert, key)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        scheme, host = "https", "localhost"
    mirror.address = f"{scheme}://{host}:{server.server_port}/models"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield mirror
    finally:
        if mirror.silent is not None:
            mirror.silent.set()
        server.shutdown()
        server.server_close()
        thread.join()


def file_of(content: bytes, address: str = "https://localhost/net.onnx") -> IndexedFile:
    """A file of the index, of this content."""
    return IndexedFile("net.onnx", address, len(content), hashlib.sha256(content).hexdigest())
