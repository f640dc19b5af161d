"""What crosses the wall between server and workers, and what is looked at before it does: headers of pictures."""

from __future__ import annotations

import contextlib
import json
import random
import struct
from unittest import mock

import cv2
import numpy as np
from tests.fuzz.target import Defect, Target

from imageserver.errors import PictureError
from imageserver.inference.shared import image_header, wire
from imageserver.protocols.sessions import SessionProtocol

PIECES = (1, 7, 4096)


def messages(data: bytes) -> None:
    """Messages in pieces are the same as at once; what was understood can be packed and is the same again."""
    found = []
    for size in (len(data) or 1, *PIECES):
        if len(data) / size > 4096:
            continue
        unpacker, those = wire.Unpacker(), []
        try:
            for at in range(0, len(data), size):
                those += unpacker.feed(data[at : at + size])
        except ValueError:
            those.append(None)
        found.append(those)
    if any(repr(those) != repr(found[0]) for those in found):  # as texts: NaN is nothing else's equal
        raise Defect(f"pieces make a difference: {found!r:.300}")
    for message in found[0]:
        with contextlib.suppress(UnicodeEncodeError):  # half a surrogate pair, which JSON can write
            if message is not None and repr(list(wire.Unpacker().feed(wire.pack(message)))) != repr([message]):
                raise Defect(f"{message!r:.100} came back otherwise")


def some_messages(chance: random.Random) -> bytes:
    """Messages, one of which may be none."""
    values = (
        {"op": "done", "id": 1, "results": [{"label": "7", "score": 0.5}]},
        {"op": "hello", "pid": 4},
        {},
        [],
        "é",
    )
    packed = [wire.pack(chance.choice(values)) for _each in range(chance.choice((1, 2, 3)))]  # type: ignore[arg-type]
    if chance.random() < 0.3:
        body = chance.choice((b"[" * 5000, b'{"a":' * 3000, b"9" * 5000, b"NaN", b"\xff", b"\xef\xbb\xbf{}", b""))
        packed.insert(chance.randrange(len(packed) + 1), struct.pack("<I", len(body)) + body)
    return b"".join(packed)


def picture_header(data: bytes) -> None:
    """A header is that of a picture, or a sentence says why not; of Exif an orientation."""
    try:
        found = image_header.read(data)
    except PictureError as error:
        if len(str(error)) > 300:
            raise Defect(f"a sentence of {len(str(error))} characters") from error
    else:
        sound = found.width > 0 and found.height > 0 and 1 <= found.orientation <= 8 and found.decoded_bytes > 0
        if not (sound and image_header.is_picture(data) and 0 <= found.data_at <= len(data)):
            raise Defect(f"no picture has {found}")
    if not 1 <= image_header.exif_orientation(data) <= 8:
        raise Defect("no orientation")


def encoded(suffix: str, *options: int, channels: int = 3) -> bytes:
    done, found = cv2.imencode(suffix, np.zeros((3, 5, channels), np.uint8), options)
    assert done
    return found.tobytes()


EXIF = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
JPEG = encoded(".jpg")
WITH_EXIF = JPEG[:2] + b"\xff\xe1" + struct.pack(">H", 8 + len(EXIF)) + b"Exif\0\0" + EXIF + JPEG[2:]


def session_messages(data: bytes) -> None:
    """The three events of a session acknowledge whatever comes, as JSON."""
    sessions, client = mock.Mock(), mock.Mock(sid="1")
    sessions.open.return_value.append = lambda picture, _timestamp: image_header.read(picture)
    protocol = SessionProtocol(sessions, mock.Mock())
    for message in (data, data.decode("latin-1"), bytearray(data)):
        for handle in protocol.events.values():
            said = json.loads(handle(client, message))
            if said != {"success": True} and set(said) != {"success", "error"}:
                raise Defect(f"acknowledged with {said}")


TARGETS = [
    Target(
        name="wire",
        run=messages,
        seeds=tuple(some_messages(random.Random(number)) for number in range(8)),
        covers=("inference.shared.wire",),
        shape=some_messages,
        longest=2**18,
        byte_memory=400,
        words=(b'{"op":', b"[", b"\x02\0\0\0{}", b"\xff\xff\xff\xff", b"\\ud800", b"\x01\0\0\0"),
    ),
    Target(
        name="picture-header",
        run=picture_header,
        seeds=(
            JPEG,
            WITH_EXIF,
            encoded(".jpg", cv2.IMWRITE_JPEG_PROGRESSIVE, 1),
            encoded(".png", channels=4)[:60],
            encoded(".bmp")[:80],
            encoded(".tiff"),
            encoded(".webp"),
            b"II*\0\x08\0\0\0\x02\0" + bytes(24),
            EXIF,
            b"RIFF\0\0\0\0WEBPVP8X\x0a\0\0\0\x08\0\0\0\x04\0\0\x02\0\0EXIF\x1a\0\0\0" + EXIF,
        ),
        covers=("inference.shared.image_header",),
        longest=2**20,
        words=(
            b"\xff",
            b"\xff\xe1",
            b"\xff\xda",
            b"\xff\xc0\0\x11",
            b"IDAT",
            b"eXIf",
            b"tRNS",
            b"VP8X",
            b"VP8L",
            b"EXIF",
            b"\xff\xff\xff\xff",
            b"\0\0\0\0",
            b"\xff\xe0\0\x02",
            b"\0\0\0\0IDAT\0\0\0\0",
        ),
    ),
    Target(
        name="session-messages",
        run=session_messages,
        seeds=(bytes(8), bytes(8) + JPEG, b"1234567", b""),
        covers=("protocols.sessions",),
        longest=2**16,
        seconds=0.02,
        byte_memory=200,
    ),
]
