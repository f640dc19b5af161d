"""A loaded model at work: decode, preprocess, run, say what was found. One batch at a time."""

from __future__ import annotations

import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from imageserver.errors import LimitExceeded, PictureError, describe
from imageserver.inference.shared import wire
from imageserver.inference.shared.manifest import Input, Manifest
from imageserver.inference.worker import decode as images
from imageserver.inference.worker import results
from imageserver.inference.worker.decode import Limits, Picture
from imageserver.inference.worker.model_api import StatelessModel
from imageserver.inference.worker.preprocessing import base

Array = NDArray[Any]
Note = Callable[[str], None]


class Backend(Protocol):
    """A model in some runtime."""

    text: str
    """Which runtime, for people."""

    def run(self, batch: Array) -> Array:
        """float32 (n, height, width, channels) or (n, channels, height, width) to (n, classes); n is a warmed size."""


@dataclass(slots=True)
class Job:
    """One picture of a batch: its bytes in the arena, then its pixels or its error."""

    data: memoryview
    rotate: int
    picture: Picture | None = None
    error: str = ""


def batch_sizes(max_batch: int) -> list[int]:
    """The sizes that are warmed: all up to 8, then steps of a quarter of the power of two below, and `max_batch`.

    A batch is padded to the next of them, and every padding picture costs as much as a real one: hence so many.
    """
    sizes = []
    size = 1
    while size < max_batch:
        sizes.append(size)
        size += max(1, 2 ** (size.bit_length() - 1) // 4)
    return [*sizes, max_batch]


class Serving:
    """Common to both kinds of models: from jobs to results, decoding on `pool` when there is one."""

    def __init__(self, manifest: Manifest, limits: Limits, note: Note, pool: ThreadPoolExecutor | None) -> None:
        self.manifest = manifest
        self.warnings: list[str] = []
        self.runtime = manifest.runtime.runtime
        self.note = note
        self._limits, self._pool = limits, pool
        self._channels = manifest.input.channels
        self._preprocessing = base.find(manifest.input.preprocessing)
        self._least = max(self._preprocessing.least, manifest.input.width, manifest.input.height)

    def warm(self) -> None:
        """Run once at every size that will be used, so that no request pays for what happens only once."""
        blank = np.zeros(
            (self.manifest.input.height, self.manifest.input.width, self.manifest.input.channels), np.uint8
        )
        for size in reversed(
            batch_sizes(self.manifest.batch.max_batch)
        ):  # the largest first: the others fit into its memory
            self._infer([blank] * size)

    def run(self, jobs: list[Job]) -> list[wire.Result]:
        """A result for each job, in order. Never raises on account of a picture or a model."""
        self.decode(jobs)
        good = [job for job in jobs if job.picture is not None]
        found = iter(self._answer(good) if good else [])
        return [next(found) if job.picture is not None else {"error": job.error, "reason": "picture"} for job in jobs]

    def decode(self, jobs: list[Job]) -> None:
        """Give each job its picture or its error; one that has its picture keeps it."""
        if self._pool is not None and len(jobs) > 1:
            list(self._pool.map(self._decode, jobs))
        else:
            for job in jobs:
                self._decode(job)

    def _decode(self, job: Job) -> None:
        if job.picture is not None:
            return
        try:
            job.picture = images.decode(
                job.data, channels=self._channels, least=self._least, rotate=job.rotate, limits=self._limits
            )
        except (PictureError, LimitExceeded, ValueError) as error:
            job.error = str(error)
        except MemoryError:
            job.error = "there is not enough memory to decode this picture"

    def _answer(self, jobs: list[Job]) -> list[wire.Result]:
        most = self.manifest.batch.max_batch
        if len(jobs) > most:  # the server has read a newer manifest than the one that still serves
            return self._answer(jobs[:most]) + self._answer(jobs[most:])
        try:
            return self._predict([job.picture for job in jobs if job.picture is not None])
        except Exception as error:  # noqa: BLE001 - a model's code may raise anything, and must not take the worker with it
            if len(jobs) > 1:
                # One picture that the model cannot bear must not cost its neighbours their answers.
                return [self._answer([job])[0] for job in jobs]
            self.note(f"{self.manifest.name}: {describe(error)}")
            return [{"error": f"the model {self.manifest.name!r} failed on this picture", "reason": "model"}]

    def _predict(self, decoded: list[Picture]) -> list[wire.Result]:
        wanted = self.manifest.input
        found = self._infer([self._preprocessing.function(picture.pixels, wanted) for picture in decoded])
        for result, picture in zip(found, decoded, strict=True):
            result["size"] = list(picture.size)
        return found

    def _infer(self, arrays: list[Array]) -> list[wire.Result]:
        raise NotImplementedError


class Network(Serving):
    """A neural network: fixed shapes in, scores out."""

    def __init__(
        self, manifest: Manifest, backend: Backend, limits: Limits, note: Note, pool: ThreadPoolExecutor | None
    ) -> None:
        super().__init__(manifest, limits, note, pool)
        self.runtime = backend.text
        self.backend = backend
        self.means = (limits, note, pool)
        wanted, batch = manifest.input, manifest.batch
        self._scaling = Scaling(wanted)
        self._sizes = [
            next(size for size in batch_sizes(batch.max_batch) if size >= count)
            for count in range(1, batch.max_batch + 1)
        ]
        self._buffer = np.zeros((batch.max_batch, wanted.height, wanted.width, wanted.channels), np.float32)

    def scores(self, decoded: list[Picture]) -> Array:
        """The network's scores for at most `max_batch` pictures: float32 (n, columns), after the manifest's activation."""
        return self._scores([self._preprocessing.function(picture.pixels, self.manifest.input) for picture in decoded])

    def scores_of_tensor(self, tensor: Array) -> Array:
        """The same for float32 (n, …), n at most `max_batch`, in the shape and value range that the network itself takes."""
        count = len(tensor)
        padded = np.zeros((self._sizes[count - 1], *tensor.shape[1:]), np.float32)
        padded[:count] = tensor
        return results.activate(self.backend.run(padded)[:count], self.manifest.output.activation)

    def _infer(self, arrays: list[Array]) -> list[wire.Result]:
        return results.classify(self._scores(arrays), self.manifest.output)

    def _scores(self, arrays: list[Array]) -> Array:
        count = len(arrays)
        size = self._sizes[count - 1]
        for index, array in enumerate(arrays):
            self._buffer[index] = array
        batch = self._buffer[:size]
        self._scaling.apply(batch)
        return results.activate(self.backend.run(self._scaling.arrange(batch))[:count], self.manifest.output.activation)


class Code(Serving):
    """A model that is code: it gets the arrays as they are and says itself what it found."""

    def __init__(
        self, manifest: Manifest, model: StatelessModel, limits: Limits, note: Note, pool: ThreadPoolExecutor | None
    ) -> None:
        super().__init__(manifest, limits, note, pool)
        self._model = model
        self._scaling = Scaling(manifest.input)

    def _predict(self, decoded: list[Picture]) -> list[wire.Result]:
        wanted = self.manifest.input
        arrays = [self._preprocessing.function(picture.pixels, wanted) for picture in decoded]
        found = self._infer(arrays)
        for result, picture, array in zip(found, decoded, arrays, strict=True):
            result["size"] = list(picture.size)
            if result.get("boxes"):
                x, y, width, height = self._preprocessing.region(*picture.size, wanted)
                across, down = width / array.shape[1], height / array.shape[0]
                to_picture = lambda at_x, at_y, x=x, y=y, across=across, down=down: (x + at_x * across, y + at_y * down)  # noqa: E731
                result["boxes"] = results.map_boxes(result["boxes"], to_picture, picture.size)
        return found

    def _infer(self, arrays: list[Array]) -> list[wire.Result]:
        if not self._scaling.idle:
            arrays = [self._scaling.apply(array[np.newaxis].astype(np.float32)) for array in arrays]
            arrays = [self._scaling.arrange(array)[0] for array in arrays]
        else:
            arrays = [self._scaling.arrange(array[np.newaxis])[0] for array in arrays]
        found = results.plain(self._model.predict(arrays))
        if (
            not isinstance(found, list)
            or len(found) != len(arrays)
            or not all(isinstance(entry, dict) for entry in found)
        ):
            raise TypeError(f"predict must return a list of {len(arrays)} dictionaries, a result for each picture")
        return found


class Scaling:
    """The last step of preprocessing, on the whole batch: value range, mean and deviation, channel order, layout."""

    def __init__(self, wanted: Input) -> None:
        low, high = wanted.range
        mean, std = np.asarray(wanted.mean or [0.0]), np.asarray(wanted.std or [1.0])
        self._backwards = wanted.order == "bgr" and wanted.channels == 3
        if self._backwards:
            mean, std = mean[::-1], std[::-1]  # given in the model's order, applied before that is made
        self._scale = ((high - low) / 255.0 / std).astype(np.float32)
        self._offset = ((low - mean) / std).astype(np.float32)
        self._first = wanted.layout == "nchw"
        self.idle = bool(np.all(self._scale == 1.0) and np.all(self._offset == 0.0))

    def apply(self, batch: Array) -> Array:
        """float32 (n, height, width, channels) of 0..255, changed in place."""
        if not self.idle:
            batch *= self._scale
            if self._offset.any():
                batch += self._offset
        return batch

    def arrange(self, batch: Array) -> Array:
        """The same batch in the order and layout that the model takes, contiguous."""
        if self._backwards:
            batch = batch[..., ::-1]
        if self._first:
            batch = batch.transpose(0, 3, 1, 2)
        return np.ascontiguousarray(batch)


def note_to_stderr(pid: int) -> Note:
    """A `Note` that writes one line to standard error."""

    def note(text: str) -> None:
        sys.stderr.write(f"worker {pid}: {' '.join(text.split())}\n")
        sys.stderr.flush()

    return note
