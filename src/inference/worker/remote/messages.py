"""What is said in the Open Inference Protocol over HTTP: tensors in, tensors out. Pure: bytes in, arrays out.

Source: KServe's "Open Inference Protocol" (v2), HTTP/REST, and Triton's "Binary Tensor Data Extension". Answers are
a stranger's bytes: their size is bounded before they come here, and nothing is built of a tensor before its bytes are
known to be as many as its shape says. Whatever is wrong with one is a ValueError with a sentence.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imageserver.errors import BodyError
from imageserver.inference.shared.request_bodies import Bytes, parse_json
from imageserver.inference.worker import tensors
from imageserver.inference.worker.tensors import TensorInput

Array = NDArray[Any]
Answer = Mapping[str, Array | list[bytes]]
"""By the names of outputs: float32 in the tensor's shape, or the elements of a BYTES tensor."""

NUMBERS = {
    "BOOL": "?", "UINT8": "u1", "UINT16": "<u2", "UINT32": "<u4", "UINT64": "<u8", "INT8": "i1", "INT16": "<i2",
    "INT32": "<i4", "INT64": "<i8", "FP16": "<f2", "FP32": "<f4", "FP64": "<f8",
}  # fmt: skip
"""Datatypes of the protocol, as numpy has them."""
TEXTS = "BYTES"

MOST_TENSORS = 64
MOST_SIDES = 8
MOST_TEXTS = 4096
"""Elements of a BYTES tensor: each is an object."""
LONGEST = 200
"""Characters of a name."""
_encode = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode


@dataclass(frozen=True, slots=True)
class TensorForm:
    """An input or output as a model describes it; a side of -1 may have any size."""

    name: str
    datatype: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ModelForm:
    """What a model says that it takes and gives."""

    inputs: tuple[TensorForm, ...]
    outputs: tuple[TensorForm, ...]


@dataclass(frozen=True, slots=True)
class Question:
    """One tensor for a model, and the outputs that are wanted (none: all).

    `data`: an array of the datatype's numbers, contiguous, or the elements of a BYTES tensor.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]
    data: Array | Sequence[Bytes]
    outputs: tuple[str, ...] = ()

    def binary(self) -> Bytes:
        """The tensor as the binary extension and gRPC have it."""
        if isinstance(self.data, np.ndarray):
            return self.data.reshape(-1).view(np.uint8).data
        return b"".join(part for each in self.data for part in (tensors.ELEMENT.pack(len(each)), each))


def as_numbers(batch: Array, datatype: str) -> Array:
    """float32 as the numbers of a datatype: whole ones are rounded, and cut at the ends of their range."""
    kind = np.dtype(NUMBERS[datatype])
    if kind.kind in "iu":
        about = np.iinfo(kind)
        batch = np.clip(np.rint(batch), about.min, about.max)
    return np.ascontiguousarray(batch, kind)


def request(question: Question, *, binary: bool) -> tuple[list[Bytes], int]:
    """The parts of a body, and how many of its bytes are JSON; 0: all of it, as a server without the extension takes.

    Binary answers are asked for where `binary` is true.
    """
    tensor: dict[str, Any] = {"name": question.name, "datatype": question.datatype, "shape": list(question.shape)}
    about: dict[str, Any] = {"inputs": [tensor]}
    if question.outputs:
        about["outputs"] = [{"name": name} for name in question.outputs]
    if not binary:
        tensor["data"] = _listed(question.data)
        return [_encode(about).encode()], 0
    data = question.binary()
    tensor["parameters"] = {"binary_data_size": len(data)}
    about["parameters"] = {"binary_data_output": True}
    for output in about.get("outputs", ()):
        output["parameters"] = {"binary_data": True}
    head = _encode(about).encode()
    return [head, data], len(head)


def _listed(data: Array | Sequence[Bytes]) -> list[Any]:
    if isinstance(data, np.ndarray):
        numbers: list[Any] = data.ravel().tolist()
        return numbers
    import base64

    return [base64.b64encode(each).decode() for each in data]


def answer(body: Bytes, head: int) -> Answer:
    """The outputs in an answer of which `head` bytes are JSON; 0: all of it. ValueError."""
    if head > len(body):
        raise ValueError(f"says that {head} bytes of its {len(body)} are JSON")
    about = _object(body[: head or len(body)])
    binary, at = memoryview(body)[head:] if head else memoryview(b""), 0
    found: dict[str, Array | list[bytes]] = {}
    for output in _tensors(about.get("outputs"), "outputs"):
        form = _form(output)
        parameters = output.get("parameters")
        size = parameters.get("binary_data_size") if isinstance(parameters, dict) else None
        if size is None:
            found[form.name] = _from_json(form, output.get("data"))
            continue
        if type(size) is not int or not 0 <= size <= len(binary) - at:
            raise ValueError(f"has no room for the {_shown(size)} bytes of {form.name!r}")
        found[form.name] = from_binary(form, binary[at : at + size])
        at += size
    if at != len(binary):
        raise ValueError(f"has {len(binary) - at} bytes that belong to no output")
    return found


def model_form(body: Bytes) -> ModelForm:
    """What a model says of its tensors. ValueError."""
    about = _object(body)
    sides = [tuple(_form(each) for each in _tensors(about.get(name, []), name)) for name in ("inputs", "outputs")]
    return ModelForm(*sides)


def extensions(body: Bytes) -> frozenset[str]:
    """What a server says that it has beside the protocol. ValueError."""
    names = _object(body).get("extensions")
    return frozenset(name for name in names if isinstance(name, str)) if isinstance(names, list) else frozenset()


def said_ready(body: Bytes) -> bool:
    """Whether an answer with a good status says that the model is ready: some servers say false in it."""
    if not body:
        return True
    try:
        return _object(body).get("ready", True) is not False
    except ValueError:
        return True  # a text such as "OK"


def fault(body: Bytes) -> str:
    """The `error` of an answer, for the log; "" where there is none."""
    try:
        text = _object(body[: 2**16]).get("error")
    except ValueError:
        return ""
    return _plain(text) if isinstance(text, str) else ""


def form_of(name: object, datatype: object, shape: object) -> TensorForm:
    """A tensor's description. ValueError."""
    if not isinstance(name, str) or not 0 < len(name) <= LONGEST or not isinstance(datatype, str):
        raise ValueError("describes a tensor without a name or datatype")
    whole = isinstance(shape, list | tuple) and all(type(side) is int and -1 <= side < 2**31 for side in shape)
    if not isinstance(shape, list | tuple) or not whole or len(shape) > MOST_SIDES:
        raise ValueError(f"gives {name!r:.100} a shape that is none")
    return TensorForm(name, datatype[:32], tuple(shape))


