"""The table of requests: what is sent to the server, through proxies to it, and to other servers.

Each row is a few bytes and what becomes of them. `TAG` in them is replaced by five characters that say who was asked
for which row. Where a body could pass for a request, it is one, for `/hidden`; behind each row comes `PROBE`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tests.transport.http import field

TAG = b"@@@@@"
PROBE = b"GET /@@@@@/probe HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
HIDDEN = b"GET /@@@@@/hidden HTTP/1.1\r\nHost: localhost\r\n\r\n"

FIRST = b"/@@@@@/first"
GET = b"GET /@@@@@/first HTTP/1.1\r\n"
POST = b"POST /@@@@@/first HTTP/1.1\r\n"
HOST = b"Host: localhost\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"
HELLO = b"5\r\nhello\r\n"
END = b"0\r\n\r\n"


@dataclass(frozen=True)
class Row:
    """A row of the table.

    Attributes:
        name: Says what is wrong, or of whom it is.
        data: What is sent.
        taken: How many requests the server answers; the rest it refuses. -1: all, and the probe behind them.
        why: Why the server takes what gunicorn or h11 refuse.
    """

    name: str
    data: bytes
    taken: int = 0
    why: str = ""


TAKEN = -1
KEPT = (
    "h11 keeps no connection of HTTP/1.0, gunicorn not each; nginx, HAProxy and the server do where they are asked to"
)


def _post(headers: bytes, body: bytes, version: bytes = b"HTTP/1.1") -> bytes:
    return b"POST %b %b\r\n%b%b\r\n%b" % (FIRST, version, HOST, headers, body)


def _chunks(body: bytes) -> bytes:
    return _post(CHUNKED, body)


def _get(headers: bytes = b"", host: bytes = HOST) -> bytes:
    return GET + host + headers + b"\r\n"


# Lines that say, or pass for saying, that a body comes in chunks.
_CODINGS_TAKEN = [
    b"Transfer-Encoding: chunked", b"TRANSFER-ENCODING: CHUNKED", b"transfer-encoding:chunked",
    b"Transfer-Encoding:\tchunked", b"Transfer-Encoding: \t chunked \t ",
]  # fmt: skip
_CODINGS = [
    *(b"Transfer-Encoding: " + value for value in [
        b"xchunked", b"chunkedx", b"chunke", b"gzip, chunked", b"chunked, gzip", b"chunked, chunked", b"chunked,", b",chunked",
        b", chunked", b"chunked;q=1", b"chunked;", b"chunked; a=b", b'"chunked"', b"'chunked'", b"identity", b"identity, chunked",
        b"chunked, identity", b"", b"gzip", b"deflate, chunked", b"compress", b"x-chunked", b"chun ked", b"chunked chunked",
        b"chunked\tchunked", b"chunked x", b"\x0bchunked", b"\x0cchunked", b"\x00chunked", b"chunked\x00", b"chunked\x0b",
        b"chunked\x7f", b"\x01chunked", b"\xa0chunked", b"chunked\xa0", b"\xc2\xa0chunked", b"ch\xfbnked", b"\xef\xbb\xbfchunked",
        b"[chunked]", b"{chunked}", b"chunked/1.1", b"chunked\r\n ,identity", b"identity\r\n chunked", b"\r\n chunked", b"\n chunked",
        b"chunked\rx: y", b"chunked\r", b"chunked\n", b"0", b"true", b"null",
    ]),
    b"Transfer-Encoding : chunked", b"Transfer-Encoding\t: chunked", b" Transfer-Encoding: chunked", b"\tTransfer-Encoding: chunked",
    b"Transfer-Encoding\x00: chunked", b"Transfer-Encoding\x0b: chunked", b"Transfer-Encoding\xa0: chunked", b"Transfer-Encoding\r\n: chunked",
    b"Transfer-Enc\xf6ding: chunked", b"Transfer-Encoding chunked", b"Transfer-Encoding", b"Transfer-Encoding=chunked", b": chunked",
    b"X: y\rTransfer-Encoding: chunked", b"X: y\nTransfer-Encoding: chunked", b"X: y\r\n\rTransfer-Encoding: chunked",
    b"X: y\n\rTransfer-Encoding: chunked", b"X: y\r\r\nTransfer-Encoding: chunked", b"X: y\x00\r\nTransfer-Encoding: chunked",
    b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
    b"Transfer-Encoding: identity\r\nTransfer-Encoding: chunked", b"Transfer-Encoding: chunked\r\nX: y\r\nTransfer-Encoding: x",
    b"Transfer-Encoding: chunked\r\nTransfer-encoding:", b"Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked",
]  # fmt: skip


def codings() -> Iterator[Row]:
    """Transfer-Encoding in every shape, alone, on either side of a Content-Length, and in HTTP/1.0."""
    body = END + HIDDEN
    length = b"Content-Length: %d\r\n" % len(body)
    for line in (*_CODINGS, *_CODINGS_TAKEN):
        name, line = repr(line)[2:-1], line + b"\r\n"
        yield Row(f"{name} alone", _post(line, HELLO + END), TAKEN if line[:-2] in _CODINGS_TAKEN else 0)
        yield Row(f"{name} and a length", _post(line + length, body))
        yield Row(f"a length and {name}", _post(length + line, body))
        yield Row(f"{name} in HTTP/1.0", _post(line + b"Connection: keep-alive\r\n", END, b"HTTP/1.0"))
    yield Row("Transfer_Encoding and a length", _post(b"Transfer_Encoding: chunked\r\n" + length, body), TAKEN)
    yield Row("X-Transfer-Encoding and a length", _post(b"X-Transfer-Encoding: chunked\r\n" + length, body), TAKEN)


def lengths() -> Iterator[Row]:
    """Content-Length in every shape, once and twice; read as 0 or cut off, a request is hidden in the body."""
    number = len(HIDDEN)
    for form, taken in [
        ("%d", 1), ("0%d", 1), ("\t%d", 1), ("%d \t", 1), ("+%d", 0), ("-%d", 0), ("0_%d", 0), ("%d_", 0), ("_%d", 0), ("%d, %d", 0),
        ("%d,%d", 0), ("%d,", 0), (",%d", 0), ("%d, 0", 0), ("0, %d", 0), ("%d %d", 0), ("%d;", 0), ("0x%d", 0), ("%d.0", 0), ("%de0", 0),
        ("%dL", 0), ("%d-", 0), ("--%d", 0), ("'%d'", 0), ('"%d"', 0), ("%d/1", 0), ("0b%d", 0), ("0o%d", 0), ("%d\x00", 0), ("\x00%d", 0),
        ("%d\x0b", 0), ("\x0b%d", 0), ("\x0c%d", 0), ("%d\xa0", 0), ("\xa0%d", 0), ("%d\x7f", 0), ("\r\n %d", 0), ("\n %d", 0), ("%d\r\n 1", 0),
        ("%d\n", 0), ("%d\r", 0), ("%d\rX: y", 0), ("five%d", 0), ("%dx", 0), ("x%d", 0), ("0000000000000000000000000%d", 0),
        ("184467440737095516%d", 0), ("1844674407370955161600%d", 0), ("4294967296%d", 0), ("#%d", 0), ("%d #", 0), ("(%d)", 0), ("=%d", 0),
        ("%%%d", 0), ("\u0665%d", 0), ("\uff15%d", 0), ("+0", 0), ("-0", 0), ("", 0), (" ", 0), ("\t", 0), (",", 0), ("NaN", 0), ("null", 0),
        ("Infinity", 0), ("1e2", 0), ("0x", 0),
    ]:  # fmt: skip
        value = (form.replace("%d", str(number))).encode("utf-8" if max(form, default="") > "\xff" else "latin-1")
        yield Row(f"Content-Length: {value!r}", _post(b"Content-Length:%b\r\n" % value, HIDDEN), TAKEN if taken else 0)
    one, other = b"Content-Length: %d\r\n" % number, b"Content-Length: 0\r\n"
    for name, lines in {
        "the same length twice": one + one,
        "two lengths": one + other,
        "two other lengths": other + one,
        "the same length twice, in small letters": one + one.lower(),
        "two lengths, one in small letters": one + other.lower(),
        "two lengths, in capital letters": one + other.upper(),
        "two lengths apart": one + b"X: y\r\n" + other,
        "the same lengths apart": one + b"X: y\r\n" + one,
        "three lengths": one * 3,
        "a length and an empty one": one + b"Content-Length:\r\n",
        "a length before a space and the colon": one + b"Content-Length : 0\r\n",
        "a length behind a space": one + b" Content-Length: 0\r\n",
        "a length behind a bare line feed": one + b"X: y\nContent-Length: 0\r\n",
        "a length behind a bare carriage return": one + b"X: y\rContent-Length: 0\r\n",
        "a length behind a NUL": one + b"\x00Content-Length: 0\r\n",
        "a length without a colon": one + b"Content-Length 0\r\n",
        "only a length before a space and the colon": one.replace(b":", b" :"),
        "only a length before a tab and the colon": one.replace(b":", b"\t:"),
        "only a length behind a bare line feed": b"X: y\n" + one,
        "only a length behind a bare carriage return": b"X: y\r" + one,
        "a folded line before the length": b"X: y\r\n z\r\n" + one,
        "the length in a folded line": b"X: y\r\n " + one,
    }.items():
        yield Row(name, _post(lines, HIDDEN))
    yield Row("Content_Length beside the length", _post(one + b"Content_Length: 0\r\n", HIDDEN), TAKEN)
    yield Row("Content-Length-X beside the length", _post(one + b"Content-Length-X: 0\r\n", HIDDEN), TAKEN)
    yield Row("no length", _post(b"", b""), TAKEN)
    yield Row("only Content_Length", _post(one.replace(b"-", b"_"), HIDDEN), TAKEN)


def chunk_sizes() -> Iterator[Row]:
    """The line before a chunk, before the first, behind one, and before the last."""
    for size, taken in [
        (b"5", 1), (b"05", 1), (b"00000005", 1), (b"000000005", 0), (b"0x5", 0), (b"0X5", 0), (b"+5", 0), (b"-5", 0), (b"5_0", 0),
        (b"0_5", 0), (b"_5", 0), (b"5_", 0), (b" 5", 0), (b"5 ", 0), (b"\t5", 0), (b"5\t", 0), (b"5 5", 0), (b"", 0), (b"g", 0), (b"5g", 0),
        (b"5h", 0), (b"5.0", 0), (b"5,", 0), (b"5,5", 0), (b"5\x00", 0), (b"\x005", 0), (b"5\x0b", 0), (b"\x0c5", 0), (b"5\xa0", 0),
        (b"5\x7f", 0), (b"\xef\xbc\x95", 0), (b"'5'", 0), (b'"5"', 0), (b"#5", 0), (b"%35", 0), (b"5:", 0), (b"5=", 0), (b"(5)", 0), (b"--5", 0),
        (b"10000000000000005", 0), (b"0000000000000005", 0), (b"100000005", 0), (b"100000005\x00", 0), (b"5\r", 0), (b"\r5", 0), (b"\n5", 0), (b"\r\n5", 0), (b"5\n", 0), (b"5\r\r", 0), (b"\\5", 0),
    ]:  # fmt: skip
        result = TAKEN if taken else 0
        yield Row(f"chunk size {size!r}", _chunks(size + b"\r\nhello\r\n" + END), result)
        yield Row(f"chunk size {size!r} behind a chunk", _chunks(HELLO + size + b"\r\nhello\r\n" + END), result)
        last = size.replace(b"5", b"0")
        yield Row(f"last chunk {last!r}", _chunks(HELLO + last + b"\r\n\r\n"), result)
    for line in (b"5\nhello\r\n", b"5\rhello\r\n", b"5\n\rhello\r\n", b"5\r\n\nhello\r\n", b"5hello\r\n"):
        yield Row(f"a chunk as {line!r}", _chunks(line + END))
    for size in (b"FFFFFFFFFFFFFFFF", b"FFFFFFFFF", b"100000000"):
        yield Row(f"a chunk of {size!r} bytes", _chunks(size + b"\r\n" + HIDDEN))


def chunk_extensions() -> Iterator[Row]:
    """What follows a chunk's size."""
    for extension, taken in [
        (b";a", 1), (b";a=b", 1), (b';a="b"', 1), (b';a="b;c"', 1), (b';a="b\\"c"', 1), (b";a=b;c=d", 1), (b';a="\xff"', 1), (b';a=""', 1),
        (b" ;a", 0), (b"\t;a", 0), (b"; a", 0), (b";a =b", 0), (b";a= b", 0), (b";a ", 0), (b";", 0), (b";;", 0), (b";a;", 0), (b";a=", 0),
        (b';a="b', 0), (b';a=b"', 0), (b';"a"', 0), (b";=b", 0), (b";a\x00", 0), (b";a\x01b", 0), (b";a=\x7f", 0), (b";a\rb", 0), (b";a\nb", 0),
        (b";a\r", 0), (b";\n", 0), (b"\n;a", 0), (b"\r;a", 0), (b';a="\n"', 0), (b';a="\r\n"', 0), (b';a="\r"', 0), (b';a="\x00"', 0),
        (b";\xff", 0), (b";a=\xff", 0), (b";" + b"a" * 300, 0), (b";a=" + b"b" * 5000, 0), (b";a=" + b"b" * 40_000, 0), (b";a" * 200, 0),
        (b"z", 0), (b",a", 0), (b"&a", 0), (b";a,b", 0), (b";(a)", 0), (b";a=b=c", 0), (b";a==b", 0),
    ]:  # fmt: skip
        name, result = repr(extension[:20])[2:-1], TAKEN if taken else 0
        yield Row(f"extension {name} {len(extension)}", _chunks(b"5" + extension + b"\r\nhello\r\n" + END), result)
        yield Row(f"last {name} {len(extension)}", _chunks(HELLO + b"0" + extension + b"\r\n\r\n"), result)
    hidden = b"0\r\n\r\n" + HIDDEN
    for newline in (b"\n", b"\r", b"\x00\n", b"\x0b"):
        data = b"2;%bxx\r\n%x\r\n%b\r\n0\r\n\r\n" % (newline, len(hidden), hidden)
        yield Row(f"an extension of {newline!r} before a hidden request", _chunks(data))


