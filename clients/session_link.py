"""A session at the server, as a front end has it: start, frames, end, each acknowledged; predictions come meanwhile.

Every wait has an end.
"""

from __future__ import annotations

import json
import queue
import struct
import time
from typing import Any, NamedTuple

import socketio

from camera_link import TRUST, Lost, Refused, Trust, Unreachable, unanswered, url_of

_TIME = struct.Struct("<Q")


class Heard(NamedTuple):
    """A prediction, `at` by our monotonic clock."""

    prediction: dict[str, Any]
    at: float

    @property
    def last(self) -> bool:
        """Whether it is what the models say at the end: it belongs to no frame."""
        return "frame" not in self.prediction


class SessionLink:
    """Use as a context. `auth`: what to show on connecting, `{"key": …}` or `{"user": …, "password": …}`. Refused, Unreachable."""

    def __init__(self, server: str, auth: dict[str, str], timeout: float, trust: Trust = TRUST) -> None:
        self._url = url_of(server, secure=trust != TRUST)
        self._auth, self._timeout, self._trust = auth, timeout, trust
        self._heard: queue.Queue[Heard | None] = queue.Queue()
        self._http: Any = None

    def __enter__(self) -> SessionLink:
        client = self._client = socketio.Client(reconnection=False, handle_sigint=False, **self._tls())
        reasons: list[Any] = []
        client.on("prediction", lambda text: self._heard.put(Heard(json.loads(text), time.monotonic())))
        client.on("disconnect", lambda *_reason: self._heard.put(None))
        client.on("connect_error", reasons.append)
        try:
            client.connect(self._url, transports=["websocket"], auth=self._auth or None, wait_timeout=self._timeout)
        except (socketio.exceptions.ConnectionError, ValueError, OSError) as error:
            said = next(
                (reason["message"] for reason in reasons if isinstance(reason, dict) and "message" in reason), None
            )
            if said is not None:
                raise Refused(f"The server does not let you in: {said}.") from None
            raise Unreachable(unanswered(self._url, error)) from None
        return self

    def __exit__(self, *_exception: object) -> None:
        self._client.disconnect()
        if self._http is not None:
            self._http.close()

    def start(self, timestamp: int) -> None:
        """Begin a session at `timestamp`, ms since the epoch. Refused."""
        reason = self._call("session_start", timestamp)
        if reason is not None:
            raise Refused(f"The server starts no session: {reason}.")

    def frame(self, picture: bytes, timestamp: int) -> str | None:
        """Send a picture file taken at `timestamp`; why it was refused, None when it was taken."""
        return self._call("frame", timestamp, picture)

    def end(self, timestamp: int) -> str | None:
        """End the session; why that was refused, None when it was not."""
        return self._call("session_end", timestamp)

    def receive(self, timeout: float) -> Heard | None:
        """The next prediction; None when none came within `timeout` seconds. Lost when the connection ended."""
        try:
            heard = self._heard.get(timeout=max(0.0, timeout))
        except queue.Empty:
            return None
        if heard is None:
            raise Lost("The connection to the server is lost.")
        return heard

    def _call(self, event: str, timestamp: int, picture: bytes = b"") -> str | None:
        """Why the server refused, None when it did not."""
        try:
            answer = json.loads(self._client.call(event, _TIME.pack(timestamp) + picture, timeout=self._timeout))
        except socketio.exceptions.TimeoutError:
            raise Unreachable(f"{self._url} did not acknowledge {event} within {self._timeout:g} s.") from None
        except socketio.exceptions.SocketIOError:
            raise Lost("The connection to the server is lost.") from None
        return None if answer.get("success") else str(answer.get("error", "the server gives no reason"))

    def _tls(self) -> dict[str, Any]:
        """What Socket.IO's client has to be told of certificates."""
        if self._trust.insecure:
            return {"ssl_verify": False}
        if self._trust.ca is None:
            return {}
        import requests

        self._http = requests.Session()
        self._http.verify = self._trust.ca
        return {"http_session": self._http}
