"""Lists with many rows."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from bench.hostile.target import Target, at_once, attack
from bench.hostile.wire import basic, request

ROWS = 200_000
_ROW = "INSERT INTO snippets (id, file, kind, size, received, prediction) VALUES (?, ?, ?, ?, ?, ?)"
_PREDICTION = '{"model": "faces", "label": "none", "score": 0.0, "labels": ["none"], "boxes": []}'
_TABLE = """
CREATE TABLE IF NOT EXISTS snippets (
    number INTEGER PRIMARY KEY AUTOINCREMENT, id INTEGER NOT NULL, file TEXT NOT NULL, kind TEXT NOT NULL,
    size INTEGER NOT NULL, received TEXT NOT NULL, prediction TEXT NOT NULL
);
"""


def fill(folder: Path) -> None:
    """A store of 200,000 pictures of as many devices, each a file of its own, as it was before there were pages."""
    pictures = folder / "snippets" / "pictures"
    pictures.mkdir(parents=True)
    with sqlite3.connect(folder / "snippets" / "snippets.db") as database:
        database.executescript(_TABLE)
        time = "2026-01-01T00:00:00+00:00"
        database.executemany(_ROW, ((n, f"{n}.jpeg", "jpeg", 1, time, _PREDICTION) for n in range(ROWS)))
    database.close()
    for number in range(ROWS):
        (pictures / f"{number}.jpeg").touch()


@attack("lists", "GET /snippets/ with 200,000 rows, 5 times, and 4 at once", prepare=fill)
def lists(target: Target) -> None:
    login = basic() if target.guarded else {}
    for _ in range(5):
        status, body = request(target, "GET", "/snippets/", **login)
        target.seen[f"{status}: {len(body):,} bytes"] += 1
    at_once(4, lambda _index: request(target, "GET", "/snippets/", **login) and None)