def chunk_ends() -> Iterator[Row]:
    """What follows a chunk's bytes, and the last chunk."""
    for end in (
        b"",
        b"\n",
        b"\r",
        b"xx",
        b"\n\r",
        b"\r\r\n",
        b"\n\n",
        b"\x00\x00",
        b" \r\n",
        b"x\r\n",
        b"\r\n\r\n",
        b"\r\n\n",
        b"\r\n ",
    ):
        yield Row(f"a chunk's end {end!r}", _chunks(b"5\r\nhello" + end + END))
        yield Row(f"a longer chunk's end {end!r}", _chunks(b"1e\r\n" + b"x" * 30 + end + END + HIDDEN))
    for last in (
        b"0\n\n",
        b"0\r\n\n",
        b"0\n\r\n",
        b"0\r\r\n\r\n",
        b"0\r\n\rx\n",
        b"0\r\n \r\n",
        b"0\r\n\x00\r\n",
        b"0\r\r",
        b"0\r\n\r\r\n",
    ):
        yield Row(f"the last chunk {last!r}", _chunks(HELLO + last))
    hidden = b"%x\r\n%b\r\n" % (len(HIDDEN), HIDDEN)
    yield Row("a request in a chunk", _chunks(hidden + END), TAKEN)
    yield Row("no chunk but the last", _chunks(END), TAKEN)
    yield Row("many small chunks", _chunks(b"1\r\nx\r\n" * 500 + END), TAKEN)


