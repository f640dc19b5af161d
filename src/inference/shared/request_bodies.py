"""Bodies of requests, as they came over the wall, to the picture files in them. Pure: bytes in, bytes out.

Nothing is built of what is not the picture before it is measured, and the picture itself is gone through in pieces of
less than a millisecond. Between two of them `pause` is called: a worker has nothing to do in it, the server's loop has.
"""

from __future__ import annotations

import binascii
import json
import re
from collections.abc import Callable
from typing import Any

from imageserver.errors import BodyError, PictureError
from imageserver.inference.shared import image_header, wire

Bytes = bytes | bytearray | memoryview

MAX_PARTS = 16
"""Parts of a multipart form that are looked at."""

MAX_PART_HEADERS = 8192
"""Bytes of headers before one part of a form."""

MAX_JSON_BESIDE, MAX_MARKS = 2**16, 2**13
"""Bytes of JSON beside the picture in it, and quotation marks."""

MAX_LISTS, MAX_OBJECTS, MAX_TEXTS = 1_500_000, 10_000, 100_000
"""What a JSON text as a whole may hold; 16 MiB are no more lists than that where each is a pixel."""

PIECE = 2**17
"""Bytes that are handled at once."""

_LONG = 4096
"""Bytes from which on a text in JSON is not read with the rest: it may be a picture."""

JSON = "application/json"
MULTIPART = "multipart/form-data"
TYPES = (JSON, MULTIPART, "application/x-www-form-urlencoded", "application/octet-stream", "")
"""Content types of bodies beside image/…: what curl sends unless it is told otherwise is among them."""

_NO_FORM = "the body is no complete multipart form with the boundary that its header names"
_NO_BASE64 = "the image is no base64: send a picture file in base64 or as a data: URL"
_STANDARD = bytes.maketrans(b"-_", b"+/")
_BLANKS = b" \t\n\v\f\r"
_AFTER_DELIMITER = re.compile(rb"--|[ \t]{0,64}\r?\n")
_BLANK_LINE = re.compile(rb"\r?\n\r?\n")
_DISPOSITION = re.compile(rb"(?im)^content-disposition[ \t]*:([^\r\n]*)")
_FILE_NAME = re.compile(rb"(?i);[ \t]*filename\*?[ \t]*=")
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


def _go_on() -> None:
    """No pause."""


def picture(content: str, data: Bytes, pause: Callable[[], None] = _go_on) -> Bytes:
    """The bytes of the picture file in a body of this content (wire.CONTENT_…). BodyError, PictureError."""
    name, _, boundary = content.partition(";")
    if name == wire.CONTENT_IMAGE:
        return data
    if name == wire.CONTENT_JSON:
        return from_json(data, pause)
    if name == wire.CONTENT_MULTIPART:
        return from_multipart(data, boundary, pause)
    raise BodyError(f"bodies of the content {name!r} are not understood")


# ---- JSON -------------------------------------------------------------------------------------------------------


def from_json(data: Bytes, pause: Callable[[], None] = _go_on) -> Bytes:
    """The bytes of `{"image": "<base64>"}`. BodyError: no JSON; PictureError: JSON without a picture in it."""
    data = _searchable(data)
    text, long_texts = _without_long_texts(data, pause)
    found = _loads(text)
    image = found.get("image") if isinstance(found, dict) else None
    if not isinstance(image, str):
        raise PictureError('the body holds no picture: send a JSON object {"image": "<a picture file in base64>"}')
    if image not in long_texts:
        return from_base64(image)
    begin, end = long_texts[image]
    return _decode(memoryview(data)[begin:end], pause, in_json=True)


def _without_long_texts(data: bytes | bytearray, pause: Callable[[], None]) -> tuple[bytes, dict[str, tuple[int, int]]]:
    """The JSON with names in place of long texts, and where the text of each name stands. BodyError."""
    long_texts: dict[str, tuple[int, int]] = {}
    beside, at, marks = bytearray(), 0, 0
    while at < len(data):
        begin = data.find(b'"', at)
        end = data.find(b'"', begin + 1) if begin >= 0 else len(data)
        marks += 2
        while marks <= MAX_MARKS and 0 <= end < len(data) and _escaped(data, end):
            end, marks = data.find(b'"', end + 1), marks + 1
        if end < 0:
            raise BodyError("the body is no valid JSON: a text in it has no end")
        is_long = begin >= 0 and end - begin > _LONG
        stop = begin if is_long else end + 1  # up to there it is copied
        if len(beside) + stop - at > MAX_JSON_BESIDE or marks > MAX_MARKS:
            raise BodyError(f"the body's JSON has too much beside the picture: at most {MAX_JSON_BESIDE} bytes")
        beside += data[at:stop]
        if is_long:
            name = f"\0{len(long_texts)}"  # who writes such a text himself gets a long one of his own
            long_texts[name] = begin + 1, end
            beside += json.dumps(name).encode()
        at = end + 1
        pause()
    return bytes(beside), long_texts


def _escaped(data: bytes | bytearray, at: int) -> bool:
    """Whether the quotation mark there belongs to the text: an odd number of backslashes stands before it."""
    before = data[max(at - 64, 0) : at]
    return bool((len(before) - len(before.rstrip(b"\\"))) % 2)


def parse_json(data: Bytes) -> Any:
    """Any JSON text in UTF-8, as a whole: for a worker. BodyError when it does not parse, or has too much in it."""
    data = _searchable(data)
    for mark, most, name in (
        (b"[", MAX_LISTS, "lists"),
        (b"{", MAX_OBJECTS, "objects"),
        (b'"', 2 * MAX_TEXTS, "texts"),
    ):
        if data.count(mark) > most:
            raise BodyError(f"the body's JSON has too many {name}")
    return _loads(data)


