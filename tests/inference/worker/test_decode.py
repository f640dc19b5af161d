"""Bytes to pixels: every kind of picture upright, complete, within limits, and no larger than needed."""

import io
import struct
import zlib

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from imageserver.errors import LimitExceeded, PictureError, TooCostly
from imageserver.inference.worker import decode as images
from imageserver.inference.worker.decode import PictureLimits

LIMITS = PictureLimits()
RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)
CORNERS = [RED, GREEN, BLUE, WHITE]  # of the upright picture: top left, top right, bottom left, bottom right


def upright():
    """96x64: a colour in each quarter."""
    pixels = np.zeros((64, 96, 3), np.uint8)
    pixels[:32, :48], pixels[:32, 48:], pixels[32:, :48], pixels[32:, 48:] = CORNERS
    return Image.fromarray(pixels)


def encoded(picture, kind, **options):
    stream = io.BytesIO()
    picture.save(stream, kind, **options)
    return stream.getvalue()


def decode(data, channels=3, least=1000, **options):
    return images.decode(
        memoryview(bytearray(data)), channels=channels, least=least, limits=options.pop("limits", LIMITS), **options
    )


def corners(pixels):
    height, width = pixels.shape[:2]
    return [pixels[y, x] for y in (height // 4, height * 3 // 4) for x in (width // 4, width * 3 // 4)]


def assert_corners(pixels, wanted):
    for found, colour in zip(corners(pixels), wanted, strict=True):
        assert np.abs(found.astype(int) - colour).max() < 20


# What turns the upright picture into the one that an orientation describes: the inverse of what a viewer does.
STORED = {
    1: None, 2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_90, 7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}  # fmt: skip


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("alpha", [False, True])
def test_orientation(kind, orientation, alpha):
    if alpha and kind == "JPEG":
        return
    picture = upright() if STORED[orientation] is None else upright().transpose(STORED[orientation])
    if alpha:
        picture.putalpha(255)
    exif = Image.Exif()
    exif[274] = orientation
    found = decode(encoded(picture, kind, exif=exif))
    assert found.size == (96, 64)
    assert found.pixels.shape == (64, 96, 3)
    assert_corners(found.pixels, CORNERS)


@pytest.mark.parametrize(("rotate", "size", "wanted"), [
    (0, (96, 64), [RED, GREEN, BLUE, WHITE]),
    (90, (64, 96), [BLUE, RED, WHITE, GREEN]),
    (180, (96, 64), [WHITE, BLUE, GREEN, RED]),
    (270, (64, 96), [GREEN, WHITE, RED, BLUE]),
])  # fmt: skip
def test_the_users_rotation_is_clockwise_and_comes_after_the_pictures_own(rotate, size, wanted):
    exif = Image.Exif()
    exif[274] = 6
    for data in (encoded(upright(), "PNG"), encoded(upright().transpose(Image.Transpose.ROTATE_90), "JPEG", exif=exif)):
        found = decode(data, rotate=rotate)
        assert found.size == size
        assert_corners(found.pixels, wanted)


def test_a_turn_by_45_degrees_is_refused():
    with pytest.raises(ValueError, match="multiples of 90"):
        decode(encoded(upright(), "PNG"), rotate=45)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("least", "shape"),
    [(8, (64, 96)), (64, (64, 96)), (65, (128, 192)), (128, (128, 192)), (257, (512, 768)), (9999, (512, 768))],
)
def test_a_large_jpeg_is_decoded_smaller_as_long_as_its_shortest_side_suffices(channels, least, shape):
    data = encoded(upright().resize((768, 512)), "JPEG")
    found = decode(data, channels=channels, least=least)
    assert found.pixels.shape == (shape if channels == 1 else (*shape, 3))
    assert found.size == (768, 512)


def test_odd_sizes_are_reduced_upwards():
    assert decode(encoded(upright().resize((1001, 801)), "JPEG"), least=100).pixels.shape == (101, 126, 3)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "BMP"])
@pytest.mark.parametrize("part", [0.05, 0.5, 0.9, 0.999])
def test_a_picture_that_ends_early_is_refused(kind, part):
    random = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)
    data = encoded(Image.fromarray(random), kind)
    with pytest.raises(PictureError):
        decode(data[: int(len(data) * part)])


