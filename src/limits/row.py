"""A row of the table of limits, and the units that its figures come in."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

Unit = Literal["bytes", "seconds", "count"]

MANY = 10**9
KIB, MIB, GIB = 2**10, 2**20, 2**30
SHORTEST, HOUR, DAY = 0.05, 3600.0, 86_400.0


@dataclass(frozen=True)
class Limit:
    """A row of the table: what may be set (`low` to `high`, in `unit`s), and the label of the figure of its hits."""

    group: str
    unit: Unit
    low: float
    high: float
    help: str
    label: str


def limit(
    group: str, default: float, unit: Unit, low: float, high: float, help: str, label: str = ""  # noqa: A002
) -> Any:
    """A field of a class of limits."""
    return dataclasses.field(default=default, metadata={"limit": Limit(group, unit, low, high, help, label)})
