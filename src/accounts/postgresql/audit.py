"""The table in which the audits of several front ends meet (remote/audit.py sends them)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from imageserver.accounts.store.base import Store
from imageserver.accounts.store.sql import SqlConnection


def note(users: Store, front_end: str, lines: Sequence[str], most: int) -> tuple[int, str]:
    """Put lines into the table, of which `most` are kept. For the process that talks to the database.

    Returns:
        How many of them it does not take, and why not the last of those: they would not go in another time either,
        and those behind them would wait for ever.
    """
    from psycopg import DataError

    refused, why = 0, ""
    with users._transaction() as connection:
        connection.execute("SAVEPOINT noting")
        try:
            for line in lines:
                _insert(connection, front_end, line)
        except DataError:
            connection.execute("ROLLBACK TO SAVEPOINT noting")
            for line in lines:
                connection.execute("SAVEPOINT noting_one")
                try:
                    _insert(connection, front_end, line)
                except DataError as error:
                    connection.execute("ROLLBACK TO SAVEPOINT noting_one")
                    refused, why = refused + 1, str(error).partition("\n")[0]
                connection.execute("RELEASE SAVEPOINT noting_one")
        connection.execute("DELETE FROM audit WHERE number <= (SELECT max(number) FROM audit) - ?", (most,))
    return refused, why


def _insert(connection: SqlConnection, front_end: str, line: str) -> None:
    """DataError: it is no line of an audit, or holds what no text there can (NUL)."""
    connection.execute(
        "INSERT INTO audit (time, front_end, line) VALUES (CAST(? AS timestamptz), ?, CAST(? AS jsonb))",
        (json.loads(line)["time"], front_end, line),
    )


def read(users: Store, most: int) -> Iterator[dict[str, Any]]:
    """The last lines of all front ends by their time, each with `front_end`; oldest first."""
    query = "SELECT front_end, line FROM audit ORDER BY time DESC, number DESC LIMIT ?"
    with users._connection() as connection:
        rows = connection.execute(query, (most,)).fetchall()
    for front_end, line in reversed(rows):
        yield {**line, "front_end": front_end}
