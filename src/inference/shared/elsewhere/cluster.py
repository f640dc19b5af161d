"""The cluster that models may run on, and what a manifest says of it: `[cluster]`. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

from imageserver.inference.shared.checked_table import CheckedTable

LACKING = (
    "--cluster needs Ray, which is not installed here: install the extra ray (pip install 'imageserver[ray]'; "
    "make run RAY=1)"
)
AUTO = "auto"
SCHEME = "ray://"
PORT = 10001
"""Of Ray's clients, where none is said."""
HERE, CLUSTER = "here", "cluster"
ON_CLUSTER = ", on the cluster"
"""The end of what a model that runs there is said to run in."""
MOST_REPLICAS = 32
MOST_UNITS = 1024.0
"""Processors or graphics cards of a replica."""

_ADDRESS = re.compile(
    r"ray://(?P<host>[A-Za-z0-9](?:[A-Za-z0-9._-]{0,252})|\[[0-9A-Fa-f:.]{2,45}\])(?::(?P<port>[0-9]{1,5}))?/?"
)
_SIZE = re.compile(r"([0-9]{1,6}(?:\.[0-9]{1,3})?) ?([MGT])(?:i?B)?")
_UNITS = {"M": 2**20, "G": 2**30, "T": 2**40}
_REPLICAS = re.compile(r"([0-9]{1,3})(?:\.\.([0-9]{1,3}))?")


@dataclass(frozen=True)
class ClusterAddress:
    """Where Ray's clients come in: a port of the cluster's head."""

    host: str
    port: int = PORT
    auto: bool = False
    """It was given as `auto`: the cluster on this machine."""

    @property
    def full(self) -> str:
        """As Ray takes it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{SCHEME}{host}:{self.port}"

    def __str__(self) -> str:
        return AUTO if self.auto else self.full


def address(text: str) -> ClusterAddress:
    """The address in a text, `ray://head:10001` or `auto`. ValueError: it is none."""
    text = text.strip()
    if text.lower() == AUTO:
        return ClusterAddress("127.0.0.1", auto=True)
    found = _ADDRESS.fullmatch(text)
    if found is None or not 0 < (port := int(found["port"] or PORT)) < 65536:
        raise ValueError("no address of a cluster")
    return ClusterAddress(found["host"].strip("[]").lower(), port)


@dataclass(frozen=True)
class Placement:
    """What one replica of a model needs of a node, and how many there may be."""

    where: str = CLUSTER  # HERE: it stays on this machine, whatever --cluster says
    cpus: float = 1.0
    gpus: float = 0.0
    memory: int = 0  # bytes; 0: nothing is reserved, and --worker-memory holds
    least: int = 1
    most: int = 4

    def needs(self) -> str:
        """In words: "2 processors, 1 graphics card, 4 GiB of memory"."""
        parts = [_counted(self.cpus, "processor")]
        if self.gpus:
            parts.append(_counted(self.gpus, "graphics card"))
        if self.memory:
            parts.append(f"{self.memory / 2**30:.3g} GiB of memory")
        return ", ".join(parts)


def read(table: CheckedTable) -> Placement:
    """The table `[cluster]`."""
    least, most = _replicas(table)
    placement = Placement(
        where=table.choice("where", (CLUSTER, HERE), CLUSTER),
        cpus=table.number("cpus", 0.1, MOST_UNITS, 1.0),
        gpus=table.number("gpus", 0.0, MOST_UNITS, 0.0),
        memory=_memory(table),
        least=least,
        most=most,
    )
    for key, value in (("cpus", placement.cpus), ("gpus", placement.gpus)):
        if value > 1 and value != int(value):
            table.wrong(key, f"must be a whole number, or a part of one below 1, not {value:g}")
    return placement


def _replicas(table: CheckedTable) -> tuple[int, int]:
    text = table.text("replicas", "1..4", 20)
    found = _REPLICAS.fullmatch(text)
    least, most = (int(found[1]), int(found[2] or found[1])) if found else (0, 0)
    if not 1 <= least <= most <= MOST_REPLICAS:
        table.wrong("replicas", f'must be "1..8", or "4", with 1 to {MOST_REPLICAS} of them, not {text!r}')
        return 1, 4
    return least, most


def _memory(table: CheckedTable) -> int:
    text = table.text("memory", "", 20)
    found = _SIZE.fullmatch(text)
    size = int(float(found[1]) * _UNITS[found[2]]) if found else 0
    if text and not 2**28 <= size <= 2**45:
        table.wrong("memory", f'must be a size from "256M" to "32T", such as "4G", not {text!r}')
    return size


def _counted(number: float, what: str) -> str:
    return f"{number:g} {what}{'' if number == 1 else 's'}"
