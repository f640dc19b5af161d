"""Users, tokens and logins on pages as JSON shows them: over HTTP and by userdb.py, with one spelling of times."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from imageserver.accounts.database import PageSession, Token, User
from imageserver.accounts.store.users import in_order


def when(seconds: float | None) -> str | None:
    """A time in seconds since 1970 as text, ISO 8601 in UTC: `2027-01-15T08:00:00Z`."""
    return None if seconds is None else f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%SZ}"


def user(found: User) -> dict[str, Any]:
    """What anybody may know who sees users at all; not the password's hash."""
    return {
        "name": found.name,
        "roles": in_order(found.roles),
        "model": found.model,
        "hz": found.hz,
        "rotate": found.rotate,
        "only": found.only,
        "camera": found.camera or None,
    }


def token(found: Token) -> dict[str, Any]:
    """What is known of a token, which itself is shown once, when it is made."""
    return {
        "id": found.identity,
        "user": found.user,
        "name": found.name,
        "roles": in_order(found.roles),
        "created": when(found.created),
        "expires": when(found.expires),
        "used": when(found.used),
    }


def page(found: PageSession) -> dict[str, Any]:
    """What is known of a login on a page; not its cookie."""
    return {
        "id": found.identity,
        "user": found.user,
        "address": found.address,
        "begun": when(found.begun),
        "seen": when(found.seen),
    }
