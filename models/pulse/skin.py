"""The mean colour of a face's skin, frame after frame, from the same pixels of the face."""

from __future__ import annotations

import cv2
import numpy as np
from inference.face_tracking import Face
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
Weights = NDArray[np.float32]

_SIDE = 64
LARGEST_FRAME = 640
"""Longer sides are halved first: averaging over thousands of pixels gains nothing from a million."""


def _geometry() -> tuple[Weights, NDArray[np.bool_]]:
    """In the face's unit square: where skin may be (an oval without eyes, brows and mouth), and where it is sure to be (cheeks and nose)."""
    down, across = (np.mgrid[:_SIDE, :_SIDE] + 0.5) / _SIDE
    oval = ((across - 0.5) / 0.40) ** 2 + ((down - 0.50) / 0.52) ** 2 < 1
    eyes = (down > 0.24) & (down < 0.47)
    mouth = ((across - 0.5) / 0.24) ** 2 + ((down - 0.78) / 0.11) ** 2 < 1
    nostrils = ((across - 0.5) / 0.14) ** 2 + ((down - 0.64) / 0.06) ** 2 < 1
    sure = (down > 0.48) & (down < 0.66) & (np.abs(across - 0.5) < 0.28)
    return (oval & ~eyes & ~mouth & ~nostrils).astype(np.float32), sure & ~nostrils


_WHERE, _SURE = _geometry()


class SkinSampler:
    """`sample` each frame. The pixels are chosen when a face is new and move with it: choosing anew in each frame would add noise."""

    def __init__(self) -> None:
        self._number = 0
        self._weights: Weights = _WHERE

    def sample(self, frame: Pixels, face: Face) -> NDArray[np.float64] | None:
        """Mean R, G, B (3,), 0..255, of the skin of `face` in `frame`. None where most of it lies outside the picture."""
        matrix = face.matrix
        shrink = max(1, -(-max(frame.shape[:2]) // LARGEST_FRAME))
        height, width = frame.shape[:2]
        corners = np.array([[0, 0], [1, 0], [0, 1], [1, 1]]) @ matrix[:, :2].T + matrix[:, 2]
        left, top = (max(0, int(np.floor(value))) for value in corners.min(axis=0))
        right, bottom = int(np.ceil(corners[:, 0].max())) + 1, int(np.ceil(corners[:, 1].max())) + 1
        part = frame[top : min(bottom, height), left : min(right, width)]
        if min(part.shape[:2]) < 4:
            return None
        matrix = matrix - np.array([[0, 0, left], [0, 0, top]])
        if shrink > 1 and min(part.shape[:2]) > 16 * shrink:
            size = (part.shape[1] // shrink, part.shape[0] // shrink)
            factors = np.array([[size[0] / part.shape[1]], [size[1] / part.shape[0]]])
            matrix = matrix * factors
            matrix[:, 2:] += 0.5 * factors - 0.5
            part = cv2.resize(part, size, interpolation=cv2.INTER_AREA)
        placing = matrix.copy()
        placing[:, :2] /= _SIDE  # from pixels of the weights to pixels of the part
        placing[:, 2] += placing[:, :2] @ [0.5, 0.5] - 0.0
        if face.number != self._number:
            self._number = face.number
            self._weights = choose(cv2.warpAffine(part, placing, (_SIDE, _SIDE), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REPLICATE))
        weights = cv2.warpAffine(self._weights, placing, (part.shape[1], part.shape[0]), flags=cv2.INTER_LINEAR)
        total = float(weights.sum())
        expected = float(self._weights.sum()) * abs(float(np.linalg.det(placing[:, :2])))
        if total < 0.6 * expected or total <= 0:
            return None
        colours = weights.reshape(1, -1) @ part.reshape(-1, 3).astype(np.float32)
        return np.asarray(colours[0] / total, np.float64)


def choose(face: Pixels) -> Weights:
    """Weights 0..1 (64, 64) for a face cut to its unit square, RGB uint8: what has the colour of cheeks and nose, whatever that is.

    Fixed limits for "skin colour" would leave out dark skin and tinted light; the face itself says what its skin looks like.
    """
    smooth = cv2.GaussianBlur(face, (0, 0), 1.5).astype(np.float32) + 1
    chroma = np.log(smooth[..., [0, 2]] / smooth[..., 1:2])
    luma = np.log(smooth.mean(axis=2))
    centre = np.median(chroma[_SURE], axis=0)
    spread = np.maximum(2.5 * 1.48 * np.median(np.abs(chroma[_SURE] - centre), axis=0), 0.10)
    light = np.median(luma[_SURE])
    alike = (np.abs(chroma - centre) < spread).all(axis=2) & (luma > light - 0.5) & (luma < light + 0.4)
    clipped = (face.max(axis=2) >= 250) | (face.min(axis=2) <= 3)
    clipped = cv2.dilate(clipped.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    weights = _WHERE * (alike & ~clipped)
    if weights.sum() < 0.2 * _WHERE.sum():
        weights = _WHERE
    # Soft edges: an error of a tenth of a pixel in following must not move whole pixels in and out.
    return np.asarray(cv2.GaussianBlur(cv2.erode(weights, np.ones((3, 3), np.uint8)), (0, 0), 1.5) * cv2.GaussianBlur(_WHERE, (0, 0), 1.0), np.float32)
