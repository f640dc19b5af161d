"""Where settings come from: the environment, .env files, a TOML file; the command line is in command_line.py.

Every source yields `Given`s, which name their place, so that a wrong value can be found by whoever reads the sentence.
Works on any table of `Setting`s; the server's own is in table.py.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imageserver import limits
from imageserver.config import database, kinds
from imageserver.config.kinds import Kind
from imageserver.errors import InvalidValue, SettingError
from imageserver.limits.row import Limit

Faults = list[str]
"""A sentence for each thing that is wrong, so that all are told at once."""

PREFIX = "IMAGESERVER_"


@dataclass(frozen=True)
class Setting:
    """A row of the table. `name` is the attribute; the variable and the TOML key derive from the long option."""

    name: str
    group: str
    flags: tuple[str, ...]
    default: Any
    kind: Kind
    help: str
    shown: str = ""
    """What help says in place of a default that depends on something."""
    brief: str = ""
    """What `-h` says of it, in half a line; "" for one that only `--help-all` lists."""

    @property
    def key(self) -> str:
        """The TOML key, and the long option without its dashes: `max-frame-bytes`."""
        return self.flags[-1].removeprefix("--")

    @property
    def variable(self) -> str:
        return PREFIX + self.key.upper().replace("-", "_")

    @property
    def default_shown(self) -> str:
        if self.shown or self.default is None:
            return self.shown or "none"
        return self.kind.show(self.default)


def setting(
    group: str,
    *flags: str,
    default: Any,
    kind: Kind,
    help: str,  # noqa: A002
    shown: str = "",
    brief: str = "",
    secret: bool = False,
) -> Any:
    """A field of a dataclass of settings, which is a row of the table. `secret`: keep it out of the object's repr."""
    row = Setting("", group, flags, default, kind, help, shown, brief)
    return dataclasses.field(default=default, repr=not secret, metadata={"row": row})


def table_of(settings: type) -> tuple[Setting, ...]:
    """The rows of a dataclass of settings: its own in their order, then those it inherits."""
    inherited = {name for base in settings.__bases__ for name in getattr(base, "__dataclass_fields__", ())}
    fields = sorted(dataclasses.fields(settings), key=lambda field: field.name in inherited)
    return tuple(_row(field) for field in fields)


def _row(field: dataclasses.Field[Any]) -> Setting:
    row: Setting | None = field.metadata.get("row")
    if row is not None:
        return dataclasses.replace(row, name=field.name)
    limit: Limit = field.metadata["limit"]
    flags = (limits.option(field.name),)
    return Setting(field.name, limit.group, flags, field.default, _kind_of(limit), limit.help)


def _kind_of(limit: Limit) -> Kind:
    match limit.unit:
        case "bytes":
            return kinds.size(int(limit.low), int(limit.high))
        case "seconds":
            return kinds.duration(limit.low, limit.high)
        case "count":
            return kinds.whole("N", int(limit.low), int(limit.high))


@dataclass(frozen=True)
class Given:
    """A value as somebody wrote it: `where` completes the sentence `… is 'text', but it takes …`.

    `place` is where it was written, in few words; relative paths count from `folder`.
    """

    setting: Setting
    text: str
    where: str
    folder: Path
    place: str


@dataclass(frozen=True)
class Merged:
    """The values of all places by the names of their settings, and the place that each comes from.

    `doubtful`: names of settings of which somewhere is written what is no value.
    """

    values: dict[str, Any]
    places: dict[str, str]
    doubtful: frozenset[str]


def from_environment(
    table: Sequence[Setting], environment: Mapping[str, str], folder: Path, faults: Faults, file: Path | None = None
) -> list[Given]:
    """The variables that begin with IMAGESERVER_, of the process or of the .env file `file`."""
    place, suffix = (f"file {file}", f" in {file}") if file else ("environment", "")
    by_variable = {row.variable: row for row in table}
    found = []
    for variable, text in environment.items():
        if variable.startswith(PREFIX):
            if variable not in by_variable:
                close = nearest(variable, by_variable)
                faults.append(f"There is no setting for the variable {variable}{suffix}{close}; correct or unset it.")
            elif text.strip():  # compose files set what is missing to nothing
                found.append(Given(by_variable[variable], text, variable + suffix, folder, place))
    return found


def from_env_file(table: Sequence[Setting], path: Path, faults: Faults, warn: Callable[[str], None]) -> list[Given]:
    """The IMAGESERVER_ variables of a .env file; no file gives nothing.

    Such a file may hold another program's variables as well, so `warn` is told of them and they are left alone.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError) as error:
        faults.append(f"{path} cannot be read: {_reason(error)}.")
        return []
    variables = dict(_env_lines(text, path, faults))
    others = [variable for variable in variables if not variable.startswith(PREFIX)]
    if others:
        close = nearest(PREFIX + others[0], [row.variable for row in table])
        warn(f"{path}: {', '.join(others)} is no setting of the server, whose variables begin with {PREFIX}{close}")
    return from_environment(table, variables, path.parent, faults, path)


_ENV_LINE = re.compile(r"(?P<name>\w+)\s*=(?P<value>.*)")
_QUOTED = re.compile(
    r"""\s*(?:"(?P<double>(?:[^"\\]|\\.)*)"|'(?P<single>[^']*)')
    \s*(?:\s\#.*)?""",
    re.VERBOSE,
)
_COMMENT = re.compile(r"\s#")


