"""Where settings come from: command line, environment, .env files, a TOML file. And how `-h` and the docs show them.

Every source yields `Given`s, which name their place, so that a wrong value can be found by whoever reads the sentence.
Works on any table of `Setting`s; the server's own is in table.py.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
import textwrap
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imageserver import limits
from imageserver.config import addresses, kinds
from imageserver.config.kinds import FLAG, Kind
from imageserver.errors import InvalidValue, PrintAsked, SettingError
from imageserver.limits.row import Limit

Faults = list[str]
"""A sentence for each thing that is wrong, so that all are told at once."""

PREFIX = "IMAGESERVER_"
POSITIONAL = "address:port"
PRINTING = ("-h", "--help", "--version")
"""Options that print something, whatever else is said."""


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
    secret: bool = False,
) -> Any:
    """A field of a dataclass of settings, which is a row of the table. `secret`: keep it out of the object's repr."""
    row = Setting("", group, flags, default, kind, help, shown)
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
    """A value as somebody wrote it: `where` completes the sentence `… is 'text', but it takes …`."""

    setting: Setting
    text: str
    where: str
    folder: Path


def from_command_line(table: Sequence[Setting], arguments: Sequence[str], folder: Path) -> list[Given]:
    """What `arguments` (without the program's name) give, in their order. SettingError; PrintAsked."""
    by_flag = {flag: row for row in table for flag in row.flags}
    negated = {f"--no-{row.key}": row for row in table if row.kind is FLAG}
    found: list[Given] = []
    positionals = 0
    rest = list(arguments)

    def give(flag: str, row: Setting, attached: str | None) -> None:
        if row.kind is FLAG:
            found.append(Given(row, attached if attached is not None else "yes", flag, folder))
            return
        if attached is None:
            if not rest or rest[0] in by_flag or rest[0] in negated:
                raise SettingError(f"{flag} needs a value: {row.kind.expects}.")
            attached = rest.pop(0)
        found.append(Given(row, attached, flag, folder))

    while rest:
        word = rest.pop(0)
        flag, equals, value = word.partition("=")
        if word in PRINTING:
            raise PrintAsked(word)
        if word == "-" or not word.startswith("-"):
            positionals += 1
            if positionals > 1:
                raise SettingError(
                    f"{word!r} is one word too many: beside the options only one {POSITIONAL} is taken (see -h)."
                )
            found += _from_positional(by_flag, word, folder)
        elif word in by_flag:
            give(word, by_flag[word], None)
        elif equals and flag in by_flag:
            give(flag, by_flag[flag], value)
        elif word in negated:
            found.append(Given(negated[word], "no", word, folder))
        elif not word.startswith("--") and word[:2] in by_flag and by_flag[word[:2]].kind is not FLAG:
            give(word[:2], by_flag[word[:2]], word[2:])  # -p9000
        elif re.fullmatch("-[A-Za-z]+", word) and all(
            (row := by_flag.get("-" + letter)) and row.kind is FLAG for letter in word[1:]
        ):
            found += [Given(by_flag["-" + letter], "yes", "-" + letter, folder) for letter in word[1:]]  # -ad
        else:
            raise SettingError(
                f"There is no option {flag}{_nearest(flag, [*by_flag, *negated, *PRINTING])} (-h lists them all)."
            )
    return found


def _from_positional(by_flag: Mapping[str, Setting], word: str, folder: Path) -> list[Given]:
    try:
        host, port = addresses.split(word)
    except ValueError:
        raise SettingError(
            f"{word!r} is not of the form {POSITIONAL}: write 0.0.0.0:8080 or [::1]:8080, say."
        ) from None
    parts = (("--ip", host), ("--port", port))
    return [
        Given(by_flag[flag], text, f"{POSITIONAL} {word!r}: the {flag[2:]}", folder)
        for flag, text in parts
        if text is not None
    ]


