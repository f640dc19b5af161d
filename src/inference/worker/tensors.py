"""The Open Inference Protocol's infer request: tensors in, tensors out, as JSON or in its binary extension.

Source: KServe's "Open Inference Protocol" (v2), HTTP/REST, and Triton's "Binary Tensor Data Extension" and
"Classification Extension". Runs in a worker; protocols/http/v2.py has the paths and headers.

One input tensor, `image`, holds the pictures of a request, at most `batch.max_batch` of them. Nothing is built of its
data before their number is known to be the shape's, and the shape to be one that the model takes:

    UINT8 [n, height, width, channels]   pixels, upright, RGB or grey; preprocessed as those of a picture file are
    BYTES [n]                            picture files (in JSON: in base64), decoded and preprocessed as `classify` does
    FP32  [n, …]                         what the network itself takes; nothing is done to it

Outputs of a classifier: `scores` FP32 [n, labels] in the manifest's order, `label` BYTES [n]. Of a network of another
kind, and of a model that is code: `result` BYTES [n], a JSON object for each picture. Where one is unlike those of the
training, the answer's `parameters` have `input`, a word for each picture: "like,unlike".
"""

from __future__ import annotations

import itertools
import json
import math
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from imageserver.errors import BodyError, PictureError, Unreachable, describe
from imageserver.inference.shared import wire
from imageserver.inference.shared.manifest import Manifest
from imageserver.inference.shared.outputs.input_check import LIKE, UNLIKE
from imageserver.inference.shared.request_bodies import Bytes, from_base64, parse_json
from imageserver.inference.worker import results
from imageserver.inference.worker.backends.ensemble import Ensemble
from imageserver.inference.worker.decode import Picture
from imageserver.inference.worker.predictor import Network, PictureJob, Serving
from imageserver.inference.worker.results import Scores

Array = NDArray[Any]

VERSION = "1"
INPUT = "image"
MAX_SIDES = 8
TYPES = ("UINT8", "BYTES", "FP32")
ELEMENT = struct.Struct("<I")
"""The length before each element of a binary BYTES tensor."""
encode = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode


class _Failed(Exception):
    """The model or the decoder could not deal with a picture: its result."""

    def __init__(self, result: wire.Result) -> None:
        super().__init__(result["error"])
        self.result = result


@dataclass(frozen=True, slots=True)
class TensorInput:
    """The one input tensor of a request. `data`: its binary part, or what its JSON `data` holds."""

    datatype: str
    shape: list[int]
    data: Bytes | list[Any]


@dataclass(frozen=True, slots=True)
class TensorOutputs:
    """The outputs by name; and of the input, where a picture is unlike those of the training, a word for each."""

    outputs: dict[str, Array]
    input: str = ""


@dataclass(frozen=True, slots=True)
class Wanted:
    """One output that the client asks for. `classes`: how many of the best, as text; 0: the tensor itself."""

    name: str
    binary: bool
    classes: int


def infer(serving: Serving, data: memoryview, head: int) -> tuple[bytes, int] | wire.Result:
    """Answer one request.

    Args:
        serving: The model.
        data: The body.
        head: Bytes of JSON in it before binary tensors; 0: all of it.

    Returns:
        The answer's bytes and how many of them are JSON when binary tensors follow (else 0), or an error result.
    """
    try:
        request = parse_json(data[: head or len(data)])
        given, identity = read_input(request, data[head:] if head else None)
        found = _run(serving, given)
        return write(serving.manifest, identity, found, read_wanted(request, tuple(found.outputs)))
    except (BodyError, PictureError) as error:
        return {"error": str(error), "reason": "body"}
    except _Failed as failed:
        return failed.result


# ---- the request ------------------------------------------------------------------------------------------------


