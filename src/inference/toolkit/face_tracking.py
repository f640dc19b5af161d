"""One face, followed from frame to frame: found by cascade, then carried by optical flow, cheaply and without jumps.

A cascade alone answers with boxes that jump by several pixels from frame to frame, and costs ten times as much. Here it
finds the face, and afterwards only confirms about once a second, in the face's surroundings, that it still is one. In
between, points within the face are followed from one *key frame* (pyramidal Lucas-Kanade, Bouguet 2000), not from the
previous frame, so that errors do not add up, and the similarity that explains most of them (RANSAC) says where the face
is, to a small part of a pixel.

For models that watch one person: `pulse` and `blink` use it. Needs OpenCV's cascades, so OpenCV 4. One tracker
for each session.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from imageserver.errors import ModelError

Pixels = NDArray[np.uint8]
Matrix = NDArray[np.float64]

WORKING_SIDE = 320
"""Longest side in pixels of the grey picture in which faces are found and followed, whatever the frame's size."""

SMALLEST_FACE = 28
"""Side in pixels of the smallest face found, in the working picture."""

SEARCH_EVERY_MS = 300
CONFIRM_EVERY_MS = 1000
CONFIRM_FIRST_MS = 350
MISSES = 6
"""Confirmations in a row that may fail: closed eyes, a hand, a turned head. A new face may not miss its first."""

SAME_AFTER_MS = 1000
"""A face found again within this time at nearly the same place is the same face: a blink or a hand had hidden what
was followed."""

_POINTS = 60
_FEWEST = 8
_LEAST_SHARE = 0.25
"""Of the points that must still agree. Many lie on eyes and mouth, which change when a person blinks or speaks;
the others must do then."""
_STOP = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 20, 0.01)
_LUCAS_KANADE: dict[str, Any] = {"winSize": (15, 15), "maxLevel": 3, "criteria": _STOP}


@dataclass(frozen=True, slots=True)
class Face:
    """Where the face is.

    `matrix` (2, 3) maps its unit square (0..1 across and down: the cascade's box) to pixels of the frame.

    `number` counts faces: another number means another person or place, so what was measured before does not
    continue. `side`: of the box, in pixels of the frame. `grey`: the frame in grey at working size; `working`
    is the matrix for it.
    """

    matrix: Matrix
    number: int
    side: float
    grey: Pixels
    working: Matrix


_cascades = threading.local()


def cascade(name: str) -> Any:
    """One of OpenCV's Haar cascades, by file name: this thread's own. ModelError when this OpenCV does not bring it.

    A cascade keeps its place in the picture in itself, so two threads that search with one of them find
    nonsense, or crash.
    """
    found = getattr(_cascades, name, None)
    if found is None:
        found = _load_cascade(name)
        setattr(_cascades, name, found)
    return found


def _load_cascade(name: str) -> Any:
    path = Path(cv2.__file__).parent / "data" / name
    found = cv2.CascadeClassifier(str(path)) if hasattr(cv2, "CascadeClassifier") else None
    if found is None or found.empty():
        raise ModelError(
            f"OpenCV {cv2.__version__} does not bring the cascade {name}: install opencv-python-headless 4.x"
        )
    return found


