"""Files of weights, looked at before a library opens them: they are data, and nothing in them may run, read or fill.

Keras has guards of its own (safe mode, a list of functions that no file may name, checks of HDF5 links and sizes; the
floor in pyproject.toml says since when). What is here does not depend on that list being complete: a file may
name layers and what belongs to them, and nothing else. A model's own code is in model.py, whose author is trusted.
"""

from __future__ import annotations

import io
import json
import re
import stat
import zipfile
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, BinaryIO

CONFIG_BYTES = 2**24
"""Of a network's description: EfficientNetV2-L, one of the longest, takes a sixteenth of it."""

MOST_ENTRIES = 10_000
"""Files in an archive, and tables in an HDF5 file."""

UNPACKED_FLOOR, UNPACKED_RATIO = 2**28, 100
"""A file may unpack to that many bytes, or to that many times its size: Keras packs nothing, gzip halves weights."""

PARTS = (
    "layers|models|ops|activations|initializers|regularizers|constraints|losses|metrics|optimizers|random|quantizers"
    "|dtype_policies"
)
CLASSES = re.compile(rf"keras(\.src)?(\.({PARTS})(\..*)?)?")
"""Modules whose classes a description may name. Not keras.utils, keras.applications, keras.datasets, …: they fetch."""

FUNCTIONS = re.compile(r"builtins|keras\.(activations|initializers|regularizers|constraints|losses|metrics|ops(\..*)?)")

CODE = ("Lambda", "__lambda__", "TFSMLayer", "TorchModuleWrapper", "JaxLayer", "FlaxLayer")
"""Classes whose configuration is code, or names a file that holds some."""


def check_archive(path: Path, registered: Collection[str]) -> None:
    """Look into a `.keras` file.

    Args:
        registered: names under which model.py registered layers of its own.

    Raises:
        ValueError: what is wrong with it, and the remedy.
        OSError, zipfile.BadZipFile: it cannot be read.
    """
    if not zipfile.is_zipfile(path):
        # Keras says "File not found" here.
        raise ValueError("it is no zip archive, as a .keras file is: it may be cut short, or of another kind")
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        _check_entries(entries, path.stat().st_size)
        names = [entry.filename for entry in entries]
        if "config.json" not in names:
            raise ValueError("it holds no config.json, as a .keras file does: save the whole model with model.save()")
        if archive.getinfo("config.json").file_size > CONFIG_BYTES:
            raise ValueError(f"its config.json is larger than {CONFIG_BYTES} bytes")
        check_config(archive.read("config.json"), registered)
        if "model.weights.h5" in names:
            check_hdf5(io.BytesIO(archive.read("model.weights.h5")))


def _check_entries(entries: list[zipfile.ZipInfo], size: int) -> None:
    names = {entry.filename for entry in entries}
    if len(names) < len(entries) or len(entries) > MOST_ENTRIES:
        raise ValueError(f"it holds {len(entries)} files, some of one name or more than {MOST_ENTRIES}")
    for entry in entries:
        parts = entry.filename.replace("\\", "/").split("/")
        if ".." in parts or not parts[0] or ":" in parts[0] or stat.S_ISLNK(entry.external_attr >> 16):
            raise ValueError(f"it holds {entry.filename[:100]!r}, which would lie outside of it: save the model again")
    _check_unpacked(sum(entry.file_size for entry in entries), size)


def _check_unpacked(unpacked: int, size: int) -> None:
    if unpacked > max(UNPACKED_FLOOR, UNPACKED_RATIO * size):
        raise ValueError(
            f"it would unpack from {size} bytes to {unpacked}, as no weights do: save the model again with Keras"
        )


def check_config(text: bytes | str, registered: Collection[str]) -> None:
    """Look into a network's description, of a .keras or .h5 file: it may name layers and what belongs to them.

    Raises:
        ValueError: as `check_archive`.
    """
    try:
        described = json.loads(text)
    except RecursionError as error:
        raise ValueError("its description is nested too deeply") from error
    if isinstance(described, dict):
        described.pop("compile_config", None)  # the loss and optimiser, often of one's own: loading leaves them out
    for part in _tables(described):
        _check_named(part, registered)


def _tables(described: Any) -> Iterator[dict[str, Any]]:
    """Every table in it, at any depth."""
    waiting = [described]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            yield part
            waiting.extend(part.values())
        elif isinstance(part, list):
            waiting.extend(part)


