"""What a TFLite file says of itself: texts in an archive behind the network, labels mostly. Nothing is executed.

Source: "associated files" of TFLite Metadata. Ultralytics' exports keep a dictionary there, as JSON or as Python
writes it.
"""

from __future__ import annotations

import ast
import json
import zipfile
import zlib
from pathlib import Path
from typing import BinaryIO

MOST_FILES = 100
LARGEST = 2**20
"""Bytes of a text that is read."""
MOST_TEXTS = 100
LABELS = "labels"
"""The key of a list of labels, one in each line."""

_ERRORS = (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError, ValueError, OSError)
"""What a damaged archive raises, or one that needs a password."""


def texts(path: Path) -> dict[str, str]:
    """The keys of its dictionary and what they hold, and `LABELS`; {} where there are none. OSError."""
    with path.open("rb") as stream:
        return read(stream)


def read(stream: BinaryIO) -> dict[str, str]:
    """The same of a file that is open."""
    found: dict[str, str] = {}
    try:
        with zipfile.ZipFile(stream) as archive:
            for entry in archive.infolist()[:MOST_FILES]:
                if not entry.filename.endswith((".txt", ".json")) or entry.file_size > LARGEST:
                    continue
                with archive.open(entry) as file:
                    text = file.read(LARGEST).decode()
                known = _dictionary(text)
                if known:
                    found |= known
                elif entry.filename.endswith(".txt"):
                    found.setdefault(LABELS, text)
    except _ERRORS:
        return found
    return found


def _dictionary(text: str) -> dict[str, str]:
    """What a dictionary says, each value as Python writes it, a text as it is; {} where the text is none."""
    if not text.lstrip().startswith("{"):
        return {}
    for parse in (json.loads, ast.literal_eval):
        try:
            found = parse(text)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
        if isinstance(found, dict):
            return {str(key): str(value) for key, value in list(found.items())[:MOST_TEXTS]}
    return {}