def trailers() -> Iterator[Row]:
    """What follows the last chunk."""
    for lines, taken in [
        (b"X-A: b\r\n", 1), (b"X-A:\r\n", 1), (b"X-A: b\r\nX-C: d\r\n", 1), (b"X-A: \xff\r\n", 1), (b"Digest: x=y\r\n", 1),
        (b"Transfer-Encoding: chunked\r\n", 0), (b"transfer-encoding: identity\r\n", 0), (b"Content-Length: 5\r\n", 0), (b"CONTENT-LENGTH: 0\r\n", 0),
        (b"Host: other\r\n", 0), (b"Connection: close\r\n", 0), (b"Trailer: x\r\n", 0), (b"Upgrade: websocket\r\n", 0), (b"Expect: 100-continue\r\n", 0),
        (b"Authorization: Basic eA==\r\n", 0), (b"Cookie: a=b\r\n", 0), (b"Content-Encoding: gzip\r\n", 0), (b"Content-Type: x/y\r\n", 0),
        (b"no colon\r\n", 0), (b": b\r\n", 0), (b" X-A: b\r\n", 0), (b"X-A : b\r\n", 0), (b"X A: b\r\n", 0), (b"X-A: b\n", 0), (b"X-A: b\r", 0),
        (b"X-A: b\n\r\n", 0), (b"X-A: b\r\n c\r\n", 0), (b"X-A: \x00\r\n", 0), (b"X-A: b\rc\r\n", 0), (b"X-\xffA: b\r\n", 0), (b"X-A: \x7f\r\n", 0),
        (b"X-A: \x01\r\n", 0), (b"X-A: b\r\n" * 101, 0), (b"X-A: " + b"b" * 33_000 + b"\r\n", 0), ((b"X-A: " + b"b" * 1000 + b"\r\n") * 40, 0),
        (HIDDEN[:-2], 0),
    ]:  # fmt: skip
        name = repr(lines[:30])[2:-1]
        yield Row(f"trailer {name} {len(lines)}", _chunks(HELLO + b"0\r\n" + lines + b"\r\n"), TAKEN if taken else 0)


