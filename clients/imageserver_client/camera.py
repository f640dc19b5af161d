"""The connection of a camera: authenticate, configure, send frames, take answers.

Answers are matched to frames by `seq`: the server counts the frames of a connection from 1.
"""

from __future__ import annotations

import contextlib
import json
import queue
import random
import time
from typing import Any, NamedTuple

import socketio

from imageserver_client.connection import TRUST, Token, Trust
from imageserver_client.errors import Refused, Unreachable, login_wanted, login_wrong
from imageserver_client.link import UNAUTHENTICATED, Link

CALLBACK = "onAuthentication"
MOST_QUEUED = 4
"""Packets waiting in this process (two for each frame) from which on the network counts as slower than the camera."""


class Answer(NamedTuple):
    """What the server said about frame `seq` of this connection, `at` by our monotonic clock."""

    seq: int
    prediction: dict[str, Any] | None
    error: str | None
    at: float


class CameraLink(Link[Answer]):
    """Use as a context.

    Args:
        server: `host:port` or a URL.
        login: name and password, or a token; None: do not authenticate.
        model: the model to ask for; None: the server's default.
        timeout: seconds to wait for each answer of the server's.
        trust: whom to believe over HTTPS.
        camera: the camera's name; "": none.
    """

    def __init__(
        self,
        server: str,
        login: tuple[str, str] | Token | None,
        model: str | None,
        timeout: float,
        trust: Trust = TRUST,
        camera: str = "",
    ) -> None:
        super().__init__(server, timeout, trust, camera)
        self._login, self._model = login, model
        self._sent = 0

    def __enter__(self) -> CameraLink:
        self._open()
        return self

    def send(self, picture: bytes) -> int:
        """Send a picture file; returns its number on this connection. It may wait in a queue of this process."""
        self._sent += 1
        with contextlib.suppress(socketio.exceptions.BadNamespaceError):  # the connection just ended: `receive` says so
            self._client.emit("receiveImage", picture)
        return self._sent

    def is_behind(self) -> bool:
        """Whether earlier frames still wait to leave this process."""
        return bool(self._client.eio.queue is not None and self._client.eio.queue.qsize() >= MOST_QUEUED)

    def receive(self, timeout: float) -> Answer | None:
        """The next answer; None when none came within `timeout` seconds. Lost; Refused for want of a user."""
        answer = super().receive(timeout)
        if answer is not None and answer.error is not None:
            self._check_login(answer.error)
        return answer

    def reopen(self, tries: int) -> None:
        """Connect again, with growing pauses between `tries`. Unreachable when all failed; Refused."""
        self._client.disconnect()
        for attempt in range(tries):
            # Spread out, so that a thousand cameras do not return in the same instant.
            time.sleep(min(5.0, 0.5 * 2**attempt) * random.uniform(0.5, 1.0))
            try:
                self._open()
                return
            except Unreachable as error:
                if attempt == tries - 1:
                    raise Unreachable(f"{error} It did not come back within {tries} tries.") from None

    def _open(self) -> None:
        self._sent = 0
        token = {"token": self._login.text} if isinstance(self._login, Token) else None
        self._connect({"prediction": _predicted, "frame_error": _failed}, token)
        try:
            if isinstance(self._login, tuple):
                self._authenticate(*self._login)
            if self._model is not None:
                self._configure(self._model)
        except (socketio.exceptions.SocketIOError, queue.Empty):
            self._client.disconnect()
            raise Unreachable(
                f"{self._url} accepted the connection but did not answer within {self._timeout:g} s: is it busy?"
            ) from None
        except Refused:
            self._client.disconnect()
            raise

    def _authenticate(self, user: str, password: str) -> None:
        verdicts = queue.Queue[bool]()
        self._client.on(CALLBACK, verdicts.put)
        self._client.emit("authenticate", (user, password, CALLBACK))
        if not verdicts.get(timeout=self._timeout):
            reason = super().receive(0.0)  # comes before the verdict, where it is not the password that is wrong
            if reason is not None and reason.error is not None:
                raise Refused(f"The server does not let {user!r} in: {reason.error.rstrip('.')}.")
            raise login_wrong(user)

    def _configure(self, model: str) -> None:
        reply = json.loads(self._client.call("configure", {"model": model}, timeout=self._timeout))
        if not reply.get("success"):
            why = str(reply.get("error", "it gives no reason")).rstrip(".")
            self._check_login(why)
            raise Refused(f"The server does not take the model {model!r}: {why}.")

    def _check_login(self, sentence: str) -> None:
        """Refused, with what to type, when the server's sentence asks somebody to authenticate who gave no name."""
        if self._login is None and sentence.startswith(UNAUTHENTICATED):
            raise login_wanted()


def _predicted(text: str) -> Answer:
    found = json.loads(text)
    return Answer(int(found["seq"]), found, None, time.monotonic())


def _failed(text: str) -> Answer:
    found = json.loads(text)
    return Answer(int(found["seq"]), None, str(found["error"]), time.monotonic())
