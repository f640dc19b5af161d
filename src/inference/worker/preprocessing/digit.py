"""From a picture of one digit to what MNIST looks like: 28x28, light on dark, in a 20x20 box centred by mass.

The steps follow LeCun, Bottou, Bengio and Haffner, "Gradient-Based Learning Applied to Document Recognition" (1998),
section III: the digit fits a 20x20 box with its proportions kept, and its centre of mass lies in the middle of 28x28.
What comes before is for photographs: the paper under the strokes is estimated by a morphological closing, so that
shadows and grey paper cost nothing, and specks and table edges are told from strokes by their connected components.
Only two resizes touch the picture itself; the rest works on a copy of at most 64 pixels a side.
"""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np

from imageserver.inference.shared.manifest import Input
from imageserver.inference.worker.preprocessing.base import Preprocessing

SIDE = 28
BOX = 20
WORK = 80
"""Longest side, in pixels, of the copy on which strokes are told from paper and specks."""

CENTRE = 14.5
"""Where the centre of mass goes, in pixels from the outer edge: in MNIST it lies between 14.0 and 15.0."""

FLOOR = 0.12
"""Share of full ink that still counts as paper."""

THIN = 1.7
"""Width of strokes, in pixels of the 20x20 box, below which they are drawn thicker: a finer line would fall apart."""

_LOG = np.round(255 / np.log(271 / 16) * np.log((np.arange(256) + 16) / 16)).astype(np.uint8)
_NEAR = np.ones((3, 3), np.uint8)

Picture = np.ndarray[Any, np.dtype[np.uint8]]


