"""A session at the server, as a front end has it: start, frames, end, each acknowledged; predictions come meanwhile."""

from __future__ import annotations

import json
import queue
import struct
from typing import Any

import socketio

from client_programs import PASSWORD
from imageserver_client.connection import TRUST, Token, Trust, url_of
from imageserver_client.errors import Lost, Refused, Unreachable
from imageserver_client.link import UNAUTHENTICATED, connect

_TIME = struct.Struct("<Q")


class SessionLink:
    """Use as a context: connecting may raise Refused or Unreachable.

    Args:
        server: `host:port` or a URL.
        key: the server's key for sessions, if it has one.
        login: name and password, or a token, the other ways to be let in.
        timeout: seconds to wait for each answer of the server's.
        trust: whom to believe over HTTPS.
        camera: the camera's name; "": none.
    """

    def __init__(
        self,
        server: str,
        key: str | None,
        login: tuple[str, str] | Token | None,
        timeout: float,
        trust: Trust = TRUST,
        camera: str = "",
    ) -> None:
        self._url, self._trust, self._timeout, self._camera = url_of(server, trust), trust, timeout, camera
        self._auth = {} if key is None else {"key": key}
        if isinstance(login, Token):
            self._auth["token"] = login.text
        elif login is not None:
            self._auth |= {"user": login[0], "password": login[1]}
        self._messages: queue.Queue[dict[str, Any] | None] = queue.Queue()

    def __enter__(self) -> SessionLink:
        events = {
            "prediction": lambda text: self._messages.put(json.loads(text)),
            "disconnect": lambda *_reason: self._messages.put(None),
        }
        self._client = connect(self._url, events, self._auth, self._camera, self._trust, self._timeout)
        return self

    def __exit__(self, *_exception: object) -> None:
        self._client.disconnect()

    def receive(self, timeout: float) -> dict[str, Any] | None:
        """The next prediction; None when none came within `timeout` seconds. Lost when the connection is gone."""
        try:
            message = self._messages.get(timeout=max(0.0, timeout))
        except queue.Empty:
            return None
        if message is None:
            raise Lost("The connection to the server is lost.")
        return message

    def start(self, timestamp: int) -> None:
        """Begin a session at `timestamp`, ms since the epoch. Refused."""
        reason = self._call("session_start", timestamp)
        if reason is not None and reason.startswith(UNAUTHENTICATED):
            wanted = "it wants a user's name and password: give --user NAME, or the server's key with --key"
            raise Refused(f"The server starts no session: {wanted}; {PASSWORD}.")
        if reason is not None:
            raise Refused(f"The server starts no session: {reason}.")

    def frame(self, picture: bytes, timestamp: int) -> str | None:
        """Send a picture file taken at `timestamp`; why it was refused, None when it was taken."""
        return self._call("frame", timestamp, picture)

    def end(self, timestamp: int) -> str | None:
        """End the session; why that was refused, None when it was not."""
        return self._call("session_end", timestamp)

    def _call(self, event: str, timestamp: int, picture: bytes = b"") -> str | None:
        """Why the server refused, None when it did not."""
        try:
            answer = json.loads(self._client.call(event, _TIME.pack(timestamp) + picture, timeout=self._timeout))
        except socketio.exceptions.TimeoutError:
            late = f"{self._url} did not acknowledge {event} within {self._timeout:g} s: is it busy?"
            raise Unreachable(late) from None
        except socketio.exceptions.SocketIOError:
            raise Lost("The connection to the server is lost.") from None
        return None if answer.get("success") else str(answer.get("error", "the server gives no reason"))


def is_last(prediction: dict[str, Any]) -> bool:
    """Whether a prediction is what the models say at the end: it belongs to no frame."""
    return "frame" not in prediction
