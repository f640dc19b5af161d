"""The chest X-rays that the models are trained on, and how they are divided.

Train and validation are one set here, and everything is chosen on out-of-fold predictions over it. Two divisions:

`folds`    pictures at random, classes in proportion, but near-duplicates always together: a picture and its copy on
           both sides would be counted as knowledge.
`wards`    pictures that look alike together, so that each fold holds normals and pneumonias of a look (exposure,
           contrast, crop) that its training part lacks. It is harder than the truth and stands in for another ward.

Source: PneumoniaMNIST of MedMNIST v2 (Yang et al., Scientific Data 10:41, 2023), from Kermany et al., Cell 172, 2018;
CC BY 4.0, not intended for clinical use.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imageserver.errors import SettingError

Pictures = NDArray[np.uint8]
Reals = NDArray[np.float32]
Whole = NDArray[np.int64]

SIDE = 28
ALIKE = 0.95
"""Correlation of two standardised pictures from which they count as the same one. Copies have over 0.999 and
different pictures hardly ever over 0.93, whoever the patient is."""


@dataclass(frozen=True)
class Dataset:
    """`images` (n, 28, 28) grey, 0..255; `labels` (n,): 0 normal, 1 pneumonia."""

    images: Pictures
    labels: Whole


def load(path: Path) -> Dataset:
    """Train and validation of the file, in that order. SettingError when it is no such file."""
    try:
        with np.load(path, allow_pickle=False) as file:
            images = np.concatenate([file["train_images"], file["val_images"]])
            labels = np.concatenate([file["train_labels"], file["val_labels"]]).reshape(-1)
    except (OSError, KeyError, ValueError) as error:
        raise SettingError(
            f"--data {path} is no .npz with train_images, train_labels, val_images and val_labels; "
            "take pneumoniamnist.npz of MedMNIST v2"
        ) from error
    if images.shape[1:] != (SIDE, SIDE) or len(images) != len(labels) or set(np.unique(labels)) != {0, 1}:
        raise SettingError(
            f"--data {path} holds pictures of shape {images.shape[1:]}; (28, 28) with labels 0 and 1 are needed"
        )
    return Dataset(images.astype(np.uint8), labels.astype(np.int64))


def _standardised(images: Pictures) -> Reals:
    flat = images.reshape(len(images), -1).astype(np.float32)
    flat -= flat.mean(axis=1, keepdims=True)
    flat /= np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-6)
    return flat


def groups(images: Pictures) -> Whole:
    """(n,) the number of each picture's group: pictures linked by a chain of near-duplicates share one."""
    flat = _standardised(images)
    group = np.arange(len(images))
    for first in range(0, len(images), 1024):
        close = flat[first : first + 1024] @ flat.T > ALIKE
        for row, column in zip(*np.nonzero(close), strict=True):
            a, b = group[first + row], group[column]
            if a != b:
                group[group == max(a, b)] = min(a, b)
    return group


def folds(data: Dataset, count: int, seed: int) -> Whole:
    """(n,) the fold of each picture, 0..count-1: classes in proportion, groups of near-duplicates undivided."""
    random = np.random.default_rng(seed)
    fold = np.empty(len(data.labels), np.int64)
    group = groups(data.images)
    leaders = np.unique(group)
    for label in (0, 1):
        own = random.permutation(leaders[data.labels[leaders] == label])
        for number, leader in enumerate(own):
            fold[group == leader] = number % count
    return fold


def wards(data: Dataset, count: int, seed: int) -> Whole:
    """(n,) folds of pictures that look alike: k-means, within each class, over a coarse view of the picture.

    Within each class, because over both a cluster would be little else than a diagnosis.
    """
    coarse = data.images.reshape(-1, 7, 4, 7, 4).mean(axis=(2, 4)).reshape(len(data.images), -1) / 255
    fold = np.empty(len(data.labels), np.int64)
    group = groups(data.images)
    for label in (0, 1):
        own = np.flatnonzero(data.labels == label)
        fold[own] = _kmeans(coarse[own], count, np.random.default_rng(seed))
    return fold[group]


def _kmeans(points: NDArray[Any], count: int, random: np.random.Generator) -> Whole:
    centres = points[random.choice(len(points), count, replace=False)]
    nearest = np.zeros(len(points), np.int64)
    for _ in range(50):
        distance = ((points[:, None] - centres[None]) ** 2).sum(axis=2)
        nearest = distance.argmin(axis=1)
        for number in range(count):
            own = points[nearest == number]
            # A centre that lost all of its points starts again at the one that is worst placed.
            centres[number] = own.mean(axis=0) if len(own) else points[distance.min(axis=1).argmax()]
    return nearest
