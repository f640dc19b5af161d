"""Frames of ours that others asked for: of those streams that somebody looks at there, and of no others.

A wish holds for a few seconds and is said again each second. A frame costs a look-up where nobody wishes anything. Of
each stream the newest frame waits, or rather its name: which frame goes out is found when its turn has come. So what
others get is as new as it can be, `--redis-fps` of them a second at most, all frames together within `--redis-bytes`.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from imageserver.inference.shared.wire import Picture
from imageserver.limits import Limits, hit, option
from imageserver.peers import messages
from imageserver.peers.messages import FRAME, TO, Said
from imageserver.peers.redis.allowance import Allowance
from imageserver.peers.redis.link import RedisLink
from imageserver.peers.redis.outbox import OutgoingFrame
from imageserver.streams.frame import Frame, NewestFrame, Prediction
from imageserver.streams.overview import Own
from imageserver.streams.session import Session, Sessions, SessionWatcher
from imageserver.streams.stream import Stream, Streams, StreamSubscriber
from imageserver.transport import hub

LOOK_EVERY = 1.0
"""Seconds between looks at which wishes hold no longer."""
LOST = 1.0
"""Seconds after which a frame that did not arrive is sent again, where no newer one has come."""


@dataclass(slots=True, eq=False)
class ShownElsewhere:
    """One of ours that others look at. Times are in monotonic seconds."""

    one: Own
    until: float
    sent: int = 0
    """The number of the frame that they got last."""
    next: float = 0.0
    """When they may get another one."""


class Showing(StreamSubscriber):
    """Shows.

    Args:
        link: To the others.
        streams: Our own.
        sessions: Our own.
        limits: `redis_fps`, `redis_frame_bytes`, `redis_bytes`.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        link: RedisLink,
        streams: Streams,
        sessions: Sessions,
        limits: Limits,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._link, self._streams, self._sessions, self._clock = link, streams, sessions, clock
        self._interval, self._most = 1 / limits.redis_fps, limits.redis_frame_bytes
        self._allowance = Allowance(limits.redis_bytes, clock)
        self._watched: dict[str, ShownElsewhere] = {}
        self._due: OrderedDict[str, None] = OrderedDict()
        self._timer: hub.Timer | None = None
        link.frames = self.next_frame
        link.on("watch", self._wish)

    def watch(self) -> None:
        """Hear of all of our own from now on."""
        self._streams.watch(self)
        self._sessions.watch(_SessionShowing(self))

    def run(self) -> None:
        """Forget wishes that hold no longer; for ever, spawn it."""
        while True:
            hub.sleep(LOOK_EVERY)
            now = self._clock()
            for identity in [one for one, watched in self._watched.items() if watched.until < now]:
                self.forget(identity)

    # ---- what becomes of our own --------------------------------------------------------------------------------

    def predicted(self, stream: Stream, frame: Frame, prediction: Prediction) -> None:
        if stream.id in self._watched:
            self.wake(stream.id)

    def rejected(self, stream: Stream, frame: Frame, error: str) -> None:
        if stream.id in self._watched:
            self.wake(stream.id)

    def closed(self, stream: Stream) -> None:
        self.forget(stream.id)

    def wake(self, identity: str) -> None:
        """There is something new of one, which goes out if others look at it."""
        if identity in self._watched:
            self._due[identity] = None
            if self._timer is None:  # or it comes soon enough
                self._link.wake()

    def forget(self, identity: str) -> None:
        """Nobody looks at one any more, or it has ended."""
        self._watched.pop(identity, None)
        self._due.pop(identity, None)

    # ---- what others wish ---------------------------------------------------------------------------------------

    def _wish(self, channel: str, said: Said, _picture: Picture) -> None:
        if channel != f"{TO}{self._link.front_end}":
            return
        now = self._clock()
        for identity, seq in said["streams"].items():
            one = self._found(identity)
            if one is None:
                continue
            watched = self._watched.setdefault(one.id, ShownElsewhere(one, 0.0))
            watched.until = max(watched.until, now + messages.WATCHED)
            newest = _newest(one)
            if newest is not None and newest.frame.seq != seq and now >= watched.next + LOST:
                watched.sent = 0
                self.wake(one.id)

    def _found(self, identity: str) -> Own | None:
        """The one that others know under this id: those of sessions have our name before theirs."""
        streams, sessions = self._streams.open_streams, self._sessions.open_sessions
        bare = identity.removeprefix(f"{self._link.front_end}.")
        return streams.get(identity) or sessions.get(bare) or streams.get(bare)

    # ---- frames on their way ------------------------------------------------------------------------------------

    def next_frame(self) -> OutgoingFrame | None:
        """The next frame that is due to be sent; while there is none now, but one soon, the link is woken then."""
        now, soonest = self._clock(), float("inf")
        for identity in list(self._due):
            watched = self._watched.get(identity)
            newest = None if watched is None else _newest(watched.one)
            if watched is None or newest is None or newest.frame.seq == watched.sent:
                del self._due[identity]
                continue
            wait = max(watched.next - now, self._allowance.lacking)
            if wait > 0:
                soonest = min(soonest, wait)
                continue
            del self._due[identity]
            watched.sent, watched.next = newest.frame.seq, max(watched.next, now - self._interval) + self._interval
            if (made := self._made(watched.one, newest)) is not None:
                return made
        if self._due and self._timer is None:
            self._timer = hub.call_later(soonest, self._later)
        return None

    def _later(self) -> None:
        self._timer = None
        self._link.wake()

    def _made(self, one: Own, newest: NewestFrame) -> OutgoingFrame | None:
        """The frame as it goes out, without its picture where that is too large; None: it is no JSON."""
        frame, error = newest.frame, newest.error
        picture: Picture = frame.data
        if len(picture) > self._most:
            hit("redis_frame_bytes", f"user {one.user}")
            error = error or f"its picture has {len(picture)} bytes, too many for {option('redis_frame_bytes')}"
            picture = b""
        values = {"seq": frame.seq, "timestamp": messages.whole(frame.timestamp), "rotate": newest.rotate}
        told = values | {"prediction": newest.prediction, "error": error}
        try:
            text = messages.encode("frame", self._link.front_end, self._link.run, **told)
        except ValueError:  # a number that JSON has not
            return None
        self._allowance.take(len(text) + len(picture))
        return OutgoingFrame(f"{FRAME}{messages.own_id(one.id, self._link.front_end)}", text, picture)


class _SessionShowing(SessionWatcher):
    """The same of sessions, of which no pictures are kept."""

    def __init__(self, showing: Showing) -> None:
        self._showing = showing

    def predicted(self, session: Session, prediction: Prediction) -> None:
        self._showing.wake(session.id)

    def ended(self, session: Session) -> None:
        self._showing.forget(session.id)


def _newest(one: Own) -> NewestFrame | None:
    """What others are shown of one now."""
    if isinstance(one, Stream):
        return one.newest
    last = one.last_prediction
    return NewestFrame(Frame(b"", last["seq"], last["timestamp"], 0.0), last, "", 0) if last else None
