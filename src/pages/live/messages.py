"""What is said on `/live`, both ways. Pure: texts and frames in, messages and bytes out.

A page sends JSON objects, each with one of `watch`, `round`, `pause`, `filter`. It is sent texts, and for each frame a
binary message: four bytes with the length of the header (little-endian), the header in JSON, the picture as it came.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from typing import Any

from imageserver.errors import BodyError
from imageserver.streams.frame import NewestFrame
from imageserver.transport.websocket import frames

MOST_BYTES = 16 * 2**10
"""Of a text of a page; one that watches the most has 6,000."""
MOST_WATCHED = 64
MOST_ID = 128
"""Characters of the id of a stream."""
MOST_FILTER = 200
"""Characters."""
NO_MESSAGE = 'a page says {"watch": [ids]}, {"round": n}, {"pause": true} or {"filter": "text"}'

_encode = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode
_LENGTH = struct.Struct("<I")


@dataclass(frozen=True, slots=True)
class Watching:
    """These streams are in sight."""

    ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RoundHandled:
    """The page has drawn this round."""

    number: int


@dataclass(frozen=True, slots=True)
class PageHidden:
    """Whether the page is hidden."""

    hidden: bool


@dataclass(frozen=True, slots=True)
class StreamFilter:
    """The page lists streams whose name, user or id contains this; "" for all."""

    text: str


Message = Watching | RoundHandled | PageHidden | StreamFilter


def parse(text: str) -> Message:
    """What a page says. BodyError: a sentence that says what is wrong with it."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict) or len(found) != 1:
        raise BodyError(NO_MESSAGE)
    ((name, value),) = found.items()
    match name, value:
        case "round", int() if not isinstance(value, bool):
            return RoundHandled(value)
        case "watch", list() if all(isinstance(one, str) and len(one) <= MOST_ID for one in value):
            if len(value) > MOST_WATCHED:
                raise BodyError(f"{len(value)} streams are too many to watch: at most {MOST_WATCHED}")
            return Watching(tuple(value))
        case "pause", bool():
            return PageHidden(value)
        case "filter", str():
            if len(value) > MOST_FILTER:
                raise BodyError(f"a filter takes at most {MOST_FILTER} characters, not {len(value)}")
            return StreamFilter(value)
    raise BodyError(NO_MESSAGE)


def message(name: str, /, **values: Any) -> bytes:
    """A text for a page, as it goes over the wire."""
    return frames.frame(frames.TEXT, to_json({"type": name, **values}))


def to_json(value: Any) -> bytes:
    """A value as JSON. What is no text in UTF-8, such as half of a surrogate pair, is replaced."""
    return _encode(value).encode("utf-8", "replace")


def frame_parts(stream_id: str, newest: NewestFrame) -> tuple[bytes, Any]:
    """A frame of a stream as it goes over the wire: what goes before the picture, and the picture as it came."""
    kind = newest.media_type
    picture = newest.frame.data if kind else b""
    header = to_json(
        {
            "id": stream_id,
            "seq": newest.frame.seq,
            "type": kind,
            "rotate": newest.rotate,
            "prediction": newest.prediction,
            "error": newest.error,
        }
    )
    length = _LENGTH.size + len(header) + len(picture)
    return frames.frame_header(frames.BINARY, length) + _LENGTH.pack(len(header)) + header, picture
