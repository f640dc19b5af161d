"""What a front end and a model take, as measured, and the file that keeps it.

    {"front_ends": {"40960": {"processor_ms": 0.21, …}}, "models": {"lenet": {"processor_ms": 1.6, …}}}

Each entry says when and on what it was measured; a front end's stands by the bytes of the frames that it was given.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from imageserver import files
from imageserver.errors import SettingError
from imageserver.inference.shared.checked_table import CheckedTable

MOST_BYTES = 2**20
"""Of the file."""
MOST_ENTRIES = 1000
LONGEST_TEXT = 200
LONGEST_MS, LARGEST_MB, MOST_PICTURES = 1e6, 1e7, 1e9
"""What is larger was not measured."""


@dataclass(frozen=True)
class FrontEndCost:
    """What a front end takes for frames of one size.

    `processor_ms`: of processor time for a frame that is answered. `memory_mb`: of the process before the first camera.
    `camera_kb`: for each camera that is connected. `answer_bytes`: of an answer. `answered`: frames a second at which
    it was measured. `measured`: when and on what, or how it was given.
    """

    processor_ms: float
    memory_mb: float
    camera_kb: float
    answer_bytes: float
    answered: float
    measured: str


@dataclass(frozen=True)
class ModelCost:
    """What a model takes in a worker.

    `processor_ms`: of processor time for a picture, its decoding included. `memory_mb`: of a process that runs it.
    `pictures`: most that it answers in a second. `batch`: pictures at a time, at which that was measured. `measured`:
    when and on what, or how it was given.
    """

    processor_ms: float
    memory_mb: float
    pictures: float
    batch: int
    measured: str


@dataclass
class Known:
    """All that is known: front ends by the bytes of a frame, models by name."""

    front_ends: dict[int, FrontEndCost] = field(default_factory=dict)
    models: dict[str, ModelCost] = field(default_factory=dict)

    def front_end(self, size: int) -> FrontEndCost | None:
        """Of frames of this size, or else of the next larger that was measured; None: no such was."""
        able = [measured for measured in self.front_ends if measured >= size]
        return self.front_ends[min(able)] if able else None


def read(path: Path) -> Known:
    """What a file keeps; nothing where there is none. SettingError with a sentence for each fault."""
    try:
        content = files.read(path, MOST_BYTES)
    except FileNotFoundError:
        return Known()
    except OSError as error:
        raise SettingError(f"the figures in {path} cannot be read: {error.strerror or error}") from None
    try:
        data = json.loads(content)
    except (ValueError, RecursionError):
        data = None
    if not isinstance(data, dict):
        raise SettingError(f"{path} is no file of figures: name another with --figures, or let --measure make one")
    figures, faults = Known(), []
    # What is in its tables is looked at one by one, below.
    top = CheckedTable("", {key: {} if isinstance(value, dict) else value for key, value in data.items()})
    for key, table in _entries(top, data, "front_ends"):
        if key.isdecimal() and len(key) <= len(str(MOST_PICTURES)):
            figures.front_ends[int(key)] = _front_end(table)
        else:
            table.wrong(key[:LONGEST_TEXT], "must be the bytes of a frame")
        faults += table.faults()
    for key, table in _entries(top, data, "models"):
        figures.models[key] = _model(table)
        faults += table.faults()
    if found := [*top.faults(), *faults]:
        raise SettingError("\n".join(f"{path}: {fault}" for fault in found))
    return figures


def write(path: Path, figures: Known) -> None:
    """Keep them; what the file held is replaced. SettingError where it cannot be written."""
    text = json.dumps(dataclasses.asdict(figures), indent=2, sort_keys=True)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        files.replace(path, text.encode() + b"\n")
    except OSError as error:
        raise SettingError(
            f"the figures cannot be kept in {path} ({error.strerror or error}): name another file with --figures"
        ) from None


def _entries(top: CheckedTable, data: dict[str, Any], key: str) -> Iterator[tuple[str, CheckedTable]]:
    top.table(key)  # a table, and a key that is known
    entries = data.get(key)
    if not isinstance(entries, dict):
        return
    if len(entries) > MOST_ENTRIES:
        top.wrong(key, f"holds {len(entries)} entries, at most {MOST_ENTRIES} are allowed")
        return
    for name, entry in entries.items():
        table = CheckedTable(f"{key}.{name[:LONGEST_TEXT]}", entry if isinstance(entry, dict) else {})
        if not isinstance(entry, dict):
            table.wrong("processor_ms", "missing, as all else is: an entry is a table")
        yield name, table


def _front_end(table: CheckedTable) -> FrontEndCost:
    return FrontEndCost(
        _number(table, "processor_ms", LONGEST_MS),
        _number(table, "memory_mb", LARGEST_MB),
        _number(table, "camera_kb", LARGEST_MB),
        _number(table, "answer_bytes", LARGEST_MB),
        _number(table, "answered", MOST_PICTURES),
        table.text("measured", "", LONGEST_TEXT),
    )


def _model(table: CheckedTable) -> ModelCost:
    return ModelCost(
        _number(table, "processor_ms", LONGEST_MS),
        _number(table, "memory_mb", LARGEST_MB),
        _number(table, "pictures", MOST_PICTURES),
        table.integer("batch", 1, 10_000),
        table.text("measured", "", LONGEST_TEXT),
    )


def _number(table: CheckedTable, key: str, most: float) -> float:
    value = table.number(key, 0.0, most, None)
    if value is None:
        table.wrong(key, "missing, or no such number")
        return 0.0
    return value
