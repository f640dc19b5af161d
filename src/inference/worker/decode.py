"""From a picture's bytes to its pixels, upright, within limits, and no larger than the model needs.

What is decided here, and held by tests:

- Types are told by content: JPEG, PNG, BMP, TIFF or WebP, of several frames the first. The limits are checked against
  the header before anything is decoded: pixels, and the bytes that they take decoded (width, height, channels, depth).
- What is costly to decode is refused here with TooCostly: worker/costly.py does it, apart from the others.
- A large JPEG is decoded at 1/2, 1/4 or 1/8 (in the frequency domain, so it also costs less) as long as the shortest
  side keeps what the model needs; with one channel its colour is never decoded at all.
- A picture that ends early is refused. OpenCV before 4.11 fills the rest of such a JPEG with grey and says nothing.
- Transparency is laid over white, as a viewer would; dropping it turns black strokes on nothing into a black square.
- 16 bits become 8 by dropping the lower ones: the full range of the type counts, whatever the picture uses of it.
- Palettes, CMYK and 1 bit become RGB or grey. 32 bits a sample (TIFF) are refused.
"""

from __future__ import annotations

import struct
import sys
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from imageserver.errors import LimitExceeded, PictureError, TooCostly
from imageserver.inference.shared import image_header
from imageserver.inference.shared.image_header import Data, Header
from imageserver.inference.shared.wire import Part

Pixels = NDArray[np.uint8]

MAX_SCANS = 40
"""Of a progressive JPEG. Each costs a pass over all of its pixels, and the usual progressions have about ten."""

MAX_CHUNKS = 20_000
"""Of a PNG; one of 16 MiB in the usual 8 KiB chunks has 2,048."""

COMPRESSED_CHUNKS = (b"zTXt", b"iTXt", b"iCCP")
MOST_INFLATED = 8 * 2**20
"""Bytes that libpng makes of one such chunk of a PNG at most; DEFLATE packs 1,032 into one. It does so for up to a
thousand of them: 15 s for a PNG of 3.8 MB and 100x100 pixels, if they did not count as pixels do."""
INFLATED = 1032

STRIP_BYTES = 2**20
"""Of the pixels that are laid over white at once, so that it takes no memory of their size."""

_CHUNK = struct.Struct(">I4s")

_REDUCED_GREY = {
    1: cv2.IMREAD_GRAYSCALE,
    2: cv2.IMREAD_REDUCED_GRAYSCALE_2,
    4: cv2.IMREAD_REDUCED_GRAYSCALE_4,
    8: cv2.IMREAD_REDUCED_GRAYSCALE_8,
}
# A reduced colour picture in RGB is spelt as a reduced grey one with the RGB flag; COLOR and RGB exclude each other.
_FLAGS = {(1, scale): grey | cv2.IMREAD_IGNORE_ORIENTATION for scale, grey in _REDUCED_GREY.items()} | {
    (3, scale): grey | cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION for scale, grey in _REDUCED_GREY.items()
}


@dataclass(frozen=True, slots=True)
class PictureLimits:
    """The largest picture that is decoded."""

    max_bytes: int = 16 * 2**20
    max_pixels: int = 50_000_000
    max_decoded_bytes: int = 192 * 2**20


class DecodingBudget:
    """What the pictures of one batch may cost together, in bytes. Threads share it: a race lets one more in at most."""

    def __init__(self, most: int) -> None:
        self.left = most

    def take(self, cost: int) -> None:
        """TooCostly when there is not as much left."""
        if cost > self.left:
            raise TooCostly(cost)
        self.left -= cost


UNLIMITED = DecodingBudget(sys.maxsize)


@dataclass(frozen=True, slots=True)
class Picture:
    """`pixels`: uint8, (height, width) or (height, width, 3) RGB, upright.

    `size`: width and height that it has undiminished. `cost`: what decoding it took, in bytes (DecodingBudget).
    `part`: what of that the pixels show, x, y, width and height; None: all. A JPEG at an eighth has a last column that
    is eight wide all the same, and begins before the picture does where that was turned.
    """

    pixels: Pixels
    size: tuple[int, int]
    cost: int = 0
    part: Part | None = None


