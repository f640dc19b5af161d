"""What headers say, from bytes written here and by Pillow; and that hostile bytes cost nothing but a PictureError."""

import contextlib
import io
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from imageserver.errors import PictureError
from imageserver.inference.shared import image_header
from imageserver.inference.shared.image_header import Header


def exif(orientation, order="II"):
    sign = "<" if order == "II" else ">"
    return order.encode() + struct.pack(sign + "HIHHHIHHI", 42, 8, 1, 274, 3, 1, orientation, 0, 0)


def jpeg(*segments, sof=0xC0, width=7, height=5, scan=True):
    frame = bytes([0xFF, sof]) + struct.pack(">HBHHB", 11, 8, height, width, 1) + b"\x01\x11\x00"
    return (
        b"\xff\xd8"
        + b"".join(segments)
        + frame
        + (b"\xff\xda\x00\x08\x01\x01\x00\x00\x3f\x00\x12\xff\xd9" if scan else b"")
    )


def segment(marker, body):
    return bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body


def chunk(name, body):
    return struct.pack(">I", len(body)) + name + body + b"\0\0\0\0"


def png(*chunks, width=7, height=5, colour=2):
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + chunk(b"IEND", b"")


def riff(*chunks):
    body = b"WEBP" + b"".join(
        name + struct.pack("<I", len(data)) + data + b"\0" * (len(data) & 1) for name, data in chunks
    )
    return b"RIFF" + struct.pack("<I", len(body)) + body


def bmp(size, width, height):
    fields = struct.pack("<HH", width, height) if size == 12 else struct.pack("<ii", width, height)
    return b"BM" + bytes(12) + struct.pack("<I", size) + fields + bytes(20)


VP8X = bytes([0x18, 0, 0, 0]) + (6).to_bytes(3, "little") + (4).to_bytes(3, "little")
EXIF_6 = segment(0xE1, b"Exif\0\0" + exif(6))

