"""The server's end of what goes over Redis: what is to be said waits here, and who is to hear what comes.

Nobody waits: a message is queued, and dropped and counted where Redis is gone or too slow. One question to the process
is under way at a time for what goes out, and one for what comes in, each in a green thread.
"""

from __future__ import annotations

import contextlib
import json
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

from imageserver import metrics, news
from imageserver.config.database import DatabaseAddress
from imageserver.errors import LimitExceeded, SidecarLost, TimedOut
from imageserver.inference.shared.wire import Picture
from imageserver.jail.rules import Jail
from imageserver.limits import Limits
from imageserver.news import NewsKind
from imageserver.peers import messages
from imageserver.peers.forever import go_on
from imageserver.peers.messages import Said
from imageserver.peers.redis import wall
from imageserver.peers.redis.outbox import Outbox, OutgoingFrame, Wishes
from imageserver.sidecar.process import Sidecar
from imageserver.transport import fairness, hub

NAME = "the process for Redis"
FIRST_WITHIN = 5.0
"""Seconds at the start after which a Redis that has not answered is taken for gone."""
SENT_WITHIN, HEARD_WITHIN = 8.0, 5.0
"""Seconds; the process itself gives up sooner."""
AGAIN = 0.2
"""Seconds after which a process that gave no answer is asked again."""

GONE = "Redis does not answer: this front end shows its own cameras alone, and relays /ws among its own clients"
"""For anybody: without an address."""

Handler = Callable[[str, Said, Picture], None]
"""Given the channel, what was said, and the picture; b"" where there is none."""


