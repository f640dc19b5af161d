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


def read(request: Request) -> dict[str, Any]:
    """The object in the body, of at most `request.most` bytes.

    Raises:
        Refused: no JSON object (400), too large (413), compressed or said to be something else (415).
        Interrupted: it did not arrive.
    """
    if request.mimetype not in TYPES:
        raise Refused(415, f"send a JSON object as application/json, not {request.mimetype[:64]!r}")
    return parse(received(request))


def received(request: Request) -> bytearray:
    """The body. Raises as `read` does."""
    return requests.receive(request, lambda: hit("max_json_bytes", request.account.owner))


def parse(data: bytearray) -> dict[str, Any]:
    """The JSON object that `data` holds. Refused: 400."""
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise Refused(400, 'the body is no JSON object, such as {"name": "value"}')
    return found