class FaceTracker:
    """`update` with each frame, in order of time."""

    def __init__(self) -> None:
        cascade("haarcascade_frontalface_alt2.xml")
        self._number = 0
        self._key: _Key | None = None
        self._size = (0, 0)
        self._searched: int | None = None
        self._confirm_at = 0
        self._misses = 0
        self._confirmed = False
        self._last: tuple[Matrix, int] | None = None  # where the face was, and when

    def update(self, frame: Pixels, timestamp: int) -> Face | None:
        """Where the face is in `frame`, uint8 RGB (height, width, 3), at `timestamp` in ms. None: there is none."""
        grey, scale = working_picture(frame)
        size = (grey.shape[1], grey.shape[0])
        if size != self._size:
            # Other proportions are another picture. The same at another resolution is not: both have the same
            # working picture.
            self._size, self._key, self._searched, self._last = size, None, None, None
        matrix = self._follow(grey)
        if matrix is not None and not self._still_a_face(grey, matrix, timestamp):
            matrix = self._last = None
        if matrix is None:
            self._key = None
            matrix = self._find(grey, timestamp)
        if matrix is None:
            return None
        self._last = matrix, timestamp
        to_frame = matrix / scale
        to_frame[:, 2] += 0.5 / scale - 0.5  # pixel centres, not corners, coincide
        return Face(to_frame, self._number, _side(to_frame), grey, matrix)

    def _follow(self, grey: Pixels) -> Matrix | None:
        key = self._key
        if key is None:
            return None
        moved = _flow(key, grey)
        if moved is None:
            return None
        key.moved, share = moved
        matrix = _compose(key.moved, key.box)
        growth = _side(key.moved)
        if share < 0.6 or not 0.75 < growth < 1.33:
            # The view has changed: go on from here, while enough is still recognised.
            self._key = _make_key(grey, matrix)
        return matrix if 8 < _side(matrix) < 2 * WORKING_SIDE else None

    def _still_a_face(self, grey: Pixels, matrix: Matrix, timestamp: int) -> bool:
        if self._confirm_at - CONFIRM_EVERY_MS <= timestamp < self._confirm_at:
            return True
        self._confirm_at = timestamp + CONFIRM_EVERY_MS
        centre, side = _apply(matrix, np.array([[0.5, 0.5]]))[0], _side(matrix)
        left, top = (max(0, int(value)) for value in centre - 0.9 * side)
        right, bottom = (int(value) for value in centre + 0.9 * side)
        part = grey[top:bottom, left:right]
        shrink = min(1.0, 64 / side)
        if min(part.shape) * shrink < SMALLEST_FACE:
            found = []
        else:
            part = cv2.resize(part, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA) if shrink < 1 else part
            found = _detect(part, max(20, int(0.6 * side * shrink)), 2)
        for x, y, width, height in found:
            middle = np.array([x + width / 2, y + height / 2]) / shrink + (left, top)
            if np.linalg.norm(middle - centre) < 0.3 * side and 0.6 < width / shrink / side < 1.6:
                self._misses, self._confirmed = 0, True
                return True
        self._misses += 1
        return self._confirmed and self._misses < MISSES

    def _find(self, grey: Pixels, timestamp: int) -> Matrix | None:
        if self._searched is not None and 0 <= timestamp - self._searched < SEARCH_EVERY_MS:
            return None
        self._searched = timestamp
        found = _detect(grey, SMALLEST_FACE, 4)
        if not found:
            return None
        x, y, side, _ = max(found, key=lambda box: box[2])
        matrix = np.array([[side, 0, x], [0, side, y]], np.float64)
        former = self._last[0] if self._last is not None and 0 <= timestamp - self._last[1] <= SAME_AFTER_MS else None
        same = former is not None and _near(former, matrix)
        if same and former is not None:
            matrix = former  # the cascade's own boxes jump by more than the face has moved
        self._key = _make_key(grey, matrix)
        if self._key is None:
            return None
        if same:
            return matrix
        self._number += 1
        self._misses, self._confirmed, self._confirm_at = 0, False, timestamp + CONFIRM_FIRST_MS
        return matrix


@dataclass(slots=True)
class _Key:
    """The frame that points are followed from. `part`: what of it surrounds the face, cut out at `corner` (x, y).

    `box`: the face's square in the frame; `moved`: from the frame to the newest one.
    """

    part: Pixels
    corner: tuple[int, int]
    points: NDArray[np.float32]  # (n, 2)
    box: Matrix
    moved: Matrix


def _make_key(grey: Pixels, box: Matrix) -> _Key | None:
    """None where the picture has too little structure to be followed."""
    oval = np.zeros(grey.shape, np.uint8)
    centre, side = _apply(box, np.array([[0.5, 0.5]]))[0], _side(box)
    cv2.ellipse(
        oval,
        (round(centre[0]), round(centre[1])),
        (max(1, round(0.42 * side)), max(1, round(0.5 * side))),
        0,
        0,
        360,
        255,
        -1,
    )
    # Far apart and with little contrast, rather than all on the eyes.
    points = cv2.goodFeaturesToTrack(grey, _POINTS, 0.005, max(2.0, side / 16), mask=oval, blockSize=5)
    if points is None or len(points) < _FEWEST:
        return None
    length = round(1.7 * side)
    part, corner = _surroundings(grey, centre, (length, length))
    return _Key(part.copy(), corner, points.reshape(-1, 2), box, np.eye(2, 3))


