"""All targets: each file in targets/ has some, as its `TARGETS`."""

from __future__ import annotations

import importlib
from pathlib import Path

from tests.fuzz.target import Target

FOLDER = Path(__file__).resolve().parent
CORPUS = FOLDER / "corpus"
"""For each target a folder of the inputs that found something."""

FILES = sorted(path.relative_to(FOLDER).with_suffix("") for path in FOLDER.glob("targets/**/*.py"))


def targets_in(file: Path) -> list[Target]:
    """The targets of one file, as it stands in `FILES`."""
    found: list[Target] = importlib.import_module(".".join(("tests", "fuzz", *file.parts))).TARGETS
    return found


def all_targets() -> dict[str, tuple[Path, Target]]:
    """By name, the file and the target."""
    found: dict[str, tuple[Path, Target]] = {}
    for file in FILES:
        for target in targets_in(file):
            assert target.name not in found, f"two targets are called {target.name}"
            found[target.name] = file, target
    return found


def kept(target: Target) -> list[bytes]:
    """The inputs that found something in a target."""
    return [path.read_bytes() for path in sorted(CORPUS.glob(f"{target.name}/*"))]
