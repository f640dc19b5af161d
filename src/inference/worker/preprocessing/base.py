"""From a picture's pixels to the array a model takes, by the name that its manifest gives.

A function here gets the upright picture as uint8, (height, width) when the model takes one channel, else
(height, width, 3) in RGB, and returns uint8 or float32 of (input.height, input.width, input.channels), still with
values 0..255 and in RGB: the worker applies the value range, mean, channel order and layout to the whole batch at once.

To add one: a module of its own that holds `PREPROCESSING = Preprocessing(…)`, its name in `MODULES` below and in
`manifest.PREPROCESSINGS`. It is imported when the first model asks for it.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from imageserver.inference.shared.manifest import Input
from imageserver.inference.worker.decode import Picture

Array = NDArray[Any]
Region = tuple[float, float, float, float]

PADDING = 114
"""The grey of letterbox bars: what object detectors are commonly trained with."""


def _whole(width: int, height: int, wanted: Input) -> Region:
    return 0.0, 0.0, float(width), float(height)


@dataclass(frozen=True)
class Preprocessing:
    """How pictures become the array that a model takes.

    Args:
        function: from upright pixels and the manifest's input to the array.
        least: the shortest side, in pixels, that the decoder must deliver. It may reduce a large picture to 1/2, 1/4
            or 1/8 as long as the shortest side keeps that much; the sides of the model's own input count as well.
        region: from a picture's width and height, and the manifest's input, to the part of the picture that the
            array shows: x, y, width, height in the picture's pixels. Boxes are mapped back by it.
    """

    function: Callable[[Array, Input], Array]
    least: int = 0
    region: Callable[[int, int, Input], Region] = _whole


def none(pixels: Array, wanted: Input) -> Array:
    """As it is, in its own size: for models that do the rest themselves."""
    return pixels.reshape(*pixels.shape[:2], wanted.channels)


def stretch(pixels: Array, wanted: Input) -> Array:
    """To the model's size; proportions are not kept."""
    return resize(pixels, wanted.width, wanted.height).reshape(wanted.height, wanted.width, wanted.channels)


def crop(pixels: Array, wanted: Input) -> Array:
    """The largest middle part with the model's proportions, then to its size."""
    height, width = pixels.shape[:2]
    left, top, across, down = (int(value) for value in crop_region(width, height, wanted))
    return stretch(pixels[top : top + down, left : left + across], wanted)


def crop_region(width: int, height: int, wanted: Input) -> Region:
    """In whole pixels, as they are cut out."""
    scale = min(width / wanted.width, height / wanted.height)
    across, down = max(1, round(wanted.width * scale)), max(1, round(wanted.height * scale))
    return float((width - across) // 2), float((height - down) // 2), float(across), float(down)


def letterbox(pixels: Array, wanted: Input) -> Array:
    """All of the picture, its proportions kept, in the middle of the model's size; grey around it."""
    return _laid(pixels, wanted, middle=True)


def letterbox_corner(pixels: Array, wanted: Input) -> Array:
    """The same in the upper left corner, as YOLOX has it."""
    return _laid(pixels, wanted, middle=False)


def _laid(pixels: Array, wanted: Input, middle: bool) -> Array:
    height, width = pixels.shape[:2]
    left, top, across, down = _place(width, height, wanted, middle)
    out = np.full((wanted.height, wanted.width, wanted.channels), PADDING, np.uint8)
    small = resize(pixels, across, down)
    out[top : top + down, left : left + across] = small.reshape(down, across, wanted.channels)
    return out


def _place(width: int, height: int, wanted: Input, middle: bool) -> tuple[int, int, int, int]:
    """Where the picture lies in the array: left, top, width, height in its pixels."""
    scale = min(wanted.width / width, wanted.height / height)
    across, down = max(1, round(width * scale)), max(1, round(height * scale))
    if not middle:
        return 0, 0, across, down
    return (wanted.width - across) // 2, (wanted.height - down) // 2, across, down


def letterbox_region(width: int, height: int, wanted: Input) -> Region:
    """The array in the picture's pixels: larger than the picture, by the bars."""
    return _around(width, height, wanted, _place(width, height, wanted, middle=True))


def letterbox_corner_region(width: int, height: int, wanted: Input) -> Region:
    return _around(width, height, wanted, _place(width, height, wanted, middle=False))


def _around(width: int, height: int, wanted: Input, place: tuple[int, int, int, int]) -> Region:
    left, top, across, down = place
    right, below = width / across, height / down  # pixels of the picture to one of the array
    return -left * right, -top * below, wanted.width * right, wanted.height * below


def shown_part(preprocessing: Preprocessing, picture: Picture, wanted: Input) -> Region:
    """The part of a picture that its array shows, in pixels that it has undiminished: x, y, width, height.

    It is that of the pixels that were there to be prepared: a picture decoded at a quarter of its size is rounded to
    other borders than the whole.
    """
    height, width = picture.pixels.shape[:2]
    left, top, part_width, part_height = picture.part or (0, 0, *picture.size)
    across, down = part_width / width, part_height / height
    x, y, shown_width, shown_height = preprocessing.region(width, height, wanted)
    return left + x * across, top + y * down, shown_width * across, shown_height * down


def resize(pixels: Array, width: int, height: int) -> Array:
    """uint8 pixels at a new size: by area when it shrinks (no aliasing), linearly when it grows."""
    if pixels.shape[:2] == (height, width):
        return pixels
    shrinks = pixels.shape[1] > width or pixels.shape[0] > height
    resized: Array = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    return resized


PREPROCESSING: dict[str, Preprocessing] = {
    "none": Preprocessing(none),
    "stretch": Preprocessing(stretch),
    "crop": Preprocessing(crop, region=crop_region),
    "letterbox": Preprocessing(letterbox, region=letterbox_region),
    "letterbox-corner": Preprocessing(letterbox_corner, region=letterbox_corner_region),
}

MODULES = {
    "digit": "imageserver.inference.worker.preprocessing.digit",
    "xray": "imageserver.inference.worker.preprocessing.xray",
}


def find(name: str) -> Preprocessing:
    """The preprocessing called `name`; KeyError when there is none."""
    found = PREPROCESSING.get(name)
    if found is None:
        found = PREPROCESSING[name] = importlib.import_module(MODULES[name]).PREPROCESSING
    return found
