"""The limits of whoever comes in: logins, and how often a door may be used."""

from __future__ import annotations

from dataclasses import dataclass

from imageserver.limits.row import DAY, KIB, MANY, MIB, SHORTEST, limit

_LOGINS = "Limits of logins"
_DOORS = "Limits of doors"


@dataclass(frozen=True, kw_only=True)
class DoorLimits:
    """How often, and how many at once, somebody may log in or use a door."""

    login_queue: int = limit(
        _LOGINS, 2048, "count", 1, MANY,
        help="logins that may wait to be checked, of one address a quarter; further ones are refused",
    )
    login_time: float = limit(
        _LOGINS, 30.0, "seconds", SHORTEST, DAY,
        help="with --auth: time for a Socket.IO connection to log in, after which it ends; over legacy TCP, where "
        "keys are asked for, time for AUTH",
    )
    login_threads: int = limit(
        _LOGINS, 2, "count", 1, 64,
        help="passwords checked at the same time, 64 MiB of memory each",
    )
    login_attempts: int = limit(
        _LOGINS, 60, "count", 0, MANY,
        help="logins a minute that may fail from one address, or for one name; from then on each brings a pause; "
        "0 is no limit",
    )
    login_pause: float = limit(
        _LOGINS, 300.0, "seconds", 1, DAY,
        help="longest such pause; they double from 2 s on, and are forgotten when nothing failed for so long",
    )
    login_trust: float = limit(
        _LOGINS, DAY, "seconds", 0, 366 * DAY,
        help="time for which who logged in is not paused by failures of others at the same address",
    )
    login_records: int = limit(
        _LOGINS, 20_000, "count", 16, MANY,
        help="addresses, names, and pairs of both whose failures are remembered, so many of each; those that pause "
        "are forgotten last",
    )
    page_idle: float = limit(
        _LOGINS, 1800.0, "seconds", 60, 30 * DAY,
        help="time without a request after which a login on a page ends",
    )
    page_time: float = limit(
        _LOGINS, 43_200.0, "seconds", 60, 366 * DAY,
        help="time after which a login on a page ends in any case",
    )
    max_pages: int = limit(
        _LOGINS, 20, "count", 1, 10_000,
        help="logins on pages of one user; above it the one that was not used for longest ends",
    )
    max_tokens: int = limit(
        _LOGINS, 100, "count", 1, 100_000,
        help="tokens of one user",
    )
    users_queue: int = limit(
        _LOGINS, 512, "count", 8, MANY,
        help="with --users postgresql://…: questions that may wait for the database's answer; further ones are refused",
    )
    login_memory: float = limit(
        _LOGINS, 600.0, "seconds", 0, DAY,
        help="with --users postgresql://…: time for which a login that was right holds while the database is gone",
    )

    look_rate: int = limit(
        _DOORS, 60_000, "count", 0, MANY,
        help="requests a minute of one user or address that only look: lists, models, figures; 0 is no limit",
    )
    picture_rate: int = limit(
        _DOORS, 0, "count", 0, MANY,
        help="single pictures a minute of one user or address, over REST, v2 and snippets; 0 is no limit",
    )
    change_rate: int = limit(
        _DOORS, 6000, "count", 0, MANY,
        help="changes a minute of one user or address: deletions, configurations, sessions begun; 0 is no limit",
    )
    training_rate: int = limit(
        _DOORS, 20, "count", 0, MANY,
        help="trainings that one user or address may start or cancel, and models that they may have loaded anew, in a "
        "minute; 0 is no limit",
    )
    max_json_bytes: int = limit(
        _DOORS, 64 * KIB, "bytes", 1024, 16 * MIB,
        help="largest body of a request that changes settings, users or tokens",
    )
