"""The grids on which detectors place their candidates: one for each stride, cells row by row, the finest first."""

from __future__ import annotations

from dataclasses import dataclass

STRIDES = ((8, 16, 32), (8, 16, 32, 64), (8, 16), (16, 32), (8,), (16,), (32,), (4, 8, 16, 32), (4, 8, 16), (4, 8))
"""Sets of strides that are looked for; the first whose cells are as many as the candidates is taken."""


@dataclass(frozen=True, slots=True)
class Grid:
    """Cells of one stride: pixels of the array to a cell, cells across and down."""

    stride: int
    across: int
    down: int


def find(width: int, height: int, count: int) -> tuple[Grid, ...]:
    """The grids over an array of this size that have so many cells together; () when none of `STRIDES` do.

    Where a side is no multiple of the stride, what is left of it has no cells (YOLOX) or one (NanoDet).
    """
    for strides in STRIDES:
        for round_up in (False, True):
            grids = tuple(_grid(width, height, stride, round_up) for stride in strides)
            if count == sum(grid.across * grid.down for grid in grids):
                return grids
    return ()


def _grid(width: int, height: int, stride: int, round_up: bool) -> Grid:
    more = stride - 1 if round_up else 0
    return Grid(stride, (width + more) // stride, (height + more) // stride)