def from_environment(
    table: Sequence[Setting], environment: Mapping[str, str], suffix: str, folder: Path, faults: Faults
) -> list[Given]:
    """The variables that begin with IMAGESERVER_. `suffix` is added to their names: "" or " in /path/.env"."""
    by_variable = {row.variable: row for row in table}
    found = []
    for variable, text in environment.items():
        if variable.startswith(PREFIX):
            if variable not in by_variable:
                nearest = _nearest(variable, by_variable)
                faults.append(f"There is no setting for the variable {variable}{suffix}{nearest}; correct or unset it.")
            elif text.strip():  # compose files set what is missing to nothing
                found.append(Given(by_variable[variable], text, variable + suffix, folder))
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
        raise SettingError(f"{path} cannot be read: {_reason(error)}.") from None
    variables = dict(_env_lines(text, path, faults))
    others = [variable for variable in variables if not variable.startswith(PREFIX)]
    if others:
        nearest = _nearest(PREFIX + others[0], [row.variable for row in table])
        warn(f"{path}: {', '.join(others)} is no setting of the server, whose variables begin with {PREFIX}{nearest}")
    return from_environment(table, variables, f" in {path}", path.parent, faults)


_ENV_LINE = re.compile(
    r"""(?P<name>\w+)\s*=\s*
    (?:"(?P<double>(?:[^"\\]|\\.)*)"|'(?P<single>[^']*)'|(?P<bare>[^'"\s#](?:.*?))?)
    \s*(?:\s\#.*)?""",
    re.VERBOSE,
)


def _env_lines(text: str, path: Path, faults: Faults) -> Iterator[tuple[str, str]]:
    for number, line in enumerate(text.splitlines(), 1):
        line = line.strip().removeprefix("export ").lstrip()
        if not line or line.startswith("#"):
            continue
        if not line.startswith(PREFIX):
            yield line.partition("=")[0].strip()[:64], ""
            continue
        found = _ENV_LINE.fullmatch(line)
        if found is None:
            faults.append(f'Line {number} of {path} is not of the form NAME=value or NAME="value"; correct it.')
        elif found["double"] is not None:
            yield found["name"], re.sub(r"\\(.)", lambda escape: {"n": "\n"}.get(escape[1], escape[1]), found["double"])
        else:
            yield found["name"], found["single"] if found["single"] is not None else found["bare"] or ""


def from_toml(table: Sequence[Setting], path: Path, faults: Faults) -> list[Given]:
    """The keys of a TOML file, all at its top level, written as the long options without dashes."""
    by_key = {row.key: row for row in table if row.key != "config"}
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SettingError(f"There is no file {path}, which --config names.") from None
    except RecursionError:
        raise SettingError(f"{path} cannot be read: it is nested too deeply.") from None
    except (OSError, ValueError) as error:  # of TOML, of UTF-8, and of a number of 5,000 digits
        raise SettingError(f"{path} cannot be read: {_reason(error)}.") from None
    found = []
    for key, value in document.items():
        row = by_key.get(key.replace("_", "-"))
        if row is None:
            what = f"table [{key}]" if isinstance(value, dict) else f"key {key}"
            nearest = "" if isinstance(value, dict) else _nearest(key, by_key)
            faults.append(f"The {what} of {path} is no setting{nearest}; correct or remove it.")
            continue
        values = value if isinstance(value, list) else [value]
        wrong = [item for item in values if not isinstance(item, str | int | float)]
        if wrong:
            faults.append(f"{key} in {path} is {wrong[0]!r}, but it takes {row.kind.expects}.")
            continue
        texts = [_toml_text(item) for item in values]
        if not row.kind.many and len(texts) != 1:
            texts = [",".join(texts)]  # preload = ["a", "b"]
        found += [Given(row, text, f"{key} in {path}", path.parent) for text in texts]
    return found


def _toml_text(value: object) -> str:
    return ("yes" if value else "no") if isinstance(value, bool) else str(value)


