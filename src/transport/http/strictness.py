"""Requests that two readers could read differently: bytes in; nothing, or the refusal, out.

A proxy reads the same bytes before the server does. Where the two disagree on where a request ends, what one takes
for a body the other takes for a request that nobody has checked (RFC 9112, section 11.2). So every doubt is 400 and
the end of the connection, also where h11 or RFC 9112 would let it pass; docs/transport.md has the list.
"""

from __future__ import annotations

import re

import h11

from imageserver.errors import Refusal
from imageserver.limits import Limits

_TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_QUOTED = rb'"(?:[\t \x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t \x21-\x7e\x80-\xff])*"'

_CONTROLS = bytes(code for code in (*range(0x20), 0x7F) if code != 0x09)
"""All but the tab, line ends among them."""
_METHOD = re.compile(rb"[A-Z][A-Z-]{1,18}[A-Z]")
_HOST = re.compile(rb"(?:[0-9A-Za-z._~%-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")
_ABSOLUTE = re.compile(rb"(https?)://([^/?#]*)(/?[^#]*)", re.IGNORECASE)
_LENGTH_LINE = re.compile(rb"\ncontent-length:([^\r]*)", re.IGNORECASE)
_LENGTH = re.compile(rb"[ \t]*[0-9]{1,19}[ \t]*")
_CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]{1,8})(?:;%b(?:=(?:%b|%b))?)*\r\n" % (_TOKEN, _TOKEN, _QUOTED))
_TRAILER_LINE = re.compile(rb"(%b):[\t \x21-\x7e\x80-\xff]*\r\n" % _TOKEN)

_NO_TRAILERS = frozenset(
    b"authorization connection content-encoding content-length content-range content-type cookie expect host "
    b"keep-alive proxy-connection te trailer transfer-encoding upgrade".split()
)
"""What frames, routes or admits a request and comes too late behind it (RFC 9110, section 6.5.1)."""


def doubt(reason: str) -> Refusal:
    """The refusal of what is no proper request, or not for everybody the same."""
    return Refusal(400, f"This is not a proper HTTP request: {reason}.")


def check_head(arrived: bytes, limits: Limits) -> None:
    """Look at a request's head before it is read.

    Args:
        arrived: What there is of it, from the first byte; a body and further requests may follow.
        limits: `max_request_line`, `max_header_bytes`, `max_headers`.

    Raises:
        Refusal: It is too large (414, 431) or has bytes that readers take differently (400).
    """
    end = arrived.find(b"\n\r\n") + 1
    if not end:
        if b"\n\n" in arrived:
            raise doubt("a line ends without a carriage return")
        return  # what is missing may still come
    head = arrived[:end]
    lines = head.count(b"\r\n")
    if head.find(b"\n") > limits.max_request_line:
        raise long_line(limits)
    if end > limits.max_header_bytes:
        raise long_headers(limits)
    if lines > limits.max_headers + 1:
        raise Refusal(431, f"The request has more than {limits.max_headers} headers.", "max_headers")
    if len(head.translate(None, _CONTROLS)) + 2 * lines != end:
        raise doubt("it has a control character, or a carriage return or a line feed that stands alone")
    if b"\n " in head or b"\n\t" in head:
        raise doubt("a header has more than one line")
    if b"\nc" in head or b"\nC" in head:
        lengths: list[bytes] = _LENGTH_LINE.findall(head)
        if lengths and (len(lengths) > 1 or not _LENGTH.fullmatch(lengths[0])):
            raise doubt("the Content-Length is not one number")


def check_request(request: h11.Request, values: dict[bytes, bytes], limits: Limits) -> None:
    """Look at a request that has been read; `values`: its headers, with names in lower case. Raises Refusal."""
    method, host = request.method, values.get(b"host")
    if request.http_version not in (b"1.1", b"1.0"):
        raise doubt("it is of another version than HTTP/1.1 and HTTP/1.0")
    if not _METHOD.fullmatch(method):
        raise doubt("the method is none: methods are words in capital letters")
    if host is not None and not _HOST.fullmatch(host):
        raise doubt("the Host header is no name or address with or without a port")
    if request.target[:1] != b"/":
        _check_target(method, request.target, host)
    elif b"#" in request.target:
        raise doubt("the path has a fragment (#), which is the client's own")
    if b"expect" in values:
        expected = [value.lower() for name, value in request.headers if name == b"expect"]
        if expected != [b"100-continue"]:
            raise doubt("it expects something other than 100-continue")
    if request.target.count(b"&") >= limits.max_query_fields:
        raise Refusal(400, f"The query has more than {limits.max_query_fields} fields.", "max_query_fields")
    _check_body(request, values, limits)


def _check_body(request: h11.Request, values: dict[bytes, bytes], limits: Limits) -> None:
    length = values.get(b"content-length")
    if b"transfer-encoding" in values:
        if length is not None:
            raise doubt("it has both Content-Length and Transfer-Encoding")
        if request.http_version == b"1.0":
            raise doubt("there is no Transfer-Encoding in HTTP/1.0")
    elif length is None or not (size := int(length)):
        return
    elif size > limits.max_body_bytes:
        raise Refusal(413, f"A request body may have {limits.max_body_bytes} bytes.", "max_body_bytes")
    if request.method == b"GET" and values.get(b"upgrade", b"").lower() == b"websocket":
        raise doubt("it asks for a WebSocket and has a body, whose bytes could be read as frames")


