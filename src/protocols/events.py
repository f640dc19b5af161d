"""The owner of Socket.IO's namespace `/`: connect, disconnect, unknown events; the rest goes to the protocols.

A protocol is an object with `events` (event name to handler), `connected` and `disconnected`. Each is called in its
connection's own order. A user and a password that a connection brings along count for all of them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from imageserver.accounts.database import MAX_NAME, User
from imageserver.accounts.login import Logins
from imageserver.errors import ConnectionRefused, LimitExceeded, NotAllowed
from imageserver.transport.socketio.server import SocketIOServer

encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
SUCCESS = encode({"success": True})


def failure(sentence: str) -> str:
    """The acknowledgement of an event that was refused."""
    return encode({"success": False, "error": sentence})


class SocketProtocol(Protocol):
    """A protocol over Socket.IO events."""

    @property
    def events(self) -> Mapping[str, Callable[..., Any]]: ...

    def connected(self, sid: str, auth: Mapping[str, Any], user: User | None) -> None:
        """A new connection.

        Args:
            sid: Its id.
            auth: What it brought along.
            user: Who it is; None when it did not say, or nobody of that name and password is known.

        Raises:
            NotAllowed: Turns it away.
        """

    def disconnected(self, sid: str) -> None: ...


def login(logins: Logins, server: SocketIOServer, sid: str, name: Any, password: Any) -> User | None:
    """Log a connection in with what its client sent, whatever that is; waits green.

    Returns:
        The user; None when name and password are wrong, or no texts of the length of a name and a password.

    Raises:
        LimitExceeded: Too many logins wait, or too many were refused.
    """
    if not (isinstance(name, str) and isinstance(password, str) and 0 < len(name) <= MAX_NAME):
        return None
    with server.checking_login(sid):
        user = logins.login(sid, name, password, server.address(sid))
        if user is not None:
            server.logged_in(sid)
    verified = logins.verified(sid)
    if verified is not None:  # a name that nobody has to prove gives no share of its own
        server.account(sid).belongs_to(verified.name)
    return user


class Events:
    """Registers every protocol's events at `server`. ValueError when two protocols claim one event."""

    def __init__(self, server: SocketIOServer, protocols: Sequence[SocketProtocol], logins: Logins) -> None:
        self._server, self._protocols, self._logins = server, protocols, logins
        self._known: set[str] = set()
        for protocol in protocols:
            for event, handler in protocol.events.items():
                if event in self._known:
                    raise ValueError(f"two protocols claim the event {event!r}")
                self._known.add(event)
                server.on(event, handler)
        server.on("connect", self._connected)
        server.on("disconnect", self._forget)
        server.on("*", self._unknown)

    def _connected(self, sid: str, _environ: Any, auth: dict[str, Any] | None) -> None:
        auth = auth or {}
        try:
            user = self._user(sid, auth)
            for protocol in self._protocols:
                protocol.connected(sid, auth, user)
        except NotAllowed as error:
            self._forget(sid)
            raise ConnectionRefused(str(error)) from None

    def _user(self, sid: str, auth: dict[str, Any]) -> User | None:
        """Who this is, if a connection brought a user and a password along. NotAllowed: a wrong pair, with `--auth`."""
        name, password = auth.get("user", auth.get("username")), auth.get("password")
        if name is None or password is None:
            return None
        try:
            user = login(self._logins, self._server, sid, name, password)
        except LimitExceeded as error:
            raise NotAllowed(str(error)) from None
        if user is None and self._logins.required:
            raise NotAllowed("the user or the password is wrong")
        return user

    def _forget(self, sid: str, _reason: str = "") -> None:
        for protocol in self._protocols:
            protocol.disconnected(sid)
        self._logins.forget(sid)

    def _unknown(self, event: str, _sid: str, *_args: Any) -> str:
        """The acknowledgement of an event that nobody here knows; one that asks for none hears nothing."""
        return failure(f"there is no event {event[:64]!r}; there are: {', '.join(sorted(self._known))}")
