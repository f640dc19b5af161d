"""Pictures that are refused at once for a while, and who sends such. Pure: time comes in as an argument, in seconds.

- A picture that ended a process is put off: the same bytes are not tried again meanwhile.
- Who sent several of them within `WINDOW` seconds is put off with everything costly, twice as long for each more.
  Ordinary pictures of the same user or address go on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Hashable
from typing import Any

from imageserver.inference.shared.wire import Picture

WINDOW, RECENT = 600.0, 60.0
LONGEST = 3600.0
MOST = 1000
"""Pictures, and senders, that are remembered; the oldest are forgotten for newer ones."""
ENDS = 4096
"""Bytes at the beginning and at the end that tell a picture from others of its length: not all, for the loop's sake."""


class PutOff:
    """`pause` seconds at first. An owner of "" is nobody in particular, and never put off."""

    def __init__(self, pause: float) -> None:
        self._pause = pause
        self.pictures: dict[Hashable, float] = {}
        """Until when, by the digest; empty nearly always."""
        self.owners: dict[str, float] = {}
        self._recent = False
        self._blamed: dict[str, tuple[int, float]] = {}
        """How often within the window, and when last."""

    def blame(self, owner: str, data: Picture, now: float) -> None:
        """This picture ended a process; without one, what its owner asked for did."""
        if data:
            _remember(self.pictures, digest(data), now + self._pause)
        if not owner:
            return
        times, last = self._blamed.pop(owner, (0, 0.0))
        times = times + 1 if now - last <= WINDOW else 1
        _remember(self._blamed, owner, (times, now))
        if times > 1:
            _remember(self.owners, owner, now + min(self._pause * 2 ** min(times - 2, 30), LONGEST))

    def picture(self, data: Picture, now: float) -> float:
        """For how many seconds more this picture is put off; 0.0: it is not."""
        return _left(self.pictures, digest(data), now) if self.pictures and data else 0.0

    def owner(self, owner: str, now: float) -> float:
        """The same for the costly pictures of an owner."""
        return _left(self.owners, owner, now)

    def blamed(self, owner: str, now: float) -> bool:
        """Whether a picture of this owner ended a process within the last `RECENT` seconds."""
        return owner in self._blamed and now - self._blamed[owner][1] <= RECENT

    @property
    def empty(self) -> bool:
        """Whether nobody was blamed of late, and nothing is put off; as `prune` found it."""
        return not (self.pictures or self.owners or self._recent)

    def prune(self, now: float) -> None:
        """Forget what is put off no longer."""
        self.pictures = {key: until for key, until in self.pictures.items() if until > now}
        self.owners = {owner: until for owner, until in self.owners.items() if until > now}
        self._blamed = {owner: entry for owner, entry in self._blamed.items() if now - entry[1] <= WINDOW}
        self._recent = any(self.blamed(owner, now) for owner in self._blamed)


def digest(data: Picture) -> Hashable:
    """What tells a picture from others, in microseconds whatever its size."""
    view = memoryview(data)
    return len(data), hashlib.blake2b(bytes(view[:ENDS]) + bytes(view[-ENDS:]), digest_size=16).digest()


def _remember(table: dict[Any, Any], key: Hashable, value: Any) -> None:
    table.pop(key, None)
    table[key] = value
    if len(table) > MOST:
        del table[next(iter(table))]


def _left(table: dict[Any, float], key: Hashable, now: float) -> float:
    left = table.get(key, now) - now
    if left <= 0:
        table.pop(key, None)
    return max(0.0, left)