def _check_named(part: dict[str, Any], registered: Collection[str]) -> None:
    """ValueError for a table that names a class or a function which no file of weights needs."""
    name, module, config = part.get("class_name"), part.get("module"), part.get("config")
    if not isinstance(name, str):
        if part.get("function_type") == "lambda":
            raise ValueError(_code("Lambda"))
        return
    own = part.get("registered_name")
    if name == "function":
        own, name, allowed = config, str(config), FUNCTIONS
    else:
        allowed = CLASSES
    if isinstance(own, str) and own in registered:
        return
    if name in CODE:
        raise ValueError(_code(name))
    if isinstance(module, str) and not allowed.fullmatch(module):
        raise ValueError(
            f"it names {f'{module}.{name}'[:100]!r}, which is no layer of Keras: layers of your own belong "
            "into model.py, with @keras.saving.register_keras_serializable()"
        )
    if isinstance(config, dict) and isinstance(config.get("vocabulary"), str):
        raise ValueError(
            f"its layer {name[:100]} reads the file {config['vocabulary'][:100]!r}: give it the vocabulary as a list"
        )


def _code(name: str) -> str:
    return f"it holds a {name} layer, which is code and would run unseen; use Keras' own layers and save it again"


def check_whole_hdf5(path: Path) -> None:
    """Look into a whole model in Keras' old format (`.h5`): its description, then its tables.

    Raises:
        ValueError: as `check_archive`.
        OSError: it is no HDF5 file.
    """
    import h5py

    with h5py.File(path, "r") as file:
        if "model_config" not in file.attrs:
            raise ValueError("it holds weights only, no network: save the whole model with model.save()")
        if file.attrs.get_id("model_config").get_storage_size() > CONFIG_BYTES:
            raise ValueError(f"its description is larger than {CONFIG_BYTES} bytes")
        check_config(file.attrs["model_config"], ())
    check_hdf5(path)


def check_hdf5(source: Path | BinaryIO) -> None:
    """Look at the tables of an HDF5 file: all of them inside, and not far larger than the file.

    Raises:
        ValueError: as `check_archive`.
        OSError: it is no HDF5 file.
    """
    import h5py

    size = source.stat().st_size if isinstance(source, Path) else source.seek(0, io.SEEK_END)
    with h5py.File(source, "r") as file:
        unpacked = sum(_bytes_of(table) for table in _hdf5_tables(file))
    _check_unpacked(unpacked, size)


def _bytes_of(table: Any) -> int:
    """ValueError where its values lie in another file."""
    if table.external or table.is_virtual:
        raise ValueError("its weights point into another file: save the model again with Keras")
    return int(table.size or 0) * int(table.dtype.itemsize)


def _hdf5_tables(file: Any) -> Iterator[Any]:
    """Its data sets. ValueError for links, which may lead elsewhere or in circles, and for too many."""
    import h5py

    waiting, seen = [file], 0
    while waiting:
        group = waiting.pop()
        for name in group:
            seen += 1
            if seen > MOST_ENTRIES * 10:
                raise ValueError(f"it holds more than {MOST_ENTRIES * 10} tables, or a group that holds itself")
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                raise ValueError("its weights point into another file: save the model again with Keras")
            part = group[name]
            if isinstance(part, h5py.Group):
                waiting.append(part)
            elif isinstance(part, h5py.Dataset):
                yield part


def npz_shapes(path: Path, most: int) -> list[tuple[int, ...]]:
    """The shapes of the arrays in an .npz, in their order, by their headers: nothing is unpacked.

    Args:
        most: of more arrays than this none is looked at, and `()` stands for each.

    Raises:
        ValueError: an array holds something else than numbers.
        OSError, zipfile.BadZipFile: it cannot be read.
    """
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        if len(names) != most:
            return [()] * len(names)
        return [_npy_shape(archive, name) for name in names]


def _npy_shape(archive: zipfile.ZipFile, name: str) -> tuple[int, ...]:
    from numpy.lib import format as npy

    with archive.open(name) as stream:
        version = npy.read_magic(stream)
        read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, _, kind = read(stream)
    if kind.kind not in "fiub" or kind.itemsize > 8:
        raise ValueError(f"its array {name[:100]!r} holds no numbers: write it with numpy.savez")
    return tuple(shape)
