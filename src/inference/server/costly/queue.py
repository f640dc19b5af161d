"""Costly pictures that wait to be decoded: their owners take turns, whatever each of them sends. Pure."""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass

from imageserver.inference.server.batching import Source, Work

OWNERS = 16
"""So many times what one owner may have waiting may wait in all."""


@dataclass(slots=True, eq=False)
class CostlyPicture:
    """A picture on its way through the decoding process, and what it is to become: see Serving.decoded_as."""

    source: Source
    work: Work
    model: str
    channels: int
    least: int


class CostlyQueue:
    """At most `most` pictures of each owner, and `OWNERS` times as many in all."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._by_owner: OrderedDict[str, deque[CostlyPicture]] = OrderedDict()
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, picture: CostlyPicture) -> bool:
        """Queue it; False when there is no room."""
        waiting = self._by_owner.get(picture.work.owner, ())
        if len(waiting) >= self._most or self._count >= self._most * OWNERS:
            return False
        self._by_owner.setdefault(picture.work.owner, deque()).append(picture)
        self._count += 1
        return True

    def pop(self) -> CostlyPicture | None:
        """The next in turn that somebody still waits for; None when there is none."""
        while self._by_owner:
            owner, waiting = self._by_owner.popitem(last=False)
            picture = waiting.popleft()
            self._count -= 1
            if waiting:
                self._by_owner[owner] = waiting  # behind the others
            if picture.source.wanted:
                return picture
        return None

    def drain(self) -> list[CostlyPicture]:
        """All of them; the queue is empty afterwards."""
        found = [picture for waiting in self._by_owner.values() for picture in waiting]
        self._by_owner.clear()
        self._count = 0
        return found
