"""Pictures as the network gets them, in the upper left of its input with grey around them, turned and mirrored."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import cv2
import numpy as np

from imageserver.inference.worker.preprocessing import base
from imageserver.training.shapes import backgrounds, pictures
from imageserver.training.shapes.backgrounds import Pixels
from imageserver.training.shapes.network import SIDE
from imageserver.training.shapes.pictures import MOST, Floats, Whole

Batch = tuple[Pixels, Floats, Whole, Any]
"""Pictures uint8 (n, SIDE, SIDE, 3) in BGR; boxes float32 (n, MOST, 4) in its pixels; labels int64 (n, MOST); which of
these rows are shapes, bool (n, MOST)."""

SIZES = ((320, 240), (320, 240), (240, 320), (320, 180), (320, 320))
"""Width and height of the pictures drawn for training, twice what the network sees of them."""

MADE = 0.5
"""How often they are drawn on a surface made by rule instead of a photograph."""


def shrunk(pixels: Pixels) -> tuple[Pixels, float]:
    """A picture of any size as large as it fits into the network's input, and by what factor it has become larger."""
    height, width = pixels.shape[:2]
    scale = SIDE / max(width, height)
    return base.resize(pixels, max(1, round(width * scale)), max(1, round(height * scale))), scale


def padded(pixels: Pixels) -> Pixels:
    """What `shrunk` gave in the upper left of uint8 (SIDE, SIDE, 3), grey around it."""
    out = np.full((SIDE, SIDE, 3), base.PADDING, np.uint8)
    out[: pixels.shape[0], : pixels.shape[1]] = pixels
    return out


def turned(pixels: Pixels, boxes: Floats, how: int) -> tuple[Pixels, Floats]:
    """One of the eight ways to mirror and turn a picture and its boxes; `how` 0 to 7, 0 leaves them."""
    height, width = pixels.shape[:2]
    if how & 1:
        pixels, boxes = (
            pixels[:, ::-1],
            np.stack([width - boxes[:, 2], boxes[:, 1], width - boxes[:, 0], boxes[:, 3]], axis=1),
        )
    if how & 2:
        pixels, boxes = (
            pixels[::-1],
            np.stack([boxes[:, 0], height - boxes[:, 3], boxes[:, 2], height - boxes[:, 1]], axis=1),
        )
    if how & 4:
        pixels, boxes = pixels.transpose(1, 0, 2), boxes[:, [1, 0, 3, 2]]
    return pixels, boxes


def drawn(count: int, uses: int, rng: np.random.Generator) -> Batch:
    """`count` new pictures, each in `uses` different turns, in random order."""
    cv2.setNumThreads(1)
    photographs = backgrounds.photographs(backgrounds.SEEN)
    total = count * uses
    images = np.empty((total, SIDE, SIDE, 3), np.uint8)
    boxes = np.zeros((total, MOST, 4), np.float32)
    labels = np.zeros((total, MOST), np.int64)
    real = np.zeros((total, MOST), bool)
    order = rng.permutation(total)
    for row in range(count):
        width, height = SIZES[int(rng.integers(len(SIZES)))]
        scene = pictures.draw(photographs, width, height, rng, MADE)
        size = len(scene.labels)
        small, scale = shrunk(scene.pixels)
        for use, how in enumerate(rng.choice(8, uses, replace=False)):
            at = order[row * uses + use]
            pixels, boxes[at, :size] = turned(small, scene.boxes * scale, int(how))
            images[at] = padded(pixels)
            labels[at, :size], real[at, :size] = scene.labels, True
    return images, boxes, labels, real


def epochs(count: int, pictures_each: int, uses: int, rng: np.random.Generator) -> Iterator[Batch]:
    """`count` epochs' pictures, each drawn while the one before is learnt."""
    with ThreadPoolExecutor(1) as maker:
        coming = maker.submit(drawn, pictures_each, uses, rng)
        for left in range(count, 0, -1):
            ready = coming.result()
            if left > 1:
                coming = maker.submit(drawn, pictures_each, uses, rng)
            yield ready
