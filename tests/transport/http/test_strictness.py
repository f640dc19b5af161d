"""What two readers could read differently, as bytes: `strictness.py` by itself. What servers make of it: `test_table.py`."""

from __future__ import annotations

import h11
import pytest

from imageserver.errors import Refusal
from imageserver.limits import Limits
from imageserver.transport.http import strictness

LIMITS = Limits()


def status_of(head: bytes, limits: Limits = LIMITS) -> int:
    """200, or the status of the refusal of a whole head."""
    try:
        strictness.check_head(head, limits)
        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=2**20)
        connection.receive_data(head)
        request = connection.next_event()
        assert isinstance(request, h11.Request)
        strictness.check_request(request, dict(request.headers), limits)
    except Refusal as refusal:
        return refusal.status
    return 200


@pytest.mark.parametrize(("head", "status"), [
    (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", 200),
    (b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET\x00 \n", 200),  # what follows is looked at when its turn comes
    (b"GET / HTTP/1.1\nHost: a\n\n", 400),
    (b"GET / HTTP/1.1\nHost: a\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost: a\r\nX: \x7f\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost: a\r\nX: a\tb\xff\r\n\r\n", 200),
    (b"GET /" + b"x" * 8177 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 200),
    (b"GET /" + b"x" * 8178 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414),
    (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"a:\r\n" * 99 + b"\r\n", 200),
    (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"a:\r\n" * 100 + b"\r\n", 431),
    (b"GET / HTTP/1.1\r\nHost: a\r\na: " + b"b" * (32768 - 30) + b"\r\n\r\n", 200),
    (b"GET / HTTP/1.1\r\nHost: a\r\na: " + b"b" * (32768 - 29) + b"\r\n\r\n", 431),
    (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 67108864\r\n\r\n", 200),
    (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 67108865\r\n\r\n", 413),
    (b"POST / HTTP/1.1\r\nHost: a\r\ncontent-LENGTH: 5\r\nCONTENT-length: 5\r\n\r\n", 400),
])  # fmt: skip
def test_heads(head: bytes, status: int) -> None:
    assert status_of(head) == status


def test_a_head_is_not_judged_before_it_has_come() -> None:
    head = b"GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n\r\n"
    for end in range(len(head)):
        strictness.check_head(head[:end], LIMITS)


@pytest.mark.parametrize(("target", "path"), [
    ("/a?b=c", "/a?b=c"), ("//a", "//a"), ("*", "*"), ("http://h/a?b", "/a?b"), ("HTTP://h", "/"), ("http://h?a=/b", "/?a=/b"),
    ("http://h:80/", "/"), ("/http://h/", "/http://h/"),
])  # fmt: skip
def test_paths(target: str, path: str) -> None:
    assert strictness.path_of(target) == path


BODY = b'5;a="b;c"\r\nhello\r\n1f\r\n' + b"\n" * 31 + b"\r\n000\r\nX-A: b\r\nX-C:\r\n\r\n"


def test_a_proper_body_passes_however_it_is_cut() -> None:
    for first in range(len(BODY) + 1):
        framing = strictness.ChunkedFraming(LIMITS)
        framing.feed(BODY[:first])
        framing.feed(BODY[first:])
        framing.feed(b"\x00 anything \n")  # the next request
    framing = strictness.ChunkedFraming(LIMITS)
    for byte in BODY + b"\x00 anything \n":
        framing.feed(bytes([byte]))


@pytest.mark.parametrize(("body", "status"), [
    (b"0x5\r\n", 400), (b"5\nhello", 400), (b"\r\n", 400), (b"5\r\nhello\r\n+0\r\n", 400), (b"0\r\nHost: a\r\n", 400), (b"0\r\nX: b\n", 400),
    (b"5;" + b"a" * 300, 400), (b"0\r\n" + b"X: b\r\n" * 101, 431), (b"0\r\nX: " + b"b" * 40_000, 431), (b"000000005\r\n", 400),
])  # fmt: skip
def test_bodies_are_refused_from_then_on(body: bytes, status: int) -> None:
    for size in (1, 7, 2**26) if len(body) < 2**16 else (2**16,):
        framing = strictness.ChunkedFraming(LIMITS)
        with pytest.raises(Refusal) as refused:  # noqa: PT012
            for at in range(0, len(body), size):
                framing.feed(body[at : at + size])
        assert refused.value.status == status
        with pytest.raises(Refusal):
            framing.feed(b"")