def read_input(request: Any, binary: Bytes | None) -> tuple[TensorInput, str | None]:
    """The input tensor and the request's id. BodyError with what is wrong."""
    inputs = request.get("inputs") if isinstance(request, dict) else None
    if not isinstance(inputs, list) or len(inputs) != 1 or not isinstance(inputs[0], dict):
        raise BodyError("inputs must be a list with one tensor, which holds the pictures")
    identity = request.get("id")
    if "id" in request and not isinstance(identity, str):
        raise BodyError("id must be a text")
    tensor = inputs[0]
    if tensor.get("name") != INPUT:
        raise BodyError(f"there is no input {_shown(tensor.get('name'))}; it is called {INPUT!r}")
    shape, datatype = tensor.get("shape"), tensor.get("datatype")
    if (
        not isinstance(shape, list)
        or not shape
        or len(shape) > MAX_SIDES
        or not all(type(side) is int and 0 < side < 2**31 for side in shape)
    ):
        raise BodyError("shape must be a list of whole numbers above 0")
    if datatype not in TYPES:
        raise BodyError(f"the datatype must be one of {', '.join(TYPES)}, not {_shown(datatype)}")
    size = _parameters(tensor).get("binary_data_size")
    if size is None:
        values = tensor.get("data")
        if not isinstance(values, list):
            raise BodyError("the input needs data: a list, or a binary tensor with parameters.binary_data_size")
        return TensorInput(datatype, shape, values), identity
    if binary is None:
        raise BodyError("a binary tensor needs the header Inference-Header-Content-Length, which says where it begins")
    if type(size) is not int or size != len(binary):
        raise BodyError(f"binary_data_size is {_shown(size)}, but {len(binary)} bytes follow the JSON")
    return TensorInput(datatype, shape, binary), identity


def read_wanted(request: dict[str, Any], names: tuple[str, ...]) -> list[Wanted]:
    """The outputs asked for; all of `names` when the request names none. BodyError."""
    binary = _parameters(request).get("binary_data_output") is True
    asked = request.get("outputs", [])
    if asked == []:
        return [Wanted(name, binary, 0) for name in names]
    if not isinstance(asked, list) or len(asked) > 16 or not all(isinstance(output, dict) for output in asked):
        raise BodyError("outputs must be a list of tensors")
    wanted = []
    for output in asked:
        name, parameters = output.get("name"), _parameters(output)
        if name not in names:
            raise BodyError(f"there is no output {_shown(name)}; there are: {', '.join(names)}")
        classes = parameters.get("classification", 0)
        if type(classes) is not int or classes < 0 or (classes and name != "scores"):
            raise BodyError("classification must be a whole number, and asked of the output scores")
        wanted.append(Wanted(name, parameters.get("binary_data", binary) is True, classes))
    return wanted


def _parameters(of: dict[str, Any]) -> dict[str, Any]:
    parameters = of.get("parameters", {})
    if not isinstance(parameters, dict):
        raise BodyError("parameters must be an object")
    for name in parameters:
        if name.startswith("shared_memory"):
            raise BodyError("shared memory is not supported: send the tensor itself")
    return parameters


def _shown(value: Any) -> str:
    """What was sent, if it is short: a number may have thousands of digits, a list millions of elements."""
    short = isinstance(value, str) or (isinstance(value, int) and abs(value) < 10**9)
    return f"{value!r:.64}" if short else f"this {type(value).__name__}"


def array(given: TensorInput) -> Array:
    """A numeric tensor. BodyError when data and shape do not fit."""
    kind = np.dtype("<f4") if given.datatype == "FP32" else np.dtype(np.uint8)
    count = math.prod(given.shape)
    if isinstance(given.data, list):
        tensor = _numbers(given.data, count, kind)
    elif len(given.data) == count * kind.itemsize:
        tensor = np.frombuffer(given.data, kind)
    else:
        raise BodyError(
            f"a {given.datatype} tensor of shape {given.shape} has {count * kind.itemsize} bytes, not {len(given.data)}"
        )
    if kind.kind == "f" and not np.isfinite(tensor).all():
        raise BodyError("FP32 data must be finite numbers of 32 bits")
    return tensor.reshape(given.shape)


