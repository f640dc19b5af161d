"""Long work shows itself on a terminal, and nowhere else."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

from tests.running import ROOT

WORK = """
import sys
sys.path.insert(0, sys.argv[1])
import bootstrap
bootstrap.provide_package()
from imageserver.inference.shared import progress
with progress.shown("Converting models") as step:
    step(0.25, "lenet")
    print("model cats: converted")
    step(None, "faces")
print("tqdm" in sys.modules)
"""
COMMAND = [sys.executable, "-c", WORK, str(ROOT / "src")]


def on_a_terminal(out: int | None) -> str:
    """What a terminal gets that is standard error, and standard output as well where `out` is None."""
    ours, theirs = pty.openpty()
    variables = {**os.environ, "TERM": "xterm", "COLUMNS": "120"}
    with subprocess.Popen(COMMAND, stdin=theirs, stdout=theirs if out is None else out, stderr=theirs, env=variables):
        os.close(theirs)
        screen = b""
        while True:
            try:
                screen += os.read(ours, 4096)
            except OSError:  # Linux's way to say that the other end is closed
                break
    os.close(ours)
    return screen.decode()


def test_a_terminal_shows_a_bar_and_the_lines_above_it() -> None:
    screen = on_a_terminal(None)
    assert "Converting models" in screen and "lenet" in screen and "25%" in screen
    assert "model cats: converted" in screen


def test_what_goes_into_a_file_goes_there(tmp_path: Path) -> None:
    with (tmp_path / "out").open("w") as file:
        screen = on_a_terminal(file.fileno())
    assert "Converting models" in screen and "model cats" not in screen
    assert (tmp_path / "out").read_text() == "model cats: converted\nTrue\n"


def test_without_a_terminal_there_are_the_lines_alone() -> None:
    done = subprocess.run(COMMAND, capture_output=True, text=True, timeout=60, check=True)
    assert (done.stdout, done.stderr) == ("model cats: converted\nFalse\n", "")
