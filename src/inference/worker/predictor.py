"""A loaded model at work: decode, preprocess, run, say what was found. One batch at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from imageserver.errors import LimitExceeded, OutOfTime, PictureError, TooCostly, Unreachable, describe
from imageserver.inference.shared import wire
from imageserver.inference.shared.manifest import Input, Manifest
from imageserver.inference.worker import decode as images
from imageserver.inference.worker import results
from imageserver.inference.worker.context import LoadContext
from imageserver.inference.worker.decode import DecodingBudget, Picture
from imageserver.inference.worker.model_api import StatelessModel
from imageserver.inference.worker.outputs import input_check
from imageserver.inference.worker.outputs.input_check import FeatureDistance
from imageserver.inference.worker.preprocessing import base
from imageserver.inference.worker.results import Scores

Array = NDArray[Any]
Asked = TypeVar("Asked")


class Backend(Protocol):
    """A model in some runtime."""

    text: str
    """Which runtime, for people."""

    outputs: tuple[str, ...]
    """Their names in the file, in its order; "" for one without."""

    single: bool
    """Whether the network takes one picture at a time; a batch is then run picture by picture, at no gain."""

    features: int
    """Numbers of a picture in its last output, by which the input is checked (backends/features.py); 0: it has none."""

    def run(self, batch: Array) -> Array:
        """The first output, and of a classifier the only one, which is (n, classes).

        Args:
            batch: float32 (n, height, width, channels) or (n, channels, height, width); n is a warmed size.
        """

    def run_all(self, batch: Array) -> list[Array]:
        """All outputs as float32, in the order of `outputs`; what they share is valid until the next batch."""


@dataclass(slots=True)
class PictureJob:
    """One picture of a batch: its bytes in the arena, then its pixels or its error."""

    data: memoryview
    rotate: int
    picture: Picture | None = None
    error: str = ""
    limit: str = ""
    """The setting that it exceeds, if it does."""
    cost: int = 0
    """Bytes that decoding it takes, of one for which there was not as much left (TooCostly)."""


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
    """Common to all kinds of models: from jobs to results."""

    _most: int
    """Pictures that are asked for together."""

    def __init__(self, manifest: Manifest, context: LoadContext) -> None:
        self.manifest, self.context = manifest, context
        self.warnings: list[str] = []
        self.runtime = manifest.runtime.runtime
        self._channels, self._most = manifest.input.channels, manifest.batch.max_batch
        self._preprocessing = base.find(manifest.input.preprocessing)
        self._least = max(self._preprocessing.least, manifest.input.width, manifest.input.height)

    def warm(self, sizes: list[int] | None = None) -> None:
        """Run once at every size that will be used, so that no request pays for what happens only once.

        `sizes`: in place of these.
        """
        wanted = self.manifest.input
        blank = np.zeros((wanted.height, wanted.width, wanted.channels), np.uint8)
        # The largest first: the others fit into its memory.
        for size in reversed(sizes or batch_sizes(self.manifest.batch.max_batch)):
            self._infer([blank] * size)

    def beside(self) -> Serving:
        """Another one for the same model, to run in another thread at the same time; only where that is elsewhere."""
        return self

    def run(self, jobs: list[PictureJob]) -> list[wire.Result]:
        """A result for each job, in order. Never raises on account of a picture or a model, but Unreachable."""
        self.decode(jobs)
        good = [job for job in jobs if job.picture is not None]
        found = iter(self._answer(good) if good else [])
        return [next(found) if job.picture is not None else {"error": job.error, "reason": "picture"} for job in jobs]

    @property
    def decoded_as(self) -> tuple[int, int]:
        """The channels, and the pixels of the shortest side, that pictures are decoded to."""
        return self._channels, self._least

    def decode(self, jobs: list[PictureJob]) -> None:
        """Give each job its picture or its error; one that has its picture keeps it."""
        budget = DecodingBudget(self.context.costly_bytes)
        if self.context.pool is not None and len(jobs) > 1:
            list(self.context.pool.map(lambda job: self._decode(job, budget), jobs))
        else:
            for job in jobs:
                self._decode(job, budget)

    def _decode(self, job: PictureJob, budget: DecodingBudget) -> None:
        if job.picture is not None:
            return
        try:
            limits = self.context.limits
            job.picture = images.decode(
                job.data, channels=self._channels, least=self._least, rotate=job.rotate, limits=limits, budget=budget
            )
        except TooCostly as error:
            job.error, job.cost = str(error), error.cost
        except LimitExceeded as error:
            job.error, job.limit = str(error), error.limit
        except (PictureError, ValueError) as error:
            job.error = str(error)
        except MemoryError:
            job.error = "there is not enough memory to decode this picture"

    def _answer(self, jobs: list[PictureJob]) -> list[wire.Result]:
        most = self._most
        if len(jobs) > most:  # or the server has read a newer manifest than the one that still serves
            return self._in_parts([jobs[at : at + most] for at in range(0, len(jobs), most)], self._answer)
        try:
            pictures = [job.picture for job in jobs if job.picture is not None]
            found = self._predict(pictures)
            for result, picture in zip(found, pictures, strict=True):
                result["size"] = list(picture.size)
            return found
        except Unreachable:
            raise
        # A model's code may raise anything, and must not take the worker with it.
        except Exception as error:  # noqa: BLE001
            if len(jobs) > 1:
                # One picture that the model cannot bear must not cost its neighbours their answers.
                return self._in_parts([[job] for job in jobs], self._answer)
            self.context.note(f"{self.manifest.name}: {describe(error)}")
            return [{"error": f"the model {self.manifest.name!r} failed on this picture", "reason": "model"}]

    def _in_parts(
        self, parts: Sequence[list[Asked]], answer: Callable[[list[Asked]], list[wire.Result]]
    ) -> list[wire.Result]:
        """The results of all parts. Those for which there was no time say so; OutOfTime: there was for none."""
        found: list[wire.Result] = []
        for part in parts:
            try:
                found += answer(part)
            except OutOfTime:
                if not found:
                    raise
                found += [self.late() for _ in part]
        return found

    def late(self) -> wire.Result:
        """The result of a picture that others of its batch left no time."""
        return {"error": f"the model {self.manifest.name!r} did not answer in time", "reason": "busy"}

    def _predict(self, decoded: list[Picture]) -> list[wire.Result]:
        """A result for each picture, but for its size; raises what the model raises."""
        return self._infer([self._preprocessing.function(picture.pixels, self.manifest.input) for picture in decoded])

    def _infer(self, arrays: list[Array]) -> list[wire.Result]:
        """The same for pictures that are preprocessed, but neither scaled nor arranged."""
        raise NotImplementedError


class Batches(Serving):
    """A neural network: fixed shapes in, a batch at a time."""

    def __init__(self, manifest: Manifest, backend: Backend, context: LoadContext) -> None:
        super().__init__(manifest, context)
        self.runtime = backend.text
        self.backend = backend
        wanted, batch = manifest.input, manifest.batch
        if manifest.runtime.remote is not None and backend.single:
            self._most = 1  # each is a question of its own, and what was answered is kept when the time is over
        self._scaling = Scaling(wanted)
        self._sizes = [
            next(size for size in batch_sizes(batch.max_batch) if size >= count)
            for count in range(1, batch.max_batch + 1)
        ]
        self._buffer = np.zeros((batch.max_batch, wanted.height, wanted.width, wanted.channels), np.float32)

    def beside(self) -> Serving:
        return type(self)(self.manifest, self.backend, self.context)

    def _batch(self, arrays: list[Array]) -> Array:
        """Arrays as the network takes them, filled up to a warmed size."""
        for index, array in enumerate(arrays):
            self._buffer[index] = array
        batch = self._buffer[: self._sizes[len(arrays) - 1]]
        self._scaling.apply(batch)
        return self._scaling.arrange(batch)


class Network(Batches):
    """One that gives scores."""

    distance: FeatureDistance | None = None
    """Tells pictures that are unlike those of the training; None: nobody looks at that."""

    def scores(self, decoded: list[Picture]) -> Scores:
        """What it says of at most `max_batch` pictures."""
        return self._scores([self._preprocessing.function(picture.pixels, self.manifest.input) for picture in decoded])

    def scores_of_tensor(self, tensor: Array) -> Scores:
        """The same for float32 (n, …), n at most `max_batch`, in the shape and range that the network itself takes."""
        count = len(tensor)
        padded = np.zeros((self._sizes[count - 1], *tensor.shape[1:]), np.float32)
        padded[:count] = tensor
        return self._run(padded, count)

    def features(self, arrays: list[Array]) -> Array:
        """The features of at most `max_batch` preprocessed pictures, where the backend has some: float32 (n, d)."""
        batch = self._batch(arrays)
        return self._features(self.backend.run_all(batch), len(batch))[: len(arrays)].copy()

    def _infer(self, arrays: list[Array]) -> list[wire.Result]:
        return results.classify(self._scores(arrays), self.manifest.output)

    def _scores(self, arrays: list[Array]) -> Scores:
        return self._run(self._batch(arrays), len(arrays))

    def _run(self, batch: Array, count: int) -> Scores:
        """What it says of the first `count` pictures of a batch of a warmed size."""
        if self.distance is None:
            return Scores(self._activated(self.backend.run(batch), count), None)
        outputs = self.backend.run_all(batch)
        unlike = self.distance.unlike(self._features(outputs, len(batch))[:count])
        return Scores(self._activated(outputs[0], count), unlike)

    def _activated(self, scores: Array, count: int) -> Array:
        return results.activate(scores[:count], self.manifest.output.activation)

    def _features(self, outputs: list[Array], count: int) -> Array:
        return input_check.first_view(outputs[-1], count, self.backend.single)


class Code(Serving):
    """A model that is code: it gets the arrays as they are and says itself what it found."""

    def __init__(self, manifest: Manifest, model: StatelessModel, context: LoadContext) -> None:
        super().__init__(manifest, context)
        self._model = model
        self._scaling = Scaling(manifest.input)

    def _predict(self, decoded: list[Picture]) -> list[wire.Result]:
        wanted = self.manifest.input
        arrays = [self._preprocessing.function(picture.pixels, wanted) for picture in decoded]
        found = self._infer(arrays)
        for result, picture, array in zip(found, decoded, arrays, strict=True):
            if result.get("boxes"):
                region = base.shown_part(self._preprocessing, picture, wanted)
                result["boxes"] = results.map_boxes(result["boxes"], array.shape, region, picture.size)
        return found

    def _infer(self, arrays: list[Array]) -> list[wire.Result]:
        batches = [array[np.newaxis] for array in arrays]
        if not self._scaling.idle:  # else the model gets the bytes as they are
            batches = [self._scaling.apply(batch.astype(np.float32)) for batch in batches]
        found = results.plain(self._model.predict([self._scaling.arrange(batch)[0] for batch in batches]))
        good = isinstance(found, list) and all(isinstance(entry, dict) for entry in found)
        if not good or len(found) != len(arrays):
            raise TypeError(f"predict must return a list of {len(arrays)} dictionaries, a result for each picture")
        plain: list[wire.Result] = found
        return plain


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
