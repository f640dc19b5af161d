"""What shapes are drawn on: pieces of photographs, and surfaces made by rule.

The photographs are scikit-image's own, of those that anyone may use for anything. Those of `UNSEEN` take no part in
training: pictures for judging are drawn on them.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import cv2
import numpy as np

Pixels = np.ndarray[Any, np.dtype[np.uint8]]

SEEN = (
    "astronaut",
    "chelsea",
    "grass",
    "gravel",
    "hubble_deep_field",
    "immunohistochemistry",
    "retina",
    "text",
    "clock",
)
"""Names in `skimage.data`. CC0 or in the public domain, as its documentation says of each."""

UNSEEN = ("coffee", "rocket", "camera")

_INNER = {"retina": (300, 1100, 300, 1100), "clock": (0, 300, 230, 400)}
"""Rows and columns that are taken where the whole shows a disc that would have to be called a circle."""


@cache
def photographs(names: tuple[str, ...]) -> tuple[Pixels, ...]:
    """The photographs of these names as uint8 (height, width, 3) in BGR, at most 640 pixels a side."""
    from skimage import data

    return tuple(_photograph(getattr(data, name)(), name) for name in names)


def _photograph(pixels: Pixels, name: str) -> Pixels:
    top, bottom, left, right = _INNER.get(name, (0, *pixels.shape[:1], 0, pixels.shape[1]))
    cut = np.ascontiguousarray(pixels[top:bottom, left:right])
    bgr = cv2.cvtColor(cut, cv2.COLOR_GRAY2BGR if cut.ndim == 2 else cv2.COLOR_RGB2BGR)
    scale = min(1.0, 640 / max(bgr.shape))
    return np.asarray(cv2.resize(bgr, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.uint8)


def photograph(of: tuple[Pixels, ...], width: int, height: int, rng: np.random.Generator) -> Pixels:
    """A piece of one of the photographs, at times mirrored or turned, in other colours; uint8 (height, width, 3)."""
    whole = of[int(rng.integers(len(of)))]
    if rng.random() < 0.25:
        whole = np.rot90(whole, int(rng.integers(1, 4)))
    share = rng.uniform(0.35, 1.0) * min(whole.shape[1] / width, whole.shape[0] / height)
    across, down = max(8, int(width * share)), max(8, int(height * share))
    left = int(rng.integers(whole.shape[1] - across + 1))
    top = int(rng.integers(whole.shape[0] - down + 1))
    piece = whole[top : top + down, left : left + across]
    if rng.random() < 0.5:
        piece = piece[:, ::-1]
    shrinks = across > width
    piece = cv2.resize(piece, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    if rng.random() < 0.3:
        piece = piece[:, :, rng.permutation(3)]
    return np.asarray(cv2.LUT(np.ascontiguousarray(piece), _tone(rng)), np.uint8)


def _tone(rng: np.random.Generator) -> Pixels:
    """A table of other brightness, contrast and colour for each channel, uint8 (1, 256, 3)."""
    levels = np.linspace(0, 1, 256)[:, None] ** np.exp(rng.normal(0, 0.25))
    levels = (levels - 0.5) * rng.uniform(0.6, 1.2) + 0.5 + rng.uniform(-0.12, 0.12)
    return np.asarray(np.clip(levels * rng.uniform(0.8, 1.2, 3) * 255, 0, 255)[None], np.uint8)


def surface(width: int, height: int, rng: np.random.Generator) -> Pixels:
    """Clouds of colour in several sizes, at times with stripes; uint8 (height, width, 3)."""
    field = np.full((height, width, 3), rng.uniform(20, 235, 3), np.float32)
    for knots in (2, 5, 12, 30):
        if rng.random() < 0.7:
            grey = rng.random() < 0.5
            noise = rng.normal(0, rng.uniform(5, 35), (knots, knots, 1 if grey else 3)).astype(np.float32)
            field += cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC).reshape(height, width, -1)
    if rng.random() < 0.3:
        angle, pitch = rng.uniform(0, np.pi), rng.uniform(0.05, 0.6)
        rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
        waves = np.sin((rows * np.sin(angle) + columns * np.cos(angle)) * pitch) * rng.uniform(5, 30)
        field += waves[:, :, None]
    if rng.random() < 0.3:
        field += rng.normal(0, rng.uniform(3, 18), (height, width, 1)).astype(np.float32)
    return np.clip(field, 0, 255).astype(np.uint8)


def _rubble(pixels: Pixels, rng: np.random.Generator) -> None:
    """Lines, letters, ragged blobs, thin rings, long ellipses and bars: no circle, square or triangle."""
    height, width = pixels.shape[:2]
    for _ in range(int(rng.integers(3, 20))):
        colour = tuple(int(value) for value in rng.integers(0, 256, 3))
        middle = rng.uniform(0, 1, 2) * (width, height)
        kind, turn = rng.random(), rng.uniform(0, 180)
        size = width * rng.uniform(0.03, 0.2)
        if kind < 0.25:
            end = middle + rng.normal(0, 0.3, 2) * width
            cv2.line(pixels, _whole(middle), _whole(end), colour, int(rng.integers(1, 5)), cv2.LINE_AA)
        elif kind < 0.4:
            letter, large = chr(int(rng.integers(97, 123))), float(rng.uniform(0.4, 2.0) * width / 320)
            cv2.putText(pixels, letter, _whole(middle), int(rng.integers(0, 8)), large, colour, 1, cv2.LINE_AA)
        elif kind < 0.6:
            cv2.fillPoly(pixels, [_ragged(middle, size, rng)], colour, cv2.LINE_AA)
        elif kind < 0.75:
            axes = _whole((size, size * rng.uniform(0.4, 1.0)))
            thick = max(1, int(size * rng.uniform(0.02, 0.1)))
            cv2.ellipse(pixels, _whole(middle), axes, turn, 0, rng.uniform(120, 360), colour, thick, cv2.LINE_AA)
        elif kind < 0.87:
            axes = _whole((size, size * rng.uniform(0.15, 0.45)))
            cv2.ellipse(pixels, _whole(middle), axes, turn, 0, 360, colour, -1, cv2.LINE_AA)
        else:
            bar = cv2.boxPoints((_whole(middle), (size * 2, size * rng.uniform(0.3, 0.9)), turn))
            cv2.fillConvexPoly(pixels, bar.astype(np.int32), colour, cv2.LINE_AA)


def _whole(point: Any) -> tuple[int, int]:
    return int(point[0]), int(point[1])


def _ragged(middle: Any, size: float, rng: np.random.Generator) -> Any:
    """Corners (n, 2) of a star or blob that is far from any of the shapes: seven to twelve, at uneven distances."""
    count = int(rng.integers(7, 13))
    turn = np.linspace(0, 2 * np.pi, count, endpoint=False) + rng.uniform(0, 6)
    far = size * rng.uniform(0.25, 1.0, count)
    return (middle + np.stack([np.cos(turn) * far, np.sin(turn) * far * rng.uniform(0.3, 1)], 1)).astype(np.int32)


def background(of: tuple[Pixels, ...], width: int, height: int, rng: np.random.Generator, made: float) -> Pixels:
    """What shapes are drawn on, uint8 (height, width, 3) in BGR: with probability `made` a
    surface made by rule, or a photograph strewn with things that are no shapes."""
    if rng.random() >= made:
        return photograph(of, width, height, rng)
    pixels = surface(width, height, rng) if rng.random() < 0.6 else photograph(of, width, height, rng)
    if rng.random() < 0.6:
        _rubble(pixels, rng)
    return pixels
