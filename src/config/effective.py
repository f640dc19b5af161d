"""The configuration as it holds, as TOML that can be read again: `--print-config`. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

from imageserver.config.kinds import Kind
from imageserver.config.sources import Setting
from imageserver.lines import printable

DEFAULT = "default"
_HEAD = (
    "# The settings as they hold here; behind each stands where it comes from.",
    "# Secrets are left out. What begins with # is not set, or cannot be set in a file.",
)


def as_toml(table: Sequence[Setting], values: object, places: Mapping[str, str]) -> str:
    """Every setting, by groups.

    Args:
        table: the settings.
        values: an object with an attribute for each.
        places: where those come from that were set, by their names.
    """
    lines = list(_HEAD)
    for group in dict.fromkeys(row.group for row in table):
        lines += ["", f"# {group}"]
        for row in table:
            if row.group == group:
                lines.append(_line(row, getattr(values, row.name), places.get(row.name, DEFAULT)))
    return "\n".join(lines) + "\n"


def _line(row: Setting, value: Any, place: str) -> str:
    origin = f"  # {printable(place)}"
    if row.kind.secret or getattr(value, "has_password", False):
        return f"# {row.key} is {'set, and not shown' if value else 'not set'}{origin}"
    if value is None or value == ():
        return f"# {row.key} is not set: {row.default_shown}{origin}"
    text = _written(row.kind, value)
    if row.name == "config" or not _is_text(text):
        return f"# {row.key} = {text.encode(errors='backslashreplace').decode()}{origin}"
    return f"{row.key} = {text}{origin}"


def _written(kind: Kind, value: Any) -> str:
    """A value as TOML."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return f"[{', '.join(_quoted(str(item)) for item in value)}]"
    text = kind.show(value)
    if isinstance(value, float) and kind.parse(text, Path()) != value:
        text = format(Decimal(repr(value)), "f")  # shown in fewer digits than it has
    return text if isinstance(value, int | float) and _is_number(text) else _quoted(text)


def _is_number(text: str) -> bool:
    return text.isascii() and text.replace(".", "", 1).isdecimal() and not text.startswith(".")


def _quoted(text: str) -> str:
    """A basic string of TOML: what JSON writes, and no DEL either."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _is_text(text: str) -> bool:
    """Whether a file in UTF-8 can hold it: a path may be made of other bytes."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
