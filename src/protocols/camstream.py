"""CamStream: camera apps that stream JPEG frames over Socket.IO (docs/protocols.md#camstream).

client to server    authenticate(username, password, callback_event), receiveImage(jpeg), configure(options)
server to client    <callback_event>(bool), prediction(json), frame_error(json)

This file speaks in events and knows neither the wire nor the generation of the client.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from imageserver.accounts.database import ROLES, User
from imageserver.accounts.login import Logins
from imageserver.errors import ImageServerError, LimitExceeded
from imageserver.protocols.events import SUCCESS, encode, failure, login
from imageserver.streams.options import capped, configure
from imageserver.streams.stream import Frame, Prediction, Stream, Streams, StreamSubscriber
from imageserver.transport import hub
from imageserver.transport.socketio.server import SocketIOServer

PROTOCOL = "camstream"
SHOW_REFUSAL = 2.0
"""Seconds that a client with wrong credentials has to show it before it is disconnected."""
MOST_CALLBACK = 256
"""Characters of the event that a client wants the answer to its login under."""


@dataclass(slots=True)
class _Client:
    stream: Stream
    allowed: bool
    disconnect: hub.Timer | None = None
    """After a refusal, until the client logs in again."""


class CamStream(StreamSubscriber):
    """The protocol; `events` are its handlers, called as handler(sid, *args) in each connection's own order."""

    def __init__(self, streams: Streams, logins: Logins, server: SocketIOServer, *, model: str, hz: float) -> None:
        """The defaults of its streams are `model` and `hz`, frames processed a second; nobody gets more than `hz`."""
        self._streams, self._logins, self._server = streams, logins, server
        self._model, self._hz = model, hz
        self._connected: dict[str, _Client] = {}
        self._users: dict[str, User] = {}  # who said at the connect who they are, until their first event
        self.events: dict[str, Callable[..., Any]] = {
            "authenticate": self.authenticate,
            "receiveImage": self.receive_image,
            "configure": self.configure,
        }

    def connected(self, sid: str, auth: Mapping[str, Any], user: User | None) -> None:
        """A new connection; a stream is opened at its first event, since it may be here for sessions only."""
        if user is not None:
            self._users[sid] = user

    def disconnected(self, sid: str) -> None:
        """The connection has ended; harmless for one that never spoke CamStream."""
        self._users.pop(sid, None)
        client = self._connected.pop(sid, None)
        if client is not None:
            client.stream.close()

    # ---- events -----------------------------------------------------------------------------------------------

    def authenticate(
        self, sid: str, username: Any = None, password: Any = None, callback_event: Any = None, *_more: Any
    ) -> None:
        client = self._client(sid)
        if client.disconnect is not None:
            client.disconnect.cancel()  # what counts is the last pair of user and password
        user = self._user(sid, username, password)
        if user is None:
            client.allowed = False
            client.disconnect = hub.spawn_later(SHOW_REFUSAL, self._server.disconnect, sid)
        else:
            self._admit(client, user)
        named = isinstance(callback_event, str) and 0 < len(callback_event) <= MOST_CALLBACK
        answer = callback_event if named else "onAuthentication"
        self._server.emit(answer, user is not None, to=sid)

    def receive_image(self, sid: str, picture: Any = None, *_more: Any) -> None:
        client = self._connected.get(sid) or self._client(sid)
        stream = client.stream
        if not client.allowed:
            sentence = "authenticate first: this server does not take frames from strangers"
            self._refuse(stream, "not authenticated", sentence)
        elif not isinstance(picture, (bytes, bytearray, memoryview)):
            self._refuse(stream, "picture", "a frame must be the bytes of a picture file, sent as one binary argument")
        else:
            try:
                stream.offer(picture)
            except ImageServerError as error:
                self._reject(sid, stream.received, str(error))

    def configure(self, sid: str, options: Any = None, *_more: Any) -> str:
        client = self._client(sid)
        if not client.allowed:
            return failure("authenticate first: strangers cannot configure anything here")
        if isinstance(options, str):
            try:
                options = json.loads(options)
            except (ValueError, RecursionError):
                options = None
        try:
            configure(client.stream, options, self._hz)
        except ImageServerError as error:
            return failure(str(error))
        return SUCCESS

    # ---- what becomes of frames (StreamSubscriber) --------------------------------------------------------------

    def predicted(self, stream: Stream, frame: Frame, prediction: Prediction) -> None:
        self._server.emit("prediction", encode(prediction), to=stream.id, newest="prediction")

    def rejected(self, stream: Stream, frame: Frame, error: str) -> None:
        self._reject(stream.id, frame.seq, error)

    def disconnect(self, stream: Stream) -> None:
        self._server.disconnect(stream.id)

    # ---- within -----------------------------------------------------------------------------------------------

    def _client(self, sid: str) -> _Client:
        """The client of this connection; made at its first CamStream event."""
        client = self._connected.get(sid)
        if client is None:
            stream = self._streams.open(
                sid,
                sid,
                protocol=PROTOCOL,
                model=self._model,
                hz=self._hz,
                rotate=0,
                subscriber=self,
                account=self._server.account(sid),
            )
            client = self._connected[sid] = _Client(stream, allowed=not self._logins.required)
            user = self._users.pop(sid, None)
            if user is not None and self._may_send(user):
                self._admit(client, user)
        return client

    def _user(self, sid: str, username: Any, password: Any) -> User | None:
        """Whose frames these are from now on; None: refused."""
        try:
            user = login(self._logins, self._server, sid, username, password)
        except LimitExceeded:
            return None  # too many logins at once: counted there, and to the app a refusal like another
        if user is None and not self._logins.required:
            return User(sid, frozenset(ROLES))
        return user if user is not None and self._may_send(user) else None

    def _may_send(self, user: User) -> bool:
        return not self._logins.required or "camera" in user.roles

    def _admit(self, client: _Client, user: User) -> None:
        """Take the client's frames, as its user's and with that user's defaults."""
        client.allowed = True
        stream = client.stream
        stream.user, stream.rotate = user.name, user.rotate or 0
        try:
            stream.configure(model=user.model, hz=None if user.hz is None else capped(user.hz, self._hz))
        except ImageServerError as error:
            self._reject(
                stream.id, stream.received, f"your default model cannot be used, so the server's own is: {error}"
            )

    def _refuse(self, stream: Stream, reason: str, sentence: str) -> None:
        """Count a frame that is not even offered, and say why."""
        stream.received += 1
        stream.refuse(reason)
        self._reject(stream.id, stream.received, sentence)

    def _reject(self, sid: str, seq: int, error: str) -> None:
        self._server.emit("frame_error", encode({"error": error, "seq": seq}), to=sid)
