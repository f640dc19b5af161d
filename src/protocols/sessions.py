"""Sessions: facial monitoring over Socket.IO (docs/protocols.md#sessions).

client to server    session_start(time), frame(time + picture), session_end(time), each acknowledged at once with a
                    JSON string {"success": true} or {"success": false, "error": "…"}
server to client    prediction(json): the merged outputs of the models

`time` is 8 bytes: milliseconds since the epoch, unsigned, little endian.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

from imageserver import metrics
from imageserver.accounts.database import User
from imageserver.errors import ImageServerError, LimitExceeded
from imageserver.protocols.events.answers import SUCCESS, encode, failure
from imageserver.protocols.events.clients import SocketClient, is_another
from imageserver.streams.merging import Prediction
from imageserver.streams.session import Session, Sessions
from imageserver.transport.socketio.server import SocketIOServer

_TIME = struct.Struct("<Q")
MOST_ENDING = 8
"""Sessions of a connection whose models have not said their last word yet. Only who never pauses gets there."""
STRANGERS = "authenticate first, or connect with the key of this server: strangers cannot start a session"
"""What those are told who should have logged in."""


class SessionProtocol:
    """The protocol; `events` are its handlers, called as handler(client, *args) in each connection's own order."""

    def __init__(self, sessions: Sessions, server: SocketIOServer) -> None:
        self._sessions, self._server = sessions, server
        self._by_connection: dict[str, list[Session]] = {}  # the newest last; those before it are ending
        self.events: dict[str, Callable[..., Any]] = {
            "session_start": _acknowledged(self._start),
            "frame": _acknowledged(self._frame),
            "session_end": _acknowledged(self._end),
        }

    def refused(self, _client: SocketClient, _event: str, sentence: str) -> str:
        """An event that the client may not send, or not now."""
        return failure(sentence or STRANGERS)

    def changed(self, client: SocketClient, before: User | None) -> None:
        """Somebody else is there from now on: a session that was begun by another user, or at another camera, ends."""
        own = self._by_connection.get(client.sid)
        if own and own[-1].running and (is_another(client, before) or own[-1].called.said != client.camera):
            own[-1].end()

    def disconnected(self, client: SocketClient) -> None:
        """The connection has ended, and with it its session."""
        for session in self._by_connection.pop(client.sid, ()):
            session.abandon()

    # ---- events -----------------------------------------------------------------------------------------------

    def _start(self, client: SocketClient, timestamp: int, _rest: memoryview) -> None:
        sid, user = client.sid, client.user
        own = self._by_connection.get(sid, [])
        if own and own[-1].running:
            raise ValueError("a session runs already on this connection: end it with session_end first")
        if len(own) >= MOST_ENDING:
            metrics.LIMITS_HIT.inc("sessions-ending")
            raise LimitExceeded(f"{len(own)} sessions of this connection are still ending: wait for a last prediction")
        session = self._sessions.open(
            sid,
            sid if user is None else user.name,
            client.camera,
            client.address,
            rotate=0 if user is None else user.rotate,
            timestamp=timestamp,
            subscriber=self,
            account=self._server.account(sid),
        )
        self._by_connection.setdefault(sid, []).append(session)

    def _frame(self, client: SocketClient, timestamp: int, picture: memoryview) -> None:
        self._running(client).append(picture, timestamp)

    def _end(self, client: SocketClient, timestamp: int, _rest: memoryview) -> None:
        self._running(client).end(timestamp)

    def _running(self, client: SocketClient) -> Session:
        own = self._by_connection.get(client.sid)
        if not own or not own[-1].running:
            raise ValueError("no session runs on this connection: begin one with session_start")
        return own[-1]

    # ---- what becomes of sessions (SessionSubscriber) -----------------------------------------------------------

    def predicted(self, session: Session, prediction: Prediction) -> None:
        self._server.emit("prediction", encode(prediction), to=session.connection)

    def ended(self, session: Session) -> None:
        own = self._by_connection.get(session.connection, [])
        if session in own:
            own.remove(session)
            if not own:
                del self._by_connection[session.connection]


def _acknowledged(handle: Callable[[SocketClient, int, memoryview], None]) -> Callable[..., str]:
    """The handler of an event: takes its message apart, and acknowledges what `handle` does or refuses."""

    def handler(client: SocketClient, message: Any = None, *_more: Any) -> str:
        try:
            timestamp, rest = _split(message)
            handle(client, timestamp, rest)
        except (ImageServerError, ValueError) as error:
            return failure(str(error))
        return SUCCESS

    return handler


def _split(message: Any) -> tuple[int, memoryview]:
    """A message as its time in ms and what follows. ValueError with a sentence when it is none."""
    if not isinstance(message, (bytes, bytearray, memoryview)):
        raise ValueError(f"send one binary argument that begins with 8 bytes of time, not {type(message).__name__}")
    if len(message) < _TIME.size:
        raise ValueError(
            f"the message has {len(message)} bytes; it begins with 8 bytes of time, milliseconds in little endian"
        )
    (timestamp,) = _TIME.unpack_from(message)
    return timestamp, memoryview(message)[_TIME.size :]
