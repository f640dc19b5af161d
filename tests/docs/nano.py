"""A program: writes `yolox_nano.onnx` as its makers' is laid out, for who cannot have theirs: python nano.py FILE.

It takes 416x416 pixels and gives 3,549 cells of 85 numbers, raw. It finds a person in the middle of every picture, and
a cat beside.
"""

from __future__ import annotations

import math
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
from tests.inference import foreign

SIDE, CLASSES = 416, 80
STRIDES = (8, 16, 32)
PERSON, CAT = 0, 15
THINGS = ((PERSON, 208, 150, 120, 200, 0.9), (CAT, 330, 240, 100, 80, 0.8))
"""Class, middle, size in pixels of the array, score."""


def cells() -> np.ndarray:
    """(1, 3549, 85), raw: distance of the middle from the cell, logarithm of the size, objectness, classes."""
    counts = [(SIDE // stride) ** 2 for stride in STRIDES]
    rows = np.zeros((1, sum(counts), 5 + CLASSES), np.float32)
    stride = STRIDES[-1]
    for number, x, y, width, height, score in THINGS:
        across, down = int(x // stride), int(y // stride)
        row = rows[0, sum(counts[:-1]) + down * (SIDE // stride) + across]
        row[:5] = x / stride - across, y / stride - down, math.log(width / stride), math.log(height / stride), score
        row[5 + number] = 1.0
    return rows


if __name__ == "__main__":
    made = foreign.constant({"output": cells()}, shape=(1, 3, SIDE, SIDE))
    made.graph.input[0].name = made.graph.node[0].input[0] = "images"
    foreign.save(made, Path(sys.argv[1]))
