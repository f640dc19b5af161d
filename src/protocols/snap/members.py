"""One client of the relay: who it is, how often it may be heard, and the watch over what waits for it."""

from __future__ import annotations

import time
from collections.abc import Callable

from imageserver import limits
from imageserver.accounts.database import User
from imageserver.protocols.snap import rights
from imageserver.transport import hub
from imageserver.transport.budget import Account
from imageserver.transport.websocket.connection import WebSocket
from imageserver.transport.websocket.frames import CloseCode

LOOKS = 4
"""Times that a queue is looked at within the timeout.

After a pause of the whole process the loop runs its timers first, and a single look would find that nobody had read
anything.
"""

AT_ONCE = 1.0
"""Seconds whose texts may come all at once."""

PAUSE = 0.1
"""Seconds that reading is put off at least, so that who is too fast is not woken for each text."""

_DROPPED = ((0, 0x21), (0x7F, 0xA1), (0x1680, 0x1681), (0x2000, 0x2010), (0x2028, 0x2030), (0x205F, 0x2061))
_BLANK = "".join(chr(code) for first, end in _DROPPED for code in range(first, end)) + "\u3000\ufeff"
"""What devices in one language or another drop at a text's ends."""


def commands(text: str) -> bool:
    """Whether devices may take a text for `snap`, which they compare in ways of their own."""
    word = text.strip(_BLANK)
    return len(word) == 4 and word.casefold() == "snap"


class TextRate:
    """How often a client may be heard: `rate` texts a second, with `AT_ONCE` seconds' worth of them at once."""

    __slots__ = ("_clock", "_earned", "_step")

    def __init__(self, rate: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._step, self._clock = 1 / rate, clock
        self._earned = 0.0  # when all that was taken will have been earned again

    def take(self) -> float:
        """Count a text; returns the seconds to wait before the next one is read."""
        now = self._clock()
        self._earned = max(self._earned, now) + self._step
        late = self._earned - now - AT_ONCE
        return late + PAUSE if late > 1e-6 else 0.0


class Member:
    """One client in a room, and the watch over what waits for it, in the kernel too: that alone holds megabytes.

    Args:
        ws: its connection.
        send_timeout: seconds for which it may leave texts unread.
        user: who logged in; None: nobody.
        camera: the name that it said, "" for none: then it counts under its user's.
        account: to which is charged what of it waits in the server.
    """

    def __init__(self, ws: WebSocket, send_timeout: float, user: User | None, camera: str, account: Account) -> None:
        self._ws, self._send_timeout = ws, send_timeout
        self.user, self.account = user, account
        self.camera = camera or (user.name if user else "")
        self.commands = rights.watches(user)
        """Whether it may tell devices to take a picture."""
        self._timer: hub.Timer | None = None
        self._offered = self._taken = 0  # bytes

    def send(self, frame: bytes) -> None:
        """Send an encoded text. Never blocks."""
        self._offered += len(frame)
        if self._ws.write(frame) and self._timer is None:
            self._watch()

    @property
    def bound(self) -> bool:
        """Whether it has to do with some cameras alone."""
        return self.user is not None and bool(self.user.only)

    @property
    def only(self) -> tuple[str, ...]:
        """The cameras that it may know of, () for all."""
        return self.user.only if self.user else ()

    def sees(self, other: Member) -> bool:
        """Whether it may know of another one's camera."""
        return self.user is None or self.user.sees(other.camera)

    def end(self, sentence: str) -> None:
        """Close it, for it may not be here any more; who does not read is cut off a moment later."""
        self._ws.close(CloseCode.POLICY_VIOLATION, sentence)

    def forget(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _watch(self, looks: int = LOOKS) -> None:
        self._taken = self._offered - self._ws.untaken
        self._timer = hub.call_later(self._send_timeout / LOOKS, self._look, looks)

    def _look(self, looks: int) -> None:
        self._timer = None
        waiting = self._ws.untaken
        if not waiting:
            return
        if self._offered - waiting > self._taken:
            self._watch()  # slow, but it reads
            return
        if looks > 1:
            self._watch(looks - 1)
            return
        limits.hit("ws_send_timeout", self.account.owner)
        self._ws.abort()
