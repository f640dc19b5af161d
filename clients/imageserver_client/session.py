"""A session at the server, as a front end has it: start, frames, end, each acknowledged; predictions come meanwhile."""

from __future__ import annotations

import json
import struct
from typing import Any

import socketio

from imageserver_client.connection import TRUST, Token, Trust
from imageserver_client.errors import Lost, Refused, Unreachable, login_wanted
from imageserver_client.link import UNAUTHENTICATED, Link

_TIME = struct.Struct("<Q")


class SessionLink(Link[dict[str, Any]]):
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
        super().__init__(server, timeout, trust, camera)
        self._auth = {} if key is None else {"key": key}
        if isinstance(login, Token):
            self._auth["token"] = login.text
        elif login is not None:
            self._auth |= {"user": login[0], "password": login[1]}

    def __enter__(self) -> SessionLink:
        self._connect({"prediction": json.loads}, self._auth)
        return self

    def start(self, timestamp: int) -> None:
        """Begin a session at `timestamp`, ms since the epoch. Refused."""
        reason = self._call("session_start", timestamp)
        if reason is not None and reason.startswith(UNAUTHENTICATED):
            raise login_wanted("The server starts no session: it", "--user NAME, or the server's key with --key")
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
