"""A request's body that is a JSON object: settings, users, tokens. Small, and measured before it is read."""

from __future__ import annotations

import json
from typing import Any

from imageserver.errors import Refused
from imageserver.limits import hit
from imageserver.web import requests
from imageserver.web.requests import Request

TYPES = ("", "application/json", "text/plain", "application/x-www-form-urlencoded", "application/octet-stream")
"""What curl and other programs say of JSON that somebody typed, beside what it is."""


def read(request: Request, most: int) -> dict[str, Any]:
    """The object in the body, of at most `most` bytes.

    Raises:
        Refused: no JSON object (400), too large (413), compressed or said to be something else (415).
        Interrupted: it did not arrive.
    """
    if request.mimetype not in TYPES:
        raise Refused(415, f"send a JSON object as application/json, not {request.mimetype[:64]!r}")
    return parse(received(request, most))


def received(request: Request, most: int) -> bytearray:
    """The body, of at most `most` bytes. Raises as `read` does."""

    def too_large(length: str) -> Refused:
        hit("max_json_bytes", request.account.owner)
        return Refused(413, f"the body has {length} bytes; at most {most} are taken")

    return requests.receive(request, most, too_large)


def parse(data: bytearray) -> dict[str, Any]:
    """The JSON object that `data` holds. Refused: 400."""
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise Refused(400, 'the body is no JSON object, such as {"name": "value"}')
    return found
