"""The login guard of several front ends: the same guard (guard/guard.py), over rows that all of them share.

An attempt is reserved here before it is checked, and settled afterwards, so that whoever spreads attempts over front
ends gets no more of them. For each a guard is made with what is kept of its claim, asked once, and kept again; locks
have others of the same address or name wait meanwhile. The clock is the database's.

What is being checked is kept with the time at which it counts no more: a front end that ends in the middle of it
settles nothing.
"""

from __future__ import annotations

import enum
import hashlib
import itertools
import random
from collections.abc import Sequence
from typing import Any

import psycopg
from psycopg.types.json import Jsonb

from imageserver.accounts.guard.guard import Claim, ClaimState, Guard
from imageserver.accounts.guard.records import WINDOW, FailureRecord
from imageserver.accounts.postgresql.database import PostgreSQL
from imageserver.errors import LoginPaused
from imageserver.limits import Limits

LEASE = 30.0
"""Seconds after which an attempt that was not settled counts no more."""
AGAIN = 1.0
"""Seconds to wait for whoever has as many attempts under way as there may be."""
_SWEEP = 0.01
"""Of settled attempts, how many are followed by forgetting what counts no more."""
_KEEP = (
    "INSERT INTO failures (key, record, until) VALUES (%s, %s, %s) "
    "ON CONFLICT (key) DO UPDATE SET record = excluded.record, until = excluded.until"
)


class Outcome(enum.StrEnum):
    """What came out of an attempt."""

    RIGHT = "right"
    WRONG = "wrong"
    RELEASED = "released"
    """Nobody could tell."""


class SharedGuard:
    """The guard of all front ends.

    Args:
        place: The database.
        limits: Those that begin with `login_`.
    """

    def __init__(self, place: PostgreSQL, limits: Limits) -> None:
        self._place, self._limits = place, limits

    def reserve(self, owner: str, name: str) -> float:
        """Ask for an attempt; one that is reserved has to be settled.

        Returns:
            0.0: it is reserved. Else the seconds to wait. UsersUnavailable.
        """
        if not self._limits.login_attempts:
            return 0.0
        with self._place.exclusively(_locks(owner, name)) as connection:
            kept = _Kept(connection, Claim(owner, name), self._limits)
            try:
                if not kept.guard.reserve(kept.claim):
                    return AGAIN
            except LoginPaused as error:
                return float(error.seconds)
            kept.leases.append(kept.now + LEASE)
            kept.own_leases.append(kept.now + LEASE)
            kept.write(connection)
        return 0.0

    def settle(self, owner: str, name: str, outcome: str) -> None:
        """Say what came out of an attempt, whether it was reserved here or not. UsersUnavailable."""
        if not self._limits.login_attempts:
            return
        with self._place.exclusively(_locks(owner, name)) as connection:
            kept = _Kept(connection, Claim(owner, name), self._limits)
            if not kept.own_leases:
                kept.guard.add_flying(kept.claim)  # of who is trusted, none is reserved; or it took too long
            else:
                lease = kept.own_leases.pop(0)
                if lease in kept.leases:
                    kept.leases.remove(lease)
            match Outcome(outcome):
                case Outcome.RIGHT:
                    kept.guard.right(kept.claim)
                case Outcome.WRONG:
                    kept.guard.wrong(kept.claim)
                case Outcome.RELEASED:
                    kept.guard.release(kept.claim)
            kept.write(connection)
            if random.random() < _SWEEP:
                self._sweep(connection, kept.now)

    def _sweep(self, connection: psycopg.Connection, now: float) -> None:
        """Forget what counts no more; and where there is too much, what counts for the shortest time."""
        connection.execute("DELETE FROM failures WHERE until <= %s", (now,))
        too_many = "SELECT key FROM failures ORDER BY until DESC OFFSET %s"
        statement = f"DELETE FROM failures WHERE key IN ({too_many})"  # noqa: S608
        connection.execute(statement, (3 * self._limits.login_records,))


class _Kept:
    """What is kept of a claim, and a guard that knows it."""

    def __init__(self, connection: psycopg.Connection, claim: Claim, limits: Limits) -> None:
        self.claim, self._limits = claim, limits
        self._keys = _keys(*claim)
        query = (
            "SELECT extract(epoch FROM clock_timestamp())::float8, '', '{}'::jsonb "
            "UNION ALL SELECT 0, key, record FROM failures WHERE key = ANY(%s)"
        )
        rows = connection.execute(query, (list(self._keys),)).fetchall()
        self.now: float = rows[0][0]
        found: dict[str, dict[str, Any]] = {key: record for _now, key, record in rows[1:]}
        self._rows = frozenset(found)
        address, name, pair = (found.get(key, {}) for key in self._keys)
        self.leases, self.own_leases = self._current(address), self._current(pair)
        self.guard = Guard(limits, lambda: self.now)
        self.guard.restore(
            claim,
            ClaimState(
                _record(address), _record(name), _record(pair), len(self.leases), len(self.own_leases),
                pair.get("right", 0.0),
            ),
        )  # fmt: skip

    def write(self, connection: psycopg.Connection) -> None:
        """Keep what counts now, and forget what does not: a settled attempt would count until its lease ends."""
        over: list[str] = []
        state = self.guard.state(self.claim)
        longest = self._limits.login_pause
        for key, record, leases, right in zip(
            self._keys,
            (state.address, state.name, state.pair),
            (self.leases, [], self.own_leases),
            (0.0, 0.0, state.right_until),
            strict=True,
        ):
            until = max(itertools.chain((right,), leases))
            kept: dict[str, Any] = {"leases": leases, "right": right}
            if record is not None:
                kept |= {"times": record.times, "pauses": record.pauses, "until": record.until}
                until = max(until, max(record.until, record.last + WINDOW) + (longest if record.pauses else 0.0))
            if key and until > self.now:
                connection.execute(_KEEP, (key, Jsonb(kept), until))
            elif key in self._rows:
                over.append(key)
        if over:
            connection.execute("DELETE FROM failures WHERE key = ANY(%s)", (over,))

    def _current(self, kept: dict[str, Any]) -> list[float]:
        return [lease for lease in kept.get("leases", ()) if lease > self.now]


def _record(kept: dict[str, Any]) -> FailureRecord | None:
    if not kept.get("times"):
        return None
    record = FailureRecord()
    record.times, record.pauses, record.until = kept["times"], kept["pauses"], kept["until"]
    return record


def _keys(owner: str, name: str) -> tuple[str, str, str]:
    """Of the rows of an address, of a name ("": nobody's), and of both.

    Digests, since a name is whatever somebody typed: a password, a megabyte, half of a character.
    """
    return _digest("address", owner).hex(), _digest("name", name).hex() if name else "", _digest(owner, name).hex()


def _locks(owner: str, name: str) -> Sequence[int]:
    """Of the address and of the name; in one order, so that no two wait for each other."""
    digests = (_digest("address", owner), _digest("name", name))
    return sorted(int.from_bytes(digest[:8], "big", signed=True) for digest in digests)


def _digest(*texts: str) -> bytes:
    return hashlib.blake2b("\0".join(texts).encode("utf-8", "surrogatepass"), digest_size=16).digest()
