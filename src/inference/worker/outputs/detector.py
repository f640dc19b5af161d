"""A network that finds boxes, at work."""

from __future__ import annotations

import numpy as np

from imageserver.inference.shared import wire
from imageserver.inference.shared.manifest import Manifest
from imageserver.inference.worker.context import LoadContext
from imageserver.inference.worker.decode import Picture
from imageserver.inference.worker.outputs import boxes, lists
from imageserver.inference.worker.outputs.candidates import Candidates
from imageserver.inference.worker.predictor import Array, Backend, Batches
from imageserver.inference.worker.preprocessing.base import shown_part


class Detector(Batches):
    """Boxes, with or without keypoints; the manifest says how they are read (`output.detection`)."""

    def __init__(self, manifest: Manifest, backend: Backend, context: LoadContext) -> None:
        super().__init__(manifest, backend, context)
        assert manifest.output.detection is not None
        self._settings = manifest.output.detection
        self._layout = lists.make(manifest, backend.outputs)

    def _predict(self, decoded: list[Picture]) -> list[wire.Result]:
        wanted, output = self.manifest.input, self.manifest.output
        arrays = [self._preprocessing.function(picture.pixels, wanted) for picture in decoded]
        array = (wanted.width, wanted.height)
        return [
            boxes.results(found, output, shown_part(self._preprocessing, picture, wanted), array, picture.size)
            for found, picture in zip(self._find(arrays), decoded, strict=True)
        ]

    def _infer(self, arrays: list[Array]) -> list[wire.Result]:
        wanted = self.manifest.input
        size, whole = (wanted.width, wanted.height), (0.0, 0.0, float(wanted.width), float(wanted.height))
        return [boxes.results(found, self.manifest.output, whole, size, size) for found in self._find(arrays)]

    def _find(self, arrays: list[Array]) -> list[Candidates]:
        """What counts in each."""
        if self.backend.single and len(arrays) > 1:  # what it gives need not have a side for the batch
            return [self._find([array])[0] for array in arrays]
        batch, count = self._batch(arrays), len(arrays)
        outputs = [np.asarray(output) for output in self.backend.run_all(batch)]
        outputs = [output[:count] if len(output) == len(batch) > 1 else output for output in outputs]
        with np.errstate(all="ignore"):  # what is no number is left out
            return boxes.split(self._layout.read(outputs), count, self._settings, self._layout.suppress)