_LINES = [POST[:-2], b"Host: localhost", b"Content-Length: %d" % len(HIDDEN), b"X-Last: value", b""]


def line_ends() -> Iterator[Row]:
    """Each line of a request's head with each kind of end."""
    for end in (b"\n", b"\r", b"\n\r", b"\r\r\n", b"\x00\r\n", b" \r\n", b"\t\r\n", b"\x0b\r\n", b"\x0c\r\n", b"\x1c\r\n", b"\x85\r\n",
                b"\r\n\n", b"\r \n", b"\r\x00\n", b"\xe2\x80\xa8", b"\\r\\n", b"%0d%0a"):  # fmt: skip
        for index, line in enumerate(_LINES):
            head = b"".join(other + (end if at == index else b"\r\n") for at, other in enumerate(_LINES))
            blank = end in (b" \r\n", b"\t\r\n") and index in (1, 2, 3)
            text = end == b"\x85\r\n" and index == 3
            taken = TAKEN if blank or text else 0
            if (end, line) == (b"\r\n\n", b""):
                taken = 1  # the line feed is the body's, and the body one byte longer than said
            yield Row(f"{line!r} ends with {end!r}", head + HIDDEN, taken)
    for end in (b"\n", b"\r", b"\n\r", b"\r\r\n"):
        yield Row(f"every line ends with {end!r}", end.join([*_LINES, b""]) + HIDDEN)
    for before in (
        b"\r\n",
        b"\n",
        b"\r",
        b" ",
        b"\t",
        b"\x00",
        b"\r\n\r\n",
        b"\n\n",
        b" \r\n",
        b"\x0b",
        b"\xef\xbb\xbf",
        b"x\r\n",
    ):
        yield Row(f"{before!r} before the request", before + _get())
        yield Row(f"{before!r} before the second request", _get() + before + HIDDEN, 1)


