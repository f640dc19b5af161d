"""What the demo's cameras see: the sample pictures, some of them as by a camera that moves.

With OpenCV, as a client has it: this runs in the cameras' process alone (cameras.py), never in the server's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from imageserver.commands.demo import samples
from imageserver.errors import SettingError

Pixels = NDArray[np.uint8]
"""Height, width, 3; BGR."""
JPEG_QUALITY = 85


@dataclass(frozen=True)
class Scene:
    """What one camera sees.

    Attributes:
        name: the camera's, as people read it.
        model: what looks at it.
        hz: pictures a second.
        picture: the picture file at a moment, in seconds since the start.
    """

    name: str
    model: str
    hz: float
    picture: Callable[[float], bytes]


def scenes() -> list[Scene]:
    """All of them. SettingError: a sample picture cannot be read."""
    return [
        Scene("Portrait", "faces", 10, _portrait()),
        Scene("Video call", "faces", 10, _video_call()),
        Scene("Photo album", "faces", 2, _slides(samples.PHOTOS, 3.0)),
        Scene("Handwriting", "lenet", 2, _slides(samples.DIGITS, 1.5)),
    ]


def _portrait() -> Callable[[float], bytes]:
    """A camera held by hand, which comes nearer and goes away again."""
    photo = _read(samples.PORTRAIT)

    def picture(seconds: float) -> bytes:
        centre = 240 + 55 * math.sin(seconds * 0.7), 150 + 25 * math.sin(seconds * 1.1)
        return _jpeg(_view(photo, centre, 1.65 + 0.35 * math.sin(seconds * 0.5), (640, 480)))

    return picture


def _video_call() -> Callable[[float], bytes]:
    """Four who see each other, two of them people."""
    portrait = _read(samples.PORTRAIT)
    mirrored = np.ascontiguousarray(portrait[:, ::-1])
    cat, coffee = _read(samples.CAT), _read(samples.COFFEE)

    def picture(seconds: float) -> bytes:
        sway = 22 * math.sin(seconds * 0.9)
        nod = 10 * math.sin(seconds * 1.3)
        size = 312, 232
        first = _view(portrait, (225 + sway, 132 + nod), 1.2, size)
        second = _view(cat, (225 - sway, 150), 0.8, size)
        third = _view(coffee, (300, 200), 0.62, size)
        fourth = _view(mirrored, (290 - sway, 140 - nod), 1.15, size)
        framed = [cv2.copyMakeBorder(one, 4, 4, 4, 4, cv2.BORDER_CONSTANT) for one in (first, second, third, fourth)]
        return _jpeg(np.vstack([np.hstack(framed[:2]), np.hstack(framed[2:])]))

    return picture


def _slides(files: Sequence[Path], each: float) -> Callable[[float], bytes]:
    """Picture files one after the other, `each` seconds long."""
    pictures = [file.read_bytes() for file in files]
    return lambda seconds: pictures[int(seconds / each) % len(pictures)]


def _view(photo: Pixels, centre: tuple[float, float], zoom: float, size: tuple[int, int]) -> Pixels:
    """What lies around `centre` (x, y in pixels of the photo) enlarged to `size`, moved so far that it is all photo."""
    corner = [
        min(max(middle - wanted / zoom / 2, 0.0), there - wanted / zoom)
        for middle, wanted, there in zip(centre, size, photo.shape[1::-1], strict=True)
    ]
    matrix = np.array([[zoom, 0, -zoom * corner[0]], [0, zoom, -zoom * corner[1]]])
    seen: Pixels = cv2.warpAffine(photo, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return seen


def _read(path: Path) -> Pixels:
    found: Any = cv2.imread(str(path))
    if found is None:
        raise SettingError(f"{path} cannot be read as a picture: put the one of the repository in its place")
    pixels: Pixels = found
    return pixels


def _jpeg(picture: Pixels) -> bytes:
    return bytes(cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1])
