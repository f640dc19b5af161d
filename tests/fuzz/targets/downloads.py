"""What a server says of the file that `add_model --get` asks it for."""

from __future__ import annotations

import contextlib
import http.client
import io

from tests.fuzz.target import Target
from tests.inference.getting.mirrors import file_of

from imageserver.errors import ModelError
from imageserver.inference.getting import origins

FILE = file_of(b"a network")
BEGIN = 3


def answer(data: bytes) -> None:
    """Nothing but the file's own bytes from the first on, or from the wanted one, is ever taken."""
    try:
        headers = http.client.parse_headers(io.BytesIO(data))
    except http.client.HTTPException:
        return
    assert len(origins.tag_of(headers)) <= origins.MOST_TAG + 2
    for status in (200, 206):
        with contextlib.suppress(ModelError):
            start = origins.start_of(status, headers, BEGIN, FILE)
            assert start == (BEGIN if status == 206 else 0)


TARGETS = [
    Target(
        name="answer-to-a-download",
        run=answer,
        seeds=[
            b'Content-Length: 9\r\nETag: "1"\r\n\r\n',
            b"Content-Range: bytes 3-8/9\r\nContent-Length: 6\r\n\r\n",
            b'ETag: W/"1"\r\nContent-Range: bytes */9\r\n\r\n',
            b"Content-Range: bytes 0-8/99999999999999999999\r\n\r\n",
        ],
        words=[b"Content-Range: bytes ", b"Content-Length: ", b"ETag: ", b'W/"', b"-", b"/", b"\r\n", b"*", b"9" * 18],
        covers=["inference.getting.origins"],
        longest=2**14,
        byte_seconds=1e-5,
        byte_memory=400,
    ),
]
