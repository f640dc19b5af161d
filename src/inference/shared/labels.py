"""Lists of labels in the files that people have: text, or JSON as Keras writes it. Standard library only."""

from __future__ import annotations

import json
from pathlib import Path

from imageserver.errors import ManifestError

MAX_BYTES = 2**20
"""Of a list of labels, and of a manifest: the server process reads both."""


def read(path: Path) -> tuple[str, ...]:
    """The labels in a file, in order.

    Args:
        path: a text file with a label in each line, or JSON (by its suffix): a list of labels, or Keras'
            {"0": ["n01440764", "tench"], …}.

    Raises:
        ManifestError: it cannot be read, is larger than `MAX_BYTES`, or is neither.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ManifestError(f"{path.name!r} is larger than {MAX_BYTES} bytes")
        text = path.read_text("utf-8")
        if path.suffix != ".json":
            return tuple(line.strip() for line in text.splitlines() if line.strip())
        data = json.loads(text)
        if isinstance(data, dict):
            data = [data[str(index)] for index in range(len(data))]
        return tuple(str(entry[-1]) if isinstance(entry, list) else str(entry) for entry in data)
    except OSError as error:
        raise ManifestError(f"{path.name!r} cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, IndexError, RecursionError) as error:
        raise ManifestError(f"{path.name!r} is no list of labels: {error}") from error
