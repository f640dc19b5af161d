"""Sessions: facial monitoring over Socket.IO (docs/protocols.md#sessions).

client to server    session_start(time), frame(time + picture), session_end(time), each acknowledged at once with a
                    JSON string {"success": true} or {"success": false, "error": "…"}
server to client    prediction(json): the merged outputs of the models

`time` is 8 bytes: milliseconds since the epoch, unsigned, little endian.
"""

from __future__ import annotations

import hmac
import struct
from collections.abc import Callable, Mapping
from typing import Any

from imageserver import metrics
from imageserver.accounts.database import User
from imageserver.accounts.login import Logins
from imageserver.errors import ImageServerError, LimitExceeded, NotAllowed
from imageserver.protocols.events import SUCCESS, encode, failure
from imageserver.streams.merging import Prediction
from imageserver.streams.session import Session, Sessions
from imageserver.transport.socketio.server import SocketIOServer

_TIME = struct.Struct("<Q")
MOST_ENDING = 8
"""Sessions of a connection whose models have not said their last word yet. Only who never pauses gets there."""


class SessionProtocol:
    """The protocol; `events` are its handlers. `key`: what clients show instead of a user and password, "" for none."""

    def __init__(self, sessions: Sessions, logins: Logins, server: SocketIOServer, key: str) -> None:
        self._sessions, self._logins, self._server = sessions, logins, server
        self._key = key.encode(errors="surrogatepass")  # JSON can hold text that has no UTF-8
        self._by_connection: dict[str, list[Session]] = {}  # the newest last; those before it are ending
        self._with_key: set[str] = set()
        self.events: dict[str, Callable[..., Any]] = {
            "session_start": _acknowledged(self._start),
            "frame": _acknowledged(self._frame),
            "session_end": _acknowledged(self._end),
        }

    def connected(self, sid: str, auth: Mapping[str, Any], user: User | None) -> None:
        """A client has connected. NotAllowed: with a wrong key."""
        key = auth.get("key")
        if key is not None and self._key:
            if not (isinstance(key, str) and hmac.compare_digest(key.encode(errors="surrogatepass"), self._key)):
                raise NotAllowed("the key is wrong")
            self._with_key.add(sid)
            self._server.logged_in(sid)
            self._server.account(sid).admit()

    def disconnected(self, sid: str) -> None:
        """The connection has ended, and with it its session."""
        self._with_key.discard(sid)
        for session in self._by_connection.pop(sid, ()):
            session.abandon()

    # ---- events -----------------------------------------------------------------------------------------------

    def _start(self, sid: str, timestamp: int, _rest: memoryview) -> None:
        own = self._by_connection.get(sid, [])
        if own and own[-1].running:
            raise ValueError("a session runs already on this connection: end it with session_end first")
        if len(own) >= MOST_ENDING:
            metrics.LIMITS_HIT.inc("sessions-ending")
            raise LimitExceeded(f"{len(own)} sessions of this connection are still ending: wait for a last prediction")
        user = self._user(sid)
        if user is None:
            raise NotAllowed(
                "authenticate first, or connect with the key of this server: strangers cannot start a session"
            )
        session = self._sessions.open(
            sid,
            user.name,
            rotate=user.rotate,
            timestamp=timestamp,
            subscriber=self,
            account=self._server.account(sid),
        )
        self._by_connection.setdefault(sid, []).append(session)

    def _frame(self, sid: str, timestamp: int, picture: memoryview) -> None:
        self._running(sid).append(picture, timestamp)

    def _end(self, sid: str, timestamp: int, _rest: memoryview) -> None:
        self._running(sid).end(timestamp)

    def _running(self, sid: str) -> Session:
        own = self._by_connection.get(sid)
        if not own or not own[-1].running:
            raise ValueError("no session runs on this connection: begin one with session_start")
        return own[-1]

    def _user(self, sid: str) -> User | None:
        """Who may start a session on this connection; None: nobody yet."""
        verified = self._logins.verified(sid)
        if verified is not None and "camera" in verified.roles:
            return verified
        open_to_all = not self._key and not self._logins.required
        return User(sid) if sid in self._with_key or open_to_all else None

    # ---- what becomes of sessions (SessionSubscriber) -----------------------------------------------------------

    def predicted(self, session: Session, prediction: Prediction) -> None:
        self._server.emit("prediction", encode(prediction), to=session.connection)

    def ended(self, session: Session) -> None:
        own = self._by_connection.get(session.connection, [])
        if session in own:
            own.remove(session)
            if not own:
                del self._by_connection[session.connection]


def _acknowledged(handle: Callable[[str, int, memoryview], None]) -> Callable[..., str]:
    """The handler of an event: takes its message apart, and acknowledges what `handle` does or refuses."""

    def handler(sid: str, message: Any = None, *_more: Any) -> str:
        try:
            timestamp, rest = _split(message)
            handle(sid, timestamp, rest)
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
