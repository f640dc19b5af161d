"""What waits to be told to the process for Redis: messages, and which channels are to be heard. Pure.

While Redis is gone nothing is kept of messages: what they say would be old.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from imageserver.inference.shared.wire import Picture
from imageserver.peers import messages

WAITING = 4 * 2**20
"""Bytes of messages that may wait; texts of /ws leave half of it to words of life and lists."""
PIECE, MOST_AT_ONCE = 128 * 2**10, 256
"""Bytes and number of messages that are said at once: making the question of them takes a millisecond."""


class OutgoingFrame(NamedTuple):
    """A frame that is to be sent."""

    channel: str
    text: str
    picture: Picture


class Wishes(NamedTuple):
    """What is told at once: channels to hear, others to hear no more, and messages with their channels."""

    hear: list[str]
    leave: list[str]
    said: list[tuple[str, str]]


class Outbox:
    """All that waits."""

    def __init__(self) -> None:
        self._queue: deque[tuple[str, str]] = deque()
        self._waiting = 0
        self._wanted: dict[str, None] = {}
        self._changed: dict[str, None] = {}

    def __len__(self) -> int:
        """How much waits: messages and changes of channels."""
        return len(self._queue) + len(self._changed)

    def hear(self, channel: str) -> None:
        """The channel is to be heard. Harmless when it is."""
        if channel not in self._wanted:
            self._wanted[channel] = self._changed[channel] = None

    def leave(self, channel: str) -> None:
        """It is to be heard no more. Harmless when it was not."""
        if channel in self._wanted:
            del self._wanted[channel]
            self._changed[channel] = None

    def hear_anew(self) -> None:
        """A new process knows of no channel."""
        self._changed = dict(self._wanted)

    def add(self, channel: str, text: str) -> bool:
        """A message is to be said; False: too much waits."""
        most = WAITING // 2 if channel.startswith(messages.ROOM) else WAITING
        if self._waiting + len(text) > most or len(text) > messages.MOST_BYTES:
            return False
        self._waiting += len(text)
        self._queue.append((channel, text))
        return True

    def clear(self) -> int:
        """Drop the messages; returns how many there were."""
        number = len(self._queue)
        self._queue.clear()
        self._waiting = 0
        return number

    def take(self) -> Wishes:
        """A piece of it, which waits no longer."""
        changed = list(self._changed)[: messages.MOST_IDS]
        for channel in changed:
            del self._changed[channel]
        said: list[tuple[str, str]] = []
        size = 0
        while self._queue and size < PIECE and len(said) < MOST_AT_ONCE:
            said.append(self._queue.popleft())
            size += len(said[-1][1])
        self._waiting -= size
        wanted = self._wanted
        return Wishes([one for one in changed if one in wanted], [one for one in changed if one not in wanted], said)

    def put_back(self, wishes: Wishes) -> None:
        """Nobody has taken them: what they say of channels is said again, messages are not."""
        self._changed |= dict.fromkeys([*wishes.hear, *wishes.leave])
