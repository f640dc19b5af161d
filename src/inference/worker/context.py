"""What a model is loaded with beside its folder, and goes on using while it serves."""

from __future__ import annotations

import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from imageserver.inference.shared import conversion_cache
from imageserver.inference.shared.manifest import Manifest
from imageserver.inference.worker.decode import PictureLimits
from imageserver.inference.worker.remote.settings import RemoteSettings


def not_here(manifest: Manifest) -> str:
    """A `LoadContext.convert` for whoever takes converted models only."""
    return f"the model {manifest.name!r} has not been converted yet: run src/inference/prepare.py"


Note = Callable[[str], None]
"""Takes one line for whoever reads the log."""


@dataclass(frozen=True, slots=True)
class LoadContext:
    """The same for all models of a process.

    Args:
        note: where a model's failures are told in full, as no client shall read them.
        threads: how many a model may keep busy.
        cache: the folder of converted models.
        limits: of the pictures that are decoded.
        costly_bytes: what the pictures of a batch may cost together beside the others (decode.DecodingBudget).
        convert: has a network converted that is not in the cache yet; returns a sentence when that failed, else "".
        pool: decodes the pictures of a batch, and runs the members of an ensemble, side by side; None: in turn.
        remote: bounds of models that another server runs.
    """

    note: Note
    threads: int = 1
    cache: Path = field(default_factory=conversion_cache.cache_folder)
    limits: PictureLimits = field(default_factory=PictureLimits)
    costly_bytes: int = sys.maxsize
    convert: Callable[[Manifest], str] = not_here
    pool: ThreadPoolExecutor | None = None
    remote: RemoteSettings = field(default_factory=RemoteSettings)