def characters() -> Iterator[Row]:
    """Every control character, and what else may not stand there, in each part of a request."""
    for code in (*range(0x20), 0x7F):
        byte = bytes([code])
        yield Row(f"{byte!r} in the method", b"G" + byte + b"ET" + _get()[3:])
        yield Row(f"{byte!r} in the target", b"GET /@@@@@/fi" + byte + b"rst HTTP/1.1\r\n" + HOST + b"\r\n")
        yield Row(f"{byte!r} in the version", b"GET /@@@@@/first HTTP/1" + byte + b".1\r\n" + HOST + b"\r\n")
        yield Row(f"{byte!r} in a name", _get(b"X-" + byte + b"A: b\r\n"))
        yield Row(f"{byte!r} before a colon", _get(b"X-A" + byte + b": b\r\n"))
        yield Row(f"{byte!r} in a value", _get(b"X-A: b" + byte + b"c\r\n"), TAKEN if code == 9 else 0)
        yield Row(f"{byte!r} in the Host", _get(b"", b"Host: local" + byte + b"host\r\n"))
    for character in b' "(),/;<=>?@[\\]{}\x80\xff':
        byte = bytes([character])
        yield Row(f"{byte!r} in a name", _get(b"X-" + byte + b"A: b\r\n"))
        yield Row(f"{byte!r} in the method", b"G" + byte + b"ET" + _get()[3:])
    for character in b"!#$%&'*+.^_`|~":
        byte = bytes([character])
        yield Row(f"{byte!r} in a name", _get(b"X-" + byte + b"A: b\r\n"), TAKEN)
        yield Row(f"{byte!r} in the method", b"G" + byte + b"ET" + _get()[3:])


def hosts() -> Iterator[Row]:
    """The Host header: missing, twice, and what is no host."""
    yield Row("no Host", _get(b"", b""))
    yield Row("no Host, but a line without a name", _get(b"", b": localhost\r\n"))
    for first, second in ((HOST, HOST), (HOST, b"Host: other\r\n"), (HOST, b"host: localhost\r\n"), (HOST, b"X: y\r\nHOST: other\r\n"),
                          (HOST, b"Host:\r\n"), (HOST, b"Host : other\r\n"), (HOST, b" Host: other\r\n")):  # fmt: skip
        yield Row(f"Host twice {second!r}", _get(second, first))
        yield Row(f"Host twice {second!r} in HTTP/1.0", _get(second, first).replace(b"HTTP/1.1", b"HTTP/1.0"))
    for value, taken in [
        (b"localhost", 1), (b"LocalHost:8080", 1), (b"127.0.0.1:80", 1), (b"[::1]", 1), (b"[::1]:8080", 1), (b"a_b.example", 1), (b"xn--e1a.example.", 1),
        (b"[::ffff:1.2.3.4]", 1), (b"", 0), (b" ", 0), (b"a b", 0), (b"a,b", 0), (b"a/b", 0), (b"a/", 0), (b"a?b", 0), (b"a#b", 0), (b"a@b", 0),
        (b"user:pass@a", 0), (b"a\\b", 0), (b"a:b", 0), (b"a:80:81", 0), (b"a:-1", 0), (b"a:+80", 0), (b"a:123456", 0), (b"::1", 0), (b"[::1", 0),
        (b"::1]", 0), (b"[::1]x", 0), (b"[]", 0), (b"[a]g", 0), (b"[::g]", 0), (b"a\xff", 0), (b"\xc3\xa9", 0), (b"a;b", 0), (b"a=b", 0), (b"a'b", 0), (b'"a"', 0),
        (b"<a>", 0), (b"{a}", 0), (b"a|b", 0), (b"a^b", 0), (b"a`b", 0), (b"http://localhost", 0), (b"localhost, other", 0), (b"a\tb", 0), (b"a(b)", 0),
        (b"localhost\x00", 0), (b"*", 0), (b"a!b", 0), (b"a&b", 0), (b"a$b", 0), (b":80", 0),
    ]:  # fmt: skip
        yield Row(f"Host: {value!r}", _get(b"", b"Host: %b\r\n" % value), TAKEN if taken else 0)


