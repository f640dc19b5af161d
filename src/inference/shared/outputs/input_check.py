"""Whether a picture is like those that a classifier was trained on: a manifest's `[input_check]`. docs/models.md."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from imageserver.inference.shared import checked_table
from imageserver.inference.shared.checked_table import CheckedTable

FILE = "input_check.npz"

UNLIKE, LIKE = "unlike", "like"
"""What an answer says of its input. `unlike` is said wherever it is so, `like` only beside an `unlike` of others."""

MOST_FEATURES = 16
"""Tensors of the network that are looked at."""
MOST_NAME = 200
"""Characters of the name of one."""


@dataclass(frozen=True)
class InputCheck:
    """How far the network's own features of a picture are from those of its training pictures."""

    features: tuple[str, ...]
    """Tensors inside the network, of each the means over its rows and columns."""
    file: Path
    """What was fitted: worker/outputs/input_check.py says what is in it."""
    sha256: str | None


def read(table: CheckedTable, folder: Path) -> InputCheck:
    """From a manifest's [input_check]; what is wrong is noted in the table."""
    features = table.texts("features")
    if not features or len(features) > MOST_FEATURES or any(len(name) > MOST_NAME for name in features):
        reason = f"must name 1 to {MOST_FEATURES} tensors inside the network, with at most {MOST_NAME} characters each"
        table.wrong("features", reason)
    name = table.text("file", FILE, 255)
    path = checked_table.inside(table, "file", folder, name)
    if path is None or path.suffix != ".npz":
        table.wrong("file", f"must be an .npz file in the model's own folder, not {name!r}")
    return InputCheck(features, path or folder / FILE, checked_table.sha256(table))