def from_binary(form: TensorForm, data: Bytes) -> Array | list[bytes]:
    """A tensor's bytes. ValueError."""
    count = _count(form)
    if form.datatype == TEXTS:
        return [bytes(each) for each in _elements(TensorInput(TEXTS, [count], data))] if count else []
    kind = _kind(form)
    if len(data) != count * kind.itemsize:
        raise ValueError(f"has {len(data)} bytes for {form.name!r:.100} of the shape {list(form.shape)}")
    with np.errstate(all="ignore"):
        return np.frombuffer(data, kind).reshape(form.shape).astype(np.float32)


def _from_json(form: TensorForm, data: object) -> Array | list[bytes]:
    count = _count(form)
    if not isinstance(data, list):
        raise ValueError(f"has no data for {form.name!r:.100}")
    if form.datatype == TEXTS:
        if len(data) != count or not all(isinstance(text, str) for text in data):
            raise ValueError(f"has other data for {form.name!r:.100} than {count} texts")
        return [text.encode(errors="replace") for text in data]
    _kind(form)
    if not count:
        return np.zeros(form.shape, np.float32)
    if form.datatype == "BOOL":
        data = [float(value) if isinstance(value, bool) else value for value in data]
    try:
        return tensors.array(TensorInput("FP32", list(form.shape), data))
    except BodyError as error:
        raise ValueError(f"has other data for {form.name!r:.100} than its shape says: {error}") from None


def _elements(given: TensorInput) -> list[Bytes]:
    try:
        return tensors.elements(given)
    except BodyError as error:
        raise ValueError(f"is damaged: {error}") from None


def _object(body: Bytes) -> dict[str, Any]:
    try:
        found = parse_json(body)
    except BodyError as error:
        raise ValueError(f"is damaged: {error}") from None
    if not isinstance(found, dict):
        raise ValueError("is no JSON object")
    return found


def _tensors(listed: object, name: str) -> list[dict[str, Any]]:
    good = isinstance(listed, list) and len(listed) <= MOST_TENSORS and all(isinstance(each, dict) for each in listed)
    if not isinstance(listed, list) or not good:
        raise ValueError(f"has no list of at most {MOST_TENSORS} {name}")
    return listed


def _form(about: dict[str, Any]) -> TensorForm:
    return form_of(about.get("name"), about.get("datatype"), about.get("shape"))


def _kind(form: TensorForm) -> np.dtype[Any]:
    kind = NUMBERS.get(form.datatype)
    if kind is None:
        raise ValueError(f"gives {form.name!r:.100} as {form.datatype!r}; known are {', '.join(NUMBERS)}")
    return np.dtype(kind)


def _count(form: TensorForm) -> int:
    count = math.prod(form.shape)
    if any(side < 0 for side in form.shape) or (form.datatype == TEXTS and count > MOST_TEXTS):
        raise ValueError(f"gives {form.name!r:.100} the shape {list(form.shape)}")
    return count


def _shown(value: object) -> str:
    return str(value) if type(value) is int and abs(value) < 10**12 else f"this {type(value).__name__}"


def _plain(text: str) -> str:
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text[:400]).split())[:200]