def _numbers(data: list[Any], count: int, kind: np.dtype[Any]) -> Array:
    """`count` numbers, flat or nested. BodyError."""
    sides: list[int] = []
    row: Any = data
    while isinstance(row, list) and len(sides) < MAX_SIDES:  # lists that become an array are all as long as the first
        sides.append(len(row))
        row = row[0] if row else None
    if math.prod(sides) != count:
        raise BodyError(f"data holds {math.prod(sides)} elements, but the shape {count}")
    flat: list[Any] | None = data
    for side in sides[1:]:
        flat = _joined(flat, side)
    # numpy would take "7" and true for numbers as well, and make all texts as long as the longest.
    values = np.array(flat) if flat is not None and set(map(type, flat)) <= {int, float} else None
    if values is None or values.dtype.kind not in "iuf" or values.size != count:
        raise BodyError("data must hold numbers, flat or nested as the shape says")
    if kind == np.uint8:
        whole = values.dtype.kind != "f" or np.array_equal(values, np.rint(values))
        if not (whole and values.min() >= 0 and values.max() <= 255):
            raise BodyError("UINT8 data must be whole numbers from 0 to 255")
    with np.errstate(over="ignore"):  # becomes infinity, which is refused
        return values.astype(kind)


def _joined(rows: list[Any] | None, side: int) -> list[Any] | None:
    """The elements of all rows, None where one is no list of this length."""
    if rows is None or set(map(type, rows)) != {list} or set(map(len, rows)) != {side}:
        return None
    return list(itertools.chain.from_iterable(rows))


def elements(given: TensorInput) -> list[Bytes]:
    """A BYTES tensor's elements: in binary a length of four bytes is before each, in JSON they are base64.

    Raises:
        BodyError: Their number is not the shape's, or they are no elements.
        PictureError: One is no base64.
    """
    count = given.shape[0]
    if given.shape not in ([count], [count, 1]):
        raise BodyError(f"a BYTES tensor has the shape [n], not {given.shape}")
    if not isinstance(given.data, list):
        return _binary_elements(memoryview(given.data), count)
    if len(given.data) != count:
        raise BodyError(f"the shape {given.shape} does not fit {len(given.data)} elements")
    if not all(isinstance(text, str) for text in given.data):
        raise BodyError("BYTES data must be a list of texts: picture files in base64")
    return [from_base64(text) for text in given.data]


def _binary_elements(data: memoryview, count: int) -> list[Bytes]:
    found: list[Bytes] = []
    end = 0
    for number in range(count):
        start = end + ELEMENT.size
        end = start + (ELEMENT.unpack_from(data, end)[0] if start <= len(data) else 0)
        if end > len(data):
            raise BodyError(f"the binary BYTES tensor ends within element {number} of {count}")
        found.append(data[start:end])
    if end < len(data):
        raise BodyError(f"the shape {[count]} does not fit: more elements follow")
    return found


# ---- the model --------------------------------------------------------------------------------------------------


def _run(serving: Serving, given: TensorInput) -> TensorOutputs:
    """What the model answers. BodyError, _Failed."""
    most = serving.manifest.batch.max_batch
    if given.shape[0] > most:
        raise BodyError(f"the request holds {given.shape[0]} pictures; this model takes at most {most} at once")
    if given.datatype == "FP32":
        if not isinstance(serving, Network):
            raise BodyError(
                f"the model {serving.manifest.name!r} gives no scores and takes pictures: send UINT8 pixels or BYTES"
            )
        tensor = _network_input(given, serving)
        return _of_scores(serving, lambda: serving.scores_of_tensor(tensor))
    if given.datatype == "BYTES":
        jobs = [PictureJob(memoryview(element), 0) for element in elements(given)]
    else:
        pictures = pixels(given, serving.manifest.input.channels)
        jobs = [PictureJob(memoryview(b""), 0, picture) for picture in pictures]
    if not isinstance(serving, Network | Ensemble):
        found = serving.run(jobs)
        for result in found:
            if "error" in result:
                raise _Failed(result)
        return TensorOutputs({"result": _texts([encode(result) for result in found])})
    serving.decode(jobs)
    for job in jobs:
        if job.cost:
            raise _Failed(
                {
                    "error": "the pictures of this request take too much to decode at once: send fewer of them, or "
                    f"smaller ones, or each to /{serving.manifest.name}/classify",
                    "reason": "picture",
                }
            )
        if job.picture is None:
            raise _Failed({"error": job.error, "reason": "picture"})
    return _of_scores(serving, lambda: serving.scores([job.picture for job in jobs if job.picture is not None]))