@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_without_its_last_bytes_is_refused_even_if_a_thumbnail_is_complete(progressive):
    exif = Image.Exif()
    exif[274] = 1
    exif.get_ifd(0x8769)[0x927C] = encoded(upright(), "JPEG")
    data = encoded(upright(), "JPEG", exif=exif, progressive=progressive)
    assert data.count(b"\xff\xd9") == 2
    assert decode(data + bytes(5)).size == (96, 64)
    with pytest.raises(PictureError, match="cut short"):
        decode(data[:-2])


def test_transparent_is_white():
    for kind in ("PNG", "WEBP", "TIFF"):
        picture = Image.new("RGBA", (20, 10), (0, 0, 0, 0))
        picture.paste((0, 0, 0, 255), (0, 0, 10, 10))
        picture.putpixel((15, 5), (0, 0, 0, 128))
        options = {"lossless": True} if kind == "WEBP" else {}
        data = encoded(picture, kind, **options)
        colour, grey = decode(data).pixels, decode(data, channels=1).pixels
        assert colour.shape == (10, 20, 3)
        assert grey.shape == (10, 20)
        assert [grey[5, 5], grey[5, 12]] == [0, 255]
        assert abs(int(grey[5, 15]) - 127) <= 1
        assert (colour == grey[:, :, np.newaxis]).all()


def test_palettes_grey_alpha_and_one_bit():
    palette = upright().quantize(8)
    assert_corners(decode(encoded(palette, "PNG")).pixels, CORNERS)
    assert_corners(decode(encoded(palette, "BMP")).pixels, CORNERS)
    assert_corners(decode(encoded(palette, "PNG", transparency=palette.getpixel((0, 0)))).pixels, [WHITE, *CORNERS[1:]])
    assert_corners(decode(encoded(upright().convert("CMYK"), "JPEG")).pixels, CORNERS)
    assert_corners(decode(encoded(upright().convert("CMYK"), "TIFF")).pixels, CORNERS)
    grey_alpha = Image.new("LA", (4, 4), (0, 0))
    assert (decode(encoded(grey_alpha, "PNG"), channels=1).pixels == 255).all()
    one_bit = Image.new("1", (9, 4), 1)
    for kind in ("PNG", "TIFF", "BMP"):
        assert (decode(encoded(one_bit, kind)).pixels == 255).all()


@pytest.mark.parametrize("extension", [".png", ".tiff"])
@pytest.mark.parametrize("alpha", [False, True])
def test_sixteen_bits_keep_the_upper_eight(extension, alpha):
    pixels = np.full((6, 5, 3), (0x1234, 0x80FF, 0xFFFF), np.uint16)  # BGR
    if alpha:
        pixels = np.dstack([pixels, np.full((6, 5), 65535, np.uint16)])
    data = cv2.imencode(extension, pixels)[1].tobytes()
    assert decode(data).pixels[0, 0].tolist() == [0xFF, 0x80, 0x12]
    grey = cv2.imencode(extension, np.full((6, 5), 0x8000, np.uint16))[1].tobytes()
    assert (decode(grey, channels=1).pixels == 0x80).all()


def test_grey_from_colour_weighs_as_the_eye_does():
    assert [int(value) for value in corners(decode(encoded(upright(), "PNG"), channels=1).pixels)] == [76, 149, 29, 255]


def test_limits_are_taken_from_the_header():
    data = encoded(upright(), "PNG")
    assert decode(data, limits=PictureLimits(max_bytes=len(data), max_pixels=96 * 64)).size == (96, 64)
    with pytest.raises(LimitExceeded, match=f"{len(data)} bytes, more than the {len(data) - 1} allowed"):
        decode(data, limits=PictureLimits(max_bytes=len(data) - 1))
    with pytest.raises(LimitExceeded, match="96x64 pixels, more than the 6143 allowed"):
        decode(data, limits=PictureLimits(max_pixels=6143))
    bomb = bytearray(data)
    bomb[16:24] = struct.pack(">II", 100_000, 100_000)
    with pytest.raises(LimitExceeded, match="100000x100000"):
        decode(bomb)


def test_what_a_picture_takes_decoded_is_limited_by_its_header():
    """Width, height, channels and depth: 16 bits with transparency take eight times what grey takes."""
    with pytest.raises(
        LimitExceeded, match="takes 24576 bytes once it is decoded, more than the 24575 allowed"
    ) as found:
        decode(encoded(upright().convert("RGBA"), "PNG"), limits=PictureLimits(max_decoded_bytes=24575))
    assert found.value.limit == "max_decoded_bytes"
    assert decode(encoded(upright(), "PNG"), limits=PictureLimits(max_decoded_bytes=18432)).size == (96, 64)
    deep = cv2.imencode(".png", np.zeros((64, 96, 4), np.uint16))[1].tobytes()
    with pytest.raises(LimitExceeded, match="takes 49152 bytes"):
        decode(deep, limits=PictureLimits(max_decoded_bytes=49151))


