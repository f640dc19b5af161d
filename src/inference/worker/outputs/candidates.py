"""Candidates of a batch, and the strongest of them. Numpy alone; everything is done for all pictures at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

MOST = 1000
"""Candidates of a picture, the strongest, that are looked at further: so a picture costs no more, whatever is in it."""


@dataclass(slots=True)
class Candidates:
    """Boxes of all pictures of a batch, one after the other.

    Args:
        pictures: int (k,), the picture's number in the batch, ascending.
        boxes: float32 (k, 4), left, top, right and bottom in pixels of the array.
        scores: float32 (k,), 0 to 1, descending within a picture.
        classes: int (k,).
        points: float32 (k, points, 2 or 3): x and y in pixels of the array, and a score; None: no keypoints.
    """

    pictures: Array
    boxes: Array
    scores: Array
    classes: Array
    points: Array | None = None

    def of(self, chosen: Array | slice) -> Candidates:
        """Those that `chosen` says: numbers, a mask or a slice."""
        points = None if self.points is None else self.points[chosen]
        return Candidates(self.pictures[chosen], self.boxes[chosen], self.scores[chosen], self.classes[chosen], points)


def strongest(scores: Array, least: float) -> tuple[Array, Array]:
    """Which scores count: at least `least`, at most `MOST` of a picture; best first, and of equal ones the first.

    Args:
        scores: float (n, candidates). What is no number does not count.
        least: above 0.

    Returns:
        The numbers of the pictures, ascending, and of the candidates: int (k,) each.
    """
    pictures, places = np.nonzero(scores >= least)
    if len(pictures) > MOST:
        parts = []
        for picture, count in enumerate(np.bincount(pictures, minlength=len(scores)).tolist()):
            own = places[pictures == picture]
            if count > MOST:
                own = np.sort(own[np.argpartition(-scores[picture, own], MOST)[:MOST]])
            parts.append(own)
        pictures = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
        places = np.concatenate(parts)
    order = np.lexsort((-scores[pictures, places], pictures))
    return pictures[order], places[order]


def sound(found: Candidates) -> Candidates:
    """Without boxes that have no area, or of which a number is none; scores are 1 at most."""
    left, top, right, bottom = found.boxes.T
    good = (right > left) & (bottom > top) & np.isfinite(found.boxes).all(axis=1) & np.isfinite(found.scores)
    if found.points is not None:
        good &= np.isfinite(found.points).all(axis=(1, 2))
    if not good.all():
        found = found.of(good)
    np.minimum(found.scores, 1.0, out=found.scores)
    return found


def from_centres(boxes: Array) -> Array:
    """x, y, width, height (k, 4) around centres to left, top, right, bottom."""
    half = boxes[:, 2:] * 0.5
    return np.concatenate((boxes[:, :2] - half, boxes[:, :2] + half), axis=1)