HEADERS = {
    "baseline": (jpeg(), Header("jpeg", 7, 5)),
    "progressive": (jpeg(sof=0xC2), Header("jpeg", 7, 5)),
    "jfif, fill bytes, restart marker": (jpeg(segment(0xE0, b"JFIF\0"), b"\xff\xff\xff\xd0"), Header("jpeg", 7, 5)),
    "exif little endian": (jpeg(EXIF_6), Header("jpeg", 7, 5, 6)),
    "exif big endian": (jpeg(segment(0xE1, b"Exif\0\0" + exif(3, "MM"))), Header("jpeg", 7, 5, 3)),
    "exif of nonsense": (jpeg(segment(0xE1, b"Exif\0\0" + exif(9))), Header("jpeg", 7, 5)),
    "exif cut short": (jpeg(segment(0xE1, b"Exif\0\0II*\0\x08\0\0\0\xff\xff")), Header("jpeg", 7, 5)),
    "exif after another application's": (
        jpeg(segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0"), EXIF_6), Header("jpeg", 7, 5, 6),
    ),
    "a thumbnail's header does not count": (
        jpeg(segment(0xE1, b"Exif\0\0" + exif(1) + jpeg(width=99))), Header("jpeg", 7, 5),
    ),
    "png": (png(), Header("png", 7, 5)),
    "png with alpha": (png(colour=6), Header("png", 7, 5, alpha=True)),
    "png grey with alpha": (png(colour=4), Header("png", 7, 5, alpha=True)),
    "png palette with transparency": (png(chunk(b"tRNS", b"\0"), colour=3), Header("png", 7, 5, alpha=True)),
    "png with exif": (png(chunk(b"IDAT", b"x"), chunk(b"eXIf", exif(8))), Header("png", 7, 5, 8)),
    "bmp": (bmp(40, 7, 5), Header("bmp", 7, 5)),
    "bmp from the top": (bmp(40, 7, -5), Header("bmp", 7, 5)),
    "bmp of OS/2": (bmp(12, 7, 5), Header("bmp", 7, 5)),
    "webp lossy": (riff((b"VP8 ", b"\0\0\0\x9d\x01\x2a" + struct.pack("<HH", 7 | 1 << 14, 5))), Header("webp", 7, 5)),
    "webp lossless": (
        riff((b"VP8L", b"\x2f" + struct.pack("<I", 6 | 4 << 14 | 1 << 28))), Header("webp", 7, 5, alpha=True),
    ),
    "webp extended": (riff((b"VP8X", VP8X), (b"VP8 ", b"abc"), (b"EXIF", exif(5))), Header("webp", 7, 5, 5, True)),
    "webp extended, exif with a prefix": (
        riff((b"VP8X", VP8X), (b"EXIF", b"Exif\0\0" + exif(5))), Header("webp", 7, 5, 5, True),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", HEADERS)
def test_header(name):
    data, wanted = HEADERS[name]
    found = image_header.read(data)
    assert (found.kind, found.width, found.height, found.orientation, found.alpha) == (
        wanted.kind, wanted.width, wanted.height, wanted.orientation, wanted.alpha,
    )  # fmt: skip
    assert image_header.read(memoryview(bytearray(data))) == found


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP", "TIFF", "WEBP"])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_what_pillow_writes(kind, mode):
    stream = io.BytesIO()
    exif_block = Image.Exif()
    exif_block[274] = 6
    options = {} if kind == "BMP" else {"exif": exif_block}
    Image.new(mode, (31, 17)).save(stream, kind, **options)
    found = image_header.read(stream.getvalue())
    assert (found.kind, found.width, found.height) == (kind.lower(), 31, 17)
    assert found.orientation == (1 if kind == "BMP" else 6)
    assert found.upright == ((31, 17) if kind == "BMP" else (17, 31))


def test_which_jpegs_come_in_several_scans():
    picture, scans = Image.new("RGB", (31, 17)), {}
    for name, options in {"baseline": {}, "progressive": {"progressive": True}}.items():
        stream = io.BytesIO()
        picture.save(stream, "JPEG", **options)
        scans[name] = image_header.read(stream.getvalue()).many_scans
    assert scans == {"baseline": False, "progressive": True}
    one_colour_first = bytearray(stream.getvalue().replace(b"\xff\xc2", b"\xff\xc0"))
    one_colour_first[one_colour_first.index(b"\xff\xda") + 4] = 1
    assert image_header.read(one_colour_first).many_scans


@pytest.mark.parametrize(
    ("mode", "kind", "bytes_a_pixel"),
    [
        ("L", "PNG", 1), ("LA", "PNG", 4), ("RGB", "PNG", 3), ("RGBA", "PNG", 4), ("P", "PNG", 3), ("1", "PNG", 1),
        ("I;16", "PNG", 2), ("L", "JPEG", 1), ("RGB", "JPEG", 3), ("CMYK", "JPEG", 4), ("RGB", "BMP", 3),
        ("RGBA", "BMP", 4), ("RGB", "WEBP", 3), ("RGBA", "WEBP", 4), ("RGB", "TIFF", 3), ("RGBA", "TIFF", 4),
        ("L", "TIFF", 3), ("I;16", "TIFF", 2),
    ],
)  # fmt: skip
def test_what_pixels_take_decoded(mode, kind, bytes_a_pixel):
    stream = io.BytesIO()
    Image.new(mode, (31, 17)).save(stream, kind)
    assert image_header.read(stream.getvalue()).decoded_bytes == 31 * 17 * bytes_a_pixel


@pytest.mark.parametrize(("colour", "bytes_a_pixel"), [(0, 2), (2, 6), (4, 8), (6, 8)])
def test_what_pixels_of_sixteen_bits_take_decoded(colour, bytes_a_pixel):
    data = bytearray(png(colour=colour))
    data[24] = 16
    assert image_header.read(data).decoded_bytes == 7 * 5 * bytes_a_pixel


BROKEN = {
    "nothing": (b"", "empty"),
    "text": (b"hello world, I am no picture", "no JPEG, PNG"),
    "gif": (b"GIF89a" + bytes(20), "no JPEG, PNG"),
    "jpeg cut in its header": (jpeg()[:12], "ends within its header"),
    "jpeg without colours": (jpeg().replace(b"\x00\x05\x00\x07\x01", b"\x00\x05\x00\x07\x00"), "no colours"),
    "jpeg without a frame": (b"\xff\xd8\xff\xda\x00\x08" + bytes(20), "no frame header"),
    "jpeg that ends at once": (b"\xff\xd8\xff\xd9" + bytes(20), "before its first scan"),
    "jpeg with garbage between segments": (b"\xff\xd8" + segment(0xFE, b"hi") + b"xx" + bytes(20), "no marker"),
    "jpeg with a segment of length 1": (b"\xff\xd8\xff\xe0\x00\x01" + bytes(20), "segment of 1 bytes"),
    "jpeg of no height": (jpeg(height=0), "height open"),
    "jpeg of no width": (jpeg(width=0), "0x5"),
    "png of no width": (png(width=0), "0x5"),
    "png without IHDR": (b"\x89PNG\r\n\x1a\n" + chunk(b"IDAT", bytes(13)) + bytes(20), "IHDR"),
    "bmp with a strange header": (bmp(13, 7, 5), "header of 13 bytes"),
    "bmp of negative width": (bmp(40, -7, 5), "-7x5"),
    "tiff without a size": (exif(1) + bytes(8), "how large"),
    "tiff that points nowhere": (b"II*\0\xff\xff\xff\xff", "ends within its header"),
    "webp without a picture": (riff((b"XXXX", b"abcd")), "ends within its header"),
    "webp with a wrong start code": (riff((b"VP8 ", bytes(20))), "start code"),
    "webp with a wrong signature": (riff((b"VP8L", bytes(20))), "signature"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_header(name):
    data, part = BROKEN[name]
    with pytest.raises(PictureError, match=part):
        image_header.read(data)


def test_endless_segments_are_refused_and_endless_chunks_not_followed():
    with pytest.raises(PictureError, match="more than 2000 segments"):
        image_header.read(jpeg(segment(0xFE, b"") * image_header.MAX_STEPS))
    with pytest.raises(PictureError, match="more than 2000 segments"):
        image_header.read(b"\xff\xd8" + b"\xff" * 10_000)
    many = chunk(b"tEXt", b"") * image_header.MAX_STEPS
    assert image_header.read(png(many, chunk(b"eXIf", exif(6)))).orientation == 1


STARTS = [
    b"\xff\xd8\xff",
    b"\x89PNG\r\n\x1a\n",
    b"RIFF\0\0\0\0WEBP",
    b"RIFF\0\0\0\0WEBPVP8X",
    b"II*\0",
    b"MM\0*",
    b"BM",
]


@given(st.sampled_from(STARTS), st.binary(max_size=200))
def test_any_bytes_give_a_header_or_a_picture_error(start, rest):
    try:
        header = image_header.read(start + rest)
    except PictureError:
        return
    assert header.width > 0
    assert header.height > 0
    assert 1 <= header.orientation <= 8


@given(
    st.sampled_from(sorted(HEADERS)),
    st.lists(st.tuples(st.integers(0, 200), st.integers(0, 255)), max_size=6),
    st.integers(0, 300),
)
def test_damaged_pictures_give_a_header_or_a_picture_error(name, changes, length):
    data = bytearray(HEADERS[name][0])
    for at, value in changes:
        data[at % len(data)] = value
    with contextlib.suppress(PictureError):
        image_header.read(bytes(data[:length]))


@given(st.binary(max_size=100))
def test_any_exif_gives_an_orientation(block):
    assert 1 <= image_header.exif_orientation(block) <= 8
