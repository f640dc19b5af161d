"""All that a front end shares with others over Redis, built and run."""

from __future__ import annotations

from collections.abc import Callable

from imageserver.config.table import Settings
from imageserver.peers.forever import go_on
from imageserver.peers.front_ends import FrontEnds
from imageserver.peers.predicting import PredictionRounds
from imageserver.peers.redis import wall
from imageserver.peers.redis.link import GONE, RedisLink
from imageserver.peers.rooms import SharedRooms
from imageserver.peers.showing import Showing
from imageserver.peers.telling import Telling
from imageserver.peers.watching import ViewerWishes
from imageserver.streams.overview import Overview
from imageserver.streams.session import Sessions
from imageserver.streams.stream import Streams
from imageserver.transport import hub


class Sharing:
    """What is shared, where `--redis` says that it is.

    Args:
        settings: `redis`, `redis_password`, `front_end`, and the limits that begin with `redis_`.
        streams: Our own.
        sessions: Our own.
        overview: Of them, with room for others'.
        log: Takes a line for the log.
        warn: Takes one on what is wrong.

    Raises:
        SettingError: The client's library is not installed.
    """

    def __init__(
        self,
        settings: Settings,
        streams: Streams,
        sessions: Sessions,
        overview: Overview,
        *,
        log: Callable[[str], None],
        warn: Callable[[str], None],
    ) -> None:
        self._link: RedisLink | None = None
        self._warn = warn
        self.rooms = SharedRooms()
        self.watching: ViewerWishes | None = None
        if settings.redis is None:
            return
        jail = wall.jail(settings.redis, settings.redis_password, enforced=settings.jail)
        link = RedisLink(settings.redis, settings.redis_password, settings.front_end or "", settings, jail, warn)
        self._link, self.rooms = link, SharedRooms(link, settings)
        self._others = FrontEnds(link, overview.far, settings.redis_silence, log)
        self._telling = Telling(link, self._others, overview)
        self._showing = Showing(link, streams, sessions, settings)
        self._predicting = PredictionRounds(link)
        self.watching = ViewerWishes(link, self._others, overview.far)
        overview.far.problem = lambda: self.problem
        link.start()
        for part in (self._telling, self._predicting):
            part.watch(streams, sessions)
        self._showing.watch()

    def run(self) -> None:
        """Begin to tell and to ask."""
        if self._link is None or self.watching is None:
            return
        for run in (
            self._others.run,
            self._telling.run_changes,
            self._telling.run_lists,
            self._showing.run,
            self._predicting.run,
            self.watching.run,
            self.rooms.run,
        ):
            hub.spawn(go_on, run, self._warn)

    def follow(self, followed: Callable[[], frozenset[str] | None]) -> None:
        """Have told what `followed` names: ids and names; empty: nothing; None: all."""
        if self.watching is not None:
            self.watching.followed = followed

    def stop(self) -> None:
        """Say goodbye, and end the process."""
        if self._link is not None:
            self._others.leave()
            self._link.stop()

    @property
    def problem(self) -> str:
        """A sentence for anybody on what is gone without which our own cameras stream on, else ""."""
        if self._link is None:
            return ""
        return self._others.problem if self._link.up else GONE
