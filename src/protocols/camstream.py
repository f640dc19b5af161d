"""CamStream: camera apps that stream JPEG frames over Socket.IO (docs/protocols.md#camstream).

client to server    authenticate(username, password, callback_event), receiveImage(jpeg), configure(options)
server to client    <callback_event>(bool), prediction(json), frame_error(json)

This file speaks in events and knows neither the wire nor the generation of the client.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from imageserver.accounts.database import ROLES, User
from imageserver.accounts.login import Logins
from imageserver.errors import ImageServerError, LimitExceeded
from imageserver.streams.stream import Frame, Prediction, Stream, Streams, StreamSubscriber
from imageserver.transport import hub

PROTOCOL = "camstream"
SHOW_REFUSAL = 2.0
"""Seconds that a client with wrong credentials has to show it before it is disconnected."""
MAX_NAME = 128
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


class Clients(Protocol):
    """What CamStream needs of the Socket.IO server. Neither call blocks."""

    def emit(self, event: str, *arguments: Any, to: str, newest: str | None = None) -> None:
        """Send an event to one client; with `newest`, instead of one under that key that is not yet sent."""

    def disconnect(self, sid: str) -> None: ...

    def address(self, sid: str) -> str:
        """Where the client is, for the log."""


@dataclass(frozen=True)
class Defaults:
    """What a stream has until its user or the client says otherwise."""

    model: str
    hz: float


@dataclass(slots=True)
class _Client:
    stream: Stream
    allowed: bool
    leaving: bool = False  # refused, and shown the door in a moment


class CamStream(StreamSubscriber):
    """The protocol; `events` are its handlers, called as handler(sid, *args) in each connection's own order."""

    def __init__(self, streams: Streams, logins: Logins, clients: Clients, defaults: Defaults) -> None:
        self._streams, self._logins, self._clients, self._defaults = streams, logins, clients, defaults
        self._connected: dict[str, _Client] = {}
        self.events: dict[str, Callable[..., Any]] = {
            "authenticate": self.authenticate,
            "receiveImage": self.receive_image,
            "configure": self.configure,
        }

    def connected(self, sid: str, auth: Any) -> None:
        """Nothing to do: a client is made at its first event."""

    def disconnected(self, sid: str) -> None:
        """The connection has ended; harmless for one that never spoke CamStream."""
        client = self._connected.pop(sid, None)
        if client is not None:
            client.stream.close()

    # ---- events -----------------------------------------------------------------------------------------------

    def authenticate(
        self, sid: str, username: Any = None, password: Any = None, callback_event: Any = None, *_more: Any
    ) -> None:
        client = self._client(sid)
        answer = callback_event if isinstance(callback_event, str) and callback_event else "onAuthentication"
        user = self._user(sid, username, password)
        if sid not in self._connected:
            return  # it left while the password was checked
        if user is None:
            client.leaving = True
            self._clients.emit(answer, False, to=sid)
            hub.spawn_later(SHOW_REFUSAL, self._clients.disconnect, sid)
            return
        client.allowed = True
        self._assign(client.stream, user)
        self._clients.emit(answer, True, to=sid)

    def receive_image(self, sid: str, picture: Any = None, *_more: Any) -> None:
        client = self._connected.get(sid) or self._client(sid)
        stream = client.stream
        if not client.allowed or client.leaving:
            stream.received += 1
            stream.refuse("not authenticated")
            self._reject(sid, stream.received, "authenticate first: this server does not take frames from strangers")
        elif not isinstance(picture, (bytes, bytearray, memoryview)):
            stream.received += 1
            stream.refuse("picture")
            self._reject(
                sid, stream.received, "a frame must be the bytes of a picture file, sent as one binary argument"
            )
        else:
            try:
                stream.offer(picture)
            except ImageServerError as error:
                self._reject(sid, stream.received, str(error))

    def configure(self, sid: str, options: Any = None, *_more: Any) -> str:
        client = self._client(sid)
        if not client.allowed or client.leaving:
            return _failure("authenticate first: strangers cannot configure anything here")
        if isinstance(options, str):
            try:
                options = json.loads(options)
            except ValueError:
                options = None
        if not isinstance(options, dict) or not options:
            return _failure('configure takes an object like {"model": "lenet", "hz": 5}')
        unknown = sorted(set(options) - {"model", "hz"})
        if unknown:
            return _failure(f"configure knows model and hz, not {unknown[0]!r}")
        model, hz = options.get("model"), options.get("hz")
        if model is not None and not isinstance(model, str):
            return _failure(f"model must be a model's name, not {model!r}")
        if hz is not None and not (
            isinstance(hz, (int, float)) and not isinstance(hz, bool) and math.isfinite(hz) and hz >= 0
        ):
            return _failure(f"hz must be a number of frames a second, 0 for no cap, not {hz!r}")
        try:
            client.stream.configure(model=model, hz=None if hz is None else self._capped(hz))
        except ImageServerError as error:
            return _failure(str(error))
        return _encode({"success": True})

    # ---- what becomes of frames (StreamSubscriber) --------------------------------------------------------------

    def predicted(self, stream: Stream, frame: Frame, prediction: Prediction) -> None:
        self._clients.emit("prediction", _encode(prediction), to=stream.id, newest="prediction")

    def rejected(self, stream: Stream, frame: Frame, error: str) -> None:
        self._reject(stream.id, frame.seq, error)

    # ---- within -----------------------------------------------------------------------------------------------

    def _client(self, sid: str) -> _Client:
        """The client of this connection; made at its first CamStream event."""
        client = self._connected.get(sid)
        if client is None:
            stream = self._streams.open(
                sid, sid, protocol=PROTOCOL, model=self._defaults.model, hz=self._defaults.hz, rotate=0, subscriber=self
            )
            client = self._connected[sid] = _Client(stream, allowed=not self._logins.required)
        return client

    def _user(self, sid: str, username: Any, password: Any) -> User | None:
        """Whose frames these are from now on; None: refused."""
        well_formed = isinstance(username, str) and isinstance(password, str) and 0 < len(username) <= MAX_NAME
        if not well_formed:
            return None if self._logins.required else User(sid, frozenset(ROLES))
        try:
            user = self._logins.login(sid, username, password, self._clients.address(sid))
        except LimitExceeded:
            return None  # too many logins at once: counted there, and to the app a refusal like another
        return user if user is None or not self._logins.required or "camera" in user.roles else None

    def _assign(self, stream: Stream, user: User) -> None:
        """Name the stream after its user and give it that user's defaults."""
        stream.user, stream.rotate = user.name, user.rotate or 0
        try:
            stream.configure(model=user.model, hz=None if user.hz is None else self._capped(user.hz))
        except ImageServerError as error:
            self._reject(
                stream.id, stream.received, f"your default model cannot be used, so the server's own is: {error}"
            )

    def _capped(self, hz: float) -> float:
        """What a client asks for, within what the operator allows (0: no cap)."""
        most = self._defaults.hz
        return min(hz, most) if hz and most else hz or most

    def _reject(self, sid: str, seq: int, error: str) -> None:
        self._clients.emit("frame_error", _encode({"error": error, "seq": seq}), to=sid)


def _failure(sentence: str) -> str:
    return _encode({"success": False, "error": sentence})
