"""Are the weights there, and are they the ones that the manifest names? Standard library only."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from imageserver.errors import ModelError
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
    """SHA-256 in hexadecimal: of a file, what sha256sum prints; of a folder, that of all files in it."""
    if path.is_dir():
        return digest_of_files(path, (entry for entry in path.rglob("*") if entry.is_file()))
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def digest_of_files(folder: Path, files: Iterable[Path]) -> str:
    """SHA-256 of the digests and names of files in `folder`, in the order of their paths, as sha256sum lists them."""
    listing = "".join(f"{digest(file)}  {file.relative_to(folder).as_posix()}\n" for file in sorted(files))
    return hashlib.sha256(listing.encode()).hexdigest()