def _check_target(method: bytes, target: bytes, host: bytes | None) -> None:
    """Raises Refusal for what is neither `*`, nor the whole address of this server (RFC 9112, section 3.2)."""
    if target == b"*" and method == b"OPTIONS":
        return
    address = _ABSOLUTE.fullmatch(target)
    if address is None or not _HOST.fullmatch(address[2]):
        raise doubt("what it asks for is neither a path nor the address of a page of this server")
    default = b":443" if address[1].lower() == b"https" else b":80"
    if host is not None and address[2].lower().removesuffix(default) != host.lower().removesuffix(default):
        raise doubt("what it asks for is of another host than its Host header says")


def asks_to_keep(values: dict[bytes, bytes]) -> bool:
    """Whether a request of HTTP/1.0 with these headers asks for the connection to be kept."""
    options = values.get(b"connection", b"").lower().split(b",")
    return b"keep-alive" in [option.strip() for option in options]


def path_of(target: str) -> str:
    """Path and query of what a checked request asks for, be it a path or a whole address."""
    address = None if target[:1] == "/" else _ABSOLUTE.fullmatch(target.encode("ascii"))
    if address is None:
        return target
    path = address[3].decode("ascii")
    return path if path[:1] == "/" else f"/{path}"


def long_line(limits: Limits) -> Refusal:
    """The refusal of a request line over its limit."""
    return Refusal(414, f"The request line is longer than {limits.max_request_line} bytes.", "max_request_line")


def long_headers(limits: Limits) -> Refusal:
    """The refusal of a head or of trailers over their limit."""
    return Refusal(431, f"The headers are longer than {limits.max_header_bytes} bytes.", "max_header_bytes")


class ChunkedFraming:
    """The framing of one chunked body, followed through its bytes as they come and before h11 reads them.

    A line with a size, as many bytes and a line end, again and again; behind the size 0 trailers and an empty line.
    h11 looks at the line ends behind chunks; here it is the lines.
    """

    __slots__ = ("_begun", "_data_left", "_ended", "_limits", "_trailer_bytes", "_trailers", "_wrong")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._begun = b""
        """A line of which the end has not come yet."""
        self._data_left = 0
        """Bytes to the next line: what remains of a chunk and of the line end behind it."""
        self._trailers = -1
        """Trailers seen; -1 as long as chunks come."""
        self._trailer_bytes = 0
        self._ended = False
        self._wrong: Refusal | None = None

    def feed(self, data: bytes) -> None:
        """Follow `data`, of which some may already be behind the body. Raises Refusal, and from then on always."""
        if self._wrong is not None:
            raise self._wrong
        at, size = 0, len(data)
        try:
            while at < size and not self._ended:
                if self._data_left:
                    step = min(self._data_left, size - at)
                    self._data_left -= step
                    at += step
                else:
                    at = self._read_line(data, at)
        except Refusal as refusal:
            self._wrong = refusal
            raise

    def _read_line(self, data: bytes, at: int) -> int:
        """Read the line that begins or goes on at `at`; where the next one begins."""
        end = data.find(b"\n", at) + 1
        most = self._limits.max_chunk_line if self._trailers < 0 else self._limits.max_header_bytes
        length = len(self._begun) + (end or len(data)) - at
        if length + self._trailer_bytes > most:
            raise self._long_line()
        line = self._begun + data[at : end or len(data)]
        if not end:
            self._begun = line
            return len(data)
        self._begun = b""
        if self._trailers < 0:
            self._begin_chunk(line)
        elif line == b"\r\n":
            self._ended = True
        else:
            self._take_trailer(line)
        return end

    def _begin_chunk(self, line: bytes) -> None:
        found = _CHUNK_LINE.fullmatch(line)
        if found is None:
            raise doubt("a chunk of its body begins with something other than its size")
        size = int(found[1], 16)
        if size:
            self._data_left = size + 2
        else:
            self._trailers = 0

    def _take_trailer(self, line: bytes) -> None:
        found = _TRAILER_LINE.fullmatch(line)
        if found is None or found[1].lower() in _NO_TRAILERS:
            raise doubt("what follows its body is no header, or none that may stand there")
        self._trailers += 1
        self._trailer_bytes += len(line)
        if self._trailers > self._limits.max_headers:
            most = self._limits.max_headers
            raise Refusal(431, f"More than {most} headers follow the request's body.", "max_headers")

    def _long_line(self) -> Refusal:
        if self._trailers >= 0:
            return long_headers(self._limits)
        most = self._limits.max_chunk_line
        sentence = f"This is not a proper HTTP request: the line before a chunk is longer than {most} bytes."
        return Refusal(400, sentence, "max_chunk_line")
