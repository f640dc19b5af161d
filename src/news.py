"""What has happened that people who look after a server want to know: told where it happens, as figures are counted.

    news.tell(NewsKind.WORKER_RESTARTED, "worker 1 ended by signal 9; a new one starts")

It is kept in memory, the last of each kind. Whoever shows it asks for what is new since a number (pages/live/). No
text holds a secret or a path: clients see them, those in `OF_CLIENTS` admins alone.
"""

from __future__ import annotations

import enum
import itertools
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

KEPT = 40
"""Of each kind."""
MINUTE = 60.0
MOST_GROUPS = 64
"""Of all kinds together, what is told apart within a minute."""
AT_ONCE = 5
"""Different texts of one group that are told within a minute."""
LONGEST = 300
"""Characters."""


class NewsKind(enum.StrEnum):
    """What happened, as people read it."""

    LOGIN_REFUSED = "login refused"
    LIMIT_HIT = "limit hit"
    WORKER_RESTARTED = "worker restarted"
    MODEL_REPLACED = "model replaced"
    MODEL_FAILED = "model failed"
    TRAINING_ENDED = "training ended"
    USERS_DATABASE = "users' database"
    FRONT_ENDS = "front ends"


OF_CLIENTS = frozenset({NewsKind.LOGIN_REFUSED, NewsKind.LIMIT_HIT})
"""What clients have brought about, with their names and addresses in it."""


@dataclass(frozen=True, slots=True)
class NewsItem:
    """Something that happened. `number` counts all of them; `at` is in milliseconds since the epoch."""

    number: int
    at: int
    kind: NewsKind
    text: str


@dataclass(slots=True)
class _Group:
    """What is alike within a minute: all but the first is counted only, or a client could bring about any number."""

    kind: NewsKind
    text: str
    begun: float
    told: int = 1
    count: int = 0


class News:
    """The last of what happened. `clock` gives seconds since 1970, `monotonic` seconds."""

    def __init__(self, clock: Callable[[], float] = time.time, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._monotonic = clock, monotonic
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)
        self._items: dict[NewsKind, deque[NewsItem]] = {kind: deque(maxlen=KEPT) for kind in NewsKind}
        self._groups: dict[tuple[NewsKind, str], _Group] = {}

    def tell(self, kind: NewsKind, text: str, group: str = "") -> None:
        """Tell what happened; never blocks, in any thread.

        Args:
            kind: What it was.
            text: One sentence, without its stop.
            group: What is alike by this is told a few times in a minute, and then counted; "": by the text.
        """
        now = self._monotonic()
        with self._lock:
            key = (kind, group or text)
            found = self._groups.get(key)
            if found is None and len(self._groups) >= MOST_GROUPS:
                self._sum_up(now)
                key = key if len(self._groups) < MOST_GROUPS else (kind, "")  # all others of its kind
                found = self._groups.get(key)
            if found is not None and now - found.begun < MINUTE:
                if text == found.text or found.told >= AT_ONCE:
                    found.count += 1
                else:
                    found.text = text
                    found.told += 1
                    self._add(kind, text)
                return
            if found is not None:
                self._end(key, found)
            self._groups[key] = _Group(kind, text, now)
            self._add(kind, text)

    def since(self, number: int) -> list[NewsItem]:
        """What is kept with a higher number, in order."""
        with self._lock:
            self._sum_up(self._monotonic())
            found = [item for items in self._items.values() for item in items if item.number > number]
        return sorted(found, key=lambda item: item.number)

    def _add(self, kind: NewsKind, text: str) -> None:
        short = text if len(text) <= LONGEST else f"{text[:LONGEST]}…"
        self._items[kind].append(NewsItem(next(self._numbers), int(self._clock() * 1000), kind, short))

    def _sum_up(self, now: float) -> None:
        for key, group in list(self._groups.items()):
            if now - group.begun >= MINUTE:
                self._end(key, group)

    def _end(self, key: tuple[NewsKind, str], group: _Group) -> None:
        """A minute is over; tell what was counted in it."""
        del self._groups[key]
        if group.count:
            self._add(group.kind, f"{group.text[:LONGEST]}, and {group.count} more like it within a minute")


LATEST = News()
"""Of this process."""
tell = LATEST.tell
