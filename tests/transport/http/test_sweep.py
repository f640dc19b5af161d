"""Requests with one byte too many, too few, or another: all of them, to every party. See test_table.py."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.transport.http.opinions import Opinions
from tests.transport.http.rows import CHUNKED, END, FIRST, HELLO, HIDDEN, HOST, KEPT, TAG, Row

pytestmark = pytest.mark.long
AT_ONCE = 9000
"""Rows: their numbers have four digits."""

BYTES = b'\r\n \t:;,0+5\x00_x/\x0b\x85"'
_LENGTH = b"Content-Length: %d\r\n" % len(HIDDEN)
REQUESTS = {
    "GET": b"GET %b HTTP/1.1\r\n%b\r\n" % (FIRST, HOST),
    "length": b"POST %b HTTP/1.1\r\n%b%b\r\n%b" % (FIRST, HOST, _LENGTH, HIDDEN),
    "chunks": b"POST %b HTTP/1.1\r\n%b%b\r\n%x\r\n%b\r\n%b" % (FIRST, HOST, CHUNKED, len(HIDDEN), HIDDEN, END),
    "trailers": b"POST %b HTTP/1.1\r\n%b%b\r\n%b0;a=b\r\nX: y\r\n\r\n%b" % (FIRST, HOST, CHUNKED, HELLO, HIDDEN),
    "HTTP/1.0": b"POST %b HTTP/1.0\r\n%bContent-Length: 5\r\nConnection: keep-alive\r\n\r\nhello%b"
    % (FIRST, HOST, HIDDEN),
    "upgrade": b"GET %b HTTP/1.1\r\n%bExpect: 100-continue\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"
    % (FIRST, HOST),
}


def mutations() -> Iterator[Row]:
    for name, data in REQUESTS.items():
        why = KEPT if name == "HTTP/1.0" else ""
        for at in range(len(data)):
            if TAG in data[max(0, at - len(TAG)) : at + len(TAG) + 1]:
                continue
            yield Row(f"{name} without {at}", data[:at] + data[at + 1 :], why=why)
            for code in BYTES:
                byte = bytes([code])
                yield Row(f"{name} with {byte!r} before {at}", data[:at] + byte + data[at:], why=why)
                yield Row(f"{name} with {byte!r} at {at}", data[:at] + byte + data[at + 1 :], why=why)


TABLE = list(mutations())


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("begin", range(0, len(TABLE), AT_ONCE))
def test_one_byte_makes_nobody_read_otherwise(tmp_path: Path, begin: int) -> None:
    opinions = Opinions(tmp_path, TABLE[begin : begin + AT_ONCE])
    for party in ("nginx", "haproxy", "gunicorn", "h11"):
        assert party not in opinions.answers or not opinions.read_otherwise(party), party
    for proxy in ("nginx", "haproxy"):
        assert proxy not in opinions.answers or not opinions.sent_otherwise(proxy), proxy
    for party in ("gunicorn", "h11"):
        assert not opinions.stricter(party), party
