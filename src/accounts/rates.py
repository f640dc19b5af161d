"""How often one user or address may use a door: so many times a minute, all at once or one after the other."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable

from imageserver.accounts.doors import Door
from imageserver.limits import Limits, hit

MINUTE = 60.0
MOST_OWNERS = 10_000
"""Of whom it is remembered how often they came; who came longest ago is forgotten first."""


class Rates:
    """Counts what goes through doors with a rate; a door without one costs nothing.

    Of each setting and owner one number is kept: the time at which all that was taken would have been earned again
    (the leaky bucket as a meter, ITU-T I.371, in its form as the generic cell rate algorithm).
    """

    def __init__(self, limits: Limits, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._most = {
            "look_rate": limits.look_rate,
            "picture_rate": limits.picture_rate,
            "change_rate": limits.change_rate,
            "training_rate": limits.training_rate,
        }
        self._earned: OrderedDict[tuple[str, str], float] = OrderedDict()

    def holds(self, door: Door) -> bool:
        """Whether there is a rate of this door to hold."""
        return bool(self._most.get(door.rate))

    def take(self, door: Door, owner: str) -> float:
        """Seconds that `owner` has to wait for this door; 0.0: it may go through, which is counted."""
        most = self._most.get(door.rate, 0)  # what else a row names is held where it is
        if not most:
            return 0.0
        now, key = self._clock(), (door.rate, owner)
        earned = max(self._earned.pop(key, 0.0), now) + MINUTE / most
        late = earned - now - MINUTE
        if late > 1e-6:
            self._earned[key] = earned - MINUTE / most
            hit(door.rate, owner)
            return late
        self._earned[key] = earned
        while len(self._earned) > MOST_OWNERS:
            self._earned.popitem(last=False)
        return 0.0
