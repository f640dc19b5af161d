"""Lists of labels in the files that people have: text, or JSON as Keras writes it. Standard library only."""

from __future__ import annotations

import json
from pathlib import Path

from imageserver import files
from imageserver.errors import ManifestError

MAX_BYTES = 2**20
"""Of a list of labels: the server process reads it."""

MOST = 100_000
LONGEST = 500
"""Labels in a list, and characters of one: it is sent with every prediction."""


def read(path: Path) -> tuple[str, ...]:
    """The labels in a file, in order.

    Args:
        path: a text file with a label in each line, or JSON (by its suffix): a list of labels, or Keras'
            {"0": ["n01440764", "tench"], …}.

    Raises:
        ManifestError: it cannot be read, is larger than `MAX_BYTES`, is neither, or `fault` finds something.
    """
    try:
        labels = _parse(files.read(path, MAX_BYTES).decode(), path.suffix)
    except OSError as error:
        raise ManifestError(f"{path.name!r} cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, IndexError, RecursionError) as error:
        raise ManifestError(f"{path.name!r} is no list of labels: {str(error)[:200]}") from error
    if found := fault(labels):
        raise ManifestError(f"{path.name!r} {found}")
    return labels


def _parse(text: str, suffix: str) -> tuple[str, ...]:
    if suffix != ".json":
        return tuple(line.strip() for line in text.splitlines() if line.strip())
    data = json.loads(text)
    if isinstance(data, dict):
        data = [data[str(index)] for index in range(len(data))]
    return tuple(str(entry[-1]) if isinstance(entry, list) else str(entry) for entry in data)


def fault(labels: tuple[str, ...]) -> str:
    """What is wrong with a list of labels, as the rest of a sentence; "" when nothing is."""
    if len(labels) > MOST:
        return f"holds {len(labels)} labels, at most {MOST} are allowed"
    for number, label in enumerate(labels, 1):
        if len(label) > LONGEST:
            return f"holds a label of {len(label)} characters (number {number}), at most {LONGEST} are allowed"
        if any(character < " " for character in label):
            return f"holds a label with a control character (number {number}): {label[:50]!r}"
    return ""
