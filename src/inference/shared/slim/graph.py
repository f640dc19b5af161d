"""`graph.zip` beside a network in code: what its model.py builds, as OpenVINO takes it, so that nothing has to be.

It holds the network without its weights: each array of them is a parameter `weight_<number>`, in the order in which
Keras has them, and is filled from the weights' own file. So it is small, it serves every training of the same code,
and what OpenVINO then runs is what a conversion of the model would have given.

    graph.xml, graph.bin    OpenVINO's format; the second holds shapes and axes
    about.json              {"sources": digest of what it was made from, "made_with": versions, for people}

One whose sources are no longer those of the folder does not count: the model is converted as if there were none.
"""

from __future__ import annotations

import hashlib
import json
import lzma
import struct
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from imageserver.errors import ModelError
from imageserver.inference.shared import conversion_cache
from imageserver.inference.shared.manifest import Manifest

FILE = "graph.zip"
GRAPH, CONSTANTS, ABOUT = "graph.xml", "graph.bin", "about.json"
FORMAT = 1
"""Raise it when what is made changes."""

MOST_BYTES, MOST_ABOUT = 2**27, 2**16
"""Of a graph unpacked, a hundred times that of the largest shipped one; and of what is said about it."""

_DAMAGE = (
    OSError, ValueError, KeyError, TypeError, RuntimeError, EOFError,
    zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error,
)  # fmt: skip
"""What zipfile and json raise of a file that is damaged; RuntimeError of one with a password or an unknown method."""

_TIME = (1980, 1, 1, 0, 0, 0)  # the same bytes whenever it is made

Note = Callable[[str], None]


@dataclass(frozen=True)
class Graph:
    """The two files of OpenVINO's format."""

    xml: bytes
    constants: bytes


def sources(manifest: Manifest) -> str:
    """Hexadecimal digest of what the graph is made from: the model's code, and the shape of its input.

    Raises:
        ModelError: the folder holds more code than a model has.
        OSError: its code cannot be read.
    """
    wanted = manifest.input
    shape = (wanted.width, wanted.height, wanted.channels, wanted.layout)
    parts = (str(FORMAT), conversion_cache.code_digest(manifest.folder), str(shape))
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def fits(manifest: Manifest) -> bool:
    """Whether it is a network in code, whose weights are a file of arrays in Keras' order."""
    path = manifest.runtime.weights
    if path is None or manifest.runtime.runtime not in ("auto", "openvino") or not manifest.code.is_file():
        return False
    return path.suffix in (".npz", ".h5", ".hdf5") and not path.name.endswith(".weights.h5")


def is_current(manifest: Manifest) -> bool:
    """Whether `find` would find one; nothing but its table is read."""
    try:
        return fits(manifest) and _about(manifest)["sources"] == sources(manifest)
    except (*_DAMAGE, ModelError):
        return False


def find(manifest: Manifest, note: Note) -> Graph | None:
    """The graph of the model; None where there is none that counts, and `note` is told of one that does not."""
    if not fits(manifest) or not (manifest.folder / FILE).is_file():
        return None
    if not is_current(manifest):
        note(f"{FILE} was made from other code, or is damaged, so it does not count; make it anew with --graph")
        return None
    try:
        with zipfile.ZipFile(manifest.folder / FILE) as archive:
            return Graph(_read(archive, GRAPH), _read(archive, CONSTANTS))
    except _DAMAGE as error:
        note(f"{FILE} is damaged, so it does not count: {error}")
        return None


def write(manifest: Manifest, graph: Graph, made_with: str) -> Path:
    """Put the graph into the model's folder. OSError, ModelError."""
    about = json.dumps({"sources": sources(manifest), "made_with": made_with}, indent=1)
    path = manifest.folder / FILE
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, data in ((ABOUT, about.encode()), (GRAPH, graph.xml), (CONSTANTS, graph.constants)):
            entry = zipfile.ZipInfo(name, _TIME)
            entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
            archive.writestr(entry, data)
    return path


def _about(manifest: Manifest) -> dict[str, str]:
    with zipfile.ZipFile(manifest.folder / FILE) as archive:
        about: dict[str, str] = json.loads(_read(archive, ABOUT, MOST_ABOUT))
        return about


def _read(archive: zipfile.ZipFile, name: str, most: int = MOST_BYTES) -> bytes:
    if archive.getinfo(name).file_size > most:
        raise ValueError(f"{name} is larger than {most} bytes")
    return archive.read(name)
