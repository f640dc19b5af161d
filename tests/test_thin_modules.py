"""src/userdb.py and src/legacy_tcp.py as other programs import them: a fresh process with src/ alone on its path."""

from __future__ import annotations

import subprocess
import sys

import pytest
from tests.running import ROOT


def run(program: str, *options: str) -> subprocess.CompletedProcess[str]:
    """`program` in a process that finds src/ and nothing else of the repository."""
    variables = {"PYTHONPATH": str(ROOT / "src")}
    command = [sys.executable, *options, "-c", program]
    return subprocess.run(command, env=variables, cwd="/", capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize(
    "program",
    [
        "import userdb; db = userdb.UserDB(None); db.add('alice', 'x')\n"
        "assert db.check('alice', 'x').roles == {'camera'}",
        "from userdb import ROLES, ROTATIONS, User, UserDB, Verifier",
        "import legacy_tcp; assert legacy_tcp.NAMESPACE == 'imageserver'; legacy_tcp.LegacyTcp",
        "import userdb, legacy_tcp",
        "import legacy_tcp, userdb",
    ],
)
def test_they_can_be_imported(program: str) -> None:
    done = run(program)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("name", ["userdb", "legacy_tcp"])
def test_an_import_starts_no_other_program(name: str) -> None:
    """Without the packages it is an ImportError, as of any module: to begin anew is for what was typed."""
    done = run(f"import {name}", "-S")
    assert done.returncode == 1
    assert "ModuleNotFoundError" in done.stderr
