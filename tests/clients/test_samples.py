"""The sample classifier: the line that adds it works as typed, and it knows the cat of the sample photographs."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from tests.running import ROOT

SAMPLES = ROOT / "clients" / "samples"


def run(*words: str) -> str:
    """Standard output of a program of the project, run in its folder as people do."""
    done = subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, text=True, timeout=110, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.long  # that the command does its work is seen in tests/inference/test_add_model.py
def test_cats(tmp_path: Path) -> None:
    assert (SAMPLES / "cats.keras").stat().st_size < 100_000
    line = re.search(r"^python3 (src/inference/add_model\.py .*)$", (SAMPLES / "README.md").read_text(), re.MULTILINE)
    assert line is not None
    (tmp_path / "models").mkdir()
    said = run(*shlex.split(line[1]), "--models", str(tmp_path / "models"), "--models-cache", str(tmp_path / "cache"))
    assert "Warning" not in said
    assert re.search(r"^chelsea\.jpg:\n  0\.9\d+  cat$|^chelsea\.jpg:\n  1\.0+  cat$", said, re.MULTILINE), said
    tried = run("src/inference/try_model.py", str(tmp_path / "models" / "cats"), str(SAMPLES / "photos"))
    answers = [json.loads(answer) for answer in tried.splitlines() if answer.startswith("{")]
    names = [path.stem for path in sorted((SAMPLES / "photos").iterdir())]
    assert dict(zip(names, [answer["label"] for answer in answers], strict=True)) == {
        "astronaut": "no cat", "chelsea": "cat", "coffee": "no cat", "rocket": "no cat"
    }  # fmt: skip
