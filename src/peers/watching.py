"""Streams of other front ends that somebody here looks at: their frames are asked for, and shown when they come.

What is looked at is known to FarStreams (streams/far.py), as is what nobody has looked at for a while. A wish is said
again each second, with the number of the frame that came last: so one that was lost comes again.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from imageserver.inference.shared.wire import Picture
from imageserver.limits import hit
from imageserver.peers.front_ends import FrontEnds
from imageserver.peers.messages import ALL, FRAME, MOST_IDS, PREDICTIONS, TO, Said
from imageserver.peers.redis.link import RedisLink
from imageserver.streams.far import FarStreams
from imageserver.streams.frame import Frame, NewestFrame
from imageserver.transport import hub

AGAIN = 1.0
"""Seconds after which wishes are said again."""
TOGETHER = 0.05
"""Seconds in which first looks are gathered: a page that is opened looks at many."""


class ViewerWishes:
    """Asks and shows.

    Args:
        link: To the others.
        others: Those who are there.
        far: Their streams.
        clock: Monotonic seconds.
    """

    def __init__(
        self, link: RedisLink, others: FrontEnds, far: FarStreams, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._link, self._others, self._far, self._clock = link, others, far, clock
        self.followed: Callable[[], frozenset[str] | None] = frozenset
        """The ids and names of which predictions are wanted here; empty: none; None: all."""
        self._heard: dict[str, None] = {}
        """Channels of frames."""
        self._looked = hub.Event()
        far.first_look = self._looked.set
        link.on("frame", self._frame)
        link.on("predictions", self._predictions)

    def run(self) -> None:
        """Say what is wished, for ever; spawn it."""
        while True:
            if self._looked.wait(AGAIN):
                hub.sleep(TOGETHER)
            self._looked.clear()
            self.ask()

    def ask(self) -> None:
        """Say what is wished now."""
        self._far.unlooked()
        wanted = {f"{FRAME}{identity}": None for identity in self._far.watched}
        for channel in wanted.keys() - self._heard.keys():
            self._link.hear(channel)
        for channel in self._heard.keys() - wanted.keys():
            self._link.leave(channel)
        self._heard = wanted
        if not self._link.up:
            return
        by_owner: dict[str, dict[str, int]] = {}
        for stream in self._far.watched.values():
            by_owner.setdefault(stream.front_end, {})[stream.id] = stream.seq
        for front_end, streams in by_owner.items():
            self._link.say(f"{TO}{front_end}", "watch", streams=streams)
        self._follow()

    def _follow(self) -> None:
        followed = self.followed()
        if followed is None or followed:
            self._link.hear(PREDICTIONS)
            if followed is not None and len(followed) > MOST_IDS:
                hit("stream_followers")
            wanted = None if followed is None else sorted(followed)[:MOST_IDS]
            self._link.say(ALL, "follow", wanted=wanted)
        else:
            self._link.leave(PREDICTIONS)

    # ---- what comes ---------------------------------------------------------------------------------------------

    def _frame(self, channel: str, said: Said, picture: Picture) -> None:
        stream = self._others.stream(channel.removeprefix(FRAME), said)
        if stream is None or stream.id not in self._far.watched:
            return
        frame = Frame(picture, said["seq"], said["timestamp"], self._clock())
        self._far.show(stream, NewestFrame(frame, said["prediction"], said["error"], said["rotate"]))

    def _predictions(self, _channel: str, said: Said, _picture: Picture) -> None:
        for identity, seq, _timestamp, prediction, error in said["list"]:
            stream = self._others.stream(identity, said)
            if stream is not None:
                self._far.predict(stream, seq, prediction, error)
