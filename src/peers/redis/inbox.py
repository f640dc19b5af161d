"""What has come over Redis and waits to be taken: checked, bounded, and of each stream's frames the newest alone.

Words of life and lists are bounded and wait apart from all else: however much others look at, or say in rooms, a front
end that tells it is there is heard.
"""

from __future__ import annotations

import threading
from collections import Counter, OrderedDict, deque
from typing import Any

from imageserver.peers import messages
from imageserver.peers.messages import ALL, FRAME, ROOM, TO, Dropped, Heard
from imageserver.peers.redis.allowance import Allowance

PATIENCE = 1.0
"""Seconds that `receive` waits."""
PIECE, MOST_AT_ONCE = 32 * 2**10, 50
"""Bytes and number of messages that are taken at once of lists, and of all else: reading them holds the server for a
millisecond or two."""
LEAST, LEAST_TEXT = 4096, 1024
"""Bytes that a message counts for at least, as small ones cost the server as much; and a text of /ws."""
WAITING, WAITING_PICTURES = 8 * 2**20, 64 * 2**20
"""Bytes that may wait: of lists and of all else, each; and of pictures."""


class Inbox:
    """Thread-safe; `receive` is for one thread.

    Args:
        mark: What our own messages have near their beginning, which nobody takes.
        most_picture: Bytes.
        most_bytes: Bytes a second that are kept of words of life and lists, and as many of frames and predictions.
        most_text_bytes: The same of texts of /ws.
    """

    def __init__(self, mark: bytes, most_picture: int, most_bytes: int, most_text_bytes: int) -> None:
        self._mark, self._most_picture = mark, most_picture
        self.lists, self.others, self.texts = map(Allowance, (most_bytes, most_bytes, most_text_bytes))
        self._came = threading.Condition()
        self._lists, self._others = _Queue(), _Queue()
        self._frames: OrderedDict[str, Heard] = OrderedDict()  # by their channels
        self._waiting_pictures = self._bytes = 0
        self._dropped: Counter[str] = Counter()

    def receive(self) -> tuple[dict[str, Any], memoryview]:
        """What has come: messages, at most one frame and its picture; waits for it, for `PATIENCE` at most."""
        with self._came:
            self._came.wait_for(lambda: self._lists.messages or self._others.messages or self._frames, PATIENCE)
            found = [*self._lists.take(), *self._others.take()]
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
        if not self._may_come(channel, len(data)):
            self._drop(Dropped.TOO_MANY)
            return
        heard = messages.read(channel, data, self._most_picture)
        if isinstance(heard, Dropped):
            self._drop(heard)
            return
        with self._came:
            self._bytes += len(data)
            if heard.dropped:
                self._dropped[Dropped.UNREADABLE] += heard.dropped
            if channel.startswith(FRAME):
                self._keep(channel, heard)
            elif not (self._lists if _is_of_lists(channel) else self._others).add(channel, heard.text):
                self._dropped[Dropped.TOO_MANY] += 1
            self._came.notify()

    def _may_come(self, channel: str, size: int) -> bool:
        """Whether a message of so many bytes is within what may come on its channel, of which it is taken."""
        if _is_of_lists(channel):
            return self.lists.take(max(LEAST, size))
        if channel.startswith(ROOM):
            return self.texts.take(max(LEAST_TEXT, size))
        return self.others.take(max(LEAST, size))

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


class _Queue:
    """Messages that wait, in their order."""

    def __init__(self) -> None:
        self.messages: deque[list[str]] = deque()
        self._waiting = 0

    def add(self, channel: str, text: str) -> bool:
        """Keep a message; False: too much waits."""
        if self._waiting + len(text) > WAITING:
            return False
        self._waiting += len(text)
        self.messages.append([channel, text])
        return True

    def take(self) -> list[list[str]]:
        """A piece of what waits, in pairs of channel and text."""
        found: list[list[str]] = []
        size = 0
        while self.messages and size < PIECE and len(found) < MOST_AT_ONCE:
            found.append(self.messages.popleft())
            size += len(found[-1][1])
        self._waiting -= size
        return found


def _is_of_lists(channel: str) -> bool:
    return channel == ALL or channel.startswith(TO)
