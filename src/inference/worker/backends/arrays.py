"""The arrays in a file of weights, in the order in which Keras has them; nothing in the file runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imageserver.inference.worker.backends import untrusted

Array = NDArray[np.float32]
Shape = tuple[int, ...]


def read(path: Path, shapes: Sequence[Shape]) -> list[Array]:
    """The arrays of an .npz or of an .h5 that holds weights alone.

    Args:
        shapes: what they must have, before anything is unpacked.

    Raises:
        ValueError: they do not fit, or it is no such file.
        OSError, KeyError, zipfile.BadZipFile: it cannot be read.
    """
    return _npz(path, shapes) if path.suffix == ".npz" else _hdf5(path, shapes)


def _npz(path: Path, shapes: Sequence[Shape]) -> list[Array]:
    """Those of an .npz, in the order in which they were written; any float type."""
    _check(untrusted.npz_shapes(path, len(shapes)), shapes)
    with np.load(path, allow_pickle=False) as file:
        return [file[name].astype(np.float32) for name in file.files]


def _hdf5(path: Path, shapes: Sequence[Shape]) -> list[Array]:
    """Those that `save_weights` of Keras 2 wrote: by layer, in the order that the file names."""
    import h5py

    untrusted.check_hdf5(path)
    with h5py.File(path, "r") as file:
        root = file.get("model_weights", file)
        if "layer_names" not in root.attrs:
            raise ValueError("it lists no layers, as an .h5 file of Keras does: save the weights again with Keras")
        layers = [root[_text(name)] for name in root.attrs["layer_names"]]
        tables = [layer[_text(name)] for layer in layers for name in layer.attrs["weight_names"]]
        _check([tuple(table.shape) for table in tables], shapes)
        return [np.asarray(table, np.float32) for table in tables]


def _text(name: Any) -> str:
    return name.decode() if isinstance(name, bytes) else str(name)


def _check(found: Sequence[Shape], wanted: Sequence[Shape]) -> None:
    if list(found) != list(wanted):
        raise ValueError(f"its {len(found)} arrays do not have the shapes of the model's {len(wanted)} weights")
