"""One connection of a camera, as docs/protocols.md describes it: CamStream.

The server counts the frames of a connection from 1, and names them by this `seq`.
"""

from __future__ import annotations

import contextlib
import json
import queue
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import socketio

from imageserver_client.connection import Token, Trust
from imageserver_client.errors import Refused, Unreachable, login_wanted, login_wrong
from imageserver_client.link import UNAUTHENTICATED, connect

CALLBACK = "onAuthentication"
MOST_QUEUED = 4
"""Packets waiting in this process (two for each frame) from which on the network counts as slower than the camera."""


@dataclass(frozen=True)
class Wishes:
    """Where to connect, as whom, and what for; `Camera` says what each is."""

    url: str
    login: tuple[str, str] | Token | None
    model: str | None
    hz: float | None
    name: str
    trust: Trust
    timeout: float


class CamStream:
    """Open, logged in and configured once it is made.

    Args:
        wishes: where to connect, and what for.
        hear: called with `seq`, the prediction or None, and the error or None.
        end: called when the connection ends of itself.

    Raises:
        Refused: the server does not take the login, the model or hz.
        Unreachable: there is no such server.
    """

    def __init__(
        self, wishes: Wishes, hear: Callable[[int, dict[str, Any] | None, str | None], None], end: Callable[[], None]
    ) -> None:
        self._wishes, self._hear = wishes, hear
        self._reason = ""
        self._verdicts: queue.Queue[bool] = queue.Queue()
        token = {"token": wishes.login.text} if isinstance(wishes.login, Token) else {}
        events: dict[str, Callable[..., None]] = {
            CALLBACK: self._verdicts.put,
            "prediction": self._predicted,
            "frame_error": self._failed,
            "disconnect": lambda *_reason: end(),
        }
        self._client = connect(wishes.url, events, token, wishes.name, wishes.trust, wishes.timeout)
        try:
            if isinstance(wishes.login, tuple):
                self._authenticate(*wishes.login)
            self._configure({"model": wishes.model, "hz": wishes.hz})
        except (socketio.exceptions.SocketIOError, queue.Empty):
            self.close()
            within = f"within {wishes.timeout:g} s: is it busy?"
            raise Unreachable(f"{wishes.url} accepted the connection but did not answer {within}") from None
        except Refused:
            self.close()
            raise

    @property
    def is_open(self) -> bool:
        return bool(self._client.connected)

    @property
    def is_behind(self) -> bool:
        """Whether earlier frames still wait to leave this process."""
        return self._client.eio.queue is not None and self._client.eio.queue.qsize() >= MOST_QUEUED

    def send(self, picture: bytes) -> None:
        """Send a picture file, its `seq` is one more than the last; it may wait in a queue of this process."""
        with contextlib.suppress(socketio.exceptions.BadNamespaceError):  # the connection just ended: `end` is called
            self._client.emit("receiveImage", picture)

    def close(self) -> None:
        self._client.disconnect()

    def _predicted(self, text: str) -> None:
        found = json.loads(text)
        self._hear(int(found["seq"]), found, None)

    def _failed(self, text: str) -> None:
        found = json.loads(text)
        self._reason = str(found["error"])
        self._hear(int(found["seq"]), None, self._reason)

    def _authenticate(self, user: str, password: str) -> None:
        self._client.emit("authenticate", (user, password, CALLBACK))
        if not self._verdicts.get(timeout=self._wishes.timeout):
            if self._reason:  # comes before the verdict, where it is not the password that is wrong
                raise Refused(f"The server does not let {user!r} in: {self._reason.rstrip('.')}.")
            raise login_wrong(user)

    def _configure(self, options: dict[str, Any]) -> None:
        given = {key: value for key, value in options.items() if value is not None}
        if not given:
            return
        reply = json.loads(self._client.call("configure", given, timeout=self._wishes.timeout))
        if not reply.get("success"):
            why = str(reply.get("error", "it gives no reason")).rstrip(".")
            if self._wishes.login is None and why.startswith(UNAUTHENTICATED):
                raise login_wanted()
            what = " and ".join(f"the {key} {value!r}" for key, value in given.items())
            raise Refused(f"The server does not take {what}: {why}.")
