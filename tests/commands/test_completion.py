"""What shells complete: the scripts of shtab, asked as bash asks them."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest

shtab = pytest.importorskip("shtab")

from imageserver.commands import completion
from imageserver.config import table, words


@pytest.fixture(scope="module")
def scripts() -> dict[str, str]:
    return {shell: shtab.complete(completion.everything(), shell) for shell in completion.SHELLS}


@pytest.mark.parametrize("shell", completion.SHELLS)
def test_every_option_and_command_is_completed(scripts: dict[str, str], shell: str) -> None:
    for row in table.TABLE:
        assert row.key in scripts[shell], row.key
    for command in words.COMMANDS:
        assert command.words[-1] in scripts[shell], command


ASK = """
source /dev/stdin <<'SCRIPT'
{script}
SCRIPT
COMP_WORDS=({words} '{last}')
COMP_CWORD=$(( ${{#COMP_WORDS[@]}} - 1 ))
$(complete -p imageserver | sed 's/.*-F \\([^ ]*\\) .*/\\1/') imageserver '{last}' ''
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


@pytest.mark.parametrize(
    ("typed", "last", "expected"),
    [
        ("imageserver", "che", {"check"}),
        ("imageserver model", "", {"add", "try", "list", "prepare"}),
        ("imageserver", "--max-fr", {"--max-frame-bytes"}),
        ("imageserver --log-level", "w", {"warning"}),
        ("imageserver user", "pas", {"passwd"}),
        ("imageserver model add", "--lab", {"--labels"}),
        ("imageserver camera", "--lo", {"--loop"}),
        ("imageserver check", "--tcp-co", {"--tcp-config"}),
        ("imageserver completion", "f", {"fish"}),
    ],
)
def test_bash_is_told(scripts: dict[str, str], typed: str, last: str, expected: set[str]) -> None:
    script = ASK.format(script=scripts["bash"], words=typed, last=last)
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=60)
    assert done.stderr == ""
    assert expected <= set(done.stdout.split()) and len(done.stdout.split()) < 10


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_can_read_theirs(scripts: dict[str, str], shell: str) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"there is no {shell} here")
    done = subprocess.run([shell, "-n"], input=scripts[shell], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


def test_it_is_printed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["imageserver completion", "fish"])
    assert completion.main() == 0
    assert "complete -c imageserver" in capsys.readouterr().out


def test_without_shtab_a_sentence_says_so(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["imageserver completion", "bash"])
    monkeypatch.setitem(sys.modules, "shtab", None)
    assert completion.main() == 2
    assert capsys.readouterr().err.startswith("imageserver completion: the package shtab is not installed: ")
