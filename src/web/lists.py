"""Lists in pages: so many rows in an answer, and a link that leads to the next ones (RFC 8288)."""

from __future__ import annotations

import json
from collections.abc import Sequence

from imageserver import limits
from imageserver.web import query
from imageserver.web.requests import Request, Response

encode = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode
"""A row as JSON."""


def asked(request: Request, most: int) -> int:
    """How many rows the request wants at most; 0: as many as there may be. Refused: 400."""
    return query.whole(request, "limit", 0, 1, most)


def page(body: bytes, following: str, wanted: int) -> Response:
    """A page of a list; who did not ask for a number of rows and gets fewer than there are hits a limit.

    Args:
        body: The page as JSON.
        following: The address of the next one; "" for the last.
        wanted: What `asked` said.
    """
    response = Response(body, mimetype="application/json", headers={"Cache-Control": "no-store"})
    if following:
        response.headers["Link"] = f'<{following}>; rel="next"'
        if not wanted:
            limits.hit("list_rows")
    return response


def array(rows: Sequence[str]) -> bytes:
    """Rows that are JSON already as an array."""
    return f"[{','.join(rows)}]".encode()
