"""How settings and commands are shown: `-h`, `--help-all`, and docs/settings.md. Pure."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from imageserver.config import words
from imageserver.config.command_line import POSITIONAL
from imageserver.config.kinds import FLAG
from imageserver.config.sources import Setting

_INDENT = 30
_EXAMPLES = (
    ("demo", "see it at work, in a browser"),
    ("-p 9000 -a", "on port 9000, for users only"),
    ("check --config server.toml", "what is wrong, without a start"),
)


def brief(table: Sequence[Setting], program: str, intro: str) -> str:
    """The text of `-h`, at most 30 lines of 80 characters: what people use. `program` is what they type."""
    lines = [*_usage(program), "", *textwrap.wrap(intro, 80), ""]
    lines += [f"{'  ' + _options(row):{_INDENT}}{row.brief}{_default(row)}" for row in table if row.brief]
    names = [word + "".join(f" {_seconds(word)}" if words.below(word) else "") for word in words.first_words()]
    lines += ["", *_wrapped("commands: ", ", ".join(names), 80), "", "examples:"]
    width = max(len(arguments) for arguments, _meaning in _EXAMPLES)
    lines += [f"  {program} {arguments:{width}}  {meaning}" for arguments, meaning in _EXAMPLES]
    return "\n".join([*lines, "", *textwrap.wrap(_FURTHER, 80)]) + "\n"


_FURTHER = (
    "COMMAND -h tells of a command, --help-all lists every option, --version tells the version, --print-config writes "
    "what holds here as TOML."
)


def _seconds(word: str) -> str:
    return "|".join(row.words[1] for row in words.below(word))


def _wrapped(head: str, text: str, width: int) -> list[str]:
    return textwrap.wrap(text, width, initial_indent=head, subsequent_indent=" " * len(head), break_on_hyphens=False)


def _usage(program: str) -> list[str]:
    return [f"usage: {program} [options] [{POSITIONAL}]", f"       {program} COMMAND …"]


def _default(row: Setting) -> str:
    return "" if row.default_shown in ("no", "none") or row.shown else f" (default {row.default_shown})"


def commands(program: str, rows: Sequence[words.Command]) -> list[str]:
    """A line for each command."""
    width = max(len(row.typed) for row in rows)
    return [f"  {program} {row.typed:{width}}  {row.help}" for row in rows]


def usage(table: Sequence[Setting], program: str, intro: str, width: int = 100) -> str:
    """The text of `--help-all`, `width` characters wide."""
    lines = [*_usage(program), "", *textwrap.wrap(intro, width), "", "Commands"]
    lines += commands(program, words.COMMANDS)
    for group in dict.fromkeys(row.group for row in table):
        lines += ["", group]
        for row in table:
            if row.group == group:
                head = "  " + _options(row)
                default = "" if row.default_shown in ("no", "none") else f" (default {row.default_shown})"
                body = textwrap.wrap(row.help + default, width - _INDENT)
                if len(head) <= _INDENT - 2:
                    head, body = head.ljust(_INDENT) + body[0], body[1:]
                lines += [head, *(" " * _INDENT + line for line in body)]
    notes = (
        f"Each option can also be set by a variable ({table[0].variable} for --{table[0].key}), in the environment or "
        "in a file .env beside the project or in the current folder, or by a key of a TOML file (--config): the "
        "command line goes before the environment, that before .env, that before the file; of an option given twice "
        "the last counts, except where it says repeatable. Sizes may be written as 512K or 16M, times as 250ms, 10s "
        "or 2min. Each switch has a --no- form. --print-config writes all of them as TOML, with where each value came "
        "from; --version tells the version."
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
