"""What has come over Redis and waits to be taken: checked, bounded, and of each stream's frames the newest alone."""

from __future__ import annotations

import threading
from collections import Counter, OrderedDict, deque
from typing import Any

from imageserver.peers import messages
from imageserver.peers.messages import FRAME, Dropped, Heard
from imageserver.peers.redis.allowance import Allowance

PATIENCE = 1.0
"""Seconds that `receive` waits."""
PIECE, MOST_AT_ONCE = 64 * 2**10, 100
"""Bytes and number of messages that are taken at once: reading them holds the server for a millisecond or two."""
LEAST = 4096
"""Bytes that a message counts for at least, as small ones cost the server as much: of `--redis-bytes`."""
WAITING, WAITING_PICTURES = 8 * 2**20, 64 * 2**20
"""Bytes that may wait."""


class Inbox:
    """Thread-safe; `receive` is for one thread.

    Args:
        mark: What our own messages have near their beginning, which nobody takes.
        most_picture: Bytes.
        most_bytes: Bytes a second that are kept.
    """

    def __init__(self, mark: bytes, most_picture: int, most_bytes: int) -> None:
        self._mark, self._most_picture, self.allowance = mark, most_picture, Allowance(most_bytes)
        self._came = threading.Condition()
        self._messages: deque[tuple[str, Heard]] = deque()
        self._frames: OrderedDict[str, Heard] = OrderedDict()  # by their channels
        self._waiting = self._waiting_pictures = self._bytes = 0
        self._dropped: Counter[str] = Counter()

    def receive(self) -> tuple[dict[str, Any], memoryview]:
        """What has come: messages, at most one frame and its picture; waits for it, for `PATIENCE` at most."""
        with self._came:
            self._came.wait_for(lambda: self._messages or self._frames, PATIENCE)
            found: list[list[str]] = []
            size = 0
            while self._messages and size < PIECE and len(found) < MOST_AT_ONCE:
                channel, heard = self._messages.popleft()
                size += len(heard.text)
                found.append([channel, heard.text])
            self._waiting -= size
            frame: list[Any] | None = None
            picture = memoryview(b"")
            if self._frames:
                channel, heard = self._frames.popitem(last=False)
                picture = heard.picture
                self._waiting_pictures -= len(picture)
                frame = [channel, heard.text, len(picture)]
            dropped, self._dropped = self._dropped, Counter()
            taken, self._bytes = self._bytes, 0
        return {"messages": found, "frame": frame, "bytes": taken, "dropped": dict(dropped)}, picture

    def add(self, channel: str, data: bytes) -> None:
        """A message has come: keep what is sound until somebody takes it."""
        if self._mark in data[:100]:
            return  # our own
        if not self.allowance.take(max(LEAST, len(data))):
            self._drop(Dropped.TOO_MANY)
            return
        heard = messages.read(channel, data, self._most_picture)
        if isinstance(heard, Dropped):
            self._drop(heard)
            return
        with self._came:
            self._bytes += len(data)
            if channel.startswith(FRAME):
                self._keep(channel, heard)
            elif self._waiting + len(heard.text) > WAITING:
                self._dropped[Dropped.TOO_MANY] += 1
            else:
                self._waiting += len(heard.text)
                self._messages.append((channel, heard))
            self._came.notify()

    def _keep(self, channel: str, heard: Heard) -> None:
        """A frame takes the place of the one before; nothing else gives way to it."""
        former = self._frames.pop(channel, None)
        if former is not None:
            self._waiting_pictures -= len(former.picture)
        if self._waiting_pictures + len(heard.picture) > WAITING_PICTURES:
            self._dropped[Dropped.TOO_MANY] += 1
            return
        self._frames[channel] = heard
        self._waiting_pictures += len(heard.picture)

    def _drop(self, reason: Dropped) -> None:
        with self._came:
            self._dropped[reason] += 1
