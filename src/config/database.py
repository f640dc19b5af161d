"""Addresses of what several front ends share, `postgresql://…` and `redis://…`, which never show a password. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, quote, unquote, urlsplit, urlunsplit

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
_NO_ESCAPE = re.compile("%(?!(?!00)[0-9A-Fa-f]{2})")
_HOST = re.compile(r"(\[[^\]]*\]|[^:\[\]]*)(:[0-9]*)?")
_LEAST_SECRET = 4
"""Characters of what is taken out of a library's words: what is shorter stands in them by chance."""
_FILES = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
"""What the address of a Redis may say behind a question mark: files for TLS."""
_PORT = 6379
_WRITTEN_OTHERWISE = "write %25 for each %, %40 for each @, %2F for each / and so on in a user name or a password"
_AMBIGUOUS = f"where its password begins and ends cannot be told: {_WRITTEN_OTHERWISE}"


@dataclass(frozen=True)
class DatabaseAddress:
    """Where a PostgreSQL database, or a Redis, is; `str` shows it without a password.

    Attributes:
        full: As it was given, for the client's library alone.
        shown: The same without what is secret.
        has_password: Whether something secret is in it.
        port: Of a Redis.
        files: That a Redis' address names.
        secrets: As they stand in it, and as they are meant.
    """

    full: str = field(repr=False)
    shown: str = ""
    has_password: bool = False
    port: int = 0
    files: tuple[str, ...] = ()
    secrets: tuple[str, ...] = field(default=(), repr=False)

    def __str__(self) -> str:
        return self.shown

    def without_secrets(self, text: str) -> str:
        """What a client's library says of this address, without what is secret in it."""
        for secret in self.secrets:
            text = text.replace(secret, HIDDEN)
        return text


def is_address(text: str) -> bool:
    """Whether a text means a database rather than a file."""
    return text.strip().lower().startswith(SCHEMES)


def may_hide(text: str) -> bool:
    """Whether a text begins like an address, in which a password may be."""
    return text.strip().lower().startswith(SCHEMES + REDIS_SCHEMES)


def parsed(text: str) -> DatabaseAddress:
    """The address in a text (libpq's connection URIs).

    Raises:
        ValueError: It is none.
        InvalidValue: libpq would read it otherwise than it is meant, and say parts of the password for hosts and ports.
    """
    text = text.strip()
    if not is_address(text) or not text.isprintable() or " " in text:
        raise ValueError("no address of a database")
    user, _at, hosts = urlsplit(text).netloc.rpartition("@")
    if _is_cut(text) or "@" in user or _NO_ESCAPE.search(text):
        raise InvalidValue(f"{_AMBIGUOUS}, or leave the password out there, and put it into ~/.pgpass")
    if not all(_HOST.fullmatch(host) for host in hosts.split(",")):
        raise ValueError("a port that is no number")
    shown, secrets = _shown(text)
    return DatabaseAddress(text, shown, secrets is not None, secrets=secrets or ())


def _is_cut(text: str) -> bool:
    """Whether an @ stands behind what ends the host: a password may have a / ? or # in it, and be cut there."""
    parts = urlsplit(text)
    return "@" in parts.path + parts.query + parts.fragment


def redis(text: str) -> DatabaseAddress:
    """The address of a Redis: `redis://[user[:password]@]host[:port][/number]`, `rediss://` with TLS.

    Raises:
        ValueError: It is none.
        InvalidValue: It says something that nobody reads, or where its password ends cannot be told.
    """
    text = text.strip()
    if not text.lower().startswith(REDIS_SCHEMES) or not text.isprintable() or " " in text:
        raise ValueError("no address of a Redis")
    if _is_cut(text):
        raise InvalidValue(f"{_AMBIGUOUS}, or put the password into the file of --redis-password")
    parts = urlsplit(text)
    port = parts.port or _PORT  # ValueError: it is no number
    if not parts.hostname or parts.fragment or not re.fullmatch("(/[0-9]{0,4})?", parts.path):
        raise ValueError("no address of a Redis")
    fields = dict(parse_qsl(parts.query, keep_blank_values=True))
    if unknown := sorted(fields.keys() - set(_FILES)):
        raise InvalidValue(f"it says {unknown[0][:40]!r}, where it may name {', '.join(_FILES)}")
    if fields and parts.scheme.lower() != "rediss":
        raise InvalidValue("it names files for TLS, which is what rediss:// asks for")
    shown, secrets = _shown(text)
    return DatabaseAddress(text, shown, secrets is not None, port, tuple(fields.values()), secrets or ())


def _shown(text: str) -> tuple[str, tuple[str, ...] | None]:
    """An address without what is secret, and that; None: there is nothing."""
    parts = urlsplit(text)
    given, at, place = parts.netloc.rpartition("@")
    user, colon, password = given.partition(":")
    fields = parse_qsl(parts.query, keep_blank_values=True)
    secret = [name for name, _value in fields if _SECRET.search(name)]
    if not colon and not secret:
        return text, None
    query = "&".join(f"{name}={HIDDEN if name in secret else quote(value, safe='/')}" for name, value in fields)
    netloc = f"{user}:{HIDDEN}@{place}" if colon else f"{user}{at}{place}"
    found = {password, unquote(password), *(value for name, value in fields if name in secret)}
    long = sorted((each for each in found if len(each) >= _LEAST_SECRET), key=len, reverse=True)
    return urlunsplit((parts.scheme, netloc, parts.path, query, "")), tuple(long)
