"""What a replica needs of a model: its folder, those of an ensemble's members, what was converted; by their digests.

Files are named by their content: a node takes each once, whichever models and versions hold it.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from imageserver.errors import ModelError
from imageserver.inference.shared import conversion_cache, weights
from imageserver.inference.shared import manifest as manifests
from imageserver.inference.shared.manifest import Manifest
from imageserver.inference.shared.slim import graph

CONVERTED = "converted"
"""The folder of converted models in a bundle. No model's folder: those are in MODELS."""
MODELS = "models"
MOST_FILES = 2000
PIECE = 4 * 2**20
"""Bytes that go over at once."""

Note = Callable[[str], None]


@dataclass(frozen=True)
class BundleFile:
    """A file: where it lies in the bundle, with / between, what is in it, and where it is here."""

    path: str
    size: int
    sha256: str
    source: Path = field(compare=False, default=Path())

    def pieces(self) -> Iterator[tuple[bytes, bool]]:
        """Its bytes, and with each piece whether it is the last. OSError."""
        with self.source.open("rb") as stream:
            left = self.size
            while True:
                data = stream.read(min(PIECE, left))
                left -= len(data)
                yield data, left <= 0 or not data
                if left <= 0 or not data:
                    return


@dataclass(frozen=True)
class Bundle:
    """All of them, sorted by their paths."""

    model: str
    files: tuple[BundleFile, ...]

    @property
    def digest(self) -> str:
        """SHA-256 in hexadecimal, of paths and contents."""
        listing = "".join(f"{file.sha256}  {file.path}\n" for file in self.files)
        return hashlib.sha256(listing.encode()).hexdigest()

    @property
    def size(self) -> int:
        """Bytes."""
        return sum(file.size for file in self.files)

    def listing(self) -> list[list[str | int]]:
        """For a node, which has other folders."""
        return [[file.path, file.size, file.sha256] for file in self.files]


def of(manifest: Manifest, cache: Path, convert: Callable[[Manifest], str], note: Note, most: int) -> Bundle:
    """What a model's replicas need.

    Args:
        manifest: its own.
        cache: the folder of converted models.
        convert: has a network converted; a sentence when that failed, else "".
        note: for the log.
        most: bytes.

    Raises:
        ModelError: it cannot be read, is too large, or lacks its weights.
    """
    found: list[BundleFile] = []
    try:
        for member in (manifest, *_members(manifest)):
            found += _files(member.folder, f"{MODELS}/{member.name}")
            if (entry := _converted(member, cache, convert, note)) is not None:
                found += _files(entry, f"{CONVERTED}/{entry.name}")
    except OSError as error:
        name = Path(str(error.filename or manifest.folder)).name
        raise ModelError(f"the model {manifest.name!r}: {name!r} cannot be read: {error.strerror}") from error
    bundle = Bundle(manifest.name, tuple(sorted(found, key=lambda file: file.path)))
    if len(found) > MOST_FILES or bundle.size > most:
        raise ModelError(
            f"the model {manifest.name!r} has {len(found)} files with {bundle.size / 2**20:.0f} MiB; nodes of the "
            f"cluster take {MOST_FILES} and {most / 2**20:.0f} MiB (--cluster-cache)"
        )
    return bundle


def _members(manifest: Manifest) -> Iterable[Manifest]:
    """Of an ensemble; what does not load there is told where it is loaded."""
    for name in manifest.members:
        folder = manifest.folder.parent / name
        if (folder / manifests.FILE).is_file():
            yield manifests.read(folder)


def _converted(manifest: Manifest, cache: Path, convert: Callable[[Manifest], str], note: Note) -> Path | None:
    """Where a network is as OpenVINO takes it, made now if need be; None where it runs without. ModelError, OSError."""
    if manifest.members or manifest.runtime.runtime not in ("auto", "openvino") or manifest.runtime.weights is None:
        return None
    digest = weights.check(manifest)
    if graph.is_current(manifest):
        return None
    folder = conversion_cache.entry_folder(cache, manifest, digest)
    if conversion_cache.find(folder, note) is None:
        note(f"{manifest.name}: converting to OpenVINO, once")
        if said := convert(manifest):
            note(f"{manifest.name}: {said}")
    return folder if conversion_cache.find(folder, note) is not None else None


def _files(folder: Path, where: str) -> list[BundleFile]:
    """Those in a folder and below, but for what is hidden, or compiled. OSError."""
    found: list[BundleFile] = []
    for parent, folders, names in os.walk(folder, onerror=_raise):
        folders[:] = sorted(name for name in folders if name[0] != "." and name != "__pycache__")
        for name in sorted(names):
            path = Path(parent, name)
            if name[0] == "." or not path.is_file():
                continue
            inside = path.relative_to(folder).as_posix()
            found.append(BundleFile(f"{where}/{inside}", path.stat().st_size, weights.sha256(path), path))
            if len(found) > MOST_FILES:
                return found
    return found


def _raise(error: OSError) -> None:
    raise error
