"""X-rays on their way to the models: cut, shrunk, decoded from what cameras and archives send."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from imageserver.inference.shared import manifest
from imageserver.inference.worker import decode
from imageserver.inference.worker.decode import PictureLimits
from imageserver.inference.worker.preprocessing import base, xray

ROOT = Path(__file__).resolve().parents[3]
EXAMPLES = sorted((ROOT / "tests/data/xray").glob("*.png"))
CODES = {
    "xray-inception": "INCE",
    "xray-densenet": "DENS",
    "xray-mycn": "MYCN",
    "xray-vgg": "VGG!",
    "xray-xception": "XCEP",
    "xray-resnet": "RESN",
    "xray-ensemble": "ENSE",
}
WANTED = manifest.read(ROOT / "models/xray-vgg").input
LIMITS = PictureLimits(max_bytes=2**24, max_pixels=50_000_000)


def shrink(pixels):
    return xray.xray(pixels, WANTED)[:, :, 0]


def through_the_decoder(name, pixels, *options):
    encoded, data = cv2.imencode(name, pixels, list(options))
    assert encoded
    least = max(base.find("xray").least, WANTED.width, WANTED.height)
    return shrink(decode.decode(memoryview(data.tobytes()), channels=1, least=least, limits=LIMITS).pixels)


def full_size(height=1400, width=1800, seed=0):
    """Grey, smooth, with structure: what an X-ray's bytes are like, not what it shows."""
    coarse = np.random.default_rng(seed).integers(30, 226, (30, 40), dtype=np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


@pytest.mark.parametrize(("name", "code"), CODES.items())
def test_every_model_has_its_code_and_takes_the_same_pictures(name, code):
    read = manifest.read(ROOT / "models" / name)
    assert read.tcp_code == code
    assert read.input == WANTED
    assert read.output.labels == ("normal", "pneumonia")


def test_the_ensemble_has_all_others_as_members():
    assert set(manifest.read(ROOT / "models/xray-ensemble").members) == set(CODES) - {"xray-ensemble"}


def test_a_picture_of_the_models_size_keeps_its_pixels():
    for path in EXAMPLES:
        pixels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        assert pixels.shape == (28, 28)
        assert (shrink(pixels) == pixels).all()
        assert (through_the_decoder(".png", pixels) == pixels).all()
    assert len(EXAMPLES) == 8


@pytest.mark.parametrize(
    ("height", "width", "top", "left"),
    [(280, 280, 0, 0), (280, 500, 0, 110), (500, 280, 110, 0), (280, 281, 0, 0), (283, 280, 1, 0)],
)
def test_the_square_in_the_middle_is_averaged(height, width, top, left):
    pixels = np.random.default_rng(1).integers(0, 256, (height, width), dtype=np.uint8)
    square = pixels[top : top + 280, left : left + 280]
    means = square.reshape(28, 10, 28, 10).mean(axis=(1, 3))
    assert np.abs(shrink(pixels) - means).max() <= 0.51


@pytest.mark.parametrize("size", [(1, 1), (3, 900), (27, 28), (28, 29), (20, 20)])
def test_odd_and_small_pictures_have_a_result(size):
    pixels = np.full(size, 77, np.uint8)
    assert shrink(pixels).shape == (28, 28)
    assert (shrink(pixels) == 77).all()


@pytest.mark.parametrize(
    ("make", "most"),
    [
        (lambda grey: through_the_decoder(".png", grey), 0),
        (lambda grey: through_the_decoder(".png", cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR)), 0),
        (lambda grey: through_the_decoder(".png", grey.astype(np.uint16) << 8 | grey), 0),
        (lambda grey: through_the_decoder(".tiff", grey.astype(np.uint16) << 8), 0),
        (lambda grey: through_the_decoder(".jpg", grey, cv2.IMWRITE_JPEG_QUALITY, 95), 2),
        (
            lambda grey: through_the_decoder(
                ".jpg", cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR), cv2.IMWRITE_JPEG_QUALITY, 95
            ),
            2,
        ),
    ],
    ids=["png", "colour png", "16-bit png", "16-bit tiff", "jpeg", "colour jpeg"],
)
def test_the_file_makes_no_difference(make, most):
    grey = full_size()
    difference = np.abs(make(grey).astype(int) - shrink(grey).astype(int))
    assert difference.max() <= most


def test_boxes_would_be_mapped_to_the_middle():
    assert base.find("xray").region(1800, 1400, WANTED) == (200.0, 0.0, 1400.0, 1400.0)
