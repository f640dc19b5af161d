"""The short form of `make soak`: everything at once, and nothing of it stays behind."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from tests.running import ROOT


@pytest.mark.alone
@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.no_loop_probe("the soak measures what its attacks cost by itself")
def test_three_minutes(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "bench/soak.py"), "--minutes", "3", "--report", str(tmp_path / "soak.md")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=800)
    assert done.returncode == 0, done.stdout + done.stderr
