"""One live page: what it watches, and when it may be sent its next round.

A round is everything that is new for the page, in one write; the page says when it has drawn it. So a page that does
not read costs one round, and what it gets is never old.

    something is new ──► planned, at the earliest 1/`live_fps` s after the last round began ──► sent ──► handled ─┐
          ▲                                                                                                     │
          └─────────────────────────────────────────────────────────────────────────────────────────────────────┘
"""

from __future__ import annotations

import enum
import functools
import time
from collections.abc import Callable, Iterable

from imageserver import metrics
from imageserver.accounts.database import User
from imageserver.errors import BodyError
from imageserver.limits import Limits, hit
from imageserver.news import OF_CLIENTS, News
from imageserver.pages.live import messages
from imageserver.pages.live.state import View
from imageserver.streams.overview import Viewed
from imageserver.transport import hub
from imageserver.transport.websocket.connection import WebSocket

LARGE = 2**20
"""Bytes of a picture from which it is written by itself: to join what goes out together is to copy it."""


class PageState(enum.Enum):
    """Whether anybody looks at a page."""

    SHOWN = enum.auto()
    HIDDEN = enum.auto()
    """in the background: it is sent nothing"""
    CLOSED = enum.auto()


class LivePage:
    """A page and its connection.

    Args:
        ws: The connection.
        user: Who looks; None: nobody has to say.
        admin: Whether they are told of what clients have done.
        find: Gives the stream of an id, None where there is none.
        news: What happened.
        limits: Those that begin with `live_`.
        due: Called with the page when its next round is to be sent.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        ws: WebSocket,
        user: User | None,
        *,
        admin: bool,
        find: Callable[[str], Viewed | None],
        news: News,
        limits: Limits,
        due: Callable[[LivePage], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.ws, self.user, self._admin = ws, user, admin
        self._owner = f"user {user.name}" if user else ""
        self._sees: Callable[[str], bool] = user.sees if user else lambda _name: True
        self.view = View(user.only if user else (), "", user)
        self.state = PageState.SHOWN
        self._find, self._news, self._due, self._clock = find, news, due, clock
        self._most, self._interval = limits.live_round_bytes, 1 / limits.live_fps
        self._watched: dict[str, int] = {}  # the number of the frame that was sent last; who waits longest is first
        self._told: bytes | None = None  # the state that was sent last
        self._heard = 0  # the number of the news that was told last
        self._sent = self._handled = 0  # rounds
        self._next = 0.0
        self._new = self._planned = False

    @property
    def watched(self) -> Iterable[str]:
        """The ids of the streams that are in sight."""
        return self._watched.keys()

    def watch(self, ids: Iterable[str]) -> None:
        """Send the frames of these streams from now on."""
        self._watched = {stream_id: self._watched.get(stream_id, 0) for stream_id in ids}
        self.touch()

    def list_only(self, text: str) -> None:
        """List the streams that contain `text`."""
        self.view = View(self.view.only, text.casefold(), self.user)

    def show(self, hidden: bool) -> None:
        """Whether anybody looks has changed."""
        if self.state is not PageState.CLOSED:
            self.state = PageState.HIDDEN if hidden else PageState.SHOWN
            self.touch()

    def close(self) -> None:
        """The connection has ended."""
        self.state = PageState.CLOSED

    def handled(self, number: int) -> None:
        """The page has drawn this round. BodyError: there was none of that number."""
        if not 0 < number <= self._sent:
            raise BodyError(f"there was no round {str(number)[:20]}")
        if number == self._sent != self._handled:
            self._handled = number
            self._plan()

    def touch(self) -> None:
        """Something is new."""
        self._new = True
        self._plan()

    def send_round(self, state: bytes | None) -> None:
        """Send what is new; `state` is what the page's view shows now, None where that is not known yet."""
        self._planned = False
        if self.state is not PageState.SHOWN or self._sent != self._handled:
            return  # `_plan` again, once that has changed
        self._new = False
        parts = self._frames()
        if state is not None and state is not self._told:
            self._told = state
            parts.append(state)
            for item in self._news.since(self._heard):
                self._heard = item.number
                if self._admin or item.kind not in OF_CLIENTS:
                    parts.append(messages.message("event", at=item.at, kind=item.kind, text=item.text))
        if parts:
            self._sent += 1
            self._next = self._clock() + self._interval
            parts.append(messages.message("round", n=self._sent))
            self._write(parts)

    def _plan(self) -> None:
        if self._planned or not self._new or self.state is not PageState.SHOWN or self._sent != self._handled:
            return
        self._planned = True
        wait = self._next - self._clock()
        if wait > 0:
            hub.call_later(wait, self._due, self)
        else:
            self._due(self)

    def _frames(self) -> list[bytes]:
        """Frames that the page has not had, as they go over the wire, up to the bytes that a round may have."""
        parts: list[bytes] = []
        size = count = 0
        for stream_id, shown in list(self._watched.items()):
            stream = self._find(stream_id)
            newest = stream.newest if stream is not None and self._sees(stream.counts_as) else None
            if newest is None or newest.frame.seq == shown:
                continue
            size += len(newest.frame.data)
            if count and size > self._most:
                hit("live_round_bytes", self._owner)
                self._new = True
                break
            count += 1
            del self._watched[stream_id]  # to the end
            self._watched[stream_id] = newest.frame.seq
            parts += newest.once("live", functools.partial(messages.frame_parts, stream_id))
        metrics.LIVE_FRAMES.child().value += count
        return parts

    def _write(self, parts: list[bytes]) -> None:
        """Send all of it, as a rule in one write."""
        together: list[bytes] = []
        for part in parts:
            if len(part) >= LARGE:
                self.ws.write(b"".join(together))
                self.ws.write(part)
                together = []
            else:
                together.append(part)
        self.ws.write(b"".join(together))