def _loads(data: bytes | bytearray) -> Any:
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


# ---- base64 -----------------------------------------------------------------------------------------------------


def from_base64(text: str) -> Bytes:
    """The bytes in base64 (RFC 4648, either alphabet), alone or in a `data:` URL (RFC 2397). PictureError.

    White space is skipped, and padding may be left out.
    """
    if not text.isascii():
        raise PictureError(_NO_BASE64)
    return _decode(memoryview(text.encode("ascii")), _go_on, in_json=False)


def _decode(text: memoryview, pause: Callable[[], None], *, in_json: bool) -> bytearray:
    """The bytes in `text`. `in_json`: it still has the escapes of JSON. PictureError."""
    found, carried, at, ended = bytearray(), b"", _begin(text), False
    while at < len(text):
        characters, at = _characters(text, at, in_json)
        characters = carried + characters
        whole = len(characters) - len(characters) % 4
        if ended and characters:
            raise PictureError(_NO_BASE64)  # nothing follows padding
        found += _bytes_of(characters[:whole])
        carried, ended = characters[whole:], ended or characters[:whole].endswith(b"=")
        pause()
    if carried and ended:
        raise PictureError(_NO_BASE64)
    if carried:
        found += _bytes_of(carried + b"=" * (4 - len(carried)))
    return found


def _begin(text: memoryview) -> int:
    """Where the base64 begins: behind what a `data:` URL has before it. PictureError."""
    head = bytes(text[:1024])
    if not head.startswith(b"data:"):
        return 0
    header, comma, _ = head.partition(b",")
    if not comma or not header.endswith(b";base64"):
        raise PictureError("the image's data: URL holds no base64: it must read data:image/…;base64,…")
    return len(header) + 1


def _characters(text: memoryview, at: int, in_json: bool) -> tuple[bytes, int]:
    """A piece of base64 from `at` on, of the standard alphabet and without blanks, and where the next one begins."""
    piece = bytes(text[at : at + PIECE])
    if not in_json or b"\\" not in piece:
        return piece.translate(_STANDARD, b" " if in_json else _BLANKS), at + len(piece)
    if at + len(piece) < len(text):
        begun = piece.rfind(b"\\", len(piece) - 6)  # an escape that may go on in the next piece
        piece = piece[:begun] if begun > 0 else piece
    try:
        plain = json.loads(b'"%b"' % piece).encode("ascii")
    except ValueError:
        raise PictureError(_NO_BASE64) from None
    return plain.translate(_STANDARD, _BLANKS), at + len(piece)


def _bytes_of(base64: bytes) -> bytes:
    try:
        return binascii.a2b_base64(base64, strict_mode=True)
    except binascii.Error:
        raise PictureError(_NO_BASE64) from None


# ---- forms ------------------------------------------------------------------------------------------------------


def from_multipart(data: Bytes, boundary: str, pause: Callable[[], None] = _go_on) -> memoryview:
    """The first file in a multipart form (RFC 7578). BodyError: no such form; PictureError: a form without a file."""
    data = _searchable(data)
    delimiter = b"\n--" + boundary.encode("latin-1")
    first = delimiter[1:]
    if data.startswith(first) and _AFTER_DELIMITER.match(data, len(first)):
        at = len(first)
    else:
        at = _next(data, delimiter, 0, pause)[1]
    for _ in range(MAX_PARTS):
        if data[at : at + 2] == b"--":
            raise PictureError("the form holds no file: send the picture as a file field")
        begin, is_file = _part(data, at)
        end, at = _next(data, delimiter, begin - 1, pause)
        if is_file:
            if data[end - 1 : end] == b"\r":
                end -= 1
            return memoryview(data)[begin : max(begin, end)]
    raise BodyError(f"the form has more than {MAX_PARTS} parts")


def _next(data: bytes | bytearray, delimiter: bytes, at: int, pause: Callable[[], None]) -> tuple[int, int]:
    """Where the next delimiter's line feed stands, and what is behind the delimiter. BodyError."""
    for _ in range(MAX_PARTS * 64):  # some may stand in a file by chance
        found = -1
        while found < 0 and at < len(data):
            found = data.find(delimiter, at, at + PIECE + len(delimiter))
            at = at + PIECE if found < 0 else found + 1
            pause()
        if found < 0:
            break
        if _AFTER_DELIMITER.match(data, found + len(delimiter)):
            return found, found + len(delimiter)
    raise BodyError(_NO_FORM)


def _part(data: bytes | bytearray, at: int) -> tuple[int, bool]:
    """Where the content of the part begins whose delimiter ends at `at`, and whether it is a file. BodyError."""
    head = bytes(data[at : at + MAX_PART_HEADERS])
    blank = _BLANK_LINE.search(head)
    if blank is None and len(head) == MAX_PART_HEADERS:
        raise BodyError(f"a part of the form has more than {MAX_PART_HEADERS} bytes of headers")
    disposition = _DISPOSITION.search(head, 0, blank.start()) if blank else None
    if blank is None or disposition is None:
        raise BodyError(_NO_FORM)
    return at + blank.end(), _FILE_NAME.search(disposition[1]) is not None


def _searchable(data: Bytes) -> bytes | bytearray:
    return bytes(data) if isinstance(data, memoryview) else data
