"""The figures in the cards of models: each table stands between two marks, and a command writes it anew."""

from __future__ import annotations

import re
from pathlib import Path

from imageserver.errors import SettingError

START, END = "<!-- figures -->", "<!-- end of figures -->"


def put(path: Path, table: str, check: bool) -> bool:
    """Put `table` between the marks of the file, unless `check`; whether it was there already.

    SettingError when the marks are missing.
    """
    text = path.read_text("utf-8")
    found = re.search(f"{START}\n(.*?){END}", text, re.DOTALL)
    if found is None:
        raise SettingError(f"{path} has no lines {START} and {END} between which the figures go")
    same = found.group(1).strip() == table.strip()
    if not same and not check:
        path.write_text(text[: found.start()] + f"{START}\n{table}\n{END}" + text[found.end() :], "utf-8")
    return same
