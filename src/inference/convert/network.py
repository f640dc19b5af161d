"""Networks in ONNX, TFLite and OpenVINO's own form: opened, and what they take and give. Imports OpenVINO.

For the process that converts: what is wrong with a file may end the process that reads it. Each file is read by the
front end of its format alone, so that no name makes another parser read it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from imageserver.errors import ModelError
from imageserver.inference.convert import postprocess
from imageserver.inference.shared import weights
from imageserver.inference.shared.formats import kinds, onnx, tflite
from imageserver.inference.shared.formats.kinds import Format
from imageserver.inference.worker.backends import openvino as backend
from imageserver.lines import printable

Shape = tuple[int | None, ...]
"""Sides of a tensor; None: any."""

REASONS = (
    (postprocess.DAMAGED, f"its operation {postprocess.OPERATION} is damaged, or of a kind that nobody has seen"),
    ("Model can't be parsed", "it is damaged or cut short"),
    ("nullptr for InputModel", "it is damaged or cut short"),
    ("Incorrect weights in bin file", "its .bin file is cut short or another one's"),
    ("bin file cannot be found", "its .bin file is not beside it"),
    ("No document element found", "it is damaged or cut short"),
    ("Error parsing element", "it is damaged or cut short"),
    ("FlatBuffer verification failed", "it is damaged or cut short"),
    ("Invalid usage of method for externally stored data", "a file with its weights is cut short or another one's"),
)
"""What OpenVINO says, and in our words."""

LONGEST = 100
"""Characters of a name that are told: a file may hold any."""

EDGE_TPU = "edgetpu-custom-op"


@dataclass(frozen=True)
class TensorPort:
    """An input or output. `shape` is None where even the number of sides is open; `kind` is as in "f32", "u8"."""

    name: str
    shape: Shape | None
    kind: str

    def __str__(self) -> str:
        if self.shape is None:
            return f"{self.name[:LONGEST]!r} (any shape, {self.kind})"
        sides = "x".join("?" if side is None else str(side) for side in self.shape)
        return f"{self.name[:LONGEST]!r} ({sides or 'one number'}, {self.kind})"


@dataclass
class ForeignNetwork:
    """A network in a file, as OpenVINO's front end read it.

    Attributes:
        model: an `openvino.Model`.
        texts: what the file says of itself, by key: of ONNX its `metadata_props`, of TFLite as `tflite.texts` has it.
    """

    name: str
    format: Format
    model: Any
    inputs: list[TensorPort]
    outputs: list[TensorPort]
    texts: dict[str, str] = field(default_factory=dict)


def open_network(path: Path) -> ForeignNetwork:
    """Read a file that `kinds.of` knows. ModelError: a sentence that begins with its name."""
    format_ = kinds.of(path)
    assert format_ is not None
    try:
        kinds.check_start(path)
        weights.files_of(path)  # before OpenVINO opens what the file names
        texts = _texts(path, format_)
        model = _read(path, format_)
        if not model.outputs:
            raise ValueError("holds no network: it gives nothing")
        return ForeignNetwork(path.name, format_, model, ports(model.inputs), ports(model.outputs), texts)
    except UnicodeDecodeError as error:
        raise ModelError(f"{path.name} is damaged: it holds a name that is no text") from error
    except ValueError as error:
        raise ModelError(f"{path.name} {error}") from error
    except OSError as error:
        raise ModelError(f"{path.name} cannot be read: {error.strerror or error}") from error


def _texts(path: Path, format_: Format) -> dict[str, str]:
    """What a file says of itself. ValueError, OSError."""
    match format_:
        case Format.ONNX:
            return onnx.contents(path).texts
        case Format.TFLITE:
            return tflite.texts(path)
    return {}


def _read(path: Path, format_: Format) -> Any:
    """An `openvino.Model`. ValueError: how a sentence goes on that begins with the file's name."""
    front_end = backend.library().frontend.FrontEndManager().load_by_framework(format_.value)
    try:
        if format_ is not Format.TFLITE:
            return front_end.convert(front_end.load(str(path)))
        postprocess.extend(front_end)
        model = front_end.convert(front_end.load(str(path)))
        postprocess.name_outputs(model)
        return model
    except backend.errors() as error:
        raise ValueError(_reason(str(error), path)) from error


def _reason(text: str, path: Path) -> str:
    missing = re.search(r"No (?:conversion rule found for operations:|translator found for) (.+)", text)
    if missing is None:
        return f"cannot be read: {gist(text, path)}"
    operations = printable(missing[1].strip().removesuffix(" node.")[:200])
    if EDGE_TPU in operations:
        return "is compiled for an Edge TPU: give the file that it was compiled from, without `_edgetpu` in its name"
    return (
        f"needs operations that OpenVINO does not have: {operations}; "
        "export the network without them, for example without what prepares pictures or texts"
    )


def gist(text: str, path: Path | None = None) -> str:
    """The last line of what OpenVINO says that is a reason, without the folder of `path`."""
    for beginning, words in REASONS:
        if beginning in text:
            return words
    lines = [line.strip() for line in text.splitlines()]
    telling = [line for line in lines if line and not line.startswith(("Check ", "Exception ", "FrontEnd API"))]
    said = printable(telling[-1] if telling else "OpenVINO does not say why")
    return (said.replace(f"{path.parent}/", "") if path is not None else said)[:200]


def ports(found: list[Any]) -> list[TensorPort]:
    """Of the inputs or outputs of an `openvino.Model`."""
    return [_port(each) for each in found]


def _port(found: Any) -> TensorPort:
    return TensorPort(name_of(found), _shape(found.get_partial_shape()), found.get_element_type().to_string())


def name_of(port: Any) -> str:
    """The first of its names; "" for one without."""
    return min(port.get_names(), default="")


def _shape(partial: Any) -> Shape | None:
    if partial.rank.is_dynamic:
        return None
    return tuple(side.get_length() if side.is_static else None for side in partial)
