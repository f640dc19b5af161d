"""Are the weights there, and are they the ones that the manifest names? Standard library only."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from imageserver.errors import ModelError
from imageserver.inference.shared.formats import kinds, onnx
from imageserver.inference.shared.formats.kinds import Format
from imageserver.inference.shared.manifest import FILE, Manifest


def check(manifest: Manifest) -> str:
    """The SHA-256 of the weights. ModelError when they are missing or not those that the manifest names."""
    runtime = manifest.runtime
    if runtime.weights is None or not runtime.weights.exists():
        name = runtime.weights.name if runtime.weights else "the file"
        hint = f" {runtime.weights_hint}" if runtime.weights_hint else ""
        raise ModelError(f"the model {manifest.name!r} lacks its weights: put {name!r} into its folder.{hint}")
    if not runtime.weights.is_file() and not runtime.weights.is_dir():
        raise ModelError(f"the weights {runtime.weights.name!r} of the model {manifest.name!r} are no file or folder")
    try:
        found = digest(runtime.weights)
    except ValueError as error:
        raise ModelError(f"{runtime.weights.name!r} of the model {manifest.name!r} {error}") from error
    except OSError as error:
        raise ModelError(
            f"the weights {runtime.weights.name!r} of the model {manifest.name!r} cannot be read: {error.strerror}"
        ) from error
    if runtime.sha256 is not None and found != runtime.sha256:
        raise ModelError(
            f"the weights {runtime.weights.name!r} of the model {manifest.name!r} have the SHA-256 {found}, "
            f"not the one in {FILE}: put the right file there, or its SHA-256 into runtime.sha256"
        )
    return found


def digest(path: Path) -> str:
    """SHA-256 in hexadecimal: of a file, what sha256sum prints; of several, or a folder, that of all files in it.

    Raises:
        ValueError: the file names others that it may not, or that are not there; how a sentence goes on.
        OSError: a file cannot be read.
    """
    if path.is_dir():
        return digest_of_files(path, (entry for entry in path.rglob("*") if entry.is_file()))
    if len(parts := files_of(path)) > 1:
        return digest_of_files(path.parent, parts)
    return sha256(path)


def sha256(file: Path) -> str:
    """Of one file, in hexadecimal, as sha256sum prints it. OSError."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def files_of(path: Path) -> list[Path]:
    """A file of weights, and those that belong to it. ValueError, OSError, as `digest`."""
    match kinds.of(path):
        case Format.ONNX:
            kinds.check_start(path)
            return [path, *onnx.external(path)]
        case Format.IR:
            return [path, *filter(Path.is_file, [path.with_suffix(".bin")])]
    return [path]


def digest_of_files(folder: Path, files: Iterable[Path]) -> str:
    """SHA-256 of the digests and names of files in `folder`, in the order of their paths, as sha256sum lists them."""
    listing = "".join(f"{sha256(file)}  {file.relative_to(folder).as_posix()}\n" for file in sorted(files))
    return hashlib.sha256(listing.encode()).hexdigest()
