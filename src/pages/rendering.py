"""A template made into an answer: piece by piece, so that a long page holds up nobody, and small for who takes that."""

from __future__ import annotations

import time
import zlib
from collections.abc import Mapping
from typing import Any

from jinja2 import Template

from imageserver.transport.fairness import Turn
from imageserver.web.requests import Request, Response

_GZIP = 16 + zlib.MAX_WBITS
"""Of zlib: with gzip's head (RFC 1952)."""


def takes_gzip(request: Request) -> bool:
    """Whether the client takes what gzip has made smaller."""
    return request.accept_encodings["gzip"] > 0


def rendered(
    template: Template, request: Request, values: Mapping[str, Any], status: int, headers: Mapping[str, str]
) -> Response:
    """The page that a template makes of `values`, in turns with all others."""
    squeezed = takes_gzip(request)
    squeeze = zlib.compressobj(wbits=_GZIP) if squeezed else None
    pieces, turn = [], Turn(time.monotonic)
    for text in template.generate(values):
        piece = text.encode()
        pieces.append(piece if squeeze is None else squeeze.compress(piece))
        turn.share()
    if squeeze is not None:
        pieces.append(squeeze.flush())
    more = {"Vary": "Accept-Encoding"} | ({"Content-Encoding": "gzip"} if squeezed else {})
    return Response(b"".join(pieces), status, {**headers, **more}, mimetype="text/html")
