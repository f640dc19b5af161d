"""The first words of the command line: each names a program, a row in one table. Pure.

`imageserver user add alice` runs `accounts.cli` with what follows `user`; without such a word the server runs.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

ADDRESSES = ("localhost", "localaddr")
"""Words that are addresses though they hold neither colon nor dot."""


@dataclass(frozen=True)
class Command:
    """A row of the table. `words` are what people type, `help` says in half a line what it does.

    `module` has a function `main()` that reads `sys.argv` and returns the exit code, and, for completion, `parser()`;
    it is one of the package, or of clients/ where `client` is set.
    """

    words: tuple[str, ...]
    module: str
    help: str
    client: bool = False

    @property
    def typed(self) -> str:
        """The words as they are typed."""
        return " ".join(self.words)


COMMANDS = (
    Command(("demo",), "commands.demo.main", "see it at work: a server with sample cameras, in a browser"),
    Command(("user",), "accounts.cli", "users, roles, passwords and tokens"),
    Command(("model", "add"), "inference.add_model", "add a model: Keras, ONNX, TFLite, OpenVINO"),
    Command(("model", "try"), "inference.try_model", "run one model without a server"),
    Command(("model", "bench"), "inference.bench_model", "what one model costs on this machine"),
    Command(("model", "list"), "commands.models", "the models, and what each of them lacks"),
    Command(("model", "prepare"), "inference.prepare", "convert models ahead of time"),
    Command(("camera",), "camera", "stream pictures, a video or a webcam to a server", client=True),
    Command(("session",), "session", "the same in a session of several models", client=True),
    Command(("capture",), "capture", "take a picture whenever somebody says snap", client=True),
    Command(("snap",), "snap", "say snap, and show what comes back", client=True),
    Command(("xray",), "xray", "ask about chest X-rays over legacy TCP", client=True),
    Command(("plan",), "commands.plan.main", "how many machines so many cameras need, and why"),
    Command(("check",), "commands.check", "list everything that is wrong with the settings"),
    Command(("completion",), "commands.completion", "what bash, zsh or fish completes with Tab"),
)


def first_words() -> list[str]:
    """Each first word once, in the order of the table."""
    return list(dict.fromkeys(command.words[0] for command in COMMANDS))


def find(arguments: Sequence[str]) -> Command | None:
    """The command whose words `arguments` begin with."""
    return next((row for row in COMMANDS if tuple(arguments[: len(row.words)]) == row.words), None)


def below(word: str) -> list[Command]:
    """The commands of a first word that takes a second one: add, try, … of `model`."""
    return [row for row in COMMANDS if row.words[0] == word and len(row.words) > 1]


def is_address(word: str) -> bool:
    """Whether a word alone is an address or a port rather than a command."""
    return word in ADDRESSES or re.search(r"[.:]", word) is not None or re.fullmatch("[0-9]+", word) is not None
