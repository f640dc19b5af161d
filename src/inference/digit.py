"""From a picture of one digit to what MNIST looks like: 28x28, light on dark, in a 20x20 box centred by mass.

The steps follow LeCun, Bottou, Bengio and Haffner, "Gradient-Based Learning Applied to Document Recognition" (1998),
section III: the digit fits a 20x20 box with its proportions kept, and its centre of mass lies in the middle of 28x28.
What comes before is for photographs: the paper under the strokes is estimated by a morphological closing, so that
shadows and grey paper cost nothing, and specks and table edges are told from strokes by their connected components.
Only two resizes touch the picture itself; the rest works on a copy of at most 64 pixels a side.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

from inference.manifest import Input
from inference.preprocessing import Preprocessing

SIDE = 28
BOX = 20
WORK = 64
"""Longest side, in pixels, of the copy on which paper, polarity and components are found."""

CENTRE = 14.5
"""Where the centre of mass goes, in pixels from the outer edge: in MNIST it lies between 14.0 and 15.0."""

Picture = np.ndarray[Any, np.dtype[np.uint8]]
Floats = np.ndarray[Any, np.dtype[np.float32]]


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
    height, width = picture.shape
    scale = min(1.0, WORK / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    work = cv2.resize(picture, size, interpolation=cv2.INTER_AREA) if scale < 1 else picture
    work, paper, inverted = _paper(work)
    ink = _contrast(work, paper)
    mask, box = _strokes(ink)
    if mask is None:
        return np.zeros((SIDE, SIDE), np.uint8)
    return _fit(picture, paper, mask, box, inverted)


def _ready(picture: Picture) -> Picture | None:
    """The 28x28 picture itself, light on dark, when its outermost ring is background; None when strokes are cut there."""
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


def _paper(work: Picture) -> tuple[Picture, Picture, bool]:
    """`work` as dark on light, the paper beneath it (same shape), and whether it had to be inverted.

    Both readings are tried: under the right one the strokes differ from the border, under the wrong one "strokes" are
    the gaps between real ones and look like the border. Comparing means of both keeps this true across a shadow.
    """
    height, width = work.shape
    smooth = cv2.blur(work, (3, 3))
    side = max(3, (min(height, width) * 2 // 5) | 1)
    kernel = np.ones((side, side), np.uint8)
    light = cv2.morphologyEx(smooth, cv2.MORPH_CLOSE, kernel)
    dark = cv2.morphologyEx(smooth, cv2.MORPH_OPEN, kernel)
    rim = max(1, min(height, width) // 24)
    ring = (float(smooth[:rim].mean()) + float(smooth[-rim:].mean()) + float(smooth[:, :rim].mean()) + float(smooth[:, -rim:].mean())) / 4
    if abs(_level(smooth, cv2.subtract(smooth, dark)) - ring) > abs(_level(smooth, cv2.subtract(light, smooth)) - ring):
        return 255 - work, cv2.blur(255 - dark, (side, side)), True
    return work, cv2.blur(light, (side, side)), False


def _level(smooth: Picture, residue: Picture) -> float:
    """Mean brightness where `residue` is over half of its maximum."""
    _, high, _, _ = cv2.minMaxLoc(residue)
    return float(cv2.mean(smooth, cv2.compare(residue, high / 2, cv2.CMP_GE))[0])


def _contrast(picture: Picture, paper: Picture) -> Picture:
    """How much darker than the paper, 0 to 255. The ratio, because a shadow dims strokes and paper alike."""
    ratio: Picture = cv2.divide(cv2.subtract(paper, picture), paper, scale=255.0)
    return ratio


def _strokes(ink: Picture) -> tuple[Picture | None, tuple[int, int, int, int]]:
    """Mask (255 = digit) of the components of `ink` that make up the digit, and their box (left, top, right, bottom)."""
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
    # A component weighs its area, less the farther from the middle: the digit fills most of the picture.
    away = np.abs(centres[1:] / (columns, rows) - 0.5).max(axis=1)
    touching = (stats[1:, 0] == 0) | (stats[1:, 1] == 0) | (stats[1:, 0] + stats[1:, 2] == columns) | (stats[1:, 1] + stats[1:, 3] == rows)
    weight = stats[1:, 4] * (1.0 - 1.6 * away) * np.where(touching, 0.35, 1.0)
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


def _fit(picture: Picture, paper: Picture, mask: Picture, box: tuple[int, int, int, int], inverted: bool) -> Picture:
    """The box of `picture` in 20x20, freed of paper, stretched to full contrast, its mass in the middle of 28x28."""
    height, width = picture.shape
    rows, columns = paper.shape
    left, top, right, bottom = box
    x0, x1 = left * width // columns, -(-right * width // columns)
    y0, y1 = top * height // rows, -(-bottom * height // rows)
    cut = picture[y0:y1, x0:x1]
    scale = BOX / max(y1 - y0, x1 - x0)
    size = (max(1, round((x1 - x0) * scale)), max(1, round((y1 - y0) * scale)))
    small = cv2.resize(cut, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    if inverted:
        small = 255 - small
    ground = cv2.resize(paper[top:bottom, left:right], size, interpolation=cv2.INTER_LINEAR)
    near = cv2.dilate(mask, np.ones((3, 3), np.uint8))[top:bottom, left:right]
    near = cv2.resize(near, size, interpolation=cv2.INTER_LINEAR)
    ink = cv2.min(_contrast(small, ground), near).astype(np.float32)
    flat = np.sort(ink, axis=None)
    full = float(flat[-max(1, flat.size // 24) :].mean())
    floor = 0.12 * full
    ink = np.clip((ink - floor) * (255.0 / max(1.0, full - floor)), 0, 255)
    return centre(ink)


def centre(ink: Floats) -> Picture:
    """`ink` of at most 20x20, placed by whole pixels so that its centre of mass comes nearest to the middle of 28x28."""
    height, width = ink.shape
    total = max(1e-6, float(ink.sum()))
    x = float(ink.sum(axis=0) @ (np.arange(width) + 0.5)) / total
    y = float(ink.sum(axis=1) @ (np.arange(height) + 0.5)) / total
    left = min(max(0, round(CENTRE - x)), SIDE - width)
    top = min(max(0, round(CENTRE - y)), SIDE - height)
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
