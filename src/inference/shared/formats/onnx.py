"""What an ONNX file names beside its network: files with weights, and texts about itself. Nothing is executed.

Source: onnx.proto of ONNX 1.x. A tensor may lie in another file, under a path that the file itself gives ("external
data"). Whoever wrote the file chose that path, so it may lead nowhere but into the folder that the file is in.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from imageserver.inference.shared.formats import protobuf
from imageserver.inference.shared.formats.protobuf import Field

MOST_FIELDS = 2_000_000
"""That are looked at: a network of ten thousand operations has a tenth of them."""
MOST_FILES = 10_000
LONGEST = 65_536
"""Bytes of a text that is kept: of ten thousand labels, say."""
MOST_TEXTS = 100

_MESSAGES = {
    "model": {7: "graph", 14: "text", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "tensor": {13: "external"},
}
"""The messages that lead to a tensor, and by which of their fields."""
_KEY, _VALUE = 1, 2
"""Fields of a StringStringEntryProto."""


@dataclass
class OnnxContents:
    """What a file names: other files, as it gives their paths, and texts about itself (`metadata_props`)."""

    locations: set[str] = field(default_factory=set)
    texts: dict[str, str] = field(default_factory=dict)


def read(stream: BinaryIO, size: int) -> OnnxContents:
    """Look through a file of `size` bytes.

    Raises:
        ValueError: it is damaged, or names more than a network does; how a sentence goes on after the file's name.
        OSError: it cannot be read.
    """
    found = OnnxContents()
    waiting = [("model", 0, size)]
    seen, graphs = 0, 0
    while waiting:
        message, start, end = waiting.pop()
        for part in protobuf.fields(stream, start, end):
            seen += 1
            inner = _MESSAGES[message].get(part.number) if part.kind == protobuf.BYTES else None
            graphs += inner in ("graph", "function")
            if inner in ("external", "text"):
                _keep(found, inner, *_entry(stream, part))
            elif inner is not None:
                waiting.append((inner, part.start, part.end))
            if seen > MOST_FIELDS or len(found.locations) > MOST_FILES:
                raise ValueError(f"holds more than {MOST_FIELDS} parts, or names more than {MOST_FILES} files")
    if not graphs:
        raise ValueError("is no ONNX file, or holds no network")
    return found


def _keep(found: OnnxContents, kind: str, key: str, value: str) -> None:
    if kind == "external" and key == "location":
        found.locations.add(value)
    elif kind == "text" and len(found.texts) < MOST_TEXTS:
        found.texts[key] = value


def _entry(stream: BinaryIO, message: Field) -> tuple[str, str]:
    """Key and value of an entry; of one that is given twice the last counts. ValueError."""
    texts = {_KEY: "", _VALUE: ""}
    for part in protobuf.fields(stream, message.start, message.end):
        if part.number in texts and part.kind == protobuf.BYTES:
            stream.seek(part.start)
            texts[part.number] = stream.read(min(part.end - part.start, LONGEST)).decode("utf-8", "replace")
    return texts[_KEY], texts[_VALUE]


def contents(path: Path) -> OnnxContents:
    """What a file names. ValueError, OSError, as `read`."""
    with path.open("rb") as stream:
        return read(stream, os.fstat(stream.fileno()).st_size)


def external(path: Path) -> Iterator[Path]:
    """The files with weights that a file names, in the order of their names.

    Raises:
        ValueError: one lies, or leads, outside of the file's folder, is missing, or is what no weights are; how a
            sentence goes on after the file's name.
        OSError: the file cannot be read.
    """
    folder = os.path.realpath(path.parent)
    for location in sorted(contents(path).locations):
        check_location(location)
        file = path.parent / location
        if not Path(os.path.realpath(file)).is_relative_to(folder):
            raise ValueError(f"keeps weights in {location[:100]!r}, a link out of its folder: copy them there")
        if not file.is_file():
            raise ValueError(f"keeps weights in {location[:100]!r}, which is not there: copy that file beside it")
        yield file


def check_location(location: str) -> None:
    """ValueError for a path that may lead out of the folder it is taken from, or to what is not weights."""
    parts = PurePosixPath(location).parts
    printable = location.isprintable() and "\\" not in location and ":" not in location
    if not parts or not printable or location.startswith("/") or ".." in parts:
        raise ValueError(
            f"keeps weights in {location[:100]!r}, outside of its own folder: save it again with the weights beside "
            "it, or inside: `onnx.save(onnx.load(FILE), NEW)`"
        )
    if len(location) > 1024 or any(part.startswith(".") for part in parts) or parts[-1].endswith((".py", ".toml")):
        raise ValueError(f"keeps weights in {location[:100]!r}, which is no name of a file of weights: save it again")
