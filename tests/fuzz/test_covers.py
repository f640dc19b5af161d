"""No parser without a target: what parses is found by what it calls, targets say where they lead through."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from tests.fuzz import table
from tests.running import ROOT

PARSING = {
    "loads", "unpack", "unpack_from", "iter_unpack", "from_bytes", "fromhex", "fullmatch", "match", "search",
    "finditer", "parse_qsl", "parse_qs", "urlsplit", "unquote", "unquote_to_bytes", "b64decode", "a2b_base64", "decode",
    "partition", "rpartition", "ip_address", "parse_options_header",
}  # fmt: skip
"""Functions and methods by which something is made of bytes or a text of somebody else's."""

ROOMS = ("transport", "protocols", "pages.live", "web", "accounts", "peers", "streams", "lines", "inference.shared")
"""Where what comes from outside is read, above the wall and on it."""

NOT_OF_CLIENTS = {
    "accounts.postgresql.audit": "reads what a front end's audit has written",
    "accounts.postgresql.guard": "makes a lock's number of a digest",
    "peers.redis.connection": "takes the name of a channel, which we asked for; messages are read in `peers.messages`",
    "peers.redis.link": "reads what its process has checked",
    "accounts.login": "takes the id out of a token for the log, after `accounts.credentials`",
    "accounts.reference": "reads the pages of docs/",
    "inference.shared.conversion_cache": "reads what the server itself has written",
    "web.openapi": "reads the server's own docstrings",
    "web.schemas.tables": "encodes an example",
    "inference.shared.drawing": "takes out of a label what OpenCV has no letters for",
    "protocols.legacy_tcp.port": "reads the operator's file of models",
    "protocols.snap.newest": "reads what the server itself has stored",
    "protocols.snap.shared.reading": "reads what a front end has stored, after `protocols.snap.shared.record`",
    "transport.budget": "takes the zone off an address that the kernel said",
    "transport.hub": "reads what the kernel said",
    "transport.memory": "reads /proc and /sys",
}
"""Modules that parse, and no target of theirs: why."""


def parses(tree: ast.Module) -> Iterator[str]:
    """What a module calls that parses."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if name in PARSING:
                yield name


def modules() -> dict[str, Path]:
    """All of src/."""
    src = ROOT / "src"
    return {".".join(path.relative_to(src).with_suffix("").parts): path for path in src.rglob("*.py")}


def parsers() -> dict[str, set[str]]:
    """Modules of `ROOMS` that parse, and how."""
    found = {
        name: set(parses(ast.parse(path.read_text("utf-8"))))
        for name, path in modules().items()
        if any(f"{name}.".startswith(f"{room}.") for room in ROOMS)
    }
    return {name: how for name, how in found.items() if how}


def covered() -> set[str]:
    return {module for _, target in table.all_targets().values() for module in target.covers}


def test_every_parser_has_a_target() -> None:
    without = {name: how for name, how in parsers().items() if name not in covered() | NOT_OF_CLIENTS.keys()}
    assert not without, "a module parses and is in no target's `covers` (tests/fuzz/README.md)"


def test_what_is_said_to_be_covered_is_there() -> None:
    assert covered() <= modules().keys()
    assert not covered() & NOT_OF_CLIENTS.keys()
    assert NOT_OF_CLIENTS.keys() <= parsers().keys()
