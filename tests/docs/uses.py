"""What a test does with each block of the pages, told by its language and by what it says."""

from __future__ import annotations

import enum
import re

from tests.docs.pages import Block
from tests.docs.scenes import ELSEWHERE


class Use(enum.Enum):
    """What is done with a block.

    COMMANDS, FILE, PROGRAM and OUTPUT are for the session of their page (session.py), the others are read by
    test_blocks.py; ELSEWHERE is neither, for a reason.
    """

    COMMANDS = "typed"
    FILE = "written"
    PROGRAM = "run"
    OUTPUT = "compared"
    SETTINGS = "read as settings"
    MANIFEST = "read as a manifest"
    UNIT = "read by systemd"
    LEGACY = "read as the configuration of the former server"
    JSON = "read as JSON"
    TEXT = "no command"
    ELSEWHERE = "elsewhere"


PLAYED = {Use.COMMANDS, Use.FILE, Use.PROGRAM, Use.OUTPUT}

_BY_LANGUAGE = {
    "sh": Use.COMMANDS,
    "python": Use.PROGRAM,
    "output": Use.OUTPUT,
    "json": Use.JSON,
    "text": Use.TEXT,
}


def use_of(block: Block) -> Use | None:
    """What is done with a block; None: nobody has thought of it."""
    if (block.page, block.first) in ELSEWHERE:
        return Use.ELSEWHERE
    if block.file:
        return Use.FILE
    if block.language == "toml":
        return Use.MANIFEST if re.search(r"^(kind =|\[\w+\])", block.text, re.MULTILINE) else Use.SETTINGS
    if block.language == "ini":
        return Use.UNIT if block.first == "[Service]" else Use.LEGACY
    return _BY_LANGUAGE.get(block.language)
