"""A TOML table whose keys are taken out one by one and checked; all that is wrong with it is told together.

Unknown keys count as wrong, because a misspelt key that is silently ignored costs its author an afternoon, and they
are told first, because a misspelt key also explains why the right one is missing. Pure: no file is touched.
"""

from __future__ import annotations

import difflib
import itertools
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

Default = TypeVar("Default")

REQUIRED: Any = object()
"""The default of a key that has none."""

MOST_FAULTS = 10
"""Told of one file: whoever mends that many looks again anyway, and the search for similar keys takes time."""

SHOWN = 100
"""Characters of a wrong value or key that are told."""

_SHA256 = re.compile(r"[0-9a-f]{64}")


class CheckedTable:
    """One table of a file, and the tables in it.

    Each getter takes a key out. A wrong or missing value is noted as a fault, and something usable is returned in its
    stead, so that one reading finds every fault; `faults` tells them, after the last getter.

    Args:
        name: of the table, as it is written in brackets; "" for the file itself.
        data: what tomllib made of it.
    """

    def __init__(self, name: str, data: dict[str, Any]) -> None:
        self._name, self._data = name, dict(data)
        self._known: list[str] = []
        self._wrong: list[str] = []
        self._tables: list[CheckedTable] = []

    def wrong(self, key: str, reason: str) -> None:
        """Note that `key` is wrong, for a reason that only the caller knows."""
        self._wrong.append(f"{self._dotted(key)}: {reason}")

    def has(self, key: str) -> bool:
        """Whether it holds `key`, which was not taken out yet."""
        return key in self._data

    def faults(self) -> list[str]:
        """Sentences that begin with the key: at most `MOST_FAULTS`, unknown keys first. Empty: all is well."""
        tables = [self, *self._tables]
        unknown = itertools.chain.from_iterable(table._unknown(tables) for table in tables)
        wrong = itertools.chain.from_iterable(table._wrong for table in tables)
        return list(itertools.islice(itertools.chain(unknown, wrong), MOST_FAULTS))

    def table(self, key: str) -> CheckedTable:
        """The table `[key]`; an empty one where it is left out."""
        data = self._take(key, {}, {}, lambda value: isinstance(value, dict), f"a table [{key}]")
        self._tables.append(CheckedTable(key, data))
        return self._tables[-1]

    def text(self, key: str, default: str, longest: int) -> str:
        """At most `longest` characters."""
        value: str = self._take(key, default, default, lambda value: isinstance(value, str), "text in quotes")
        if len(value) > longest:
            self.wrong(key, f"is {len(value)} characters long, at most {longest} are allowed")
        return value[:longest]

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of texts that are not empty; () where it is left out."""
        good = lambda value: _is_list(value, lambda entry: isinstance(entry, str) and entry != "")  # noqa: E731
        return tuple(self._take(key, [], [], good, "a list of texts"))

    def choice(self, key: str, choices: tuple[str, ...], default: str = REQUIRED) -> str:
        """One of `choices`."""
        wanted = f"one of {', '.join(choices)}"
        return str(self._take(key, default, choices[0], lambda value: value in choices, wanted))

    def boolean(self, key: str, default: bool) -> bool:
        """true or false."""
        return bool(self._take(key, default, default, lambda value: isinstance(value, bool), "true or false"))

    def integer(self, key: str, low: int, high: int, default: int = REQUIRED) -> int:
        """A whole number from `low` to `high`."""
        good = lambda value: isinstance(value, int) and _is_number(value, low, high)  # noqa: E731
        return int(self._take(key, default, low, good, f"a whole number from {low} to {high}"))

    def number(self, key: str, low: float, high: float, default: Default) -> float | Default:
        """A number from `low` to `high`, or `default`."""
        wanted = f"a number from {low:g} to {high:g}"
        value = self._take(key, default, default, lambda value: _is_number(value, low, high), wanted)
        return default if value is default else float(value)

    def numbers(self, key: str, default: tuple[float, ...], count: int) -> tuple[float, ...]:
        """A list of `count` finite numbers, or `default`."""
        good = lambda value: _is_list(value, _is_number) and len(value) == count  # noqa: E731
        return tuple(map(float, self._take(key, default, default, good, f"a list of {count} numbers")))

    def named_numbers(self, key: str, most: int) -> tuple[tuple[str, tuple[float, ...]], ...]:
        """A table of at most `most` names, each with a finite number or a list of them; () where it is left out."""
        given = self._take(key, {}, {}, _is_table_of_numbers, "a table of numbers, or of lists of numbers")
        if len(given) > most or any(len(_listed(each)) > most for each in given.values()):
            self.wrong(key, f"holds more than {most} names, or numbers for one of them")
            return ()
        return tuple((name, tuple(map(float, _listed(each)))) for name, each in given.items())

    def _take(self, key: str, default: Any, stand_in: Any, good: Callable[[Any], bool], wanted: str) -> Any:
        self._known.append(key)
        value = self._data.pop(key, default)
        if value is REQUIRED:
            self.wrong(key, "missing")
        elif value is default or good(value):
            return value
        else:
            self.wrong(key, f"must be {wanted}, not {_shown(value)}")
        return stand_in

    def _unknown(self, tables: list[CheckedTable]) -> Iterator[str]:
        for key in (key[:SHOWN] for key in self._data):
            near = difflib.get_close_matches(key, self._known, 1)
            near = near or [table._dotted(key) for table in tables if key in table._known]
            remedy = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(self._known)}"
            yield f"{self._dotted(key)}: unknown key; {remedy}"

    def _dotted(self, key: str) -> str:
        return f"{self._name}.{key}" if self._name else key


def _shown(value: object) -> str:
    try:
        return repr(value)[:SHOWN]
    except ValueError:  # Python writes no numbers of more than 4,300 digits
        return "a number of thousands of digits"


def _is_number(value: object, low: float = -sys.float_info.max, high: float = sys.float_info.max) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high


def _is_table_of_numbers(value: object) -> bool:
    return isinstance(value, dict) and all(_is_list(_listed(each), _is_number) for each in value.values())


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _is_list(value: object, good: Callable[[Any], bool]) -> bool:
    return isinstance(value, list) and all(good(entry) for entry in value)


def inside(table: CheckedTable, key: str, folder: Path, name: str) -> Path | None:
    """`folder/name`, the text of `key`; None for "".

    A manifest may come from elsewhere, so it may not point outside its own folder.
    """
    path = Path(name)
    if path.is_absolute() or ".." in path.parts or "\0" in name:
        table.wrong(key, f"must name something in the model's own folder, not {name!r}")
        return None
    return folder / path if name else None


def sha256(table: CheckedTable) -> str | None:
    """The key `sha256`: of a file that the manifest names; None where it is left out."""
    found = table.text("sha256", "", 64)
    if found and not _SHA256.fullmatch(found):
        table.wrong("sha256", "must be 64 hexadecimal digits in lower case, as sha256sum prints them")
    return found or None
