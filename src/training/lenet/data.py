"""What LeNet is trained on: digits bent, thickened, thinned, photographed and drawn anew in every epoch.

Every picture ends as MNIST pictures are made (20x20 box, centred by mass, see preprocessing/digit.py), since
that is what the model will see. Part of them take the whole way that a photograph takes: drawn on paper with
shadows and noise, then `digit.digit`. Elastic deformation as in Simard, Steinkraus and Platt, "Best Practices
for Convolutional Neural Networks" (2003).
"""

from __future__ import annotations

import lzma
import math
import tokenize
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.lib import format as npy

from imageserver.errors import TrainingError
from imageserver.inference.worker.preprocessing.digit import BOX, SIDE, centre, digit
from imageserver.training.lenet.strokes import draw

Pictures = np.ndarray[Any, np.dtype[np.uint8]]
Labels = np.ndarray[Any, np.dtype[np.int64]]
Floats = np.ndarray[Any, np.dtype[np.float32]]

MOST = 300_000
"""Pictures that are taken, where nothing else is said."""

_DAMAGED = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, tokenize.TokenError)
"""What an archive and the description of an array are told by to be none."""

_CANVAS = 80
"""Pixels a side of the canvas on which digits are bent: about 2.9 for each pixel of MNIST."""

_DRAWN = np.array([1, 3, 1, 1, 1, 1, 1, 3, 1, 1]) / 14
"""How often each digit is drawn: it is ones and sevens that people write in ways that MNIST does not know."""


@dataclass(frozen=True)
class Data:
    """Pictures uint8 (n, 28, 28), light on dark; labels int64 (n,), 0 to 9. `test` takes no part in training."""

    x_train: Pictures
    y_train: Labels
    x_test: Pictures
    y_test: Labels


@dataclass(frozen=True)
class Mix:
    """Which share of an epoch's pictures comes how; what is left is bent and returned to MNIST's geometry.

    `original`: untouched. `loose`: bent and left a little too large, too small or off the centre.
    `photograph`: bent, put on paper, and taken through the preprocessing. `drawn`: share of all but the originals that
    is drawn by strokes.py instead of taken from the data.
    """

    original: float = 0.15
    loose: float = 0.12
    photograph: float = 0.3
    drawn: float = 0.14