def targets() -> Iterator[Row]:
    """What a request line asks for."""
    for method, target, taken in [
        (b"GET", b"http://localhost/@@@@@/first", 1), (b"GET", b"HTTP://LocalHost:80/@@@@@/first", 1), (b"GET", b"http://localhost?@@@@@", 1),
        (b"GET", b"https://localhost/@@@@@/first", 1), (b"GET", b"https://localhost:443/@@@@@/first", 1),
        (b"GET", b"/@@@@@/first?a=http://other/&b=/", 1), (b"GET", b"/@@@@@/first?", 1), (b"GET", b"//@@@@@/first", 1), (b"GET", b"/@@@@@/a:b@c", 1),
        (b"GET", b"/@@@@@/first?|^{}\\\"<>`", 1), (b"GET", b"/@@@@@/../first", 1), (b"GET", b"http://localhost/@@@@@?a=/b", 1),
        (b"OPTIONS", b"/@@@@@/first", 1), (b"GET", b"http://other/@@@@@/first", 0), (b"GET", b"http://localhost:81/@@@@@/first", 0),
        (b"GET", b"https://localhost:80/@@@@@/first", 0), (b"GET", b"http://localhost@other/@@@@@/first", 0), (b"GET", b"http://other@localhost/@@@@@/first", 0),
        (b"GET", b"http://localhost.other/@@@@@/first", 0), (b"GET", b"http://localhost%00/@@@@@/first", 0), (b"GET", b"http://localhost\\@other/@@@@@/first", 0),
        (b"GET", b"http://other#@localhost/@@@@@/first", 0), (b"GET", b"http:///@@@@@/first", 0), (b"GET", b"http:/@@@@@/first", 0), (b"GET", b"http:@@@@@", 0),
        (b"GET", b"http://", 0), (b"GET", b"http://:80/@@@@@", 0), (b"GET", b"ftp://localhost/@@@@@/first", 0), (b"GET", b"file:///@@@@@", 0), (b"GET", b"ws://localhost/@@@@@", 0),
        (b"GET", b"localhost/@@@@@/first", 0), (b"GET", b"@@@@@/first", 0), (b"GET", b"?@@@@@", 0), (b"GET", b".", 0), (b"GET", b"\\@@@@@\\first", 0), (b"GET", b"*", 0),
        (b"POST", b"*", 0), (b"OPTIONS", b"*/@@@@@", 0), (b"OPTIONS", b"**", 0), (b"GET", b"/@@@@@/first#", 0), (b"GET", b"/@@@@@/first#part", 0), (b"GET", b"/@@@@@?a#b", 0),
        (b"GET", b"http://localhost/@@@@@/first#part", 0), (b"GET", b"#@@@@@", 0), (b"CONNECT", b"localhost:80", 0), (b"CONNECT", b"other:80", 0), (b"GET", b"localhost:80", 0),
        (b"GET", b"javascript:@@@@@", 0), (b"GET", b"/@@@@@/\xe9", 0), (b"GET", b"/@@@@@/\xc3\xa9", 0), (b"GET", b"/@@@@@/" + b"x" * 9000, 0), (b"GET", b"", 0),
        (b"GET", b"http://local host/@@@@@", 0), (b"GET", b"/@@@@@/fi rst", 0), (b"GET", b"http://[::1]/@@@@@/first", 0), (b"GET", b"http://[localhost]/@@@@@/first", 0),
    ]:  # fmt: skip
        data = b"%b %b HTTP/1.1\r\n%b\r\n" % (method, target, HOST)
        yield Row(f"{method.decode()} {target[:50]!r}", data, TAKEN if taken else 0)
    yield Row("a whole address without Host in HTTP/1.0",
              b"GET http://localhost/@@@@@/first HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", TAKEN, KEPT)  # fmt: skip


