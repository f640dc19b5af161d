"""The address of a database of several front ends, `postgresql://…`, which never shows a password. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, quote, urlsplit, urlunsplit

SCHEMES = ("postgresql://", "postgres://")
HIDDEN = "…"
SEEN = (
    "--users has a password in it, which everybody on this machine can read (ps): leave it out there, and put it into "
    "~/.pgpass, a service file, or IMAGESERVER_USERS"
)
"""Of an address that was typed."""
_SECRET = re.compile("passw", re.IGNORECASE)
"""In the names of parameters whose values are shown to nobody: password, sslpassword."""


@dataclass(frozen=True)
class DatabaseAddress:
    """Where a PostgreSQL database is; `str` shows it without a password.

    Attributes:
        full: As it was given, for libpq alone.
        shown: The same without what is secret.
        has_password: Whether something secret is in it.
    """

    full: str = field(repr=False)
    shown: str = ""
    has_password: bool = False

    def __str__(self) -> str:
        return self.shown


def is_address(text: str) -> bool:
    """Whether a text means a database rather than a file."""
    return text.strip().lower().startswith(SCHEMES)


def parsed(text: str) -> DatabaseAddress:
    """The address in a text (libpq's connection URIs). ValueError: it is none."""
    text = text.strip()
    if not is_address(text) or not text.isprintable() or " " in text:
        raise ValueError("no address of a database")
    parts = urlsplit(text)
    given, at, place = parts.netloc.rpartition("@")
    user, colon, _password = given.partition(":")
    fields = parse_qsl(parts.query, keep_blank_values=True)
    secret = [name for name, _value in fields if _SECRET.search(name)]
    if not colon and not secret:
        return DatabaseAddress(text, text)
    query = "&".join(f"{name}={HIDDEN if name in secret else quote(value, safe='/')}" for name, value in fields)
    netloc = f"{user}:{HIDDEN}@{place}" if colon else f"{user}{at}{place}"
    return DatabaseAddress(text, urlunsplit((parts.scheme, netloc, parts.path, query, "")), True)
