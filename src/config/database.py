"""Addresses of what several front ends share, `postgresql://…` and `redis://…`, which never show a password. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, quote, urlsplit, urlunsplit

from imageserver.errors import InvalidValue

SCHEMES = ("postgresql://", "postgres://")
REDIS_SCHEMES = ("redis://", "rediss://")
HIDDEN = "…"
SEEN = {
    "users": "--users has a password in it, which everybody on this machine can read (ps): leave it out there, and put "
    "it into ~/.pgpass, a service file, or IMAGESERVER_USERS",
    "redis": "--redis has a password in it, which everybody on this machine can read (ps): put it into the file of "
    "--redis-password",
}
"""Of an address that was typed, by the setting."""
_SECRET = re.compile("passw", re.IGNORECASE)
"""In the names of parameters whose values are shown to nobody: password, sslpassword."""
_FILES = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
"""What the address of a Redis may say behind a question mark: files for TLS."""
_PORT = 6379


@dataclass(frozen=True)
class DatabaseAddress:
    """Where a PostgreSQL database, or a Redis, is; `str` shows it without a password.

    Attributes:
        full: As it was given, for the client's library alone.
        shown: The same without what is secret.
        has_password: Whether something secret is in it.
        port: Of a Redis.
        files: That a Redis' address names.
    """

    full: str = field(repr=False)
    shown: str = ""
    has_password: bool = False
    port: int = 0
    files: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.shown


def is_address(text: str) -> bool:
    """Whether a text means a database rather than a file."""
    return text.strip().lower().startswith(SCHEMES)


def may_hide(text: str) -> bool:
    """Whether a text begins like an address, in which a password may be."""
    return text.strip().lower().startswith(SCHEMES + REDIS_SCHEMES)


def parsed(text: str) -> DatabaseAddress:
    """The address in a text (libpq's connection URIs). ValueError: it is none."""
    text = text.strip()
    if not is_address(text) or not text.isprintable() or " " in text:
        raise ValueError("no address of a database")
    shown, has_password = _shown(text)
    return DatabaseAddress(text, shown, has_password)


def redis(text: str) -> DatabaseAddress:
    """The address of a Redis: `redis://[user[:password]@]host[:port][/number]`, `rediss://` with TLS.

    Raises:
        ValueError: It is none.
        InvalidValue: It says something that nobody reads.
    """
    text = text.strip()
    if not text.lower().startswith(REDIS_SCHEMES) or not text.isprintable() or " " in text:
        raise ValueError("no address of a Redis")
    parts = urlsplit(text)
    port = parts.port or _PORT  # ValueError: it is no number
    if not parts.hostname or parts.fragment or not re.fullmatch("(/[0-9]{0,4})?", parts.path):
        raise ValueError("no address of a Redis")
    fields = dict(parse_qsl(parts.query, keep_blank_values=True))
    if unknown := sorted(fields.keys() - set(_FILES)):
        raise InvalidValue(f"it says {unknown[0][:40]!r}, where it may name {', '.join(_FILES)}")
    if fields and parts.scheme.lower() != "rediss":
        raise InvalidValue("it names files for TLS, which is what rediss:// asks for")
    shown, has_password = _shown(text)
    return DatabaseAddress(text, shown, has_password, port, tuple(fields.values()))


def _shown(text: str) -> tuple[str, bool]:
    """An address without what is secret, and whether there is anything."""
    parts = urlsplit(text)
    given, at, place = parts.netloc.rpartition("@")
    user, colon, _password = given.partition(":")
    fields = parse_qsl(parts.query, keep_blank_values=True)
    secret = [name for name, _value in fields if _SECRET.search(name)]
    if not colon and not secret:
        return text, False
    query = "&".join(f"{name}={HIDDEN if name in secret else quote(value, safe='/')}" for name, value in fields)
    netloc = f"{user}:{HIDDEN}@{place}" if colon else f"{user}{at}{place}"
    return urlunsplit((parts.scheme, netloc, parts.path, query, "")), True
