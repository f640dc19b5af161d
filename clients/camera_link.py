"""One connection to the server as a camera has it: authenticate, configure, send frames, take answers.

Every wait has an end. Answers are matched to frames by `seq`: the server counts the frames of a connection from 1.
"""

from __future__ import annotations

import contextlib
import json
import queue
import random
import socket
import ssl
import time
from typing import Any, NamedTuple

import socketio

CALLBACK = "onAuthentication"
MOST_QUEUED = 4
"""Packets waiting in this process (two for each frame) from which on the network counts as slower than the camera."""


class Refused(Exception):
    """The server does not take the name and password, or has no such model."""


class Unreachable(Exception):
    """There is no server at that address, or it went away and did not come back."""


class Lost(Exception):
    """The connection ended."""


class Answer(NamedTuple):
    """What the server said about frame `seq` of this connection, `at` by our monotonic clock."""

    seq: int
    prediction: dict[str, Any] | None
    error: str | None
    at: float


class Trust(NamedTuple):
    """Whom to believe over HTTPS: the certificates in the PEM file `ca` (None: the system's), or with `insecure` anybody."""

    ca: str | None = None
    insecure: bool = False


TRUST = Trust()


class Link:
    """Use as a context. `login` is name and password, `model` the one to ask for; None: the server's defaults."""

    def __init__(
        self, server: str, login: tuple[str, str] | None, model: str | None, timeout: float, trust: Trust = TRUST
    ) -> None:
        self._url = url_of(server, secure=trust != TRUST)
        self._trust = trust
        self._login, self._model, self._timeout = login, model, timeout
        self._client: Any = None
        self._answers: queue.Queue[Answer | None] = queue.Queue()
        self._sent = 0

    def __enter__(self) -> Link:
        self._open()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._close()

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
        """The next answer; None when none came within `timeout` seconds. Lost when the connection ended."""
        try:
            answer = self._answers.get(timeout=max(0.0, timeout))
        except queue.Empty:
            return None
        if answer is None:
            raise Lost("The connection to the server is lost")
        return answer

    def reopen(self, tries: int) -> None:
        """Connect again, with growing pauses between `tries`. Unreachable when all failed; Refused."""
        self._close()
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
        self._answers = queue.Queue()
        client = self._client = socketio.Client(reconnection=False, handle_sigint=False, **self._tls())
        answers, verdicts = self._answers, queue.Queue[bool]()

        def predicted(text: str) -> None:
            found = json.loads(text)
            answers.put(Answer(int(found["seq"]), found, None, time.monotonic()))

        def failed(text: str) -> None:
            found = json.loads(text)
            answers.put(Answer(int(found["seq"]), None, str(found["error"]), time.monotonic()))

        client.on("prediction", predicted)
        client.on("frame_error", failed)
        client.on("disconnect", lambda *_reason: answers.put(None))
        client.on(CALLBACK, verdicts.put)
        try:
            client.connect(self._url, transports=["websocket"], wait_timeout=self._timeout)
        except (socketio.exceptions.ConnectionError, ValueError, OSError) as error:
            raise Unreachable(unanswered(self._url, error)) from None
        try:
            if self._login is not None:
                self._authenticate(self._login, verdicts)
            if self._model is not None:
                self._configure(self._model)
        except (socketio.exceptions.SocketIOError, queue.Empty):
            self._close()
            raise Unreachable(
                f"{self._url} took the connection but did not answer within {self._timeout:g} s."
            ) from None

    def _authenticate(self, login: tuple[str, str], verdicts: queue.Queue[bool]) -> None:
        self._client.emit("authenticate", (*login, CALLBACK))
        if not verdicts.get(timeout=self._timeout):
            self._close()
            raise Refused(f"The server does not let {login[0]!r} in: the name or the password is wrong.")

    def _configure(self, model: str) -> None:
        reply = json.loads(self._client.call("configure", {"model": model}, timeout=self._timeout))
        if not reply.get("success"):
            self._close()
            raise Refused(
                f"The server does not take the model {model!r}: {reply.get('error', 'it gives no reason')}.".replace(
                    "..", "."
                )
            )

    def _tls(self) -> dict[str, Any]:
        """What Socket.IO's client has to be told of certificates."""
        if self._trust.insecure:
            return {"ssl_verify": False}
        if self._trust.ca is None:
            return {}
        import requests

        session = requests.Session()
        session.verify = self._trust.ca
        return {"http_session": session}

    def _close(self) -> None:
        if self._client is not None:
            self._client.disconnect()


def unanswered(url: str, error: BaseException) -> str:
    """Why there is no connection, and what to do about it. Socket.IO's client hides the reason in what its error came from."""
    reason: BaseException | None = error
    refused = isinstance(error, ValueError)
    while reason is not None:
        refused = refused or isinstance(reason, (ConnectionRefusedError, TimeoutError, socket.gaierror))
        if isinstance(reason, ssl.SSLCertVerificationError):
            return f"The certificate of {url} is not trusted: give it with --ca, or --insecure to trust it unseen."
        if isinstance(reason, ssl.SSLError):
            return f"{url} does not speak HTTPS: leave out --ca and --insecure, or start the server with -s."
        reason = reason.__cause__ or reason.__context__
    if url.startswith("http:") and not refused:
        return f"No ImageServer answers at {url} ({error}): if it was started with -s, give its certificate with --ca, or --insecure."
    return f"No ImageServer answers at {url} ({error}): start it, or name another with --server."


def url_of(server: str, secure: bool = False) -> str:
    """`host:port` or a URL as a URL."""
    return server if "://" in server else f"{'https' if secure else 'http'}://{server}"
