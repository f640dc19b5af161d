"""A picture's file in the shared folder: a line that says what it is, what a model found, and the picture. Pure.

    ImageServer picture 1 {"kind":"jpeg","size":48211,"received":"…","owner":"anna","camera":"hall","prediction":87}
    {"model":"faces",…}<the picture's bytes>

All of it is one file, so that one name makes it be there, and one removal makes it be gone.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

MAGIC = b"ImageServer picture 1 "
"""Its first bytes, with the version of the form."""

LINE_BYTES = 4096
"""The line is shorter: names have at most 128 characters."""


class RecordHead(NamedTuple):
    """What the line says.

    Attributes:
        size: bytes of the picture.
        prediction: bytes of what a model found, as JSON.
        start: where in the file they begin; the picture follows them.
    """

    kind: str
    size: int
    received: str
    owner: str
    camera: str
    prediction: int
    start: int

    @property
    def picture(self) -> int:
        """Where in the file the picture begins."""
        return self.start + self.prediction

    @property
    def end(self) -> int:
        """The bytes of the whole file."""
        return self.picture + self.size


def head(kind: str, size: int, received: str, owner: str, camera: str, prediction: bytes) -> bytes:
    """What stands before the picture."""
    about = {
        "kind": kind,
        "size": size,
        "received": received,
        "owner": owner,
        "camera": camera,
        "prediction": len(prediction),
    }
    line = json.dumps(about, ensure_ascii=False, separators=(",", ":")).encode()
    return b"%b%b\n%b" % (MAGIC, line, prediction)


def parse(start: bytes) -> RecordHead:
    """What the first bytes of a file say, of which `LINE_BYTES` are looked at. ValueError: it is no picture's file."""
    line, end, _rest = start[:LINE_BYTES].partition(b"\n")
    if not end or not line.startswith(MAGIC):
        raise ValueError("it does not begin as the file of a picture")
    try:
        about = json.loads(line[len(MAGIC) :].decode())
    except RecursionError as error:
        raise ValueError("it is nested") from error
    if not isinstance(about, dict):
        raise ValueError("it says nothing")
    texts: list[Any] = [about.get(name) for name in ("kind", "received", "owner", "camera")]
    numbers: list[Any] = [about.get(name) for name in ("size", "prediction")]
    if not all(isinstance(text, str) for text in texts) or not all(type(number) is int for number in numbers):
        raise ValueError("something is missing")
    kind, received, owner, camera = texts
    "".join(texts).encode()  # UnicodeEncodeError is a ValueError, too
    if not (kind.isascii() and kind.isalnum() and len(kind) <= 16) or min(numbers) < 0 or max(numbers) >= 2**40:
        raise ValueError("it is none that is kept here")
    return RecordHead(kind, numbers[0], received, owner, camera, numbers[1], len(line) + 1)
