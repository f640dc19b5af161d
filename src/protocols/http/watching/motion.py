"""Motion JPEG: the newest frame of a stream, again and again, as the parts of one answer that does not end."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from imageserver.errors import ImageServerError
from imageserver.inference.shared.wire import Picture
from imageserver.protocols.http.watching.pieces import SharedPictures, pieces
from imageserver.protocols.http.watching.taking import Taking
from imageserver.streams.drawings import Drawings
from imageserver.streams.far import FarStream, FarStreams, FarWatcher
from imageserver.streams.frame import Frame, NewestFrame, Prediction
from imageserver.streams.overview import Viewed
from imageserver.streams.stream import Stream, StreamSubscriber
from imageserver.transport import hub
from imageserver.transport.budget import Account

BOUNDARY = "frame"
MEDIA_TYPE = f"multipart/x-mixed-replace; boundary={BOUNDARY}"
_BETWEEN = f"\r\n--{BOUNDARY}\r\n".encode()
"""Behind each picture at once: browsers show one when they have seen where it ends."""

LOOK_EVERY = 5.0
"""Seconds without a frame after which it is looked whether the client is still there."""
LONGEST_PAUSE = 0.5
"""Seconds in which a client that wants few frames is told of the end."""
NO_ROOM = 0.5
"""Seconds until a client that may have no more memory now is tried again."""


class FrameNews(StreamSubscriber):
    """Wakes those who wait for the next frame of a stream; a stream that nobody looks at costs a look-up."""

    def __init__(self) -> None:
        self._waiting: dict[str, dict[hub.Event, None]] = {}  # by the stream's id
        self.pictures = SharedPictures()
        self.stopping = False

    def begin(self, stream: Viewed) -> hub.Event:
        """An event that is set with each frame of the stream from now on, and at its end."""
        event = hub.Event()
        self._waiting.setdefault(stream.id, {})[event] = None
        return event

    def end(self, stream: Viewed, event: hub.Event) -> None:
        """Nobody waits for it any more."""
        events = self._waiting.get(stream.id, {})
        events.pop(event, None)
        if not events:
            self._waiting.pop(stream.id, None)

    # ---- what the streams say (StreamSubscriber) ----------------------------------------------------------------

    def predicted(self, stream: Stream, frame: Frame, prediction: Prediction) -> None:
        if stream.id in self._waiting:
            self._wake(stream.id)

    def rejected(self, stream: Stream, frame: Frame, error: str) -> None:
        if stream.id in self._waiting:
            self._wake(stream.id)

    def closed(self, stream: Stream) -> None:
        self._wake(stream.id)

    def ending(self) -> None:
        self.stopping = True
        for stream_id in self._waiting:
            self._wake(stream_id)

    def watch_far(self, far: FarStreams) -> None:
        """Hear of those of other front ends, too."""
        far.watchers.append(_FarFrames(self._wake))

    def _wake(self, stream_id: str) -> None:
        for event in self._waiting.get(stream_id, ()):
            event.set()


class _FarFrames(FarWatcher):
    """The same of streams of other front ends."""

    def __init__(self, wake: Callable[[str], None]) -> None:
        self._wake = wake

    def shown(self, stream: FarStream) -> None:
        self._wake(stream.id)

    def closed(self, stream: FarStream) -> None:
        self._wake(stream.id)


class Motion:
    """What one client sees of one stream.

    Args:
        stream: Which.
        news: Of all streams.
        fps: Most frames a second.
        drawings: Where boxes are drawn; None: frames are shown as they came.
        account: The client's.
        taking: How it takes them.
    """

    def __init__(
        self,
        stream: Viewed,
        news: FrameNews,
        *,
        fps: float,
        drawings: Drawings | None,
        account: Account,
        taking: Taking,
    ) -> None:
        self._stream, self._news, self._drawings = stream, news, drawings
        self._interval, self._account, self._taking = 1 / fps, account, taking
        self._last: NewestFrame | None = None

    def parts(self) -> Iterator[bytes]:
        """The answer, until the stream ends, or the client has gone or takes nothing."""
        changed = self._news.begin(self._stream)
        try:
            yield _BETWEEN[2:]
            due = 0.0
            while not self._ended and self._taking.wait():
                if (pause := due - time.monotonic()) > 0:
                    hub.sleep(min(pause, LONGEST_PAUSE))
                    continue  # it may have ended meanwhile
                changed.clear()
                picture = self._next()
                if picture is not None:
                    due = max(due, time.monotonic() - self._interval) + self._interval
                    yield from self._part(*picture)
                elif not changed.wait(LOOK_EVERY) and self._taking.gone:
                    return
        finally:
            self._news.end(self._stream, changed)

    @property
    def _ended(self) -> bool:
        return self._news.stopping or not self._stream.wanted

    def _next(self) -> tuple[NewestFrame, str, Picture] | None:
        """The frame to show now, its type and bytes; None: there is none that was not shown, or that can be."""
        newest = self._stream.newest
        if newest is None or newest is self._last:
            return None
        if self._drawings is not None:
            drawn = self._drawn(self._drawings)
            if drawn is not None:
                self._last = drawn[0]
                return drawn[0], "image/jpeg", drawn[1]
            newest = self._stream.newest or newest
        self._last = newest
        return (newest, newest.media_type, newest.frame.data) if newest.media_type else None

    def _part(self, newest: NewestFrame, media_type: str, picture: Picture) -> Iterator[bytes]:
        """One picture as a part of the answer; nothing where there is no room for it."""
        if not self._news.pictures.begin(picture, self._account):
            hub.sleep(NO_ROOM)
            return
        try:
            yield from pieces(_head(newest.frame.timestamp, media_type, len(picture)), picture, _BETWEEN)
        finally:
            self._news.pictures.end(picture)

    def _drawn(self, drawings: Drawings) -> tuple[NewestFrame, bytes] | None:
        """The newest frame with what was found; None: it is to be shown as it came."""
        try:
            return drawings.drawn(self._stream, self._account.owner)
        except ImageServerError:
            return None


def _head(at: int, media_type: str, length: int) -> bytes:
    """The headers of a part; `at` is the frame's time in milliseconds since the epoch."""
    about = f"Content-Type: {media_type}\r\nContent-Length: {length}\r\n"
    return f"{about}X-Timestamp: {at // 1000}.{at % 1000:03}\r\n\r\n".encode()