def load(path: Path, most: int = MOST) -> Data:
    """Data from an .npz with x_train, y_train, x_test, y_test, as Keras's mnist.npz.

    It is measured before anything is unpacked: an archive of a few KB can hold gigabytes.

    TrainingError when it is not such, or holds more than `most` pictures.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            parts = [_array(archive, name, most) for name in ("x_train", "y_train", "x_test", "y_test")]
    except (OSError, ValueError, KeyError, EOFError, RuntimeError, *_DAMAGED) as error:
        raise TrainingError(f"{path} is no .npz file with x_train, y_train, x_test and y_test: {error}") from error
    except TrainingError as error:
        raise TrainingError(f"{path}: {error}") from error
    for pictures, labels in (parts[:2], parts[2:]):
        if labels.shape != pictures.shape[:1] or not len(labels):
            raise TrainingError(
                f"{path}: pictures must be uint8 (n, 28, 28) with n labels, not {pictures.dtype} {pictures.shape}"
            )
        if labels.min() < 0 or labels.max() > 9:
            raise TrainingError(f"{path}: labels must be 0 to 9, not {labels.min()} to {labels.max()}")
    return Data(parts[0], parts[1].astype(np.int64), parts[2], parts[3].astype(np.int64))


def _array(archive: zipfile.ZipFile, name: str, most: int) -> np.ndarray[Any, Any]:
    """An array of an .npz: pictures for a name with x, else labels. TrainingError, ValueError, KeyError, OSError."""
    with archive.open(f"{name}.npy") as stream:
        version = npy.read_magic(stream)
        read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, fortran, kind = read(stream)
        if kind.kind not in "iufb" or kind.itemsize > 8:
            raise ValueError(f"{name} holds no numbers")
        if name.startswith("x") and (kind != np.uint8 or shape[1:] != (SIDE, SIDE) or fortran):
            raise TrainingError(f"pictures must be uint8 (n, 28, 28) with n labels, not {kind} {str(shape)[:100]}")
        if len(shape) != (3 if name.startswith("x") else 1):  # labels of a shape of their own may unpack to anything
            raise TrainingError(f"pictures must be uint8 (n, 28, 28) with n labels, not {name} {str(shape)[:100]}")
        if not 0 <= shape[0] <= most:
            raise TrainingError(f"it holds {str(shape)[:100]} pictures; --training-pictures allows {most}")
        size = math.prod(shape) * kind.itemsize
        content = stream.read(size)
    if len(content) != size:
        raise ValueError(f"{name} is cut short")
    return np.frombuffer(content, kind).reshape(shape)


def epoch(pictures: Pictures, labels: Labels, rng: np.random.Generator, mix: Mix) -> tuple[Pictures, Labels]:
    """One epoch's pictures, as many as given and in random order, uint8 (n, 28, 28), and their labels."""
    cv2.setNumThreads(1)
    order = rng.permutation(len(labels))
    out = np.empty((len(order), SIDE, SIDE), np.uint8)
    out_labels = labels[order].copy()
    grid = _grid(_CANVAS)
    for row, index in enumerate(order):
        if rng.random() < mix.original:
            out[row] = pictures[index]
            continue
        if rng.random() < mix.drawn:
            out_labels[row] = rng.choice(10, p=_DRAWN)
            canvas = draw(int(out_labels[row]), _CANVAS, rng)
            if rng.random() < 0.5:
                canvas = bend(canvas, grid, rng, 0.6)
        else:
            canvas = pen(bend(pictures[index].astype(np.float32) / 255, grid, rng), rng)
        kind = rng.random()
        if kind < mix.photograph:
            out[row] = digit(photograph(canvas, rng))
        else:
            out[row] = as_mnist(canvas, rng, loose=kind < mix.photograph + mix.loose)
    return out, out_labels


def _grid(side: int) -> Floats:
    line = (np.arange(side, dtype=np.float32) + 0.5) / side * 2 - 1
    return np.stack(np.meshgrid(line, line), axis=-1)


def bend(ink: Floats, grid: Floats, rng: np.random.Generator, amount: float = 1.0) -> Floats:
    """`ink`, float32 square, 0 to 1, on the canvas of `grid`: turned, slanted, stretched and elastically bent."""
    turn, slant = rng.normal(0, 0.11 * amount), rng.normal(0, 0.14 * amount)
    wide, tall = np.exp(rng.normal(0, 0.10 * amount, 2))
    cos, sin = np.cos(turn), np.sin(turn)
    matrix = np.array([[cos, -sin], [sin, cos]]) @ np.array([[1, slant], [0, 1]]) @ np.diag([wide, tall]) * 1.12
    knots = int(rng.integers(4, 9))
    strength = rng.uniform(0.0, 0.30 * amount) / knots
    field = cv2.resize(
        rng.normal(0, strength, (knots, knots, 2)).astype(np.float32), grid.shape[:2], interpolation=cv2.INTER_CUBIC
    )
    where = (grid @ matrix.T.astype(np.float32) + field + 1) * (len(ink) / 2) - 0.5
    bent: Floats = np.clip(cv2.remap(ink, where.astype(np.float32), None, cv2.INTER_CUBIC), 0, 1)
    return bent


def pen(canvas: Floats, rng: np.random.Generator) -> Floats:
    """The same digit with another pen: thicker or thinner by up to about a pixel of MNIST, or as it was."""
    kind = rng.random()
    if kind < 0.55:
        return canvas
    size = 3 if kind < 0.9 else 5
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
    if kind < 0.72 or kind >= 0.95:
        thick: Floats = cv2.dilate(canvas, kernel)
        return thick
    thin: Floats = cv2.erode(canvas, kernel)
    return thin if thin.sum() > 0.45 * canvas.sum() else canvas


