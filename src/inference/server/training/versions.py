"""The versions of a model that trainings wrote: `<data>/models/.versions/<model>/<time>/<model>`, each a whole folder.

One serves once the link `<data>/models/<model>` points to it, which is one rename: the registry prefers what is there
to what was shipped, and the engine lets the former version serve until the new one is warm. Taking the link away
brings the shipped model back. These functions block: call them in a thread.
"""

from __future__ import annotations

import contextlib
import shutil
import time
from pathlib import Path

from imageserver import files
from imageserver.inference.shared.registry import VERSIONS


def make(link: Path, now: float) -> Path:
    """Where a training that begins `now` (seconds since the epoch) writes its version; the folder around is made.

    By name it follows all that are there, also where the clock was set back or summer ends. OSError.
    """
    folder = link.parent / VERSIONS / link.name
    folder.mkdir(parents=True, exist_ok=True)
    newest = max((entry.name for entry in folder.iterdir()), default="")
    name = time.strftime("%Y%m%d-%H%M%S", time.localtime(now))
    room = folder / (name if name > newest else f"{newest}.1")
    room.mkdir()
    return room / link.name


def serve(link: Path, version: Path) -> None:
    """Make `link` point to `version`, at once. OSError."""
    files.link(link, version.relative_to(link.parent))


def prune(link: Path) -> None:
    """Remove all but the serving one and the newest other: kept aside, or one that a worker may still be loading."""
    folder = link.parent / VERSIONS / link.name
    with contextlib.suppress(OSError):  # the disk is gone: after the next training, then
        serving = link.resolve().parent
        others = sorted(entry for entry in folder.iterdir() if entry.resolve() != serving)
        for entry in others[:-1]:
            shutil.rmtree(entry, ignore_errors=True)


def discard(version: Path) -> None:
    """Remove what a training that came to nothing has left, with the folder of its time."""
    shutil.rmtree(version.parent, ignore_errors=True)
