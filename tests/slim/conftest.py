"""An environment that holds everything but TensorFlow, as `make run SLIM=1` makes it."""

from __future__ import annotations

import site
import subprocess
import sys
from pathlib import Path

import pytest
from tests.sharing import once


@pytest.fixture(scope="session")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its interpreter: the libraries are those of this environment, but for TensorFlow and Keras."""
    return once(tmp_path_factory, "slim", make) / "bin" / "python"


def make(folder: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    libraries = folder / "libraries"
    libraries.mkdir()
    for found in map(Path, site.getsitepackages()):
        for entry in found.iterdir():
            if not entry.name.lower().startswith(("tensorflow", "keras")) and entry.suffix != ".pth":
                (libraries / entry.name).symlink_to(entry)
    (own,) = folder.glob("lib/python*/site-packages")
    (own / "libraries.pth").write_text(f"{libraries}\n")
