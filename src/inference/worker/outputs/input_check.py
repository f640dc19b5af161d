"""Is a picture like those that a classifier was trained on? By the distance of what the network itself sees in it.

The distance is that of Mahalanobis between the means of some inner layers and those of the training pictures, as in
Lee et al., "A Simple Unified Framework for Detecting Out-of-Distribution Samples", 2018, but with one mean for all
classes. It is fitted beforehand; `[input_check]` of the manifest names the file, an .npz of three arrays in this order:

    mean        (d,)      of the features of training pictures
    whitening   (d, d)    features less the mean, times this, have a length of at most 1 where the picture is like them
    probe       (d,)      the features of `probe`, by which the file knows the network that it was fitted to
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from imageserver.errors import ModelError
from imageserver.inference.shared import weights
from imageserver.inference.shared.manifest import FILE, Manifest
from imageserver.inference.worker.backends import arrays
from imageserver.inference.worker.backends.keras import LOAD_ERRORS, first_line

Array = NDArray[Any]

NEAR = 0.1
"""How far the features of `probe` may be from what they were, in units of the limit: rounding, and no more."""


class FeatureDistance:
    """What was fitted. See the module for the arrays."""

    def __init__(self, mean: Array, whitening: Array, probe: Array) -> None:
        self._mean, self._whitening, self._probe = mean, whitening, probe

    def unlike(self, features: Array) -> Array:
        """bool (n,): which of float32 (n, d) lie farther away than training pictures do. Numbers that are none do."""
        found: Array = ~(self._squared(features - self._mean) <= 1.0)
        return found

    def fits(self, probe: Array) -> bool:
        """Whether these features of `probe` are those of the network that it was fitted to."""
        return bool(self._squared(probe - self._probe) <= NEAR**2)

    def _squared(self, difference: Array) -> Array:
        with np.errstate(all="ignore"):
            whitened = difference @ self._whitening
            squares: Array = (whitened * whitened).sum(axis=-1)
        return squares


def first_view(features: Array, count: int, single: bool) -> Array:
    """The features of `count` pictures, a row for each; of a network that looks at each in several ways, of the first.

    Args:
        features: (n, d), or (n times the views, d): all pictures in the first view, then all in the next.
        single: whether the network was run picture by picture, and so gave a picture's views one after another.

    Raises:
        ModelError: its rows are not those of pictures.
    """
    if len(features) % count:
        raise ModelError(f"input_check.features are {len(features)} rows for {count} pictures")
    return features[:: len(features) // count] if single else features[:count]


def probe(height: int, width: int, channels: int) -> Array:
    """A picture that is always the same: uint8 (height, width, channels), from black to white."""
    return np.linspace(0, 255, height * width * channels).astype(np.uint8).reshape(height, width, channels)


def read(manifest: Manifest, count: int) -> FeatureDistance:
    """What was fitted to a model's `count` features.

    Raises:
        ModelError: the file is missing, damaged, or not the one that the manifest names.
    """
    check = manifest.input_check
    assert check is not None
    beginning = f"{check.file.name!r} of the model {manifest.name!r}"
    try:
        found = weights.sha256(check.file)
        fitted = arrays.read(check.file, [(count,), (count, count), (count,)])
    except LOAD_ERRORS as error:
        raise ModelError(f"{beginning} cannot be read: {first_line(error)}") from error
    if check.sha256 is not None and found != check.sha256:
        raise ModelError(
            f"{beginning} has the SHA-256 {found}, not the one in {FILE}: "
            "put the right file there, or its SHA-256 into input_check.sha256"
        )
    return FeatureDistance(*fitted)
