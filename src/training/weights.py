"""The weights of a trained model beside its manifest: arrays in an .npz, whose SHA-256 the manifest names."""

from __future__ import annotations

import hashlib
import io
import re
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from imageserver import files
from imageserver.errors import TrainingError
from imageserver.inference.shared.manifest import FILE as MANIFEST

WEIGHTS = "weights.npz"


def save(folder: Path, arrays: Sequence[Any]) -> str:
    """Write the arrays, in this order, into the model's folder, and their SHA-256 into the manifest, if it is there.

    Returns:
        The SHA-256, hexadecimal.
    """
    data = npz({f"{index:04d}": array for index, array in enumerate(arrays)})
    digest = hashlib.sha256(data).hexdigest()
    files.replace(folder / WEIGHTS, data)
    manifest = folder / MANIFEST
    if manifest.is_file():
        of_weights = r'(?ms)(^\[runtime\]$(?:(?!^\[).)*?^sha256 = )"[^"\n]*"$'  # there are others: of [input_check]
        text = re.sub(of_weights, rf'\1"{digest}"', manifest.read_text("utf-8"))
        files.replace(manifest, text.encode())
    return digest


def load(path: Path) -> list[Any]:
    """The arrays that `save` wrote. TrainingError when the file is missing or no such."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return [file[name] for name in sorted(file.files)]
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise TrainingError(f"{path} holds no weights; train the model first: {error}") from error


def npz(arrays: dict[str, Any]) -> bytes:
    """A compressed .npz of named arrays."""
    stream = io.BytesIO()
    np.savez_compressed(stream, **arrays)
    return stream.getvalue()
