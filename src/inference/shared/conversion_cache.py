"""The cache of converted models: where a model is as OpenVINO takes it, if it has been made. Standard library only.

An entry is a folder `<model>-<key>` with model.xml, model.bin and report.json. The key is a hash of everything that
the conversion depends on, so an entry is never wrong, only unused. Entries appear by a rename: whole or not at all.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from imageserver.errors import ModelError
from imageserver.inference.shared import weights
from imageserver.inference.shared.manifest import Manifest

FORMAT = 1
"""Raise it when the conversion itself changes."""

LIMIT = 900.0
"""Seconds that the conversion of one model may take."""

KEPT = 4
"""Entries of one model that stay: a few, because two versions of the project may share the cache."""

MOST_CODE_FILES = 1000
"""Python files in a model's folder; one that holds more holds something else than a model's code."""

MODEL, REPORT = "model.xml", "report.json"


@dataclass(frozen=True)
class Report:
    """How the converted model compared with the original on the probe pictures."""

    good: bool
    reason: str  # a sentence when not good
    difference: float  # the largest, of scores


@dataclass(frozen=True)
class Entry:
    folder: Path
    report: Report

    @property
    def model(self) -> Path:
        return self.folder / MODEL


def cache_folder() -> Path:
    """The default: $XDG_CACHE_HOME/imageserver, or ~/.cache/imageserver."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if os.path.isabs(base) else Path.home() / ".cache") / "imageserver"


def key(manifest: Manifest, weights_digest: str) -> str:
    """Hexadecimal. Two models with the same key convert to the same thing.

    Raises:
        ModelError: the folder holds more code than a model has.
        OSError: its code cannot be read.
    """
    wanted = manifest.input
    parts = [
        str(FORMAT),
        weights_digest,
        weights.digest_of_files(manifest.folder, _code_files(manifest.folder)),
        str((wanted.width, wanted.height, wanted.channels, wanted.range, wanted.mean, wanted.std, wanted.layout)),
        manifest.runtime.precision,
        manifest.output.activation,
        *(f"{name} {_version(name)}" for name in ("openvino", "keras", "tensorflow", "tensorflow-cpu")),
    ]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:24]


def _code_files(folder: Path) -> list[Path]:
    """Every Python file in the model's folder and below: model.py may import any of them to build the network."""
    found: list[Path] = []
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name[0] != "." and name != "__pycache__"]
        found += [Path(parent, name) for name in names if name.endswith(".py")]
        if len(found) > MOST_CODE_FILES:
            raise ModelError(
                f"the folder of the model {folder.name!r} holds more than {MOST_CODE_FILES} Python files: "
                "move those that are not the model's own elsewhere"
            )
    return found


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "-"


def entry_folder(cache: Path, manifest: Manifest, weights_digest: str) -> Path:
    """Where the entry is, or would be. Raises what `key` raises."""
    return cache / f"{manifest.name}-{key(manifest, weights_digest)}"


def find(folder: Path) -> Entry | None:
    """The entry in `folder`; None when there is none, or it cannot be read."""
    try:
        report = Report(**json.loads((folder / REPORT).read_text("utf-8")))
    except (OSError, ValueError, TypeError):
        return None
    entry = Entry(folder, report)
    return entry if entry.model.is_file() or not report.good else None


@contextlib.contextmanager
def making(folder: Path) -> Iterator[Path]:
    """A folder to fill, which becomes the entry `folder` when the block ends well.

    OSError: the cache cannot be written.
    """
    folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    made = Path(tempfile.mkdtemp(prefix=".making-", dir=folder.parent))
    try:
        yield made
        remove(folder)
        made.rename(folder)
    except BaseException:
        remove(made)
        raise


def write_report(folder: Path, report: Report) -> None:
    (folder / REPORT).write_text(json.dumps(asdict(report)), "utf-8")


def remove(folder: Path) -> None:
    """Take an entry away. A worker that has it open keeps it."""
    shutil.rmtree(folder, ignore_errors=True)


def prune(cache: Path, name: str) -> None:
    """Remove all but the newest entries of the model `name`."""
    length = len(name) + 1 + 24
    entries = [entry for entry in cache.glob(f"{name}-*") if len(entry.name) == length and entry.is_dir()]
    entries.sort(key=lambda entry: entry.stat().st_mtime, reverse=True)
    for entry in entries[KEPT:]:
        remove(entry)
