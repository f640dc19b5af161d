"""`imageserver completion bash`: a script by which a shell completes commands and options with Tab.

shtab writes it, from the same tables and parsers that read the command line.
"""

from __future__ import annotations

import argparse
import importlib
import sys

from imageserver import folders
from imageserver.config import command_line, kinds, words
from imageserver.config.sources import Setting
from imageserver.config.table import INTRO, TABLE
from imageserver.config.words import Command

SHELLS = ("bash", "zsh", "fish")
PROGRAM = "imageserver"
_WHERE = """\
Write it to where your shell looks for it:

  imageserver completion bash > ~/.local/share/bash-completion/completions/imageserver
  imageserver completion zsh  > ~/.zfunc/_imageserver      # with fpath+=~/.zfunc before compinit in ~/.zshrc
  imageserver completion fish > ~/.config/fish/completions/imageserver.fish
"""


def parser() -> argparse.ArgumentParser:
    """Of the command line; its name is what was typed."""
    made = argparse.ArgumentParser(
        description="Print what completes commands and options in a shell.",
        epilog=_WHERE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("shell", choices=SHELLS)
    return made


def main() -> int:
    """Print the script for a shell; returns the exit code."""
    known = parser()
    given = known.parse_args()
    try:
        import shtab  # nothing else needs it
    except ImportError:
        print(f"{known.prog}: the package shtab is not installed: pip install shtab adds it", file=sys.stderr)
        return 2
    print(shtab.complete(everything(), given.shell))
    return 0


def everything() -> argparse.ArgumentParser:
    """What the command line takes, as argparse has it: for completion alone, it reads nothing."""
    made = argparse.ArgumentParser(prog=PROGRAM, description=INTRO, add_help=False, parents=[_server()])
    _add_commands(made)
    return made


def _server() -> argparse.ArgumentParser:
    """The options of the server, which `check` takes as well."""
    made = argparse.ArgumentParser(add_help=False)
    for row in TABLE:
        _add(made, row)
    for option in (*command_line.PRINTING, command_line.PRINT_CONFIG):
        made.add_argument(option, action="store_true", help="print and end")
    return made


def _add(made: argparse.ArgumentParser, row: Setting) -> None:
    import shtab

    said = row.help.replace("%", "%%")
    if row.kind is kinds.FLAG:
        made.add_argument(*row.flags, action="store_true", help=said)
        made.add_argument(f"--no-{row.key}", action="store_true", help=f"not: {said}")
        return
    action = made.add_argument(*row.flags, help=said, metavar=row.kind.metavar, choices=row.kind.choices or None)
    if row.kind in (kinds.PATH, kinds.OUTPUT):
        action.complete = shtab.FILE  # type: ignore[attr-defined]
    elif row.kind is kinds.FOLDER:
        action.complete = shtab.DIRECTORY  # type: ignore[attr-defined]


def _add_commands(made: argparse.ArgumentParser) -> None:
    first = made.add_subparsers()
    groups: dict[str, argparse._SubParsersAction[argparse.ArgumentParser]] = {}
    for command in words.COMMANDS:
        if len(command.words) == 1:
            first.add_parser(command.typed, help=command.help, parents=_options_of(command), add_help=False)
            continue
        word, second = command.words
        if word not in groups:
            groups[word] = first.add_parser(word, help=f"{word}s").add_subparsers()
        groups[word].add_parser(second, help=command.help, parents=_options_of(command), add_help=False)


def _options_of(command: Command) -> list[argparse.ArgumentParser]:
    """The parser of a command, in a list; none where it cannot be imported here."""
    if command.module == "commands.check":
        return [_server()]
    name = command.module if command.client else f"{PROGRAM}.{command.module}"
    if command.client and str(folders.CLIENTS) not in sys.path:
        sys.path.insert(0, str(folders.CLIENTS))
    try:
        module = importlib.import_module(name)
    except ImportError:  # of an extra that is not installed
        return []
    return [module.parser()] if hasattr(module, "parser") else []
