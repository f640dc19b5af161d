"""Who has how much decoded, lately. Pure: time comes in as an argument, in seconds."""

from __future__ import annotations

import math

TAU = 2.0
"""Seconds in which what was decoded is forgotten to a third."""
HEAVY = 96 * 2**20
"""Bytes within about that time: half a processor's, as PNGs are decoded."""
MOST = 1000
"""Owners that are remembered; the oldest are forgotten for newer ones."""


class DecodingLoad:
    """The bytes that were decoded for each owner, less and less by the time that has passed."""

    def __init__(self) -> None:
        self._loads: dict[str, tuple[float, float]] = {}

    def charge(self, owner: str, cost: int, now: float) -> None:
        """So many bytes were decoded for this owner; of "" nobody is charged."""
        if owner:
            load = self._load(owner, now) + cost
            self._loads.pop(owner, None)
            self._loads[owner] = load, now
            if len(self._loads) > MOST:
                del self._loads[next(iter(self._loads))]

    def heavy(self, owner: str, now: float) -> bool:
        """Whether this owner has so much decoded that others feel it."""
        return self._load(owner, now) > HEAVY

    def any_heavy(self, now: float) -> bool:
        """Whether there is such an owner; those that have nothing decoded any more are forgotten."""
        self._loads = {owner: entry for owner, entry in self._loads.items() if self._load(owner, now) > 1}
        return any(self.heavy(owner, now) for owner in self._loads)

    def _load(self, owner: str, now: float) -> float:
        load, last = self._loads.get(owner, (0.0, now))
        return load * math.exp((last - now) / TAU)