def _reason(error: Exception) -> str:
    return (error.strerror or str(error)) if isinstance(error, OSError) else str(error)


def merge(layers: Iterable[Iterable[Given]], faults: Faults) -> dict[str, Any]:
    """The values of all layers by name, the weakest layer first; a sentence in `faults` for each that is none.

    Within a layer the last one counts, or, where the kind takes many, all together; a stronger layer replaces.
    """
    merged: dict[str, Any] = {}
    for layer in layers:
        values: dict[str, Any] = {}
        for given in layer:
            row = given.setting
            try:
                value = _value(given)
            except SettingError as error:
                faults.append(str(error))
                continue
            values[row.name] = values.get(row.name, ()) + value if row.kind.many else value
        merged |= values
    return merged


def _value(given: Given) -> Any:
    kind = given.setting.kind
    written = "not as it should be" if kind.secret else repr(given.text)
    try:
        return kind.parse(given.text, given.folder)
    except InvalidValue as reason:
        raise SettingError(f"{given.where} is {written}: {reason}.") from None
    except ValueError:
        raise SettingError(f"{given.where} is {written}, but it takes {kind.expects}.") from None


def _nearest(word: str, words: Iterable[str]) -> str:
    close = difflib.get_close_matches(word.lower(), {known.lower(): known for known in words}, 1, 0.6)
    proper = {known.lower(): known for known in words}
    return f"; did you mean {proper[close[0]]}?" if close else ""


def usage(table: Sequence[Setting], program: str, intro: str, width: int = 100) -> str:
    """The text of `-h`, `width` characters wide."""
    lines = [f"usage: {program} [options] [{POSITIONAL}]", "", *textwrap.wrap(intro, width)]
    indent = 30
    for group in dict.fromkeys(row.group for row in table):
        lines += ["", group]
        for row in table:
            if row.group == group:
                head = "  " + _options(row)
                default = "" if row.default_shown in ("no", "none") else f" (default {row.default_shown})"
                body = textwrap.wrap(row.help + default, width - indent)
                if len(head) <= indent - 2:
                    head, body = head.ljust(indent) + body[0], body[1:]
                lines += [head, *(" " * indent + line for line in body)]
    notes = (
        f"Each option can also be set by a variable ({table[0].variable} for --{table[0].key}), in the environment or "
        "in a file .env beside the project or in the current folder, or by a key of a TOML file (--config): the "
        "command line goes before the environment, that before .env, that before the file; of an option given twice "
        "the last counts, except where it says repeatable. Sizes may be written as 512K or 16M, times as 250ms, 10s "
        "or 2min. Each switch has a --no- form. --version tells the version."
    )
    return "\n".join([*lines, "", *textwrap.wrap(notes, width)]) + "\n"


def _options(row: Setting) -> str:
    text = (
        ", ".join(row.flags)
        if row.flags[0].startswith("-") and not row.flags[0].startswith("--")
        else "    " + ", ".join(row.flags)
    )
    return f"{text} {row.kind.metavar}".rstrip()


def markdown(table: Sequence[Setting], title: str, intro: str) -> str:
    """The reference page: a section for each group, a table row for each setting."""
    lines = [f"# {title}", "", intro]
    for group in dict.fromkeys(row.group for row in table):
        lines += ["", f"## {group}", "", "| option | default | what it does | variable |", "| --- | --- | --- | --- |"]
        for row in table:
            if row.group == group:
                options = ", ".join(f"`{flag}`" for flag in row.flags) + (
                    f" `{row.kind.metavar}`" if row.kind.metavar else ""
                )
                takes = "" if row.kind is FLAG else f" Takes {row.kind.expects}."
                lines.append(
                    f"| {options} | {row.default_shown} | {row.help}.{takes} | `{row.variable}` |".replace("..", ".")
                )
    return "\n".join(lines) + "\n"
