"""Descriptors: how many files and sockets the process may have open, and what of them clients may not take.

The kernel gives each new one the lowest number that is free. So the number alone says how many are open at least, and
nothing has to be counted: not those of other ports, of workers, of databases.
"""

from __future__ import annotations

import resource

FULL = "the server has too much open just now; try again in a few seconds"
"""What a client is told."""


def limit() -> int:
    """How many the process may have open."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def raise_limit() -> None:
    """Raise the soft limit to the hard one."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def spare_of(wanted: int) -> int:
    """How many are kept for the server itself where `wanted` are to be: never more than half of all."""
    return min(wanted, limit() // 2)


def taken(number: int, spare: int) -> bool:
    """Whether a connection with this number takes one of the last `spare`, which are kept for the server itself."""
    return number >= limit() - spare_of(spare)


def nearly_taken(number: int, spare: int) -> bool:
    """Whether a file that is sent to a client takes one of the last half of those."""
    return number >= limit() - spare_of(spare) // 2


def shortage(connections: int, spare: int) -> str:
    """A sentence for the operator where fewer than `connections` fit; "" where all do."""
    fit = limit() - spare_of(spare)
    if connections <= fit:
        return ""
    return (
        f"this process may have {limit()} files and sockets open, so fewer than {fit} connections fit, not the "
        f"{connections} of --max-connections, and further ones are told 503: raise the limit of open files "
        "(LimitNOFILE= of the service, ulimit -Hn), or lower --max-connections"
    )
