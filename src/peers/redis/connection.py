"""Redis itself: two connections, one that hears and one that says.

The only module that imports redis. What is used of redis-py 8: `Redis.from_url`, `pipeline`, and `PubSub` with
`subscribe` and `unsubscribe` by one thread while another one waits in `get_message`, which it allows.
"""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from imageserver.config.database import DatabaseAddress
from imageserver.errors import describe, kind_of
from imageserver.peers import messages
from imageserver.peers.messages import ALL
from imageserver.peers.redis.inbox import Inbox

WITHIN = 2.0
"""Seconds in which Redis connects and answers."""
LOOK_EVERY, PING_EVERY = 0.5, 1.0
SILENT = 3.0
"""Seconds without an answer to a ping after which it counts as gone."""
PAUSES = (0.25, 2.0)
"""Seconds, about, before it is tried again: at first, and at most; twice as long each time."""
SETTLED = 10.0
"""Seconds after which a connection was well, and the pause behind it is the first: others are thrown out again."""
AT_ONCE = 500
"""Channels in one command."""

Picture = memoryview | bytes


_chance = random.Random()
"""Of its own: this runs in a thread, and whoever has seeded the one of all counts on it."""


class Bus:
    """One front end's way to Redis; what comes is in `inbox`. Thread-safe; `send` is for one thread.

    Args:
        address: Where it is.
        password_file: The path of a file with the password, read at each connection; "": none.
        front_end: Our name.
        run: What our messages have as that.
        most_picture: Bytes.
        most_bytes: Bytes a second that are taken (inbox.py).
        most_text_bytes: The same of texts of /ws.
        state: Called by a thread with "" whenever it answers again, and with a sentence when it does not any more.
    """

    def __init__(
        self,
        address: DatabaseAddress,
        password_file: str,
        *,
        front_end: str,
        run: str,
        most_picture: int,
        most_bytes: int,
        most_text_bytes: int,
        state: Callable[[str], None],
    ) -> None:
        self._address, self._password_file, self._state = address, password_file, state
        self._front_end = front_end
        mark = f'"from":"{front_end}","run":"{run}"'.encode()
        self.inbox = Inbox(mark, most_picture, most_bytes, most_text_bytes)
        self._channels: dict[str, None] = {}
        self._connecting = threading.Lock()  # around what changes the connections or the channels
        self._speaker: redis.Redis | None = None
        self._listener: Any = None
        self._broken = ""

    def begin(self) -> None:
        """Connect, and stay connected: once."""
        threading.Thread(target=self._watch, name="redis", daemon=True).start()

    # ---- what goes out ------------------------------------------------------------------------------------------

    def send(
        self,
        hear: Sequence[str],
        leave: Sequence[str],
        said: Sequence[Sequence[str]],
        frame: tuple[str, str, Picture] | None = None,
    ) -> bool:
        """Say messages, and a frame where there is one; hear other channels. False: it has not reached Redis."""
        with self._connecting:
            self._channels.update(dict.fromkeys(hear))
            for channel in leave:
                self._channels.pop(channel, None)
            speaker = self._speaker
            if speaker is None or self._broken:
                return False
            try:
                for start in range(0, len(hear), AT_ONCE):
                    self._listener.subscribe(*hear[start : start + AT_ONCE])
                for start in range(0, len(leave), AT_ONCE):
                    self._listener.unsubscribe(*leave[start : start + AT_ONCE])
                pipeline = speaker.pipeline(transaction=False)
                for channel, text in said:
                    pipeline.publish(channel, text)
                if frame is not None:
                    channel, text, picture = frame
                    pipeline.publish(channel, b"".join((text.encode("ascii"), b"\n", picture)))
                pipeline.execute()
            except (redis.RedisError, OSError, ValueError) as error:
                self._broken = _reason(error)
                return False
        return True

    # ---- the connections ----------------------------------------------------------------------------------------

    def _watch(self) -> None:
        """Connect, hear, and connect again, until the process ends."""
        told: str | None = None
        refused = thrown_out = PAUSES[0]
        while True:
            begun: float | None = None
            try:
                self._connect()
                begun, refused, told = time.monotonic(), PAUSES[0], ""
                self._state("")
                self._listen()
            except Exception as error:  # noqa: BLE001 - whatever we forgot: nobody else would try again
                why = f"Redis at {self._address} cannot be reached ({_reason(error)})"
                self._close()
                if why != told:
                    self._state(why)
                told = why
            if begun is None:
                pause, refused = refused, min(refused * 2, PAUSES[1])
            else:
                pause = PAUSES[0] if time.monotonic() - begun > SETTLED else thrown_out
                thrown_out = min(pause * 2, PAUSES[1])
            time.sleep(pause * _chance.uniform(0.5, 1.5))

    def _connect(self) -> None:
        """Both connections, and all channels that are to be heard. RedisError, OSError, ValueError."""
        options: dict[str, Any] = {
            "socket_timeout": WITHIN,
            "socket_connect_timeout": WITHIN,
            "socket_keepalive": True,
            "retry": Retry(NoBackoff(), 0),
            "protocol": 2,
            "client_name": f"imageserver-{self._front_end}",
        }
        if self._password_file:
            with open(self._password_file, encoding="utf-8") as file:
                options["password"] = file.readline(4096).strip()
        speaker = redis.Redis.from_url(self._address.full, **options)
        listener = speaker.pubsub()
        with self._connecting:
            self._speaker, self._listener, self._broken = speaker, listener, "nothing is heard yet"
        speaker.ping()
        listener.subscribe(ALL, f"{messages.TO}{self._front_end}")
        if listener.get_message(timeout=WITHIN) is None:  # who may not hear is told so here
            raise ValueError(f"it has let us hear nothing for {WITHIN:g} s")
        with self._connecting:
            channels = list(self._channels)
            for start in range(0, len(channels), AT_ONCE):
                listener.subscribe(*channels[start : start + AT_ONCE])
            self._broken = ""

    def _listen(self) -> None:
        """Take what comes until the connection is gone. RedisError, OSError, ValueError."""
        answered = asked = time.monotonic()
        while True:
            if self._broken:
                raise ValueError(self._broken)
            now = time.monotonic()
            if now - answered > SILENT:
                raise ValueError(f"it has not answered for {SILENT:g} s")
            if now - asked > PING_EVERY:
                asked = now
                with self._connecting:
                    self._listener.ping()
            found = self._listener.get_message(ignore_subscribe_messages=True, timeout=LOOK_EVERY)
            if found is None:
                continue
            answered = time.monotonic()
            if found["type"] == "message":
                self.inbox.add(found["channel"].decode("utf-8", "replace"), found["data"])

    def _close(self) -> None:
        with self._connecting:
            speaker, listener = self._speaker, self._listener
            self._speaker = self._listener = None
        for one in (listener, speaker):
            if one is not None:
                with contextlib.suppress(Exception):
                    one.close()


def _reason(error: Exception) -> str:
    """What is wrong, for the log; no secret is in it."""
    if not isinstance(error, redis.RedisError | OSError | ValueError):
        return kind_of(error)
    return " ".join((str(error) or describe(error)).split())[:300]
