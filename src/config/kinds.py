"""What a setting may hold: how its text is read, what it accepts in words, how a value is shown. Pure.

Every source of settings (command line, environment, .env, TOML) brings text, so each kind has one way in.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from imageserver.config import addresses, database
from imageserver.errors import InvalidValue
from imageserver.inference.shared.elsewhere import cluster

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

STANDARD_OUTPUT = Path("-")
"""The value of a setting for a file that was given as `-`."""

_SIZES = {"": 1, "k": 2**10, "m": 2**20, "g": 2**30}
_SECONDS = {"": 1.0, "ms": 0.001, "s": 1.0, "min": 60.0, "m": 60.0, "h": 3600.0}
_YES, _NO = ("1", "true", "yes", "on"), ("0", "false", "no", "off")


class Credential(NamedTuple):
    """A user named on the command line. Shows itself without its password."""

    name: str
    password: str

    def __repr__(self) -> str:
        return f"Credential(name={self.name!r}, password=…)"


@dataclass(frozen=True)
class Kind:
    """One kind of value.

    `parse(text, folder)` gives the value, relative paths taken from `folder`; it raises ValueError when the text
    is not what `expects` says, or InvalidValue with a reason. `choices` are the words that it may be, where it is one
    of a few. Where `many` is set the value is a tuple and every further occurrence of the option adds to it. The text
    of a `secret` is never repeated in a message.
    """

    metavar: str
    expects: str
    parse: Callable[[str, Path], Any]
    show: Callable[[Any], str] = str
    many: bool = False
    secret: bool = False
    choices: tuple[str, ...] = ()


def _flag(text: str, _folder: Path) -> bool:
    if text.lower() in _YES:
        return True
    if text.lower() in _NO:
        return False
    raise ValueError(text)


FLAG = Kind("", "yes or no", _flag, lambda value: "yes" if value else "no")


def whole(metavar: str, low: int, high: int = 10**9) -> Kind:
    """A whole number from `low` to `high`."""
    upper = f"to {high:,}" if high < 10**9 else "up"

    def parse(text: str, _folder: Path) -> int:
        value = int(text.replace("_", ""))
        if not low <= value <= high:
            raise ValueError(text)
        return value

    return Kind(metavar, f"a whole number from {low} {upper}", parse)


def number(metavar: str, low: float, high: float) -> Kind:
    """A number from `low` to `high`, fractions allowed."""

    def parse(text: str, _folder: Path) -> float:
        value = float(text)
        if not low <= value <= high:  # also catches nan
            raise ValueError(text)
        return value

    return Kind(metavar, f"a number from {low:g} to {high:g}", parse, lambda value: f"{value:g}")


def size(low: int, high: int) -> Kind:
    """Bytes: `1500000`, `512K`, `16M` (multiples of 1,024)."""

    def parse(text: str, _folder: Path) -> int:
        found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)\s*([kmg]?)(?:i?b)?", text.strip().lower())
        if found is None:
            raise ValueError(text)
        value = float(found[1]) * _SIZES[found[2]]
        if not low <= value <= high:  # before it is made whole: 400 digits are infinite
            raise ValueError(text)
        return int(value)

    return Kind(
        "BYTES", f"a size from {show_size(low)} to {show_size(high)}, such as 1500000, 512K or 16M", parse, show_size
    )


def show_size(value: int) -> str:
    """`16777216` as `16M`, and what is no round number as it is."""
    for letter, unit in (("G", 2**30), ("M", 2**20), ("K", 2**10)):
        if value >= unit and value % unit == 0:
            return f"{value // unit}{letter}"
    return str(value)


def duration(low: float, high: float) -> Kind:
    """A time in seconds: `10`, `10s`, `250ms`, `2min`, `1h`. The value is a float of seconds."""

    def parse(text: str, _folder: Path) -> float:
        found = re.fullmatch(r"([0-9]*\.?[0-9]+)\s*(ms|s|min|m|h|)", text.strip().lower())
        if found is None:
            raise ValueError(text)
        value = float(found[1]) * _SECONDS[found[2]]
        if not low <= value <= high:
            raise ValueError(text)
        return value

    return Kind(
        "TIME",
        f"a time from {show_seconds(low)} to {show_seconds(high)}, such as 10, 10s or 250ms",
        parse,
        show_seconds,
    )


def show_seconds(value: float) -> str:
    """`0.25` as `250ms`, `10.0` as `10s`, `60.0` as `60s`, `3600.0` as `1h`."""
    if value and value % 3600 == 0:
        return f"{value / 3600:g}h"
    return f"{value * 1000:g}ms" if 0 < value < 1 else f"{value:g}s"


TIME = duration(0.05, 3600)
"""A limit of time."""


def _text(text: str, _folder: Path) -> str:
    if not text.strip() or not text.isprintable():
        raise ValueError(text)
    return text.strip()


SECRET = Kind("KEY", "a text that is not empty", _text, secret=True)
MODEL = Kind("NAME", "the name of a model", _text)
WORD = Kind("NAME", "a word of 1 to 16 small letters and digits", lambda text, _folder: _word(text))
ADDRESS = Kind("ADDRESS", "an IP address, a host name, or localaddr", lambda text, _folder: _address(text))
PORT = whole("PORT", 0, 65535)

OFF = -1
"""The value of a port that is not to be opened."""
PORT_OR_OFF = Kind(
    "PORT",
    PORT.expects + ", or off",
    lambda text, folder: OFF if text.strip().lower() == "off" else PORT.parse(text, folder),
    lambda value: "off" if value == OFF else str(value),
)


def _address(text: str) -> str:
    bare = text.strip().removeprefix("[").removesuffix("]")
    if bare == "localaddr":
        found = addresses.lan_address()
        if found is None:
            raise InvalidValue("this machine has no LAN address at present; connect it to a network or give an address")
        return found
    if ":" in bare:
        return str(ipaddress.IPv6Address(bare))  # raises ValueError
    if re.fullmatch(r"[0-9.]+", bare):
        return str(ipaddress.IPv4Address(bare))
    if not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?", bare) or len(bare) > 253:
        raise ValueError(text)
    return bare


def _word(text: str) -> str:
    if not re.fullmatch("[a-z0-9]{1,16}", text):
        raise ValueError(text)
    return text


def _path(text: str, folder: Path) -> Path:
    if not text.strip() or "\0" in text:
        raise ValueError(text)
    try:
        return Path(folder, Path(text).expanduser())
    except RuntimeError:
        raise InvalidValue("it begins with the home folder of somebody whom this machine does not know") from None


PATH = Kind("PATH", "the path of a file", _path)
USERS = Kind(
    "PATH",
    "the path of a file, or the address of a PostgreSQL database such as postgresql://imageserver@db.example.org/users",
    lambda text, folder: database.parsed(text) if database.is_address(text) else _path(text, folder),
)
REDIS = Kind(
    "URL",
    "the address of a Redis such as redis://redis.example.org:6379/0, or rediss:// with TLS",
    lambda text, _folder: database.redis(text),
)
CLUSTER = Kind(
    "ADDRESS",
    "ray:// with a host, and a port such as 10001, or auto",
    lambda text, _folder: cluster.address(text),
)
FOLDER = Kind("DIR", "the path of a folder", _path)
OUTPUT = Kind(
    "FILE",
    "the path of a file, or - for standard output",
    lambda text, folder: STANDARD_OUTPUT if text == "-" else _path(text, folder),
)


def choice(metavar: str, *options: str) -> Kind:
    """One of the words of `options`."""

    def parse(text: str, _folder: Path) -> str:
        if text.lower() not in options:
            raise ValueError(text)
        return text.lower()

    return Kind(metavar, "one of " + ", ".join(options), parse, choices=options)


def _parts(text: str) -> list[str]:
    parts = [part for part in re.split(r"[,\s]+", text) if part]
    if not parts:
        raise ValueError(text)
    return parts


def _listed(values: Iterable[object]) -> str:
    return ", ".join(map(str, values)) or "none"


MODELS = Kind("NAMES", "names of models with commas between", lambda text, _folder: tuple(_parts(text)), _listed)
"""Given twice the last counts, unlike the kinds below."""

NETWORKS = Kind(
    "ADDRESSES",
    "IP addresses or networks such as 10.0.0.0/8, with commas between",
    lambda text, _folder: tuple(ipaddress.ip_network(part) for part in _parts(text)),
    _listed,
    many=True,
)


def _origin(text: str) -> str:
    if text in ("*", "null"):
        return text
    if not re.fullmatch(r"https?://[^/\s?#@]+", text, re.IGNORECASE):
        raise ValueError(text)
    return text.lower()


ORIGINS = Kind(
    "ORIGIN",
    "an origin as browsers write it, such as https://example.org:8443 (no path), or * for all",
    lambda text, _folder: tuple(_origin(part) for part in _parts(text)),
    _listed,
    many=True,
)


def _credentials(text: str, _folder: Path) -> tuple[Credential, ...]:
    found = []
    for line in text.splitlines():
        name, colon, password = line.partition(":")
        if not (colon and name.strip() and password):
            raise ValueError(text)
        found.append(Credential(name.strip(), password))
    if not found:
        raise ValueError(text)
    return tuple(found)


def _server_name(text: str) -> str:
    """A DNS name as browsers send it: in lower case, with other letters than ASCII in punycode (IDNA)."""
    wildcard, name = ("*.", text[2:]) if text.startswith("*.") else ("", text)
    name = name.removesuffix(".").encode("idna").decode("ascii").lower()  # UnicodeError is a ValueError
    if len(name) > 253 or not re.fullmatch(r"[a-z0-9_]([a-z0-9_.-]*[a-z0-9_])?", name):
        raise ValueError(text)
    return wildcard + name


NAMES = Kind(
    "NAME",
    "a DNS name without scheme and port, such as cameras.example.org or *.example.org",
    lambda text, _folder: tuple(_server_name(part) for part in _parts(text)),
    _listed,
    many=True,
)

CREDENTIALS = Kind(
    "NAME:PASSWORD",
    "a name, a colon and a password",
    _credentials,
    lambda users: _listed(user.name for user in users),
    many=True,
    secret=True,
)