def test_texts_and_profiles_of_a_png_count_as_its_pixels_do():
    """libpng inflates up to 8 MB of each: 500 of them take 15 s, whatever size the picture has."""
    data = encoded(upright(), "PNG")
    body = b"x\0\0" + zlib.compress(bytes(7_000_000), 9)
    text = struct.pack(">I", len(body)) + b"zTXt" + body + struct.pack(">I", zlib.crc32(b"zTXt" + body))
    assert decode(data[:33] + text + data[33:]).size == (96, 64)
    with pytest.raises(LimitExceeded, match="bytes once it is decoded"):
        decode(data[:33] + text * 100 + data[33:])


def test_a_budget_is_shared_and_counts_jpegs_as_they_are_reduced():
    budget = images.DecodingBudget(96 * 64 * 3 + 12 * 8 * 3)
    jpeg, png = encoded(upright(), "JPEG"), encoded(upright(), "PNG")
    assert decode(jpeg, least=8, budget=budget).pixels.shape == (8, 12, 3)
    assert decode(png, least=8, budget=budget).pixels.shape == (64, 96, 3)
    with pytest.raises(TooCostly) as found:
        decode(jpeg, least=8, budget=budget)
    assert found.value.cost == 12 * 8 * 3
    with pytest.raises(TooCostly):
        decode(encoded(upright(), "JPEG", progressive=True), least=8, budget=images.DecodingBudget(96 * 64 * 3 - 1))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
def test_transparency_is_laid_over_white_in_strips_without_a_seam(channels, depth, monkeypatch):
    pixels = np.random.default_rng(7).integers(0, np.iinfo(depth).max, (64, 96, 4), depth, endpoint=True)
    data = cv2.imencode(".png", pixels)[1].tobytes()
    whole = decode(data, channels=channels).pixels
    monkeypatch.setattr(images, "STRIP_BYTES", 96 * 4 * 5)
    assert np.array_equal(decode(data, channels=channels).pixels, whole)


def test_a_costly_picture_is_shrunk_by_area_to_what_the_model_needs():
    found = images.shrink(decode(encoded(upright(), "PNG")), 16, 10**6)
    assert found.pixels.shape == (16, 24, 3)
    assert found.size == (96, 64)
    assert_corners(found.pixels, CORNERS)
    assert images.shrink(found, 16, 10**6) is found
    assert images.shrink(found, 16, 300).pixels.shape == (8, 12, 3)


def test_a_chunk_that_claims_more_than_the_file_has_is_refused_before_opencv_allocates_it():
    data = bytearray(encoded(upright(), "PNG"))
    for at in (33, data.index(b"IEND") - 4):
        wrong = data.copy()
        wrong[at] = 0xFF
        with pytest.raises(PictureError, match="cut short"):
            decode(wrong)
    with pytest.raises(PictureError, match="more than 20000 chunks"):
        decode(data[:33] + b"\0\0\0\0teSt\0\0\0\0" * images.MAX_CHUNKS + data[33:])


def test_a_jpeg_of_endless_scans_is_refused():
    data = encoded(upright(), "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    with pytest.raises(PictureError, match="more than 40 scans"):
        decode(data[:-2] + data[last:-2] * 40 + data[-2:])


def test_a_picture_that_is_larger_than_its_first_header_says_is_refused():
    data = bytearray(encoded(upright(), "JPEG"))
    frame = data.index(b"\xff\xc0")
    small = bytes(data[frame : frame + 5]) + struct.pack(">HH", 2, 2) + bytes(data[frame + 9 : frame + 19])
    twice = bytes(data[:frame]) + small + bytes(data[frame:])
    with pytest.raises(PictureError):
        decode(twice)


CHANGES = st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), max_size=8)


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(["JPEG", "PNG", "BMP", "TIFF", "WEBP"]), CHANGES)
def test_damaged_pictures_give_pixels_or_a_sentence(kind, changes):
    data = bytearray(encoded(upright().resize((24, 16)), kind))
    for at, value in changes:
        data[at % len(data)] = value
    try:
        found = decode(data, channels=1, least=8, limits=PictureLimits(max_pixels=1_000_000))
    except (PictureError, LimitExceeded):
        return
    assert found.pixels.dtype == np.uint8
    assert found.pixels.ndim == 2
