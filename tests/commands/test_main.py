"""The one command: its first words lead to the programs, which are the same as when they are started by themselves."""

from __future__ import annotations

import importlib
import os
import sys
import types
from collections.abc import Callable
from pathlib import Path

import pytest

from imageserver import folders
from imageserver.commands import main as commands
from imageserver.config import words
from imageserver.config.words import Command


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, list[str]]]:
    """The modules that are run instead of really running them, each with the command line that it sees."""
    found: list[tuple[str, list[str]]] = []

    def imported(name: str) -> types.SimpleNamespace:
        def main() -> int:
            found.append((name, sys.argv))
            return 7

        return types.SimpleNamespace(main=main)

    monkeypatch.setattr(importlib, "import_module", imported)
    monkeypatch.setattr(sys, "argv", [])
    monkeypatch.setattr(sys, "path", [*sys.path])
    return found


@pytest.mark.parametrize("command", words.COMMANDS, ids=lambda command: command.typed)
def test_the_first_words_lead_to_a_program(command: Command, started: list[tuple[str, list[str]]]) -> None:
    assert commands.main([*command.words, "-x", "y z"]) == 7
    module = command.module if command.client else f"imageserver.{command.module}"
    assert started == [(module, [f"imageserver {command.typed}", "-x", "y z"])]


@pytest.mark.parametrize("command", words.COMMANDS, ids=lambda command: command.typed)
def test_the_program_is_there(command: Command) -> None:
    folder = folders.CLIENTS if command.client else Path(folders.__file__).parent
    file = folder / f"{command.module.replace('.', '/')}.py"
    assert "def main(" in file.read_text()
    assert command.help and command.help[-1] != "." and len(command.typed + command.help) < 75


def test_without_such_a_word_the_server_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    from imageserver.app import server

    monkeypatch.setattr(server, "main", lambda arguments: arguments)
    for arguments in ([], ["-a", "check"], ["chekc"], ["127.0.0.1:80"]):
        assert commands.main(arguments) == arguments


def test_an_image_without_the_clients_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(folders, "CLIENTS", tmp_path)
    monkeypatch.setattr(sys, "argv", [])
    assert commands.main(["camera", "0"]) == 2
    said = "imageserver: camera is not part of this installation, which is a server's alone.\n"
    assert capsys.readouterr() == ("", said)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], ""),
        (["lis"], ", not 'lis'; did you mean list?"),
    ],
)
def test_a_second_word_that_lacks(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert commands.main(["model", *arguments]) == 2
    following = "imageserver: model is followed by one of add, try, bench, list, prepare"
    assert capsys.readouterr() == ("", f"{following}{said} (model -h).\n")
    assert commands.main(["model", "-h"]) == 0
    out, err = capsys.readouterr()
    assert err == "" and all(f" model {row.words[1]} " in out for row in words.below("model"))


@pytest.fixture
def listed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """`imageserver model list` in this process."""
    for name in [name for name in os.environ if name.startswith("IMAGESERVER_")]:
        monkeypatch.delenv(name)

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", [])  # put back afterwards
        code = commands.main(["model", "list", *arguments])
        return (code, *capsys.readouterr())

    return run


def test_the_models_are_listed(listed: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    for name, keys in {"dots": "weights = 'dots.keras'", "wrong": "weihgts = 'a'"}.items():
        (tmp_path / name).mkdir()
        text = f"kind = 'classification'\n[input]\nwidth = 8\nheight = 8\n[runtime]\n{keys}\n"
        (tmp_path / name / "model.toml").write_text(text)
    code, out, err = listed("--models", str(tmp_path))
    assert (code, out) == (1, "dots                 classification  dots; lacks dots.keras\n")
    assert "runtime.weihgts: unknown key; did you mean 'weights'?" in err
    code, out, err = listed("--models", str(tmp_path / "none"))
    assert (code, out) == (2, "") and err.startswith("imageserver model list: there is no models folder ")


def test_and_for_programs(listed: Callable[..., tuple[int, str, str]]) -> None:
    code, out, _err = listed("--json")
    assert code == 0 and '{"name": "faces", "title": "Faces", "kind": "detection", "stateful": false, ' in out
