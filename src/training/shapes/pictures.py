"""Pictures of circles, squares and triangles, drawn on photographs, and the boxes of what is to be seen of them.

A picture has 1 to 20 shapes: turned, a little tilted, filled with a colour that may shade off, at times with a rim.
They hide each other, strips hide them, and the picture's edge cuts them; at least `VISIBLE` of each remains. The box is
that of the part that is to be seen, as COCO has it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from imageserver.training.shapes import backgrounds
from imageserver.training.shapes.backgrounds import Pixels

Floats = np.ndarray[Any, np.dtype[np.float32]]
Whole = np.ndarray[Any, np.dtype[np.int64]]

LABELS = ("circle", "square", "triangle")
MOST = 20
"""Shapes in a picture."""

VISIBLE = 2 / 3
"""The least share of a shape's area that is to be seen."""

_SHIFT = 4
"""Bits of a pixel in the coordinates that OpenCV gets."""

_CORNERS = (48, 4, 3)
_RADIUS = (1.0, 1.25, 1.4)
"""Of the circle through the corners: so that the three cover about the same area."""


@dataclass(frozen=True)
class DrawnScene:
    """A picture and what is on it.

    Args:
        pixels: uint8 (height, width, 3) in BGR.
        boxes: float32 (n, 4): left, top, right, bottom in pixels, of what is to be seen.
        labels: int64 (n,), an index in `LABELS`.
        hidden: float32 (n,): the share of the shape's area that something else or the picture's edge hides.
        owner: uint8 (height, width): whose the pixel is, k + 1 for shape k, 0 for the background, 255 for a strip.
    """

    pixels: Pixels
    boxes: Floats
    labels: Whole
    hidden: Floats
    owner: Pixels


class _Canvas:
    """A picture on its way: pixels, whose they are, and how much of each shape is left."""

    def __init__(self, pixels: Pixels) -> None:
        self.pixels = pixels
        self.owner = np.zeros(pixels.shape[:2], np.uint8)
        self.area = np.zeros(256)  # of the whole shape, with what lies outside the picture
        self.seen = np.zeros(256)

    def put(self, corners: Floats, number: int, paint: Paint) -> bool:
        """Draw a polygon unless it, or what it covers, would be hidden too much. `number` as in `DrawnScene.owner`."""
        left, top = np.floor(corners.min(axis=0)).astype(int) - 1
        right, bottom = np.ceil(corners.max(axis=0)).astype(int) + 2
        mask = np.zeros((bottom - top, right - left), np.uint8)
        _fill(mask, corners - (left, top))
        area = int(np.count_nonzero(mask > 127))
        height, width = self.owner.shape
        part = (slice(max(0, -top), max(0, height - top)), slice(max(0, -left), max(0, width - left)))
        here = (slice(max(0, top), max(0, bottom)), slice(max(0, left), max(0, right)))
        mask = mask[part]
        inside = mask > 127
        seen = int(np.count_nonzero(inside))
        if number < 255 and (not area or seen < VISIBLE * area):
            return False
        left_over = self.seen - np.bincount(self.owner[here][inside], minlength=256)
        if (left_over[1:255] < VISIBLE * self.area[1:255]).any():
            return False
        if number < 255:
            left_over[number], self.area[number] = seen, area
        self.seen = left_over
        piece = self.pixels[here]
        colours = paint.colours(piece, corners - (max(0, left), max(0, top)))
        weight = (mask * np.float32(paint.cover / 255))[:, :, None]
        self.pixels[here] = np.clip(piece + (colours - piece) * weight, 0, 255).astype(np.uint8)
        self.owner[here][inside] = number
        return True


def _fill(mask: Pixels, corners: Floats) -> None:
    points = np.round(corners * (1 << _SHIFT)).astype(np.int32)
    cv2.fillConvexPoly(mask, points, 255, cv2.LINE_AA, _SHIFT)


