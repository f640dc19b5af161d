"""Predictions of ours for others where somebody follows what happens: in rounds, of each stream the newest alone.

They are said once, on a channel that those hear who follow; what nobody has asked for is not said. A wish holds for a
few seconds and is said again each second.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from imageserver.inference.shared.wire import Picture
from imageserver.peers import messages
from imageserver.peers.messages import PREDICTIONS, Said
from imageserver.peers.redis.link import RedisLink
from imageserver.streams.frame import Frame, Prediction
from imageserver.streams.overview import Own
from imageserver.streams.session import Session, Sessions, SessionWatcher
from imageserver.streams.stream import Stream, Streams, StreamSubscriber
from imageserver.transport import hub

ROUND = 0.2
"""Seconds between two rounds."""
PIECE = 32 * 2**10
"""About the characters of one message."""
MOST = 64
"""Front ends that may follow."""


class PredictionRounds(StreamSubscriber):
    """Tells them. `link` leads to the others; `clock` gives monotonic seconds."""

    def __init__(self, link: RedisLink, clock: Callable[[], float] = time.monotonic) -> None:
        self._link, self._clock = link, clock
        self._followers: dict[str, tuple[float, frozenset[str] | None]] = {}
        """By their runs: until when, and the ids and names that are wanted; None: all."""
        self._latest: dict[str, list[Any]] = {}
        link.on("follow", self._follow)

    def watch(self, streams: Streams, sessions: Sessions) -> None:
        """Hear of all of our own from now on."""
        streams.watch(self)
        sessions.watch(_SessionPredictions(self))

    def run(self) -> None:
        """Tell what is new, for ever; spawn it."""
        while True:
            hub.sleep(ROUND)
            self.tell()

    def tell(self) -> None:
        """Tell what is new, and forget wishes that hold no longer."""
        now = self._clock()
        for run in [run for run, (until, _wanted) in self._followers.items() if until < now]:
            del self._followers[run]
        latest, self._latest = self._latest, {}
        piece: list[list[Any]] = []
        size = 0
        for entry in latest.values():
            piece.append(entry)
            size += _about(entry[3])
            if size >= PIECE:
                self._link.say(PREDICTIONS, "predictions", list=piece)
                piece, size = [], 0
                hub.sleep(0)
        if piece:
            self._link.say(PREDICTIONS, "predictions", list=piece)

    def predicted(self, stream: Stream, frame: Frame, prediction: Prediction) -> None:
        if self._followers:
            self.note(stream, frame.seq, frame.timestamp, prediction, "")

    def rejected(self, stream: Stream, frame: Frame, error: str) -> None:
        if self._followers:
            self.note(stream, frame.seq, frame.timestamp, None, error)

    def closed(self, stream: Stream) -> None:
        self.forget(stream)

    def note(self, one: Own, seq: int, timestamp: int, prediction: Prediction | None, error: str) -> None:
        """What was said of a frame takes the place of what was said of the one before, where somebody wants it."""
        identity = messages.own_id(one.id, self._link.front_end)
        for _until, wanted in self._followers.values():
            if wanted is None or one.name in wanted or identity in wanted:
                self._latest[one.id] = [identity, seq, messages.whole(timestamp), prediction, error]
                return

    def forget(self, one: Own) -> None:
        """One has ended."""
        self._latest.pop(one.id, None)

    def _follow(self, _channel: str, said: Said, _picture: Picture) -> None:
        if said["run"] in self._followers or len(self._followers) < MOST:
            wanted = None if said["wanted"] is None else frozenset(said["wanted"])
            self._followers[said["run"]] = self._clock() + messages.FOLLOWED, wanted


class _SessionPredictions(SessionWatcher):
    """The same of sessions."""

    def __init__(self, rounds: PredictionRounds) -> None:
        self._rounds = rounds

    def predicted(self, session: Session, prediction: Prediction) -> None:
        self._rounds.note(session, prediction["seq"], prediction["timestamp"], prediction, "")

    def ended(self, session: Session) -> None:
        self._rounds.forget(session)


def _about(prediction: Prediction | None) -> int:
    """About how many characters it takes."""
    lists = (value for value in (prediction or {}).values() if isinstance(value, (list, dict)))
    return 400 + 100 * sum(map(len, lists))
