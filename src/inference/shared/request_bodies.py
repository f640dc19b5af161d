"""Bodies of requests, as they came over the wall, to the picture files in them. Pure: bytes in, bytes out.

This is done in a worker because 16 MB of base64 in JSON cost 30 ms, which would hold up every camera.
"""

from __future__ import annotations

import base64
import binascii
import json
from typing import Any

from imageserver.errors import PictureError
from imageserver.inference.shared import wire

Bytes = bytes | bytearray | memoryview

MAX_PARTS = 16
"""Parts of a multipart form that are looked at."""


class BodyError(Exception):
    """A body that is not what it is said to be: one sentence for whoever sent it."""


def picture(content: str, data: Bytes) -> Bytes:
    """The bytes of the picture file in a body of this content (wire.CONTENT_…). BodyError, PictureError."""
    kind, _, parameter = content.partition(";")
    if kind == wire.CONTENT_IMAGE:
        return data
    if kind == wire.CONTENT_JSON:
        return from_json(data)
    if kind == wire.CONTENT_MULTIPART:
        return from_multipart(data, parameter)
    raise BodyError(f"bodies of the content {kind!r} are not understood")


def from_json(data: Bytes) -> bytes:
    """`{"image": "<base64, with or without line breaks>"}`. BodyError: no JSON; PictureError: JSON without a picture in it."""
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
    """Standard base64 (RFC 4648, section 4); white space in it is skipped, padding may be left out. PictureError."""
    try:
        # Only where there is white space does it cost a copy.
        compact = text if text.isascii() and not any(space in text for space in " \n\r\t") else "".join(text.split())
        return base64.b64decode(compact + "=" * (-len(compact) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise PictureError(
            "the image is no standard base64: send that alone, with nothing such as data: before it"
        ) from None


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
