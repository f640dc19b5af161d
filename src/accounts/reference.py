"""The tables of doors in docs/users.md: `python3 src/bootstrap.py accounts.reference docs/users.md` writes them."""

from __future__ import annotations

import re
import sys
from itertools import groupby
from pathlib import Path

from imageserver.accounts.database import ROLES
from imageserver.accounts.doors import COMMAND, DOORS, EVENT, HTTP, Door

BEGIN, END = "<!-- doors: written by `make docs` from src/accounts/doors.py -->", "<!-- doors: end -->"

_HEADINGS = {HTTP: "Path", EVENT: "Event", COMMAND: "Command"}
_VARIABLE = re.compile(r"<(?:[^<>:]+:)?(\w+)>")


def markdown() -> str:
    """The tables, one for each protocol."""
    return "\n\n".join(_table(protocol) for protocol in _HEADINGS)


def inserted(page: str) -> str:
    """`page` with the tables between its two marks. ValueError when it has none."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"the page has no lines {BEGIN} and {END}")
    return f"{before}{BEGIN}\n\n{markdown()}\n\n{END}{after}"


def shown(door: Door) -> str:
    """A door as people read it: `PUT /snippets/<identity>/`."""
    return _VARIABLE.sub(r"<\1>", door.name)


def _table(protocol: str) -> str:
    lines = [
        f"| {_HEADINGS[protocol]} | a login is asked of | roles | a minute | bytes | other origins | |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    doors = [door for door in DOORS if door.protocol == protocol]
    for cells, alike in groupby(doors, key=_cells):
        names = "<br>".join(f"`{shown(door)}`" for door in alike)
        lines.append(f"| {names} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cells(door: Door) -> tuple[str, ...]:
    """What a row says beside the door's name."""
    if len(door.roles) == len(ROLES):
        roles = "any"
    else:
        roles = ", ".join(f"`{role}`" for role in ROLES if role in door.roles) or "any"
    foreign = "yes" if door.foreign and door.protocol != COMMAND else "no"
    return door.login.value, roles, _option(door.rate), _option(door.body), foreign, door.note


def _option(name: str) -> str:
    return f"`--{name.replace('_', '-')}`" if name else ""


def main() -> int:
    """Write the tables into the pages that are named."""
    for name in sys.argv[1:]:
        path = Path(name)
        path.write_text(inserted(path.read_text(encoding="utf-8")), encoding="utf-8")
    return 0