def request_lines() -> Iterator[Row]:
    """Methods, versions, and the blanks between the parts."""
    for method, taken in [
        (b"PUT", 1), (b"DELETE", 1), (b"PATCH", 1), (b"PROPFIND", 1), (b"M-SEARCH", 1), (b"UPDATEREDIRECTREF", 1), (b"get", 0), (b"Get", 0), (b"gET", 0),
        (b"G", 0), (b"GE", 0), (b"GET1", 0), (b"1GET", 0), (b"-GET", 0), (b"GET-", 0), (b"A" * 21, 0), (b"A" * 300, 0), (b"A" * 9000, 0), (b"\x16\x03\x01", 0),
        (b"GET:", 0), (b"GET,", 0), (b"G\xc3\x89T", 0), (b"PRI", 1), (b"", 0),
    ]:  # fmt: skip
        yield Row(f"method {method[:30]!r} {len(method)}", method + _get()[3:], TAKEN if taken else 0)
    for version in (b"HTTP/1.2", b"HTTP/1.9", b"HTTP/1.10", b"HTTP/1.01", b"HTTP/01.1", b"HTTP/2.0", b"HTTP/2", b"HTTP/3.0", b"HTTP/0.9", b"HTTP/9.9", b"HTTP/1", b"HTTP/1.",
                    b"HTTP/.1", b"HTTP/1.1.1", b"HTTP/1,1", b"http/1.1", b"Http/1.1", b"HTTP /1.1", b"HTTP/ 1.1", b"HTTP/1.1x", b"HTTP/1.1 x", b"HTTPS/1.1", b"HTP/1.1",
                    b"XHTTP/1.1", b"HTTP1.1", b"HTTP//1.1", b"HTTP/-1.1", b"HTTP/+1.1", b"HTTP/1.1;", b"HTTP/1.\xb9", b"HTTP/a.b", b"ICY/1.0", b"1.1", b"HTTP"):  # fmt: skip
        yield Row(f"version {version!r}", b"GET /@@@@@/first " + version + b"\r\n" + HOST + b"\r\n")
        yield Row(f"version {version!r} with a body", _post(b"Content-Length: %d\r\n" % len(HIDDEN), HIDDEN, version))
    for line in (b"GET /@@@@@/first", b"GET  /@@@@@/first HTTP/1.1", b"GET /@@@@@/first  HTTP/1.1", b"GET\t/@@@@@/first HTTP/1.1", b"GET /@@@@@/first\tHTTP/1.1",
                 b" GET /@@@@@/first HTTP/1.1", b"GET /@@@@@/first HTTP/1.1 ", b"GET /@@@@@/first HTTP/1.1\t", b"GET /@@@@@/first HTTP/1.1 HTTP/1.1", b"GET", b"GET /@@@@@/first ",
                 b"GET\xa0/@@@@@/first HTTP/1.1", b"GET /@@@@@/first\x0bHTTP/1.1", b"GET /@@@@@/first\x0cHTTP/1.1", b"/@@@@@/first HTTP/1.1", b"GET HTTP/1.1", b"HTTP/1.1 200 OK",
                 b"PRI * HTTP/2.0"):  # fmt: skip
        yield Row(f"request line {line!r}", line + b"\r\n" + HOST + b"\r\n")
    yield Row("the preface of HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00")
    yield Row("a TLS handshake", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 40 + b"\r\n\r\n")


