"""From a chest X-ray to what the X-ray models were trained on: its central square, shrunk to 28x28 by area averaging.

PneumoniaMNIST was made so (Yang et al., 2023): a square of the short side, cut from the middle, then resized. A picture
that is 28x28 already keeps its pixels.
"""

from __future__ import annotations

from imageserver.inference.shared.manifest import Input
from imageserver.inference.worker.preprocessing import base
from imageserver.inference.worker.preprocessing.base import Array, Preprocessing

LEAST = 224
"""Shortest side, in pixels, that the decoder is to leave: eight to each pixel of the result, so that its own
shrinking to a power of two and the averaging here come to the same."""


def xray(pixels: Array, wanted: Input) -> Array:
    """uint8 (height, width) grey or (height, width, 3) RGB to uint8 (wanted.height, wanted.width, wanted.channels).

    The square has the short side, and its corner is rounded down: (height - side) // 2, (width - side) // 2.
    """
    height, width = pixels.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = pixels[top : top + side, left : left + side]
    return base.resize(square, wanted.width, wanted.height).reshape(wanted.height, wanted.width, wanted.channels)


PREPROCESSING = Preprocessing(xray, least=LEAST, region=base.crop_region)
