"""Requests over HTTP/1.1 on a connection: what is answered does not depend on how the bytes are cut, and gunicorn
reads no request otherwise; and the framing of chunked bodies."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

import gunicorn.config
import gunicorn.http
from gunicorn.http.errors import ParseException
from tests.fuzz.sockets import ScriptedSocket
from tests.fuzz.target import Defect, Target
from tests.fuzz.targets.websocket import masked
from tests.transport.http import rows

from imageserver.errors import Refusal
from imageserver.limits import Limits
from imageserver.transport.budget import Budget
from imageserver.transport.http import strictness
from imageserver.transport.http.clients import ClientAddresses
from imageserver.transport.http.connection import HttpConnection
from imageserver.transport.websocket.connection import accept

LIMITS = Limits(max_body_bytes=2**18)
PEER = "192.0.2.1"
UPGRADED = "upgraded"
"""Stands for the method of what is no request any more."""
Seen = tuple[str, str, bytes]
"""Method, target and body of a request."""


class Site:
    """What a connection needs of the server, and what it has asked of its application."""

    limits, ssl_context, stopping = LIMITS, None, False

    def __init__(self, trusted: tuple[str, ...] = ()) -> None:
        self.log: Callable[[str], None] = lambda _line: None
        self.clock = lambda: 0.0  # nobody's turn ends
        self.clients = ClientAddresses(trusted, 0, self.log)
        self.budget = Budget(LIMITS, log=self.log, memory=lambda: 2**40)
        self.seen: list[Seen] = []

    def application(self, _path: str) -> Callable[..., list[bytes]]:
        return self._answer

    def _answer(self, environ: dict[str, Any], start_response: Any) -> list[bytes]:
        asked = environ["REQUEST_METHOD"], environ["RAW_URI"]
        ws = accept(environ, LIMITS) if asked[1] == "/ws" else None
        if ws is not None:
            self.seen += [(*asked, b""), (UPGRADED, repr(list(ws.messages())), b"")]
            ws.ended()
            return []
        self.seen.append((*asked, environ["wsgi.input"].read()))
        start_response("200 OK", [("Date", "now"), ("Content-Type", "text/plain")])
        return [b"yes"]


def serve(data: bytes, sizes: Callable[[], int]) -> tuple[list[Seen], list[int]]:
    """The requests that were answered, and the status of each answer."""
    site, sock = Site(), ScriptedSocket(data, sizes)
    HttpConnection(site, sock, PEER, 1).run()
    if site.budget.used:
        raise Defect(f"{site.budget.used} bytes are still charged: {site.budget.used_for}")
    # Who waits to be asked for a body is asked, unless it is there already.
    return site.seen, [int(status) for status in re.findall(rb"HTTP/1\.1 ([2-5]\d\d) ", bytes(sock.sent))]


def requests(data: bytes) -> None:
    """What a client sends on one connection, cut in three ways, and what gunicorn makes of it."""
    seen, statuses = serve(data, lambda: 1 << 30)
    if any(status >= 500 for status in statuses):
        raise Defect(f"answered with {statuses}")
    random = Random(zlib.crc32(data))
    cuts = [lambda: random.choice((1, 5, 17, 50, 200, 5000))]
    cuts += [lambda: 1] if len(data) <= 150 else []
    for sizes in cuts:
        pieces = serve(data, sizes)
        # What is wrong in two ways may be refused for either.
        if pieces[0] != seen or [status < 400 for status in pieces[1]] != [status < 400 for status in statuses]:
            raise Defect(f"whole {(seen, statuses)!r:.600}, in pieces {pieces!r:.600}")
    for one, other in zip(seen, by_gunicorn(data), strict=False):
        if one[0] == UPGRADED:
            break
        if not same(one, other):
            raise Defect(f"the server read {one!r:.400}, gunicorn {other!r:.400}")


_config = gunicorn.config.Config()
_config.set("http_parser", "python")


def by_gunicorn(data: bytes) -> Iterator[Seen]:
    """The requests that gunicorn reads, until it refuses one."""
    parser = gunicorn.http.RequestParser(_config, iter([data]), (PEER, 1))
    try:
        for request in parser:
            yield request.method, request.uri, request.body.read()
    except (ParseException, StopIteration, OSError, ValueError):
        return


def same(ours: Seen, theirs: Seen) -> bool:
    """Whether both are the same request. A whole address is the path in it for the one, and itself for the other."""
    method, target, body = theirs
    return ours[0] == method and ours[2] == body and ours[1] in (target, strictness.path_of(target))


def chunks(data: bytes) -> None:
    """The framing of a chunked body, in three cuts: the same end, and the same refusal."""
    whole = framed(data, lambda: 1 << 30)
    random = Random(zlib.crc32(data))
    for sizes in (lambda: random.choice((1, 2, 9, 100)), lambda: 1):
        if len(data) <= 4096 and framed(data, sizes) != whole:
            raise Defect(f"in pieces {framed(data, sizes)!r}, whole {whole!r}")


def framed(data: bytes, sizes: Callable[[], int]) -> object:
    framing, at = strictness.ChunkedFraming(Limits(max_headers=9)), 0
    try:
        while at < len(data):
            size = sizes()
            framing.feed(data[at : at + size])
            at += size
            if len(framing._begun) > LIMITS.max_header_bytes:
                raise Defect("a line beyond its limit is kept")
    except Refusal as refusal:
        return refusal.sentence
    return framing._ended


NAMES = (
    b"Host", b"Content-Length", b"Transfer-Encoding", b"Connection", b"Upgrade", b"Expect", b"Trailer", b"Cookie", b"X",
    b"Content-Type", b"TE", b"X_Y",
)  # fmt: skip
VALUES = (
    b"localhost", b"5", b"0", b"chunked", b"close", b"keep-alive", b"websocket", b"100-continue", b"a=b", b"5, 5",
    b"gzip, chunked", b"+5", b"", b"a:80", b"[::1]:8080", b"\xff", b"18446744073709551616", b"Upgrade", b"identity",
)  # fmt: skip


def some_requests(random: Random) -> bytes:
    """Requests behind one another, most of them proper."""
    return b"".join(_some_request(random) for _ in range(random.choice((1, 1, 2, 3))))


HANDSHAKE = (
    b"GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


def _some_request(random: Random) -> bytes:
    if random.random() < 0.1:
        return HANDSHAKE + b"".join(random.choices((masked(1, b"hello"), masked(9, b""), masked(8, b""), b"GET "), k=3))
    body = random.choice((b"", b"hello", rows.HIDDEN, random.randbytes(random.choice((3, 300, 70_000)))))
    method = random.choice((b"GET", b"POST", b"PUT", b"OPTIONS", b"HEAD", b"post", b"CONNECT"))
    target = random.choice((b"/", b"/a?b=c", b"*", b"http://localhost/a", b"//a", b"/%41%", b"a", b"/a#b"))
    lines = [b"%b %b HTTP/1.%d" % (method, target, random.random() < 0.9), b"Host: localhost"]
    if random.random() < 0.5:
        lines.append(b"Transfer-Encoding: chunked")
        body = _chunked(body, random)
    elif body:
        lines.append(b"Content-Length: %d" % len(body))
    while random.random() < 0.4:
        separator = random.choice((b": ", b":", b" : ", b":\t")) if random.random() < 0.2 else b": "
        lines.append(random.choice(NAMES) + separator + random.choice(VALUES))
    end = random.choice((b"\n", b"\r", b"\r\r\n")) if random.random() < 0.03 else b"\r\n"
    return end.join([*lines, b"", b""]) + body


def _chunked(body: bytes, random: Random) -> bytes:
    parts = []
    while body:
        size = random.choice((1, 5, len(body), 2000))
        piece, body = body[:size], body[size:]
        extension = random.choice((b"", b"", b";a", b';a="b;c"', b";", b" "))
        parts.append(b"%x%b\r\n%b\r\n" % (len(piece), extension, piece))
    trailers = random.choice((b"", b"", b"X: y\r\n", b"Host: a\r\n", b"X:y\n"))
    return b"".join(parts) + random.choice((b"0", b"0", b"000", b"0;a=b")) + b"\r\n" + trailers + b"\r\n"


ROWS = [row.data + rows.PROBE for row in rows.table()[::20]]
WORDS = (
    b"\r\n", b"\r\n\r\n", b"0\r\n\r\n", b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n",
    b"Connection: close\r\n",
    b"Expect: 100-continue\r\n", b"Upgrade: websocket\r\n", b"HTTP/1.0", b"HTTP/1.1", b"5\r\nhello\r\n", b"\n", b"\r",
    b"\t", b"\x00",
)  # fmt: skip

TARGETS = [
    Target(
        name="http-requests",
        run=requests,
        seeds=(*ROWS, HANDSHAKE + masked(1, b"hello") + masked(8, b""),
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" + HANDSHAKE),
        covers=(
            "transport.http.channel", "transport.http.connection", "transport.http.strictness", "transport.http.wsgi",
            "transport.http.sending", "transport.pace", "transport.websocket.connection",
        ),
        words=WORDS, shape=some_requests, longest=2**18,
        # A request is an environment, an answer and several events of h11, each time three or four times over.
        seconds=0.05, byte_seconds=1e-4, memory=2**21, byte_memory=400,
    ),
    Target(
        name="http-chunks",
        run=chunks,
        seeds=(
            b'5;a="b;c"\r\nhello\r\n1f\r\n' + b"\n" * 31 + b"\r\n000\r\nX-A: b\r\nX-C:\r\n\r\n",
            b"0\r\n\r\nGET / HTTP/1.1\r\n",
            b"5;" + b"a" * 250, b"0\r\n" + b"X: b\r\n" * 9 + b"\r\n", b"ffffffff\r\nabc", b'1;a="\\"\r\n',
        ),
        covers=("transport.http.strictness",),
        words=(b"0\r\n", b"\r\n", b";", b'="', b'\\"', b"X: y\r\n", b"5\r\nhello\r\n", b"\n"),
        shape=lambda random: _chunked(random.randbytes(random.choice((0, 3, 40, 5000))), random), longest=2**18,
    ),
]  # fmt: skip
