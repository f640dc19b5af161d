"""Finds the program that the first words name, and runs it as if it had been started by itself."""

from __future__ import annotations

import contextlib
import gc
import importlib
import sys
from collections.abc import Sequence

from imageserver import folders
from imageserver.config import command_line, reading, shown, words
from imageserver.config.sources import nearest
from imageserver.config.words import Command
from imageserver.errors import SettingError

WRONG = 2
_NAME = "imageserver"


def main(arguments: Sequence[str]) -> int:
    """Run the server, or the command that `arguments` begin with; returns the exit code."""
    found = words.find(arguments)
    if found is not None:
        return _run(found, arguments[len(found.words) :])
    if arguments and words.below(arguments[0]):
        return _help_of(arguments[0], arguments[1:])
    if not command_line.ASKING.isdisjoint(arguments):
        with contextlib.suppress(SettingError):  # which the server tells
            reading.load(arguments, lambda _remark: None)
    # It takes half a second, for which nobody who asks for help need wait; a sixth more where garbage is looked for
    # among what it makes, all of which stays.
    gc.disable()
    from imageserver.app import server

    gc.enable()
    return server.main(list(arguments))


def _run(command: Command, arguments: Sequence[str]) -> int:
    """Run a program in this process, so that signals, standard input and exit code are its own."""
    sys.argv = [f"{_NAME} {command.typed}", *arguments]
    if command.client:
        if not (folders.CLIENTS / f"{command.module}.py").is_file():
            print(
                f"{_NAME}: {command.typed} is not part of this installation, which is a server's alone.",
                file=sys.stderr,
            )
            return WRONG
        # They are programs of their own, which know nothing of the package.
        sys.path.insert(0, str(folders.CLIENTS))
        module = importlib.import_module(command.module)
    else:
        module = importlib.import_module(f"{_NAME}.{command.module}")
    return int(module.main())


def _help_of(word: str, behind: Sequence[str]) -> int:
    """What is said where a second word is needed: code 0 when it was asked for."""
    rows = words.below(word)
    if behind and behind[0] in ("-h", "--help"):
        print("\n".join([f"usage: {folders.COMMAND} {word} COMMAND …", "", *shown.commands(folders.COMMAND, rows)]))
        return 0
    names = [row.words[1] for row in rows]
    given = f", not {behind[0]!r}{nearest(behind[0], names)}" if behind else ""
    print(f"{_NAME}: {word} is followed by one of {', '.join(names)}{given} ({word} -h).", file=sys.stderr)
    return WRONG