class RedisLink:
    """Says and hears.

    Args:
        address: Of Redis.
        password: A file; None: none.
        front_end: Our name.
        limits: Those that begin with `redis_`.
        jail: Of the process.
        log: Takes a line for the log.
    """

    def __init__(
        self,
        address: DatabaseAddress,
        password: Path | None,
        front_end: str,
        limits: Limits,
        jail: Jail,
        log: Callable[[str], None],
    ) -> None:
        self.front_end, self.run = front_end, secrets.token_hex(8)
        """Who we are, to the others; the latter since this start."""
        self.up = False
        self.came_up: Callable[[], None] = _nothing
        """Called whenever Redis answers again."""
        self.frames: Callable[[], OutgoingFrame | None] = _nothing
        """Gives the next frame that is due to be sent; `wake` says that there may be one."""
        self._address, self._log, self._decided = address, log, hub.Event()
        self._handlers: dict[str, Handler] = {}
        self._outbox, self._due = Outbox(), hub.Event()
        self._tasks: list[hub.Task] = []
        opening = {
            "op": "open",
            "address": address.full,
            "password": str(password or ""),
            "front_end": front_end,
            "run": self.run,
            "most_picture": limits.redis_frame_bytes,
            "most_bytes": limits.redis_bytes,
            "most_text_bytes": limits.redis_text_bytes,
        }
        bounds: dict[str, Any] = {"most": 2, "limit": "redis_bytes", "slots": wall.SLOTS}
        self._sidecar = Sidecar(NAME, wall.PROGRAM, jail, opening, told=self._told, warn=log, **bounds)

    def start(self) -> None:
        """Start the process, and wait until Redis has answered or not. SettingError: there is no client."""
        metrics.DATABASE_UP.child("redis").value = 0
        if not self._sidecar.begin(self._decided, FIRST_WITHIN):
            self._log(f"Redis at {self._address} has not answered yet; it is tried again until it does")
        self._tasks = [hub.spawn(go_on, run, self._log) for run in (self._send, self._receive)]

    def stop(self) -> None:
        """Say what waits, for a moment, and end the process."""
        with hub.Timeout(AGAIN), contextlib.suppress(TimedOut):
            while self.up and len(self._outbox):
                hub.sleep(0.01)
        for task in self._tasks:
            task.kill()
        self._sidecar.stop()

    def on(self, op: str, handler: Handler) -> None:
        """Have `handler` told of the messages of a kind. It must not wait for anything but turns."""
        self._handlers[op] = handler

    def hear(self, channel: str) -> None:
        """Hear what is said on a channel from now on."""
        self._outbox.hear(channel)
        self._due.set()

    def leave(self, channel: str) -> None:
        """Hear it no more. Harmless when it was not heard."""
        self._outbox.leave(channel)
        self._due.set()

    def say(self, channel: str, op: str, **values: Any) -> int:
        """Say something; where Redis is gone or too slow nobody hears it, which is counted. Returns its bytes, or 0."""
        with contextlib.suppress(ValueError):  # a number that JSON has not
            text = messages.encode(op, self.front_end, self.run, **values) if self.up else ""
            if text and self._outbox.add(channel, text):
                self._due.set()
                return len(text)
        metrics.REDIS_DROPPED.inc("unsent")
        return 0

    def wake(self) -> None:
        """There may be a frame to send."""
        self._due.set()

    # ---- within -------------------------------------------------------------------------------------------------

    def _send(self) -> None:
        while True:
            self._due.wait()
            self._due.clear()
            while True:
                frame = self.frames() if self.up else None
                if frame is None and not len(self._outbox):
                    break
                if not self._ask_to_send(self._outbox.take(), frame):
                    hub.sleep(AGAIN)
                fairness.pause()

    def _ask_to_send(self, wishes: Wishes, frame: OutgoingFrame | None) -> bool:
        """False: the process gave no answer."""
        try:
            arena, given = self._sidecar.arena, None
            if frame is not None and arena is not None:
                arena.write(wall.OUTGOING, 0, frame.picture)
                given = (frame.channel, frame.text, len(frame.picture))
            if self._sidecar.arena is not arena:
                raise SidecarLost(f"{NAME} has ended")
            reached = self._sidecar.ask("send", *wishes, given, seconds=SENT_WITHIN)
        except (SidecarLost, LimitExceeded):
            self._outbox.put_back(wishes)
            metrics.REDIS_DROPPED.child("unsent").value += len(wishes.said)
            return False
        if not reached:
            metrics.REDIS_DROPPED.child("unsent").value += len(wishes.said)
            return True
        size = sum(len(text) for _channel, text in wishes.said)
        if frame is not None:
            metrics.REDIS_FRAMES.inc("sent")
            size += len(frame.text) + len(frame.picture)
        metrics.REDIS_MESSAGES.child("sent").value += len(wishes.said) + (frame is not None)
        metrics.REDIS_BYTES.child("sent").value += size
        return True

    def _receive(self) -> None:
        while True:
            try:
                arena = self._sidecar.arena
                found = self._sidecar.ask("receive", seconds=HEARD_WITHIN)
            except (SidecarLost, LimitExceeded):
                hub.sleep(AGAIN)
                continue
            picture = b""
            if found["frame"] is not None and arena is not None:  # before anything pauses: the slot is the process's
                picture = arena.read(wall.INCOMING, 0, found["frame"][2])
            for reason, number in found["dropped"].items():
                metrics.REDIS_DROPPED.child(reason).value += number
            metrics.REDIS_BYTES.child("heard").value += found["bytes"]
            for channel, text in found["messages"]:
                self._handle(channel, text, b"")
            if found["frame"] is not None:
                metrics.REDIS_FRAMES.inc("heard")
                self._handle(found["frame"][0], found["frame"][1], picture)
            fairness.pause()

    def _handle(self, channel: str, text: str, picture: bytes) -> None:
        """Hand a message, which the process has checked, to who wants to know."""
        metrics.REDIS_MESSAGES.inc("heard")
        said = json.loads(text)
        handler = self._handlers.get(said["op"])
        if handler is not None:
            handler(channel, said, picture)

    def _told(self, what: str, value: Any) -> None:
        """What the process says unasked."""
        if what == "failed":  # `start` says it
            self._decided.set()
        elif what == "up":
            self._is(True, "")
        else:
            if value is None:
                self._outbox.hear_anew()
            self._is(False, value or f"{NAME} has ended")

    def _is(self, up: bool, why: str) -> None:
        first, before = not self._decided.is_set(), self.up
        self.up = up
        self._decided.set()
        metrics.DATABASE_UP.child("redis").value = int(up)
        if up:
            if not before and not first:
                self._log(f"Redis at {self._address} answers again")
                news.tell(NewsKind.FRONT_ENDS, "Redis answers again: other front ends' cameras are shown, too")
            self.came_up()
        else:
            metrics.REDIS_DROPPED.child("unsent").value += self._outbox.clear()
            if before or first:
                self._log(f"{why}; it is tried again until it answers. {GONE}")
                news.tell(NewsKind.FRONT_ENDS, GONE)
        self._due.set()


def _nothing() -> None:
    """Nobody wants to know, or has anything."""
