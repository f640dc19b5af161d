"""The table in which the audits of several front ends meet (remote/audit.py sends them)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from imageserver.accounts.store.base import Store


def note(users: Store, front_end: str, lines: Sequence[str], most: int) -> None:
    """Put lines into the table, of which `most` are kept. For the process that talks to the database."""
    with users._transaction() as connection:
        for line in lines:
            found = json.loads(line)
            (number,) = connection.execute(
                "INSERT INTO audit (time, front_end, line) VALUES (CAST(? AS timestamptz), ?, CAST(? AS jsonb)) "
                "RETURNING number",
                (found["time"], front_end, line.replace("\\u0000", "")),
            ).fetchone()
        if lines:
            connection.execute("DELETE FROM audit WHERE number <= ?", (number - most,))


def read(users: Store, most: int) -> Iterator[dict[str, Any]]:
    """The last lines of all front ends by their time, each with `front_end`; oldest first."""
    query = "SELECT front_end, line FROM audit ORDER BY time DESC, number DESC LIMIT ?"
    with users._connection() as connection:
        rows = connection.execute(query, (most,)).fetchall()
    for front_end, line in reversed(rows):
        yield {**line, "front_end": front_end}
