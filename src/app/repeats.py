"""Lines of one kind from one address are summed up, so that nobody can fill the log. Pure: lines in, lines out.

Lines are of one kind when they differ in numbers, in ids and in what stands in quotes alone, which is what clients
send. Those that name no address are of one kind when they differ in numbers alone.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable

MINUTE = 60.0
LINES = 10
"""Of a kind from an address that stand in the log each minute."""
MOST_KINDS = 10
"""Of one address; what goes beyond is of one kind."""
MOST_KINDS_OF_NOBODY = 1000
"""The same of lines that name no address."""
MOST_ADDRESSES = 1000
LONGEST = 4096
"""Characters of a line."""
LONGEST_KIND, LONGEST_EXAMPLE = 1000, 300

_ADDRESS = re.compile(
    r"(?<![\w.])(?:[0-9A-Fa-f]*:[0-9A-Fa-f:]*:)?(?:\d{1,3}\.){3}\d{1,3}(?![\w])|[0-9A-Fa-f]*:[0-9A-Fa-f:]+"
)
_QUOTED = re.compile(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"")
_ID = re.compile(r"[\w-]{20,}")
_NUMBER = re.compile(r"\d+")


class _Kind:
    """The lines of one kind: how many came, and the last of them."""

    __slots__ = ("count", "last")

    def __init__(self) -> None:
        self.count, self.last = 0, ""


class _Source:
    """The lines from one address in one minute, by their kinds."""

    __slots__ = ("kinds", "since")

    def __init__(self, since: float) -> None:
        self.since = since
        self.kinds: dict[int, _Kind] = {}


class Repeats:
    """Which lines stand in the log, and what is said of the others. `clock`: monotonic seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._sources: dict[str, _Source] = {}  # the oldest minute first

    def passes(self, line: str) -> bool:
        """Whether a line stands in the log; else it is counted."""
        address, kind_of_line = _kind(line)
        source = self._sources.get(address)
        if source is None:
            source = self._sources[address] = _Source(self._clock())
        number, most = hash(kind_of_line[:LONGEST_KIND]), MOST_KINDS if address else MOST_KINDS_OF_NOBODY
        if number not in source.kinds and len(source.kinds) >= most:
            number = 0
        kind = source.kinds.setdefault(number, _Kind())
        kind.count += 1
        if kind.count <= LINES:
            return True
        kind.last = line[:LONGEST_EXAMPLE]
        return False

    def sums(self, *, all_of_them: bool = False) -> list[str]:
        """What there is to say of minutes that are over, and of the oldest when there are too many addresses."""
        over = self._clock() - MINUTE
        lines: list[str] = []
        while self._sources:
            address, source = next(iter(self._sources.items()))
            if source.since > over and len(self._sources) <= MOST_ADDRESSES and not all_of_them:
                break
            del self._sources[address]
            whence = f" from {address}" if address else ""
            lines += [
                f"… and {kind.count - LINES} more of the kind{whence} in the last minute; the last: {kind.last}"
                for kind in source.kinds.values()
                if kind.count > LINES
            ]
        return lines


def shortened(line: str) -> str:
    """A line of a length that a person can read."""
    return line if len(line) <= LONGEST else f"{line[:LONGEST]}… ({len(line)} characters)"


def _kind(line: str) -> tuple[str, str]:
    """The address that a line names, "" for none, and what it has in common with others of its kind."""
    plain = _ID.sub("_", _QUOTED.sub("''", line[:LONGEST]))
    for found in _ADDRESS.finditer(plain):
        try:
            address = ipaddress.ip_address(found[0].rstrip(":"))
        except ValueError:
            continue
        return _network(address), _NUMBER.sub("0", plain.replace(found[0], "_"))
    return "", _NUMBER.sub("0", line)


def _network(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> str:
    """An address; of version 6 the network that one customer has."""
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((address, 64), strict=False))
