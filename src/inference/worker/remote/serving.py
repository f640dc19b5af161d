"""A model elsewhere at work: its network asked with tensors, or its server with the encoded pictures."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from imageserver.errors import EndpointRefused, LimitExceeded, ModelError, PictureError
from imageserver.inference.shared import wire
from imageserver.inference.shared.manifest import Manifest
from imageserver.inference.worker import decode, results
from imageserver.inference.worker.context import LoadContext
from imageserver.inference.worker.decode import DecodingBudget
from imageserver.inference.worker.predictor import Array, PictureJob, Serving
from imageserver.inference.worker.remote.endpoints import Endpoints
from imageserver.inference.worker.remote.messages import TEXTS, Answer, Question, as_numbers
from imageserver.inference.worker.remote.negotiation import Agreement
from imageserver.inference.worker.results import Scores

OWN = frozenset({"error", "reason", "answer", "body", "camera", "model", "timestamp", "seq", "dropped", "age_ms"})
"""Keys of a result that this server gives itself."""
SIDES = ("x", "y", "width", "height")
"""Of a box."""
QUALITY = 95
"""Of the JPEG that a turned one becomes."""


@dataclass(frozen=True, slots=True)
class _File:
    """An encoded picture: `sent` is its width and height, `size` and `part` are as in decode.Picture."""

    data: bytes
    sent: tuple[int, int]
    size: tuple[int, int]
    part: tuple[int, int, int, int] | None = None


class RemoteBackend:
    """A `Backend`: tensors over the network. Raises Unreachable and EndpointRefused."""

    def __init__(self, endpoints: Endpoints, agreement: Agreement) -> None:
        self._endpoints, self._agreement = endpoints, agreement
        self.text = describe_endpoints(endpoints)
        self.outputs: tuple[str, ...] = agreement.outputs
        self.single = agreement.single
        self.features = 0

    def run(self, batch: Array) -> Array:
        return self.run_all(batch)[0]

    def run_all(self, batch: Array) -> list[Array]:
        if self.single and len(batch) > 1:
            each = [self.run_all(picture[np.newaxis]) for picture in batch]
            return [np.concatenate(parts) for parts in zip(*each, strict=True)]
        agreed = self._agreement
        data = as_numbers(batch if agreed.batched else batch[0], agreed.datatype)
        question = Question(agreed.input, agreed.datatype, data.shape, data, agreed.outputs)
        return self._endpoints.infer(question, lambda answer: self._read(answer, len(batch)))

    def _read(self, answer: Answer, count: int) -> list[Array]:
        """ValueError."""
        found: list[Array] = []
        for name in self.outputs or tuple(answer):
            output = answer.get(name)
            if not isinstance(output, np.ndarray):
                raise ValueError(f"has no numbers called {name!r:.100}")
            if not self._agreement.batched:
                output = output[np.newaxis]
            found.append(output)
        if not found:
            raise ValueError("has no output")
        if found[0].ndim == 0 or (len(self.outputs) == 1 and len(found[0]) != count):
            raise ValueError(f"has the shape {list(found[0].shape)} for {count} pictures")
        if len(self.outputs) == 1 and found[0].ndim == 1:
            found[0] = found[0].reshape(count, 1)
        return found


class Pictures(Serving):
    """Encoded pictures go as they came, and the other server decodes and prepares them."""

    def __init__(self, manifest: Manifest, endpoints: Endpoints, agreement: Agreement, context: LoadContext) -> None:
        super().__init__(manifest, context)
        self._endpoints, self._agreement = endpoints, agreement
        self.runtime = describe_endpoints(endpoints)

    def warm(self, sizes: list[int] | None = None) -> None:
        """Ask once, with a picture of nothing. ModelError: a sentence."""
        wanted = self.manifest.input
        blank = np.zeros((wanted.height, wanted.width, wanted.channels), np.uint8)
        _, data = cv2.imencode(".png", blank)
        try:
            self._ask([data.tobytes()])
        except EndpointRefused as error:
            raise ModelError(f"where it runs it {error}") from None

    def run(self, jobs: list[PictureJob]) -> list[wire.Result]:
        """A result for each job, in order. Unreachable."""
        ready: list[_File] = []
        errors: list[wire.Result | None] = []
        budget = DecodingBudget(self.context.costly_bytes)
        for job in jobs:
            made = self._encoded(job, budget)
            if made is not None:
                ready.append(made)
            errors.append({"error": job.error, "reason": "picture"} if made is None else None)
        found = iter(self._found(ready) if ready else [])
        return [next(found) if error is None else error for error in errors]

    def _encoded(self, job: PictureJob, budget: DecodingBudget) -> _File | None:
        """A picture as it is sent: as it came, or anew where it was decoded or is to be turned. None: an error."""
        try:
            jpeg = False
            if job.picture is None:
                header, _beside = decode.checked(job.data, self.context.limits)
                jpeg, (width, height) = header.kind == "jpeg", header.upright
                if not job.rotate:
                    return _File(bytes(job.data), (width, height), (width, height))
        except LimitExceeded as error:
            job.error, job.limit = str(error), error.limit
            return None
        except (PictureError, ValueError) as error:
            job.error = str(error)
            return None
        self._decode(job, budget)
        if job.picture is None:
            return None
        pixels = job.picture.pixels
        if pixels.ndim == 3:
            pixels = pixels[..., ::-1]
        options = [cv2.IMWRITE_JPEG_QUALITY, QUALITY] if jpeg else [cv2.IMWRITE_PNG_COMPRESSION, 1]
        _, data = cv2.imencode(".jpg" if jpeg else ".png", np.ascontiguousarray(pixels), options)
        height, width = pixels.shape[:2]
        return _File(data.tobytes(), (width, height), job.picture.size, job.picture.part)

    def _found(self, pictures: list[_File]) -> list[wire.Result]:
        """Unreachable."""
        if len(pictures) > (most := self._most):
            return self._in_parts([pictures[at : at + most] for at in range(0, len(pictures), most)], self._found)
        try:
            found = self._ask([picture.data for picture in pictures])
        except EndpointRefused as error:
            if len(pictures) > 1:  # one that it does not take must not cost the others their answers
                return self._in_parts([[picture] for picture in pictures], self._found)
            self.context.note(f"{self.manifest.name}: an endpoint {error}")
            if error.broken:
                return [{"error": f"the model {self.manifest.name!r} failed on this picture", "reason": "model"}]
            return [{"error": f"the server of {self.manifest.name!r} does not take this picture", "reason": "picture"}]
        for result, picture in zip(found, pictures, strict=True):
            if result.get("boxes") and picture.sent != picture.size:
                shown = picture.part or (0, 0, *picture.size)
                result["boxes"] = results.map_boxes(result["boxes"], picture.sent[::-1], shown, picture.size)
            result["size"] = list(picture.size)
        return found

    def _ask(self, files: list[bytes]) -> list[wire.Result]:
        """Unreachable, EndpointRefused."""
        agreed = self._agreement
        shape = (len(files), 1) if agreed.column else (len(files),)
        question = Question(agreed.input, TEXTS, shape, files, agreed.outputs)
        return self._endpoints.infer(question, lambda answer: self._read(answer, len(files)))

    def _read(self, answer: Answer, count: int) -> list[wire.Result]:
        """ValueError."""
        output = answer.get(self._agreement.outputs[0])
        if output is None or len(output) != count:
            raise ValueError(f"has no {self._agreement.outputs[0]!r} for {count} pictures")
        if isinstance(output, np.ndarray):
            if self.manifest.kind != "classification":
                raise ValueError(f"has numbers, and no results of the kind {self.manifest.kind!r}")
            scores = results.activate(output.reshape(count, -1), self.manifest.output.activation)
            return results.classify(Scores(scores, None), self.manifest.output)
        return [_result(text) for text in output]


def _result(text: bytes) -> wire.Result:
    """What another ImageServer found in a picture. ValueError."""
    try:
        found = json.loads(text)
    except RecursionError:
        raise ValueError("is nested too deeply") from None
    except ValueError:
        raise ValueError("holds a result that is no JSON") from None
    if not isinstance(found, dict):
        raise ValueError("holds a result that is no JSON object")
    result: wire.Result = results.plain({key: value for key, value in found.items() if key not in OWN})
    boxes: Any = result.get("boxes") or ()
    for box in boxes:
        if not isinstance(box, dict) or not all(isinstance(box.get(side), int | float) for side in SIDES):
            raise ValueError("holds boxes that are none")
    return result


def describe_endpoints(endpoints: Endpoints) -> str:
    """Which runtime, for people; clients see it as well."""
    count = len(endpoints.all)
    return f"open_inference, {count} endpoint{'s' if count > 1 else ''}"
