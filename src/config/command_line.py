"""The command line as a source of settings: options, their values, and one address with its port."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from imageserver.config import addresses, words
from imageserver.config.kinds import FLAG
from imageserver.config.sources import Faults, Given, Setting, nearest
from imageserver.errors import PrintAsked

POSITIONAL = "address:port"
PRINTING = ("-h", "--help", "--help-all", "--version")
"""Options that print something, whatever else is said."""
PRINT_CONFIG = "--print-config"
ASKING = frozenset((*PRINTING, PRINT_CONFIG))
"""Options after which no server starts."""
PLACE = "command line"


def read(table: Sequence[Setting], arguments: Sequence[str], folder: Path, faults: Faults) -> list[Given]:
    """What `arguments` (without the program's name) give, in their order. PrintAsked."""
    line = _CommandLine(table, arguments, folder, faults)
    while line.rest:
        line.take(line.rest.pop(0))
    return line.found


class _CommandLine:
    """What is read of it so far, and the rest of its words."""

    def __init__(self, table: Sequence[Setting], arguments: Sequence[str], folder: Path, faults: Faults) -> None:
        self.found: list[Given] = []
        self.rest = list(arguments)
        self._folder, self._faults = folder, faults
        self._flags = {flag: row for row in table for flag in row.flags}
        self._negated = {f"--no-{row.key}": row for row in table if row.kind is FLAG}
        self._options = [*self._flags, *self._negated, *PRINTING, PRINT_CONFIG]
        self._addresses = 0

    def take(self, word: str) -> None:
        """Read one word, and the value behind it where it takes one."""
        flag, equals, value = word.partition("=")
        short = self._flags.get(word[:2])
        if word in PRINTING:
            raise PrintAsked(word)
        if word == PRINT_CONFIG:
            return
        if word == "-" or not word.startswith("-"):
            self._take_address(word)
        elif word in self._flags:
            self._give(word, None)
        elif equals and flag in self._flags:
            self._give(flag, value)
        elif word in self._negated:
            self._add(self._negated[word], "no", word)
        elif not word.startswith("--") and short is not None and short.kind is not FLAG:
            self._give(word[:2], word[2:])  # -p9000
        elif switches := self._switches(word):
            for letter in switches:
                self._give(letter, None)
        else:
            self._faults.append(f"There is no option {flag}{nearest(flag, self._options)} (--help-all lists them all).")
            if not equals and self.rest and not self.rest[0].startswith("-"):
                del self.rest[0]  # what reads like its value

    def _add(self, row: Setting, text: str, where: str) -> None:
        self.found.append(Given(row, text, where, self._folder, PLACE))

    def _give(self, flag: str, attached: str | None) -> None:
        row = self._flags[flag]
        if row.kind is FLAG:
            self._add(row, attached if attached is not None else "yes", flag)
        elif attached is not None:
            self._add(row, attached, flag)
        elif not self.rest or self.rest[0] in self._options:
            self._faults.append(f"{flag} needs a value: {row.kind.expects}.")
        else:
            self._add(row, self.rest.pop(0), flag)

    def _switches(self, word: str) -> list[str]:
        """`-ad` as `-a` and `-d`; none where a letter is no switch."""
        found = ["-" + letter for letter in word[1:]]
        known = (self._flags.get(flag) for flag in found)
        return found if all(row is not None and row.kind is FLAG for row in known) else []

    def _take_address(self, word: str) -> None:
        if not words.is_address(word) and word != "-":
            self._faults.append(self._no_command(word))
            return
        self._addresses += 1
        if self._addresses > 1:
            self._faults.append(
                f"{word!r} is one word too many: beside the options only one {POSITIONAL} is taken (see -h)."
            )
            return
        try:
            host, port = addresses.split(word)
        except ValueError:
            self._faults.append(f"{word!r} is not of the form {POSITIONAL}: write 0.0.0.0:8080 or [::1]:8080, say.")
            return
        for flag, text in (("--ip", host), ("--port", port)):
            if text is not None:
                self._add(self._flags[flag], text, f"{POSITIONAL} {word!r}: the {flag[2:]}")

    def _no_command(self, word: str) -> str:
        """What is said of a word that is neither an option nor an address."""
        if word not in words.first_words():
            close = nearest(word, words.first_words())
            return f"There is no command {word!r}{close}; where an address is meant, write -i {word}."
        second = self.rest.pop(0) if any(row.words[1:] == tuple(self.rest[:1]) for row in words.below(word)) else ""
        return f"{word!r} is a command, and stands before all options: {f'{word} {second}'.strip()} …"