def _env_lines(text: str, path: Path, faults: Faults) -> Iterator[tuple[str, str]]:
    for number, line in enumerate(text.splitlines(), 1):
        line = line.strip().removeprefix("export ").lstrip()
        if not line or line.startswith("#"):
            continue
        if not line.startswith(PREFIX):
            yield line.partition("=")[0].strip()[:64], ""
            continue
        found = _ENV_LINE.fullmatch(line)
        value = None if found is None else _env_value(found["value"])
        if found is None or value is None:
            faults.append(f'Line {number} of {path} is not of the form NAME=value or NAME="value"; correct it.')
        else:
            yield found["name"], value


def _env_value(text: str) -> str | None:
    """What follows the equals sign, without quotes and comment; None where a quote is not closed."""
    quoted = _QUOTED.fullmatch(text)
    if quoted is None:
        bare = _COMMENT.split(text, 1)[0].strip()
        return None if bare.startswith(("'", '"', "#")) else bare
    if quoted["double"] is None:
        return quoted["single"]
    return re.sub(r"\\(.)", lambda escape: {"n": "\n"}.get(escape[1], escape[1]), quoted["double"])


def from_toml(table: Sequence[Setting], path: Path, faults: Faults) -> list[Given] | None:
    """The keys of a TOML file, all at its top level, written as the long options without dashes.

    None: the file cannot be read, so nobody knows what it would give.
    """
    by_key = {row.key: row for row in table if row.key != "config"}
    document = _document(path, faults)
    if document is None:
        return None
    found = []
    for key, value in document.items():
        row = by_key.get(key.replace("_", "-"))
        if row is None:
            what = f"table [{key}]" if isinstance(value, dict) else f"key {key}"
            close = "" if isinstance(value, dict) else nearest(key, by_key)
            faults.append(f"The {what} of {path} is no setting{close}; correct or remove it.")
            continue
        values = value if isinstance(value, list) else [value]
        wrong = [item for item in values if not isinstance(item, str | int | float)]
        if wrong:
            faults.append(f"{key} in {path} is {wrong[0]!r}, but it takes {row.kind.expects}.")
            continue
        texts = [_toml_text(item) for item in values]
        if not row.kind.many and len(texts) != 1:
            texts = [",".join(texts)]  # preload = ["a", "b"]
        found += [Given(row, text, f"{key} in {path}", path.parent, f"file {path}") for text in texts]
    return found


def _document(path: Path, faults: Faults) -> dict[str, Any] | None:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        faults.append(f"There is no file {path}, which --config names.")
    except RecursionError:
        faults.append(f"{path} cannot be read: it is nested too deeply.")
    except (OSError, ValueError) as error:  # of TOML, of UTF-8, and of a number of 5,000 digits
        faults.append(f"{path} cannot be read: {_reason(error)}.")
    return None


def _toml_text(value: object) -> str:
    return ("yes" if value else "no") if isinstance(value, bool) else str(value)


def _reason(error: Exception) -> str:
    return (error.strerror or str(error)) if isinstance(error, OSError) else str(error)


def merge(layers: Iterable[Iterable[Given]], faults: Faults) -> Merged:
    """The values of all layers, the weakest layer first; a sentence in `faults` for each that is none.

    Within a layer the last one counts, or, where the kind takes many, all together; a stronger layer replaces.
    """
    merged: dict[str, Any] = {}
    places: dict[str, str] = {}
    doubtful = set()
    for layer in layers:
        values: dict[str, Any] = {}
        for given in layer:
            row = given.setting
            try:
                value = _value(given)
            except SettingError as error:
                faults.append(str(error))
                doubtful.add(row.name)
                continue
            values[row.name] = values.get(row.name, ()) + value if row.kind.many else value
            places[row.name] = given.place
        merged |= values
    return Merged(merged, places, frozenset(doubtful))


def _value(given: Given) -> Any:
    kind = given.setting.kind
    secret = kind.secret or database.may_hide(given.text)
    written = "not as it should be" if secret else repr(given.text)
    try:
        return kind.parse(given.text, given.folder)
    except InvalidValue as reason:
        raise SettingError(f"{given.where} is {written}: {reason}.") from None
    except ValueError:
        raise SettingError(f"{given.where} is {written}, but it takes {kind.expects}.") from None


def nearest(word: str, words: Iterable[str]) -> str:
    """The end of a sentence that says which known word was meant; "" where none is near."""
    # What all begin with, dashes or IMAGESERVER_, makes none of them near.
    rests = {_rest(known): known for known in words}
    close = difflib.get_close_matches(_rest(word), rests, 1, 0.6)
    return f"; did you mean {rests[close[0]]}?" if close else ""


def _rest(word: str) -> str:
    return word.lower().removeprefix(PREFIX.lower()).lstrip("-")
