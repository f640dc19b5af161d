"""How far a tracked face's eyes differ from their own open state."""

from __future__ import annotations

from collections import deque
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from imageserver.inference.toolkit.face_tracking import Face, cascade

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]

FACE_SIDE = 160
"""Pixels of the face's box in which eyes are looked for: the cascades know eyes of about 20 pixels."""

PATCH = (36, 24)
"""Width and height of an eye's patch; in the face it is WIDE by TALL of the box's side, so that the brow stays
outside."""
WIDE, TALL = 0.27, 0.17

FIND_EVERY_S = 0.5
LOOKS = 5
"""Findings whose median places an eye: one alone may be off by a tenth of the face."""

LEARNING = 0.05
"""Part of each open frame that goes into the picture of the open eye: half of it is new after 14 frames."""

OPEN_EYES = "haarcascade_eye_tree_eyeglasses.xml"
"""Of OpenCV's cascades for eyes the one that nearly never takes a closed eye for one."""


class Eyes:
    """`difference` each frame; for one face."""

    def __init__(self) -> None:
        self._places: deque[NDArray[np.float64]] = deque(maxlen=LOOKS)
        self._open: Floats | None = None
        self._looked: float | None = None
        self.found_open = False
        """Whether the cascade, which knows open eyes only, found both when it was last asked."""

    def difference(self, frame: Pixels, face: Face, now: float, ask: bool) -> float | None:
        """0: as the open eye usually looks; about 1: nothing of it is left.

        None: the eyes have not been found open yet.

        Compared are the mean and the deviation of each row of the patch over the patch's mean: the light's
        strength cancels, and looking to the side, which moves the iris along its row, changes little. `ask`:
        also ask the cascade, see `found_open`.
        """
        if (ask or len(self._places) < LOOKS) and (self._looked is None or not 0 <= now - self._looked < FIND_EVERY_S):
            self._looked = now
            self._look(frame, face)
        if not self._places:
            return None
        rows = self._rows(frame, face)
        if self._open is None:
            self._open = rows
        flat = self._open - self._open.mean(axis=1, keepdims=True)
        return float(np.linalg.norm(rows - self._open) / max(float(np.linalg.norm(flat)), 1e-3))

    def learn(self, frame: Pixels, face: Face, share: float = LEARNING) -> None:
        """Take this frame as one with open eyes. `share` = 1: forget what they looked like before."""
        rows = self._rows(frame, face)
        self._open = rows if self._open is None or share >= 1 else self._open * (1 - share) + rows * share

    def _look(self, frame: Pixels, face: Face) -> None:
        """Ask the cascade for both eyes in the upper half of the face."""
        square = _cut(frame, face, (0.0, 0.1), (1.0, 0.55), (FACE_SIDE, round(0.55 * FACE_SIDE)))
        found = cascade(OPEN_EYES).detectMultiScale(
            square, scaleFactor=1.1, minNeighbors=2, minSize=(20, 20), maxSize=(64, 64)
        )
        places = _pair([(x + width / 2, y + height / 2) for x, y, width, height in found])
        self.found_open = places is not None
        if places is not None and len(self._places) < LOOKS:
            # Once placed they stay: the face is followed precisely, and a patch that moves would look like a
            # lid that does.
            self._places.append(places / FACE_SIDE + [0.0, 0.1])
            self._open = None

    def _rows(self, frame: Pixels, face: Face) -> Floats:
        """float32 (4, rows): mean and deviation of each row, of either eye."""
        result = []
        for x, y in np.median(np.array(self._places), axis=0):
            patch = _cut(frame, face, (x - WIDE / 2, y - TALL / 2), (WIDE, TALL), PATCH).astype(np.float32)
            patch = cv2.GaussianBlur(patch, (0, 0), 1.0)
            patch /= max(float(patch.mean()), 1.0)
            result += [patch.mean(axis=1), patch.std(axis=1)]
        return np.array(result, np.float32)


def _pair(centres: list[tuple[float, float]]) -> NDArray[np.float64] | None:
    """The left and the right of two centres (2, 2) that can be a face's eyes, in pixels of FACE_SIDE.

    None: there are none.
    """
    best: NDArray[np.float64] | None = None
    error = 0.15 * FACE_SIDE
    for left in centres:
        for right in centres:
            apart, tilt, middle = right[0] - left[0], abs(right[1] - left[1]), (left[0] + right[0]) / 2
            off = abs(apart - 0.38 * FACE_SIDE) + tilt + abs(middle - 0.5 * FACE_SIDE)
            if 0.25 * FACE_SIDE < apart < 0.55 * FACE_SIDE and off < error:
                best, error = np.array([left, right]), off
    return best


def _cut(
    frame: Pixels, face: Face, corner: tuple[float, float], extent: tuple[float, float], size: tuple[int, int]
) -> NDArray[Any]:
    """The part of the face's unit square from `corner`, `extent` large: grey, of `size` (width, height)."""
    placing = face.matrix[:, :2] * (np.array(extent) / size)
    offset = face.matrix[:, :2] @ corner + face.matrix[:, 2] + placing @ [0.5, 0.5]
    matrix = np.hstack([placing, offset[:, np.newaxis]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return np.asarray(
        cv2.cvtColor(
            cv2.warpAffine(frame, matrix, size, flags=flags, borderMode=cv2.BORDER_REPLICATE), cv2.COLOR_RGB2GRAY
        )
    )