def _near(one: Matrix, other: Matrix) -> bool:
    """Whether two boxes are of one face: the centres within an eighth of the side, the sides within a fifth."""
    half = np.array([[0.5, 0.5]])
    distance = float(np.linalg.norm(_apply(one, half) - _apply(other, half)))
    return distance < 0.125 * _side(one) and 0.8 < _side(other) / _side(one) < 1.25


def _surroundings(grey: Pixels, centre: NDArray[np.float64], size: tuple[int, int]) -> tuple[Pixels, tuple[int, int]]:
    """A part of `size` (width, height), or what the picture has of it, near `centre`; and its corner (x, y)."""
    width, height = min(size[0], grey.shape[1]), min(size[1], grey.shape[0])
    left = int(np.clip(round(centre[0] - width / 2), 0, grey.shape[1] - width))
    top = int(np.clip(round(centre[1] - height / 2), 0, grey.shape[0] - height))
    return grey[top : top + height, left : left + width], (left, top)


def _flow(key: _Key, grey: Pixels) -> tuple[Matrix, float] | None:
    """The similarity from the key frame to this one, and the share of points that agree with it. None: too few."""
    guess = _apply(key.moved, key.points)
    part, corner = _surroundings(grey, guess.mean(axis=0), (key.part.shape[1], key.part.shape[0]))
    start = (guess - corner).astype(np.float32)
    before = key.points - np.asarray(key.corner, np.float32)
    found, status, _ = cv2.calcOpticalFlowPyrLK(
        key.part, part, before, start, flags=cv2.OPTFLOW_USE_INITIAL_FLOW, **_LUCAS_KANADE
    )
    points = found + np.asarray(corner, np.float32)
    good = status.reshape(-1) == 1
    if good.sum() < _FEWEST:
        return None
    cv2.setRNGSeed(1)  # RANSAC draws at random; the same frames must give the same numbers
    matrix, inliers = cv2.estimateAffinePartial2D(
        key.points[good], points[good], ransacReprojThreshold=1.0, maxIters=200
    )
    if matrix is None or inliers is None:
        return None
    agreeing = int(inliers.sum())
    share = agreeing / len(key.points)
    if agreeing < _FEWEST or share < _LEAST_SHARE:
        return None
    return np.asarray(matrix, np.float64), share


def working_picture(frame: Pixels) -> tuple[Pixels, float]:
    """`frame`, RGB (height, width, 3), in grey with the longest side `WORKING_SIDE`; and how much smaller that is.

    The scale: working pixels for one of the frame.
    """
    height, width = frame.shape[:2]
    scale = WORKING_SIDE / max(height, width)
    grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
    if scale != 1:
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        grey = cv2.resize(grey, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    return np.asarray(grey, np.uint8), scale


def _detect(grey: Pixels, smallest: int, neighbours: int) -> list[tuple[int, int, int, int]]:
    finder = cascade("haarcascade_frontalface_alt2.xml")
    found = finder.detectMultiScale(grey, scaleFactor=1.15, minNeighbors=neighbours, minSize=(smallest, smallest))
    return [(int(x), int(y), int(width), int(height)) for x, y, width, height in found]


def _apply(matrix: Matrix, points: NDArray[Any]) -> NDArray[np.float64]:
    result: NDArray[np.float64] = points @ matrix[:, :2].T + matrix[:, 2]
    return result


def _compose(second: Matrix, first: Matrix) -> Matrix:
    """The matrix of `first`, then `second`."""
    result: Matrix = np.hstack(
        [second[:, :2] @ first[:, :2], (second[:, :2] @ first[:, 2] + second[:, 2])[:, np.newaxis]]
    )
    return result


def _side(matrix: Matrix) -> float:
    """The factor by which a similarity enlarges."""
    return float(np.hypot(matrix[0, 0], matrix[1, 0]))
