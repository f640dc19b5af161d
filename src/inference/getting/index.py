"""The index of models that can be fetched: index.toml beside this file, read and checked."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imageserver.errors import ManifestError
from imageserver.inference.shared import manifest
from imageserver.inference.shared.checked_table import CheckedTable

FILE = Path(__file__).with_name("index.toml")

LICENSES = ("Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "CC-BY-4.0", "CC0-1.0", "ISC", "MIT")
"""By their SPDX names. All of them let a model be served by a program of any licence."""

MOST_BYTES = 2 * 2**30
"""Of a file."""

_SHA256 = re.compile(r"[0-9a-f]{64}")
_FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,100}")


@dataclass(frozen=True)
class IndexedFile:
    """A file of a model.

    Attributes:
        name: in a folder or at a mirror, and in the model's folder where that comes with the server.
        address: where its source has it.
        size: bytes.
        sha256: hexadecimal.
    """

    name: str
    address: str
    size: int
    sha256: str


@dataclass(frozen=True)
class IndexedModel:
    """A row of the index.

    Attributes:
        name: of the model, unless its user gives another.
        task: its kind, as manifests have it.
        license: SPDX name.
        page: the address of what its source says about it, the licence and the figures included.
        figures: what its source says of its quality; nobody here has measured it.
        files: the network first.
        shipped: whether the model's folder comes with the server, and lacks these files alone.
        reading: what the file does not say of itself, by the names of add_model's options.
        output: keys of the manifest's [output].
    """

    name: str
    title: str
    task: str
    license: str
    page: str
    figures: str
    files: tuple[IndexedFile, ...]
    shipped: bool
    reading: dict[str, Any]
    output: dict[str, float]

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)


def read(file: Path | None = None) -> dict[str, IndexedModel]:
    """The models by name, in the order of the file; the shipped index where none is given.

    ManifestError: with all that is wrong in it.
    """
    file = file or FILE
    try:
        data = tomllib.loads(file.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ManifestError(f"{file}: cannot be read: {error}") from error
    models, faults = {}, []
    for name, row in data.items():
        table = CheckedTable("", row if isinstance(row, dict) else {})
        models[name] = _model(table, name, file.parent)
        faults += [f"[{name}] {fault}" for fault in table.faults()]
    if faults:
        raise ManifestError(f"{file}: {'; also '.join(faults)}")
    return models


def _model(table: CheckedTable, name: str, folder: Path) -> IndexedModel:
    manifest.check_name(folder / name, name)
    output, shipped = table.table("output"), table.boolean("shipped", False)
    if table.has("labels") and not shipped:
        table.wrong("labels", "are a file of a shipped model; others say reading.labels")
    limits = {"confidence": output.number("confidence", 0.001, 1.0, None), "iou": output.number("iou", 0.0, 1.0, None)}
    return IndexedModel(
        name=name,
        title=table.text("title", name, 100),
        task=table.choice("task", manifest.KINDS),
        license=table.choice("license", LICENSES),
        page=_address(table, "page"),
        figures=table.text("figures", "", 200),
        files=(_file(table), *([_file(table.table("labels"))] if table.has("labels") else [])),
        shipped=shipped,
        reading=_reading(table.table("reading"), folder),
        output={key: value for key, value in limits.items() if value is not None},
    )


def _file(table: CheckedTable) -> IndexedFile:
    return IndexedFile(
        name=_matching(table, "file", _FILE, "a name of letters, digits, '.', '-' and '_'"),
        address=_address(table, "address"),
        size=table.integer("bytes", 1, MOST_BYTES),
        sha256=_matching(table, "sha256", _SHA256, "64 hexadecimal digits in lower case"),
    )


def _reading(table: CheckedTable, folder: Path) -> dict[str, Any]:
    labels = table.text("labels", "", 100)
    if labels and not (folder / labels).is_file():
        table.wrong("labels", f"there is no file {labels!r} beside the index")
    found: dict[str, Any] = {
        "labels": folder / labels if labels else None,
        "size": tuple(map(int, table.numbers("size", (), 2))),
        "range": list(table.numbers("range", (), 2)),
        "mean": list(table.numbers("mean", (), 3)),
        "std": list(table.numbers("std", (), 3)),
        "order": table.choice("order", ("", "rgb", "bgr"), ""),
        "preprocessing": table.choice("preprocessing", ("", *manifest.PREPROCESSINGS), ""),
    }
    return {key: value for key, value in found.items() if value}


def _address(table: CheckedTable, key: str) -> str:
    return _matching(table, key, re.compile(r"https://[a-z0-9.-]+/[!-~]*"), "an address that begins with https://")


def _matching(table: CheckedTable, key: str, pattern: re.Pattern[str], wanted: str) -> str:
    text = table.text(key, "", 500)
    if not pattern.fullmatch(text):
        table.wrong(key, f"must be {wanted}, not {text[:100]!r}")
    return text