def bodies() -> Iterator[Row]:
    """Bodies where there is none, expectations, upgrades, and what follows an end or a refusal."""
    length = b"Content-Length: %d\r\n" % len(HIDDEN)
    for method in (b"GET", b"HEAD", b"DELETE", b"OPTIONS", b"PUT"):
        line = b"%b %b HTTP/1.1\r\n%b" % (method, FIRST, HOST)
        yield Row(f"{method.decode()} with a body", line + length + b"\r\n" + HIDDEN, TAKEN)
        yield Row(f"{method.decode()} with a body in chunks", line + CHUNKED + b"\r\n" + END, TAKEN)
        yield Row(f"{method.decode()} with an empty body", line + b"Content-Length: 0\r\n\r\n", TAKEN)
    for value in (
        b"",
        b"100",
        b"100-continued",
        b"x",
        b"100-continue, x",
        b"100-continue, 100-continue",
        b"100-continue;q=1",
        b"200-ok",
        b'"100-continue"',
        b"100 continue",
    ):
        yield Row(f"Expect: {value!r}", _post(length + b"Expect: %b\r\n" % value, HIDDEN))
    yield Row("Expect twice", _post(length + b"Expect: 100-continue\r\n" * 2, HIDDEN))
    yield Row("Expect before a space and the colon", _post(length + b"Expect : 100-continue\r\n", HIDDEN))
    for value in (b"100-continue", b"100-Continue"):
        yield Row(f"Expect: {value!r}", _post(length + b"Expect: %b\r\n" % value, HIDDEN), TAKEN)
    yield Row(
        "Upgrade: h2c with a body",
        _post(length + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n", HIDDEN),
        TAKEN,
    )
    yield Row(
        "Upgrade: h2c with a body in chunks",
        _post(CHUNKED + b"Connection: Upgrade\r\nUpgrade: h2c\r\n", HELLO + END),
        TAKEN,
    )
    yield Row("Upgrade: h2c before a request", _get(b"Connection: Upgrade\r\nUpgrade: h2c\r\n") + HIDDEN, TAKEN)
    for line in (length, CHUNKED):
        yield Row(
            f"Upgrade: websocket, a GET, {line!r}",
            _get(b"Connection: Upgrade\r\nUpgrade: websocket\r\n" + line) + HIDDEN,
        )
    yield Row("a request behind Connection: close", _get(b"Connection: close\r\n") + HIDDEN, 1)
    yield Row("a request behind HTTP/1.0", _get().replace(b"HTTP/1.1", b"HTTP/1.0") + HIDDEN, 1)
    yield Row("a request behind HTTP/1.0 with a body", _post(length, HIDDEN, b"HTTP/1.0") + HIDDEN, 1)
    for value in (b"keep-alive2", b"xkeep-alive", b"close", b"keep-alive, close", b"keep alive"):
        data = _get(b"Connection: %b\r\n" % value).replace(b"HTTP/1.1", b"HTTP/1.0") + HIDDEN
        yield Row(f"a request behind HTTP/1.0 with Connection: {value!r}", data, 1)
    yield Row("a request behind a refused one", _get(b"X : y\r\n") + HIDDEN)
    yield Row("a request behind a refused length", _post(b"Content-Length: 5, 6\r\n", b"hello") + HIDDEN)
    yield Row("a request behind a refused coding", _post(b"Transfer-Encoding: x\r\n", HELLO + END) + HIDDEN)
    yield Row("a request behind a refused chunk", _chunks(b"0x5\r\nhello\r\n" + END) + HIDDEN)
    yield Row("a request behind a body too large", _post(b"Content-Length: 99999999999\r\n", HIDDEN) + HIDDEN)
    yield Row("a refused request behind two", _get() + HIDDEN + _get(b"X : y\r\n"), 2)
    yield Row("three requests", _get() + _post(length, HIDDEN) + _chunks(HELLO + END), TAKEN)
    yield Row("a body and an empty line", _post(length, HIDDEN + b"\r\n"), 1)
    yield Row("a body one byte longer than said", _post(b"Content-Length: 4\r\n", b"hello"), 1)
    yield Row("101 headers", _get(b"X-A: b\r\n" * 100))
    yield Row("8000 headers", _get(b"a:\r\n" * 8000))
    yield Row("a header too long", _get(b"X-A: " + b"b" * 33_000 + b"\r\n"))
    yield Row("headers too long", _get((b"X-A: " + b"b" * 1000 + b"\r\n") * 40))
    yield Row("90 headers", _get(b"X-A: b\r\n" * 90), TAKEN)
    for line in (
        b"X",
        b"X y",
        b": y",
        b" : y",
        b"=y",
        b"X: y\r\n: z",
        b"\xff: y",
        b"X\r\n: y",
        b"(X): y",
        b"X: y\r\n  Z: a",
        b"\t",
        b"GET /@@@@@/hidden HTTP/1.1",
    ):
        yield Row(f"a header as {line!r}", _get(line + b"\r\n"))


def table() -> list[Row]:
    """All rows."""
    kinds = (codings, lengths, chunk_sizes, chunk_extensions, chunk_ends, trailers, line_ends, characters, hosts,
             targets, request_lines, bodies)  # fmt: skip
    rows = [row for kind in kinds for row in kind()]
    return rows + [
        Row(name, data, 1 if name in field.CLOSING else TAKEN, KEPT if name == "ab" else "")
        for name, data in field.requests().items()
    ]