def as_mnist(canvas: Floats, rng: np.random.Generator, loose: bool = False) -> Pictures:
    """`canvas` in the geometry of MNIST, uint8 (28, 28); `loose`: not quite."""
    strong = canvas > 0.25
    rows, columns = np.flatnonzero(strong.any(axis=1)), np.flatnonzero(strong.any(axis=0))
    if not len(rows):
        return np.zeros((SIDE, SIDE), np.uint8)
    cut = canvas[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    box = rng.uniform(16, 22.5) if loose else BOX
    scale = box / max(cut.shape)
    size = (max(1, round(cut.shape[1] * scale)), max(1, round(cut.shape[0] * scale)))
    ink = centre(np.clip(cv2.resize(cut, size, interpolation=cv2.INTER_AREA) * 255, 0, 255).astype(np.uint8))
    if loose:
        across, down = (int(step) for step in rng.integers(-1, 2, 2))
        ink = np.roll(ink, (down, across), (0, 1))
    return ink


def photograph(canvas: Floats, rng: np.random.Generator) -> Pictures:
    """`canvas` as a picture of ink on paper (at times chalk on a board), uint8 grey, 28 to about 160 pixels high."""
    side = int(rng.integers(40, 150))
    rows, columns = np.flatnonzero(canvas.max(axis=1) > 0.25), np.flatnonzero(canvas.max(axis=0) > 0.25)
    if len(rows) and len(columns):
        canvas = canvas[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    scale = side * rng.uniform(0.6, 0.95) / max(canvas.shape)
    ink = cv2.resize(
        canvas,
        (max(2, round(canvas.shape[1] * scale)), max(2, round(canvas.shape[0] * scale))),
        interpolation=cv2.INTER_AREA,
    )
    height = max(side, ink.shape[0] + 2)
    width = max(ink.shape[1] + 2, round(side * rng.choice([1.0, 1.0, 4 / 3])))
    top = round((height - ink.shape[0]) * rng.uniform(0.25, 0.75))
    left = round((width - ink.shape[1]) * rng.uniform(0.25, 0.75))
    sheet = np.zeros((height, width), np.float32)
    sheet[top : top + ink.shape[0], left : left + ink.shape[1]] = ink
    light = np.full((height, width), rng.uniform(130, 250), np.float32)
    if rng.random() < 0.6:
        light *= cv2.resize(
            np.exp(rng.normal(0, 0.13, (3, 3))).astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC
        )
    if rng.random() < 0.25:
        y, x = np.mgrid[0:height, 0:width].astype(np.float32)
        angle = rng.uniform(0, 2 * np.pi)
        beyond = (x - width / 2) * np.cos(angle) + (y - height / 2) * np.sin(angle) - rng.uniform(-0.3, 0.3) * side
        light *= 1 - rng.uniform(0.15, 0.5) / (1 + np.exp(-beyond / rng.uniform(0.5, 5)))
    picture = light * (1 - sheet * rng.uniform(0.35, 0.95))
    if rng.random() < 0.5:
        picture = cv2.GaussianBlur(picture, (0, 0), rng.uniform(0.4, 1.4) * side / 100)
    picture += rng.standard_normal(picture.shape, np.float32) * rng.uniform(0, 8)
    if rng.random() < 0.15:
        picture = 255 - picture
    result: Pictures = np.clip(picture, 0, 255).astype(np.uint8)
    if rng.random() < 0.4:
        coded = cv2.imencode(".jpg", result, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(50, 96))])[1]
        result = np.asarray(cv2.imdecode(coded, cv2.IMREAD_GRAYSCALE), np.uint8)
    return result
