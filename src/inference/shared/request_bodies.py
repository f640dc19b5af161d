"""Bodies of requests, as they came over the wall, to the picture files in them. Pure: bytes in, bytes out.

This is done in a worker because 16 MB of base64 in JSON cost 30 ms, which would hold up every camera.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from typing import Any

from imageserver.errors import BodyError, PictureError
from imageserver.inference.shared import image_header, wire

Bytes = bytes | bytearray | memoryview

MAX_PARTS = 16
"""Parts of a multipart form that are looked at."""

JSON = "application/json"
MULTIPART = "multipart/form-data"
TYPES = (JSON, MULTIPART, "application/x-www-form-urlencoded", "application/octet-stream", "")
"""Content types of bodies beside image/…: what curl sends unless it is told otherwise is among them."""

_LOOKS_LIKE_JSON = re.compile(rb"(?:\xef\xbb\xbf)?[ \t\r\n]{0,64}[{\[]")


def content_of(content_type: str, boundary: str, data: Bytes) -> str:
    """What a request's body is, told by its first bytes; the Content-Type counts where these leave it open.

    Args:
        content_type: Without its parameters, in lower case; "" for none.
        boundary: The parameter of that name.
        data: The body.

    Returns:
        wire.CONTENT_IMAGE, wire.CONTENT_JSON, or wire.CONTENT_MULTIPART with the boundary. What is nothing
        of that passes for a picture, and is refused as one.

    Raises:
        BodyError: A form whose boundary cannot be one (RFC 2046, section 5.1.1).
    """
    if image_header.is_picture(data):
        return wire.CONTENT_IMAGE
    if content_type == MULTIPART:
        if not 0 < len(boundary) <= 70 or not boundary.isascii():
            raise BodyError("the multipart form's Content-Type names no proper boundary")
        return f"{wire.CONTENT_MULTIPART};{boundary}"
    if content_type == JSON or _LOOKS_LIKE_JSON.match(data):
        return wire.CONTENT_JSON
    return wire.CONTENT_IMAGE


def picture(content: str, data: Bytes) -> Bytes:
    """The bytes of the picture file in a body of this content (wire.CONTENT_…). BodyError, PictureError."""
    name, _, boundary = content.partition(";")
    if name == wire.CONTENT_IMAGE:
        return data
    if name == wire.CONTENT_JSON:
        return from_json(data)
    if name == wire.CONTENT_MULTIPART:
        return from_multipart(data, boundary)
    raise BodyError(f"bodies of the content {name!r} are not understood")


def from_json(data: Bytes) -> bytes:
    """The bytes of `{"image": "<base64>"}`. BodyError: no JSON; PictureError: JSON without a picture in it."""
    found = parse_json(data)
    image = found.get("image") if isinstance(found, dict) else None
    if not isinstance(image, str):
        raise PictureError('the body holds no picture: send a JSON object {"image": "<a picture file in base64>"}')
    return from_base64(image)


def parse_json(data: Bytes) -> Any:
    """Any JSON text in UTF-8. BodyError when it does not parse."""
    try:
        # Some systems begin every text with a byte order mark; RFC 8259, section 8.1, allows to skip it.
        return json.loads(str(data, "utf-8-sig"))
    except json.JSONDecodeError as error:
        raise BodyError(f"the body is no valid JSON: {error.msg} (line {error.lineno}, column {error.colno})") from None
    except UnicodeDecodeError:  # its text would repeat the body's bytes
        raise BodyError("the body is no valid JSON: it is no UTF-8") from None
    except RecursionError:
        raise BodyError("the body is no valid JSON: it is nested too deeply") from None
    except ValueError:
        raise BodyError("the body's JSON has a number of too many digits: at most 4,300 are read") from None


def from_base64(text: str) -> bytes:
    """The bytes in base64 (RFC 4648, either alphabet), alone or in a `data:` URL (RFC 2397). PictureError.

    White space is skipped, and padding may be left out.
    """
    if text.startswith("data:"):
        header, _, text = text.partition(",")
        if not header.endswith(";base64"):
            raise PictureError("the image's data: URL holds no base64: it must read data:image/…;base64,…")
    try:
        # Only where there is white space does it cost a copy.
        compact = text if text.isascii() and not any(space in text for space in " \n\r\t") else "".join(text.split())
        altchars = b"-_" if "-" in compact or "_" in compact else None
        return base64.b64decode(compact + "=" * (-len(compact) % 4), altchars, validate=True)
    except (binascii.Error, ValueError):
        raise PictureError("the image is no base64: send a picture file in base64 or as a data: URL") from None


def from_multipart(data: Bytes, boundary: str) -> bytes:
    """The first file in a multipart form. BodyError: no such form; PictureError: a form without a file."""
    from werkzeug.exceptions import RequestEntityTooLarge
    from werkzeug.sansio.multipart import Data, Epilogue, File, MultipartDecoder, NeedData

    decoder = MultipartDecoder(boundary.encode("latin-1"), max_form_memory_size=len(data), max_parts=MAX_PARTS)
    pieces: list[bytes] = []
    inside = False
    try:
        decoder.receive_data(bytes(data))
        decoder.receive_data(None)
        while not isinstance(event := decoder.next_event(), (Epilogue, NeedData)):
            if isinstance(event, File):
                inside = True
            elif isinstance(event, Data) and inside:
                pieces.append(event.data)
                if not event.more_data:
                    return b"".join(pieces)
    except ValueError:
        raise BodyError("the body is no complete multipart form with the boundary that its header names") from None
    except RequestEntityTooLarge:
        raise BodyError(f"the form has more than {MAX_PARTS} parts") from None
    raise PictureError("the form holds no file: send the picture as a file field")
