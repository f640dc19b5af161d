"""Networks that give numbers which are no scores: an embedding, or values of their own units."""

from __future__ import annotations

import numpy as np

from imageserver.errors import ModelError
from imageserver.inference.shared import wire
from imageserver.inference.worker.predictor import Array, Batches
from imageserver.inference.worker.results import NOT_A_NUMBER

MOST = 4096
"""Numbers in an answer: it is sent for every frame."""

DIGITS = 6
"""Decimals of an embedding's numbers, of which a few hundred have the length 1."""


class Embedding(Batches):
    """`embedding`: where the picture lies in the network's space, as a vector of length 1."""

    def _infer(self, arrays: list[Array]) -> list[wire.Result]:
        vectors = rows(self.backend.run(self._batch(arrays))[: len(arrays)]).astype(np.float64)
        with np.errstate(all="ignore"):
            lengths = np.sqrt((vectors * vectors).sum(axis=1))
            unit = np.round(vectors / lengths[:, None], DIGITS)
        found: list[wire.Result] = []
        for fine, vector in zip(_finite(unit), unit.tolist(), strict=True):
            found.append({"embedding": vector} if fine else {**NOT_A_NUMBER})
        return found


class Regression(Batches):
    """`values`: what the network estimates, by the manifest's labels."""

    def _infer(self, arrays: list[Array]) -> list[wire.Result]:
        values = rows(self.backend.run(self._batch(arrays))[: len(arrays)])
        names = self.manifest.output.labels or tuple(f"value {index}" for index in range(values.shape[1]))
        if len(names) != values.shape[1] or len(set(names)) != len(names):
            raise ModelError(
                f"the network gives {values.shape[1]} values, the manifest {len(set(names))} different labels"
            )
        found: list[wire.Result] = []
        for fine, row in zip(_finite(values), values.tolist(), strict=True):
            rounded = {name: float(f"{value:.6g}") for name, value in zip(names, row, strict=True)}
            found.append({"values": rounded} if fine else {**NOT_A_NUMBER})
        return found


def _finite(table: Array) -> list[bool]:
    """Of each row, whether all of it are numbers."""
    numbers: Array = np.isfinite(table)
    return [all(row) for row in numbers.tolist()]


def rows(output: Array) -> Array:
    """A row for each picture, whatever sides of 1 it has beside. ModelError when it has too many numbers."""
    flat = output.reshape(len(output), -1)
    if flat.shape[1] > MOST:
        raise ModelError(f"the network gives {flat.shape[1]} numbers for a picture; at most {MOST} can be an answer")
    return flat