def _of_scores(serving: Serving, run: Callable[[], Scores]) -> TensorOutputs:
    manifest = serving.manifest
    try:
        found = run()
        scores = results.columns(found.values, manifest.output)
    except Unreachable:
        raise
    except Exception as error:
        serving.context.note(f"{manifest.name}: {describe(error)}")
        raise _Failed({"error": f"the model {manifest.name!r} failed on this tensor", "reason": "model"}) from error
    if not np.isfinite(scores).all():
        raise _Failed({"error": "the model answered with something that is no number", "reason": "model"})
    said = [UNLIKE if each else LIKE for each in found.unlike] if found.unlike is not None else []
    label = _texts([_label(manifest.output.labels, index) for index in scores.argmax(axis=1).tolist()])
    return TensorOutputs({"scores": scores.astype("<f4"), "label": label}, ",".join(said) if UNLIKE in said else "")


def _network_input(given: TensorInput, serving: Network) -> Array:
    """float32 in the shape that the network itself takes. BodyError."""
    wanted = serving.manifest.input
    expected = [wanted.height, wanted.width, wanted.channels]
    if wanted.layout == "nchw":
        expected = [wanted.channels, wanted.height, wanted.width]
    if given.shape[1:] != expected:
        shape = ", ".join(map(str, expected))
        raise BodyError(f"an FP32 tensor for this model has the shape [n, {shape}], not {given.shape}")
    return array(given)


def pixels(given: TensorInput, channels: int) -> list[Picture]:
    """Upright pictures from uint8 (n, height, width, 1 or 3), made grey or RGB as the model takes. BodyError."""
    shape, found = given.shape, []
    if len(shape) != 4 or shape[3] not in (1, 3):
        raise BodyError(f"a UINT8 tensor has the shape [n, height, width, channels] with 1 or 3 channels, not {shape}")
    for each in array(given):
        each = np.ascontiguousarray(each)
        if each.shape[2] != channels:
            each = cv2.cvtColor(each, cv2.COLOR_RGB2GRAY if channels == 1 else cv2.COLOR_GRAY2RGB)
        height, width = each.shape[:2]
        found.append(Picture(each.reshape((height, width) if channels == 1 else (height, width, 3)), (width, height)))
    return found


def _label(labels: tuple[str, ...], index: int) -> str:
    return labels[index] if labels else f"class {index}"


def _texts(texts: list[str]) -> Array:
    return np.array([text.encode() for text in texts], dtype=object)


# ---- the answer -------------------------------------------------------------------------------------------------


def write(manifest: Manifest, identity: str | None, found: TensorOutputs, wanted: list[Wanted]) -> tuple[bytes, int]:
    """The answer's bytes, and how many of them are JSON when binary tensors follow (else 0)."""
    described: list[dict[str, Any]] = []
    parts: list[bytes] = []
    for want in wanted:
        tensor = found.outputs[want.name]
        if want.classes:
            tensor = _classes(tensor, min(want.classes, tensor.shape[1]), manifest.output.labels)
        text = tensor.dtype == object
        about: dict[str, Any] = {
            "name": want.name,
            "datatype": "BYTES" if text else "FP32",
            "shape": list(tensor.shape),
        }
        flat = tensor.ravel().tolist()
        if not want.binary:
            about["data"] = [value.decode() for value in flat] if text else flat
        else:
            part = b"".join(ELEMENT.pack(len(value)) + value for value in flat) if text else tensor.tobytes()
            about["parameters"] = {"binary_data_size": len(part)}
            parts.append(part)
        described.append(about)
    head = {
        "model_name": manifest.name,
        "model_version": VERSION,
        **({"id": identity} if identity is not None else {}),
        **({"parameters": {"input": found.input}} if found.input else {}),
        "outputs": described,
    }
    encoded = encode(head).encode()
    return b"".join([encoded, *parts]), len(encoded) if parts else 0


def _classes(scores: Array, count: int, labels: tuple[str, ...]) -> Array:
    """The best `count` of each row as "score:index:label" (the classification extension)."""
    best = np.argsort(-scores, axis=1, kind="stable")[:, :count]
    texts = [
        f"{row[index]:f}:{index}:{_label(labels, index)}".encode()
        for row, order in zip(scores, best.tolist(), strict=True)
        for index in order
    ]
    return np.array(texts, dtype=object).reshape(best.shape)