def digit(picture: Picture) -> Picture:
    """The digit in `picture` as MNIST would have it.

    `picture`: uint8, (height, width) grey, at least 28x28 by contract, though any size works; dark on light or light on
    dark, decided by the border. Returns uint8 (28, 28), 0 background, 255 ink. A picture that is 28x28 already and has
    background at its border keeps its pixels, inverted if it was dark on light. A picture without strokes gives zeros.
    """
    if picture.shape == (SIDE, SIDE):
        kept = _ready(picture)
        if kept is not None:
            return kept
    if min(picture.shape) < 8:  # a strip holds no digit, but it must not be too small for the filters either
        picture = cv2.copyMakeBorder(picture, 4, 4, 4, 4, cv2.BORDER_REPLICATE)
    # Whole factors: OpenCV shrinks by area five times as fast then, and boxes map back exactly.
    factor = min(-(-max(picture.shape) // WORK), *picture.shape)
    work = _shrink(picture, factor)
    paper, inverted = _paper(work)
    if inverted:
        work = cv2.bitwise_not(work)
    mask, box = _strokes(_contrast(work, paper))
    if mask is None:
        return np.zeros((SIDE, SIDE), np.uint8)
    return _fit(picture, factor, paper, mask, box, inverted)


def _shrink(picture: Picture, factor: int) -> Picture:
    """`picture` at 1/`factor`; up to `factor` - 1 rows and columns at the lower right are left out."""
    if factor == 1:
        return picture
    height, width = picture.shape[0] // factor, picture.shape[1] // factor
    small: Picture = cv2.resize(
        picture[: height * factor, : width * factor], (width, height), interpolation=cv2.INTER_AREA
    )
    return small


def _ready(picture: Picture) -> Picture | None:
    """The 28x28 picture itself, light on dark; None when its outermost ring is not background: strokes are cut."""
    ring = np.concatenate((picture[0], picture[-1], picture[:, 0], picture[:, -1]))
    low, high = int(picture.min()), int(picture.max())
    if int(ring.max()) - int(ring.min()) > (high - low) // 2:
        return None
    level = float(np.median(ring))
    light = level > (low + high) / 2
    if low <= 64 and high >= 192:
        return 255 - picture if light else picture
    # Greyish scans: the same geometry, stretched to the full range from the border's level to the ink's.
    ink = level - picture.astype(np.float32) if light else picture.astype(np.float32) - level
    stretched: Picture = np.clip(ink * (255.0 / max(1.0, float(ink.max()))), 0, 255).astype(np.uint8)
    return stretched


def _paper(work: Picture) -> tuple[Picture, bool]:
    """The paper beneath `work` (same shape), light; and whether `work` is light on dark and has to be inverted.

    Both readings are tried: under the right one the strokes differ from the border, under the wrong one "strokes" are
    the gaps between real ones and look like the border. Brightness is compared by its logarithm: there ink on paper
    differs more than paper in the sun from paper in a shadow.
    """
    half = _shrink(work, 2 if min(work.shape) >= 24 else 1)
    height, width = half.shape
    side = max(3, (min(height, width) * 2 // 5) | 1)
    kernel = np.ones((side, side), np.uint8)
    light = cv2.morphologyEx(half, cv2.MORPH_CLOSE, kernel)
    dark = cv2.morphologyEx(half, cv2.MORPH_OPEN, kernel)
    seen, above, below = cv2.LUT(half, _LOG), cv2.LUT(light, _LOG), cv2.LUT(dark, _LOG)
    ring = (cv2.mean(seen[:1])[0] + cv2.mean(seen[-1:])[0] + cv2.mean(seen[:, :1])[0] + cv2.mean(seen[:, -1:])[0]) / 4
    inverted = abs(_level(seen, cv2.subtract(seen, below)) - ring) > abs(_level(seen, cv2.subtract(above, seen)) - ring)
    paper = cv2.blur(cv2.bitwise_not(dark) if inverted else light, (3, 3))
    return cv2.resize(paper, work.shape[::-1], interpolation=cv2.INTER_LINEAR), inverted


def _level(smooth: Picture, residue: Picture) -> float:
    """Mean brightness where `residue` is over half of its maximum."""
    _, high, _, _ = cv2.minMaxLoc(residue)
    return float(cv2.mean(smooth, _at_least(residue, high / 2))[0])


def _at_least(picture: Picture, level: float) -> Picture:
    """Mask of what is `level` or more; a third of what cv2.compare costs."""
    mask: Picture = cv2.threshold(picture, math.ceil(level) - 1, 255, cv2.THRESH_BINARY)[1]
    return mask


def _contrast(picture: Picture, paper: Picture) -> Picture:
    """How much darker than the paper, 0 to 255. The ratio, because a shadow dims strokes and paper alike."""
    ratio: Picture = cv2.divide(cv2.subtract(paper, picture), paper, scale=255.0)
    return ratio


def _strokes(ink: Picture) -> tuple[Picture | None, tuple[int, int, int, int]]:
    """Mask (255 = digit) of the components of `ink` that are the digit, and their box (left, top, right, bottom)."""
    threshold, mask = cv2.threshold(ink, 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    if threshold < 8:
        return None, (0, 0, 0, 0)
    count, marks, stats, centres = cv2.connectedComponentsWithStats(mask, connectivity=8, ltype=cv2.CV_16U)
    if count < 2:
        return None, (0, 0, 0, 0)
    if count == 2:
        left, top, width, height, _ = stats[1]
        return mask, (int(left), int(top), int(left + width), int(top + height))
    rows, columns = ink.shape
    # A component weighs its area, less the farther from the middle: the digit fills most of the picture. One that
    # reaches from the edge without coming near the middle is a shadow, a table or another digit.
    lefts, tops = stats[1:, 0], stats[1:, 1]
    rights, bottoms = lefts + stats[1:, 2], tops + stats[1:, 3]
    away = np.abs(centres[1:] / (columns, rows) - 0.5).max(axis=1)
    touching = (lefts == 0) | (tops == 0) | (rights == columns) | (bottoms == rows)
    outside = (rights < 0.35 * columns) | (lefts > 0.65 * columns) | (bottoms < 0.35 * rows) | (tops > 0.65 * rows)
    weight = stats[1:, 4] * (1.0 - 1.6 * away) * np.where(touching, np.where(outside, 0.03, 0.35), 1.0)
    keep = weight >= max(4.0, 0.06 * float(weight.max()))
    keep[int(weight.argmax())] = True
    table = np.zeros(count, np.uint8)
    table[1:][keep] = 255
    kept = stats[1:][keep]
    box = (
        int(kept[:, 0].min()),
        int(kept[:, 1].min()),
        int((kept[:, 0] + kept[:, 2]).max()),
        int((kept[:, 1] + kept[:, 3]).max()),
    )
    return (mask if keep.all() else table[marks]), box


def _fit(
    picture: Picture, factor: int, paper: Picture, mask: Picture, box: tuple[int, int, int, int], inverted: bool
) -> Picture:
    """The box, given in pixels of `paper`, cut from `picture`, which is larger by `factor`; scaled to 20x20 with its
    proportions kept, freed of paper, stretched to full contrast, its mass in the middle of 28x28."""
    left, top, right, bottom = box
    cut = picture[top * factor : bottom * factor, left * factor : right * factor]
    scale = BOX / max(cut.shape)
    size = (max(1, round(cut.shape[1] * scale)), max(1, round(cut.shape[0] * scale)))
    marked = mask[top:bottom, left:right]
    missing = 2.2 - _width(marked) * factor * scale
    if missing > 2.2 - THIN:
        grown = np.ones((round(missing / scale) | 1,) * 2, np.uint8)
        cut = cv2.dilate(cut, grown) if inverted else cv2.erode(cut, grown)
    small = cv2.resize(cut, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    if inverted:
        small = cv2.bitwise_not(small)
    ground = cv2.resize(paper[top:bottom, left:right], size, interpolation=cv2.INTER_LINEAR)
    near = cv2.resize(cv2.dilate(marked, _NEAR), size, interpolation=cv2.INTER_LINEAR)
    ink = cv2.min(_contrast(small, ground), near)
    _, high, _, _ = cv2.minMaxLoc(ink)
    full = cv2.mean(ink, _at_least(ink, 0.85 * high))[0]
    floor = FLOOR * full
    return centre(cv2.convertScaleAbs(cv2.subtract(ink, floor), alpha=255.0 / max(1.0, full - floor)))


def _width(mask: Picture) -> float:
    """Mean width of the strokes of `mask` in its pixels: twice their area by their outline, which has two sides."""
    area = cv2.countNonZero(mask)
    inner = cv2.countNonZero(cv2.erode(mask, _NEAR))
    return 2.0 * area / max(1, area - inner)


def centre(ink: Picture) -> Picture:
    """`ink` of at most 28x28, placed by whole pixels so that its centre of mass is nearest to the middle of 28x28."""
    height, width = ink.shape
    moments = cv2.moments(ink)
    mass = max(1.0, moments["m00"])
    left = min(max(0, round(CENTRE - 0.5 - moments["m10"] / mass)), SIDE - width)
    top = min(max(0, round(CENTRE - 0.5 - moments["m01"] / mass)), SIDE - height)
    result = np.zeros((SIDE, SIDE), np.uint8)
    result[top : top + height, left : left + width] = ink
    return result


def _preprocess(pixels: Picture, wanted: Input) -> Picture:
    grey = pixels if pixels.ndim == 2 else cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    ready = digit(grey)
    if (wanted.height, wanted.width) != ready.shape:
        ready = cv2.resize(ready, (wanted.width, wanted.height), interpolation=cv2.INTER_AREA)
    return np.repeat(ready[:, :, None], wanted.channels, axis=2)


PREPROCESSING = Preprocessing(_preprocess, least=60)
