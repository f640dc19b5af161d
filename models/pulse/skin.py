"""The mean colour of a face's skin, frame after frame, from the same pixels of the face."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from imageserver.inference.toolkit.face_tracking import Face

Pixels = NDArray[np.uint8]
Weights = NDArray[np.float32]

REGIONS = 4
"""Forehead left and right, cheek left and right. Blood reaches them together; noise, compression and motion do not."""

LARGEST_FRAME = 640
"""Longer frames are reduced first: averaging over thousands of pixels gains nothing from a million."""

_SIDE = 64


def _geometry() -> tuple[Weights, NDArray[np.bool_], Weights]:
    """In the face's unit square: where skin may be, where it is sure to be, and the regions.

    It may be in an oval without eyes, brows and mouth.
    """
    down, across = (np.mgrid[:_SIDE, :_SIDE] + 0.5) / _SIDE
    oval = ((across - 0.5) / 0.40) ** 2 + ((down - 0.50) / 0.52) ** 2 < 1
    eyes = (down > 0.24) & (down < 0.47)
    mouth = ((across - 0.5) / 0.24) ** 2 + ((down - 0.78) / 0.11) ** 2 < 1
    nostrils = ((across - 0.5) / 0.14) ** 2 + ((down - 0.64) / 0.06) ** 2 < 1
    sure = (down > 0.48) & (down < 0.66) & (np.abs(across - 0.5) < 0.28)
    regions = np.stack(
        [side & height for height in (down < 0.36, down >= 0.36) for side in (across < 0.5, across >= 0.5)], axis=2
    )
    return (oval & ~eyes & ~mouth & ~nostrils).astype(np.float32), sure & ~nostrils, regions.astype(np.float32)


_WHERE, _SURE, _REGIONS = _geometry()


class SkinSampler:
    """`sample` each frame.

    The pixels are chosen when a face is new and move with it: choosing anew in each frame would add noise.
    """

    def __init__(self) -> None:
        self._number = 0
        self._weights: Weights = _WHERE[..., np.newaxis] * _REGIONS

    @property
    def shares(self) -> NDArray[np.float64]:
        """The part of the skin that lies in each region (4,); they sum up to 1."""
        areas = self._weights.sum(axis=(0, 1), dtype=np.float64)
        return np.asarray(areas / areas.sum(), np.float64)

    def sample(self, frame: Pixels, face: Face) -> NDArray[np.float64] | None:
        """Mean R, G, B, 0..255, of the skin of `face` in `frame`, in each region (4, 3).

        None where much of it lies outside the picture.

        A region that shows no skin has the mean of all.
        """
        cut = _cut(frame, face)
        if cut is None:
            return None
        part, placing = cut
        if face.number != self._number:
            self._number = face.number
            flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
            face_alone = cv2.warpAffine(part, placing, (_SIDE, _SIDE), flags=flags, borderMode=cv2.BORDER_REPLICATE)
            self._weights = choose(face_alone)[..., np.newaxis] * _REGIONS
        weights = cv2.warpAffine(
            self._weights, placing, (part.shape[1], part.shape[0]), flags=cv2.INTER_LINEAR
        ).reshape(-1, REGIONS)
        areas = weights.sum(axis=0, dtype=np.float64)
        expected = self._weights.sum(axis=(0, 1), dtype=np.float64) * abs(float(np.linalg.det(placing[:, :2])))
        if areas.sum() < 0.6 * expected.sum() or areas.sum() < 1:
            return None
        sums = np.asarray(weights.T @ part.reshape(-1, 3).astype(np.float32), np.float64)
        there = areas > 0.02 * expected.sum()
        mean = sums.sum(axis=0) / areas.sum()
        return np.where(there[:, np.newaxis], sums / np.maximum(areas, 1e-6)[:, np.newaxis], mean)


def _cut(frame: Pixels, face: Face) -> tuple[Pixels, NDArray[np.float64]] | None:
    """The part of `frame` with the face, and the matrix (2, 3) from pixels of the weights to pixels of that part.

    None: it lies outside.
    """
    height, width = frame.shape[:2]
    matrix = face.matrix
    corners = np.array([[0, 0], [1, 0], [0, 1], [1, 1]]) @ matrix[:, :2].T + matrix[:, 2]
    left, top = (max(0, int(np.floor(value))) for value in corners.min(axis=0))
    right, bottom = (
        min(int(np.ceil(value)) + 1, most) for value, most in zip(corners.max(axis=0), (width, height), strict=True)
    )
    if right - left < 4 or bottom - top < 4:
        return None
    part = frame[top:bottom, left:right]
    matrix = matrix - np.array([[0, 0, left], [0, 0, top]])
    shrink = -(-max(height, width) // LARGEST_FRAME)
    if shrink > 1 and min(part.shape[:2]) > 16 * shrink:
        size = (part.shape[1] // shrink, part.shape[0] // shrink)
        factors = np.array([[size[0] / part.shape[1]], [size[1] / part.shape[0]]])
        part = np.asarray(cv2.resize(part, size, interpolation=cv2.INTER_AREA), np.uint8)
        matrix = matrix * factors
        matrix[:, 2:] += 0.5 * factors - 0.5
    placing = matrix.copy()
    placing[:, :2] /= _SIDE
    placing[:, 2] += placing[:, :2] @ [0.5, 0.5]
    return part, placing


def choose(face: Pixels) -> Weights:
    """Weights 0..1 (64, 64) for a face cut to its unit square, RGB uint8.

    High is what has the colour of cheeks and nose, whatever that is.

    Fixed limits for "skin colour" would leave out dark skin and tinted light; the face itself says what its
    skin looks like.
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
    soft = cv2.GaussianBlur(cv2.erode(weights, np.ones((3, 3), np.uint8)), (0, 0), 1.5)
    return np.asarray(soft * cv2.GaussianBlur(_WHERE, (0, 0), 1.0), np.float32)