def decode(
    data: Data,
    *,
    channels: int,
    least: int,
    rotate: int = 0,
    limits: PictureLimits,
    budget: DecodingBudget = UNLIMITED,
) -> Picture:
    """Decode `data` to 1 (grey) or 3 (RGB) channels; its shortest side keeps `least` pixels if it has them.

    `rotate`: clockwise degrees, a multiple of 90, applied after the orientation that the picture itself states.

    Raises:
        PictureError, LimitExceeded: a sentence for whoever sent it.
        TooCostly: it costs more than is left in `budget`.
        MemoryError: the process may not take what decoding needs.
    """
    header, beside = checked(data, limits)
    scale = _scale(header, least)
    # A progressive JPEG is taken apart as a whole before it becomes smaller.
    cost = beside + header.decoded_bytes // (1 if header.many_scans else scale * scale)
    budget.take(cost)
    flags = cv2.IMREAD_UNCHANGED if header.alpha else _FLAGS[channels, scale]
    try:
        pixels: Pixels | None = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as error:
        if error.code == cv2.Error.STS_NO_MEM:
            raise MemoryError from None
        pixels = None
    if pixels is None:
        raise PictureError(
            f"the {header.kind.upper()} picture of {len(data)} bytes cannot be decoded: "
            "it is damaged or of a rare variant"
        )
    # OpenCV turns a TIFF upright by itself, whatever the flags say, and every other kind never with these.
    stored, orientation = (
        (header.upright, 1) if header.kind == "tiff" else ((header.width, header.height), header.orientation)
    )
    if pixels.shape[:2] != (-(-stored[1] // scale), -(-stored[0] // scale)):
        raise PictureError(f"the {header.kind.upper()} picture contradicts itself about its size")
    part = _part(stored, scale, orientation, rotate) if scale > 1 else None
    if header.alpha:
        pixels = _opaque(pixels, channels)
    if orientation != 1 or rotate:
        pixels = turn(pixels, orientation, rotate)
    width, height = header.upright
    return Picture(pixels, (height, width) if rotate % 180 else (width, height), cost, part)


def checked(data: Data, limits: PictureLimits) -> tuple[Header, int]:
    """The header, and what `check_complete` says. PictureError, LimitExceeded."""
    if len(data) > limits.max_bytes:
        raise LimitExceeded(f"the picture has {len(data)} bytes, more than the {limits.max_bytes} allowed")
    header = image_header.read(data)
    if header.width * header.height > limits.max_pixels:
        raise LimitExceeded(
            f"the picture has {header.width}x{header.height} pixels, more than the {limits.max_pixels} allowed",
            "max_pixels",
        )
    beside = check_complete(header, data)
    if header.decoded_bytes + beside > limits.max_decoded_bytes:
        raise LimitExceeded(
            f"the picture takes {header.decoded_bytes + beside} bytes once it is decoded, more than the "
            f"{limits.max_decoded_bytes} allowed: send it smaller, or with 8 bits and without transparency",
            "max_decoded_bytes",
        )
    return header, beside


def check_complete(header: Header, data: Data) -> int:
    """Bytes that decoding makes beside the pixels: of texts and profiles.

    PictureError when the end of the file is missing, or decoding would cost far more than its size allows for.
    """
    size = len(data)
    if header.kind == "jpeg":
        # Within a scan FF is followed by a stuffed 00, so these pairs are markers: the end, and the start of a scan.
        scans = bytes(data[header.data_at :])
        if scans.rfind(b"\xff\xd9") < 0:
            raise PictureError(f"the JPEG is cut short: it has {size} bytes and no end")
        if header.many_scans and scans.count(b"\xff\xda") > MAX_SCANS:
            raise PictureError(
                f"the JPEG has more than {MAX_SCANS} scans; save it as baseline or with the usual progression"
            )
    elif header.kind == "png":
        return _check_chunks(data)
    elif header.kind == "webp":
        stated = int.from_bytes(data[4:8], "little") + 8
        if stated > size + 1:  # an odd length may lack its padding byte
            raise PictureError(f"the WebP is cut short: it has {size} of {stated} bytes")
    return 0


def _check_chunks(data: Data) -> int:
    """What the compressed texts and profiles of a PNG may become, in bytes. Its pixels are not among them.

    PictureError unless every chunk lies within the file: OpenCV allocates what a chunk's length says, up to 4 GiB.
    """
    at, size, inflated = 8, len(data), 0
    for _chunk in range(MAX_CHUNKS):
        if at + 12 > size:
            break
        length, name = _CHUNK.unpack_from(data, at)
        at += 12 + length
        if name in COMPRESSED_CHUNKS:
            inflated += min(length * INFLATED, MOST_INFLATED)
        elif name == b"IEND" and at <= size:
            return inflated
    else:
        raise PictureError(f"the PNG has more than {MAX_CHUNKS} chunks")
    raise PictureError(f"the PNG is cut short: it has {size} bytes and no end")


def _scale(header: Header, least: int) -> int:
    if header.kind != "jpeg":
        return 1  # only JPEG decodes faster when it decodes less
    shortest = min(header.width, header.height)
    for scale in (8, 4, 2):
        if shortest // scale >= max(least, 1):
            return scale
    return 1


_CORNERS = np.array([[0, 1], [2, 3]], np.uint8)


def _part(stored: tuple[int, int], scale: int, orientation: int, rotate: int) -> Part:
    """See `Picture.part`, of a JPEG of this stored width and height."""
    width, height = (-(-side // scale) * scale for side in stored)
    beyond_right, beyond_bottom = width - stored[0], height - stored[1]
    corners = turn(_CORNERS, orientation, rotate)
    starts = [
        {(1, 3): -beyond_right, (2, 3): -beyond_bottom}.get(tuple(sorted(side.tolist())), 0)
        for side in (corners[:, 0], corners[0])
    ]
    if tuple(sorted(corners[0].tolist())) in ((0, 2), (1, 3)):
        width, height = height, width
    return starts[0], starts[1], width, height


def shrink(picture: Picture, least: int, most: int) -> Picture:
    """The same picture at 1/2, 1/4, 1/8, … by area, as a JPEG is decoded: as small as keeps the shortest side `least`.

    Smaller than that where it would take more than `most` bytes.
    """
    height, width = picture.pixels.shape[:2]
    factor = 1
    while min(width, height) // (factor * 2) >= max(least, 1) or picture.pixels.nbytes // (factor * factor) > most:
        factor *= 2
    if factor == 1:
        return picture
    size = -(-width // factor), -(-height // factor)
    return replace(picture, pixels=cv2.resize(picture.pixels, size, interpolation=cv2.INTER_AREA))


def _opaque(pixels: NDArray[Any], channels: int) -> Pixels:
    """What was decoded unchanged, laid over white: 8 bits, grey or RGB.

    `pixels`: uint8 or uint16 of 1, 3 (BGR) or 4 (BGRA) channels.
    """
    if pixels.dtype not in (np.uint8, np.uint16):
        raise PictureError(f"the picture has samples of the type {pixels.dtype}; only 8 and 16 bits are supported")
    height = pixels.shape[0]
    rows = max(1, STRIP_BYTES // (pixels.nbytes // height))
    if rows >= height:
        return _opaque_strip(pixels, channels)
    out = np.empty((*pixels.shape[:2], 3) if channels == 3 else pixels.shape[:2], np.uint8)
    for top in range(0, height, rows):
        out[top : top + rows] = _opaque_strip(pixels[top : top + rows], channels)
    return out


def _opaque_strip(pixels: NDArray[Any], channels: int) -> Pixels:
    if pixels.dtype == np.uint16:
        pixels = (pixels >> 8).astype(np.uint8)
    if pixels.ndim == 3 and pixels.shape[2] == 4:
        alpha = pixels[:, :, 3:].astype(np.uint16)
        pixels = (255 - ((255 - pixels[:, :, :3].astype(np.uint16)) * alpha + 127) // 255).astype(np.uint8)
    if pixels.ndim == 2:
        return pixels if channels == 1 else cv2.cvtColor(pixels, cv2.COLOR_GRAY2RGB)
    flat: Pixels = cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY if channels == 1 else cv2.COLOR_BGR2RGB)
    return flat


def turn(pixels: Pixels, orientation: int, rotate: int = 0) -> Pixels:
    """Apply an Exif orientation 1..8, then a clockwise turn by a multiple of 90 degrees.

    ValueError on any other angle.
    """
    if rotate % 90:
        raise ValueError(f"can turn by multiples of 90 degrees only, not by {rotate}")
    if orientation in (2, 4, 5, 7):
        # A mirrored picture: mirror it back, and what remains is a turn.
        pixels = cv2.flip(pixels, 1)
    quarters = {3: 2, 4: 2, 6: 1, 7: 1, 5: 3, 8: 3}.get(orientation, 0) + rotate // 90
    code = (None, cv2.ROTATE_90_CLOCKWISE, cv2.ROTATE_180, cv2.ROTATE_90_COUNTERCLOCKWISE)[quarters % 4]
    return pixels if code is None else cv2.rotate(pixels, code)
