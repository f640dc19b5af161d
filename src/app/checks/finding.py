"""One thing that is wrong with the settings, or with what they lead to."""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from imageserver.config.table import Settings


class Severity(enum.Enum):
    """What becomes of it."""

    STOPS = "the server does not start"
    FAILS = "it starts, and something does not work"
    UNUSED = "it has no effect"


@dataclass(frozen=True)
class Finding:
    """A sentence with the value and the remedy."""

    severity: Severity
    sentence: str


@dataclass(frozen=True)
class Check:
    """Looks at one subject. `needs` are the settings without which it can say nothing."""

    needs: tuple[str, ...]
    look: Callable[[Settings], Iterator[Finding]]


def stops(sentence: str) -> Finding:
    """What keeps the server from starting."""
    return Finding(Severity.STOPS, sentence)


def fails(sentence: str) -> Finding:
    """What does not work once it has started."""
    return Finding(Severity.FAILS, sentence)
