"""Whoever types a page as it stands there, from its top to its bottom, gets what it says: a session for each page."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.docs.scenes import SCENES
from tests.docs.session import MACHINE
from tests.running import ROOT


@pytest.fixture(scope="module")
def _machine() -> None:
    """Where the kernel gives no namespaces (some containers), there is no machine of one's own."""
    if shutil.which("ip") is None or subprocess.run([*MACHINE, "true"], capture_output=True, check=False).returncode:
        pytest.skip("needs user namespaces, and the program ip (scripts/apt-packages.sh)")


def pages() -> list[object]:
    """Their names; the long ones marked."""
    return [pytest.param(page, marks=[pytest.mark.long] if scene.long else []) for page, scene in SCENES.items()]


@pytest.mark.usefixtures("_machine")
@pytest.mark.timeout(900)
@pytest.mark.parametrize("page", pages())
def test_a_page_typed_from_top_to_bottom(page: str, tmp_path: Path) -> None:
    folder = tmp_path / "imageserver"
    folder.mkdir()
    command = [*MACHINE, sys.executable, "-m", "tests.docs.session", str(folder), page]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'clients'}"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=800, check=False)
    shutil.rmtree(tmp_path, ignore_errors=True)
    assert done.returncode == 0, done.stdout + done.stderr
