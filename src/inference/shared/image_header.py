"""What a picture's header says: type, size, depth, orientation, transparency.

Pure: bytes in, a `Header` out, no pixel touched.

Understands JPEG (ITU-T T.81, Exif 2.32), PNG (W3C PNG, third edition, with eXIf), BMP, TIFF 6.0 and WebP (RFC
9649), by their content. Raises `PictureError` and nothing else, and its time is bounded whatever the bytes say:
no loop runs more than `MAX_STEPS` times, so pictures whose size hides behind more segments than that are
refused.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from imageserver.errors import PictureError

Data = bytes | bytearray | memoryview
Kind = Literal["jpeg", "png", "bmp", "tiff", "webp"]

MAX_STEPS = 2000
"""Segments, chunks or directory entries looked at. Real files keep the size and orientation in the first few
dozen; a PNG of 16 MiB written in the usual 8 KiB chunks has 2,048, and its orientation, if any, is before those
nearly always."""


@dataclass(frozen=True, slots=True)
class Header:
    """`width` and `height` in pixels as stored; `orientation` 1..8 as Exif counts (1: upright)."""

    kind: Kind
    width: int
    height: int
    orientation: int = 1
    alpha: bool = False
    data_at: int = 0
    """Where the compressed data begins (JPEG: the first scan), in bytes."""
    many_scans: bool = False
    """A JPEG whose pixels come in several passes: progressive, or its colours one after the other."""
    channels: int = 3
    """Samples of a pixel as it is decoded: a palette counts as its colours, 1 to 8 bits as 8."""
    sample_bytes: int = 1

    @property
    def decoded_bytes(self) -> int:
        """What the pixels take once they are decoded, before anything is reduced or dropped."""
        return self.width * self.height * self.channels * self.sample_bytes

    @property
    def upright(self) -> tuple[int, int]:
        """Width and height once the orientation is applied."""
        return (self.height, self.width) if self.orientation >= 5 else (self.width, self.height)


def is_picture(data: Data) -> bool:
    """Whether `data` begins as a file of one of the five kinds does."""
    return _reader(data) is not None


def kind_of(data: Data) -> Kind | None:
    """Which kind of picture file `data` begins like; None: none of the five."""
    reader = _reader(data)
    return None if reader is None else _KINDS[reader]


def read(data: Data) -> Header:
    """The header of the picture in `data`. PictureError when it is none of the five kinds, or its header is broken."""
    reader = _reader(data)
    if reader is None:
        found = "bytes are no JPEG, PNG, BMP, TIFF or WebP picture" if data else "picture is empty (0 bytes)"
        raise PictureError(f"the {found}")
    try:
        header = reader(memoryview(data))
    except (struct.error, IndexError) as error:
        raise PictureError(f"the picture ends within its header ({len(data)} bytes)") from error
    if header.width < 1 or header.height < 1:
        raise PictureError(f"the picture says that it is {header.width}x{header.height} pixels large")
    return header


def _jpeg(data: memoryview) -> Header:
    at, size, orientation, components, precision, progressive = 2, None, 1, 0, 8, False
    for _step in range(MAX_STEPS):
        if data[at] != 0xFF:
            raise PictureError("the JPEG is broken: no marker where one is due")
        marker = data[at + 1]
        if marker == 0xFF:  # a fill byte
            at += 1
            continue
        if marker == 0x01 or 0xD0 <= marker <= 0xD7:  # TEM, RSTn: no length follows
            at += 2
            continue
        if marker == 0xD9:
            raise PictureError("the JPEG ends before its first scan")
        (length,) = struct.unpack_from(">H", data, at + 2)
        if length < 2:
            raise PictureError(f"the JPEG is broken: a segment of {length} bytes")
        if marker == 0xDA:
            if size is None:
                raise PictureError("the JPEG has no frame header before its first scan")
            several = progressive or data[at + 4] < components
            depth = 2 if precision > 8 else 1
            return Header("jpeg", *size, orientation, False, at, several, components, depth)
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC) and size is None:
            height, width = struct.unpack_from(">HH", data, at + 5)
            if height == 0:
                raise PictureError("the JPEG leaves its height open (DNL), which is not supported")
            size, components, precision = (width, height), data[at + 9], data[at + 4]
            if components == 0:
                raise PictureError("the JPEG has no colours: its frame header names no component")
            progressive = marker not in (0xC0, 0xC1)
        elif marker == 0xE1 and length >= 8 and bytes(data[at + 4 : at + 10]) == b"Exif\0\0" and orientation == 1:
            orientation = exif_orientation(data[at + 10 : at + 2 + length])
        at += 2 + length
    raise PictureError(f"the JPEG has more than {MAX_STEPS} segments before its first scan")


_PNG_CHANNELS = {0: 1, 2: 3, 3: 3}
"""By the colour type; those with transparency become four."""


def _png(data: memoryview) -> Header:
    length, name, width, height, depth, colour = struct.unpack_from(">I4sIIBB", data, 8)
    if name != b"IHDR" or length != 13:
        raise PictureError("the PNG does not begin with its header (IHDR)")
    if width > 2**31 or height > 2**31:
        raise PictureError(f"the PNG says that it is {width}x{height} pixels large")
    at, alpha, orientation, data_at = 8 + 12 + length, colour in (4, 6), 1, 0
    for _step in range(MAX_STEPS):
        if at + 8 > len(data):
            break
        length, name = struct.unpack_from(">I4s", data, at)
        if name == b"IEND":
            break
        if name == b"IDAT" and not data_at:
            data_at = at
        elif name == b"tRNS":
            alpha = True
        elif name == b"eXIf":
            orientation = exif_orientation(data[at + 8 : at + 8 + length])
            break
        at += 12 + length
    channels = 4 if alpha else _PNG_CHANNELS.get(colour, 4)
    return Header("png", width, height, orientation, alpha, data_at, False, channels, 2 if depth > 8 else 1)


def _bmp(data: memoryview) -> Header:
    (header_size,) = struct.unpack_from("<I", data, 14)
    if header_size == 12:  # OS/2
        width, height = struct.unpack_from("<HH", data, 18)
        return Header("bmp", width, height)
    if header_size < 16:
        raise PictureError(f"the BMP has a header of {header_size} bytes, which no BMP has")
    width, height, _planes, bits = struct.unpack_from("<iiHH", data, 18)
    channels = 4 if bits == 32 else 3
    return Header("bmp", width, abs(height), channels=channels)  # a negative height: rows from the top


def _webp(data: memoryview) -> Header:
    at = 12
    header: Header | None = None
    for _step in range(MAX_STEPS):
        if header is not None and at + 8 > len(data):
            break
        name, length = struct.unpack_from("<4sI", data, at)
        body = at + 8
        if name == b"VP8X" and header is None:
            flags = data[body]
            width, height = (int.from_bytes(data[body + i : body + i + 3], "little") + 1 for i in (4, 7))
            if len(data) < body + 10:
                raise IndexError
            header = _webp_header(width, height, alpha=bool(flags & 0x10))
            if not flags & 0x08:  # no Exif chunk
                break
        elif name == b"VP8 " and header is None:
            if bytes(data[body + 3 : body + 6]) != b"\x9d\x01\x2a":
                raise PictureError("the WebP is broken: its frame has no start code")
            width, height = struct.unpack_from("<HH", data, body + 6)
            header = _webp_header(width & 0x3FFF, height & 0x3FFF, alpha=False)
            break
        elif name == b"VP8L" and header is None:
            if data[body] != 0x2F:
                raise PictureError("the WebP is broken: its lossless stream has no signature")
            (bits,) = struct.unpack_from("<I", data, body + 1)
            header = _webp_header((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1, alpha=bool(bits >> 28 & 1))
            break
        elif name == b"EXIF" and header is not None:
            exif = data[body : body + length]
            if bytes(exif[:6]) == b"Exif\0\0":  # not in the standard, but written by many
                exif = exif[6:]
            return replace(header, orientation=exif_orientation(exif))
        at = body + length + (length & 1)
    if header is None:
        raise PictureError("the WebP holds no picture")
    return header


def _webp_header(width: int, height: int, *, alpha: bool) -> Header:
    return Header("webp", width, height, alpha=alpha, channels=4 if alpha else 3)


def _tiff(data: memoryview) -> Header:
    tags = _tiff_tags(data, (256, 257, 258, 274, 277, 338))
    if 256 not in tags or 257 not in tags:
        raise PictureError("the TIFF does not say how large it is")
    orientation = tags.get(274, 1)
    sample_bytes = max(1, (tags.get(258, 1) + 7) // 8)
    channels = max(1, tags.get(277, 1))
    if sample_bytes == 1:  # palettes and other colours go through RGB
        channels = max(3, channels)
    upright = orientation if 1 <= orientation <= 8 else 1
    return Header("tiff", tags[256], tags[257], upright, 338 in tags, 0, False, channels, sample_bytes)


def exif_orientation(exif: Data) -> int:
    """The orientation 1..8 in a block of Exif (which is a TIFF); 1 when it does not say or makes no sense."""
    try:
        orientation = _tiff_tags(memoryview(exif), (274,)).get(274, 1)
    except (PictureError, struct.error, IndexError):
        return 1  # a picture with broken metadata is still a picture
    return orientation if 1 <= orientation <= 8 else 1


def _tiff_tags(data: memoryview, wanted: tuple[int, ...]) -> dict[int, int]:
    """The first value of each wanted tag in the first directory, where it is a SHORT or LONG."""
    order = {b"II": "<", b"MM": ">"}.get(bytes(data[:2]))
    if order is None:
        raise PictureError("the TIFF has no byte order")
    magic, at = struct.unpack_from(order + "HI", data, 2)
    if magic != 42:
        raise PictureError("the TIFF has a wrong signature")
    (count,) = struct.unpack_from(order + "H", data, at)
    tags: dict[int, int] = {}
    for entry in range(min(count, MAX_STEPS)):
        tag, kind, number = struct.unpack_from(order + "HHI", data, at + 2 + entry * 12)
        if tag not in wanted or number < 1:
            continue
        if kind == 3 and number <= 2:
            (tags[tag],) = struct.unpack_from(order + "H", data, at + 10 + entry * 12)
        elif kind == 3 and tag == 258:  # one for each sample, elsewhere in the file; they are alike in what is decoded
            (elsewhere,) = struct.unpack_from(order + "I", data, at + 10 + entry * 12)
            (tags[tag],) = struct.unpack_from(order + "H", data, elsewhere)
        elif kind == 4 and number == 1:
            (tags[tag],) = struct.unpack_from(order + "I", data, at + 10 + entry * 12)
        elif tag == 338:
            tags[tag] = 1
    return tags


_READERS = (
    (b"\xff\xd8\xff", _jpeg),
    (b"\x89PNG\r\n\x1a\n", _png),
    (b"II*\0", _tiff),
    (b"MM\0*", _tiff),
    (b"BM", _bmp),
)

_KINDS: dict[Callable[[memoryview], Header], Kind] = {
    _jpeg: "jpeg",
    _png: "png",
    _tiff: "tiff",
    _bmp: "bmp",
    _webp: "webp",
}


def _reader(data: Data) -> Callable[[memoryview], Header] | None:
    """What reads a file that begins so."""
    start = bytes(data[:12])
    for signature, reader in _READERS:
        if start.startswith(signature):
            return reader
    return _webp if start[:4] == b"RIFF" and start[8:] == b"WEBP" else None