class Paint:
    """How a polygon is filled: a colour that may shade off, grain, a rim; drawn by chance."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self.cover = 1.0 if rng.random() < 0.7 else rng.uniform(0.85, 1.0)
        self._shade = rng.normal(0, 25, 2) if rng.random() < 0.5 else np.zeros(2)
        self._grain = rng.uniform(0, 12) if rng.random() < 0.3 else 0.0
        self._rim = rng.uniform(0.75, 0.92) if rng.random() < 0.25 else 1.0

    def colours(self, under: Pixels, corners: Floats) -> Floats:
        """float32 (height, width, 3) for what lies on `under`; `corners` in its pixels."""
        rng = self._rng
        height, width = under.shape[:2]
        ground = np.array(cv2.mean(under)[:3])
        colour = _apart(ground, 75, rng)
        out = np.empty(under.shape, np.float32)
        out[:] = colour
        if self._rim < 1:
            middle = corners.mean(axis=0)
            inner = np.zeros((height, width), np.uint8)
            _fill(inner, (corners - middle) * self._rim + middle)
            out += (inner * np.float32(1 / 255))[:, :, None] * (_apart(ground, 75, rng) - colour).astype(np.float32)
        if self._shade.any():
            across = np.linspace(-1, 1, width, dtype=np.float32) * np.float32(self._shade[0])
            down = np.linspace(-1, 1, height, dtype=np.float32) * np.float32(self._shade[1])
            out += (down[:, None] + across)[:, :, None]
        if self._grain:
            out += rng.normal(0, self._grain, (height, width, 1)).astype(np.float32)
        return out


def _apart(ground: Any, far: float, rng: np.random.Generator) -> Any:
    """A colour (3,), 0..255, that differs from `ground` by at least `far`, or the farthest of eight."""
    colours = rng.uniform(0, 255, (8, 3))
    distance = np.abs(colours - ground).max(axis=1)
    good = np.flatnonzero(distance >= far)
    return colours[good[0] if len(good) else distance.argmax()]


def corners_of(label: int, radius: float, rng: np.random.Generator) -> Floats:
    """Corners (n, 2) of a shape around (0, 0), turned by any angle and tilted to 0.75 of its width at most."""
    count = _CORNERS[label]
    turn = np.arange(count) * (2 * np.pi / count) + rng.uniform(0, 2 * np.pi)
    points = np.stack([np.cos(turn), np.sin(turn)], axis=1) * (_RADIUS[label] * radius)
    if label == 2:
        points += rng.normal(0, 0.08 * radius, points.shape)
    if rng.random() < 0.5:
        axis = rng.uniform(0, np.pi)
        along = np.array([np.cos(axis), np.sin(axis)])
        points -= np.outer(points @ along, along) * rng.uniform(0, 0.25)
    return points.astype(np.float32)


def _strip(width: int, height: int, rng: np.random.Generator) -> Floats:
    """Corners of a long thin strip anywhere in the picture: it hides, and is none of the shapes."""
    length, thick = rng.uniform(0.15, 0.6) * width, rng.uniform(0.01, 0.035) * width
    turn = rng.uniform(0, np.pi)
    along, aside = np.array([np.cos(turn), np.sin(turn)]), np.array([-np.sin(turn), np.cos(turn)])
    middle = rng.uniform(0, 1, 2) * (width, height)
    ends = ((-length, -thick), (length, -thick), (length, thick), (-length, thick))
    return np.array([middle + along * a / 2 + aside * b / 2 for a, b in ends], np.float32)


def draw(
    photographs: tuple[Pixels, ...], width: int, height: int, rng: np.random.Generator, made: float = 0.0
) -> DrawnScene:
    """A picture of 1 to 20 shapes.

    Args:
        photographs: what it may be drawn on, see `backgrounds.photographs`.
        width, height: its size in pixels.
        made: how often it is drawn on a surface made by rule instead.
    """
    canvas = _Canvas(backgrounds.background(photographs, width, height, rng, made))
    wanted = int(rng.integers(1, MOST + 1))
    least = 0.05 * max(width, height)
    most = max(1.2 * least, min(0.4, 0.6 / np.sqrt(wanted)) * min(width, height))
    labels: list[int] = []
    for _ in range(4 * wanted):
        label = int(rng.integers(3))
        corners = corners_of(label, np.exp(rng.uniform(np.log(least), np.log(most))), rng)
        corners += rng.uniform(0, 1, 2) * (width, height)
        if canvas.put(corners.astype(np.float32), len(labels) + 1, Paint(rng)):
            labels.append(label)
        if len(labels) == wanted:
            break
    for _ in range(int(rng.integers(4))):
        canvas.put(_strip(width, height, rng), 255, Paint(rng))
    numbers = np.arange(1, len(labels) + 1)
    hidden = 1 - canvas.seen[numbers] / canvas.area[numbers]
    boxes = np.array([_box(canvas.owner == number) for number in numbers], np.float32).reshape(-1, 4)
    return DrawnScene(
        _photographed(canvas.pixels, rng), boxes, np.array(labels), hidden.astype(np.float32), canvas.owner
    )


def _box(mask: Any) -> tuple[int, int, int, int]:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def _photographed(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """As a camera would have given it: at times out of focus, in poor light, with noise, as JPEG."""
    if rng.random() < 0.3:
        pixels = cv2.GaussianBlur(pixels, (0, 0), rng.uniform(0.3, 1.2) * max(pixels.shape) / 320)
    if rng.random() < 0.4:
        light, least = rng.uniform(0.55, 1.1), rng.uniform(0, 40)
        pixels = cv2.convertScaleAbs(pixels, alpha=light, beta=least)
    if rng.random() < 0.3:
        noise = rng.integers(-1, 2, pixels.shape, dtype=np.int8) * np.float32(rng.uniform(0, 12))
        pixels = np.clip(pixels + noise, 0, 255).astype(np.uint8)
    if rng.random() < 0.3:
        coded = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(40, 96))])[1]
        pixels = np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR), np.uint8)
    return pixels
