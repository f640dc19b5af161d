"""The owner of Socket.IO's namespace `/`: connect, disconnect, unknown events; the rest goes to the protocols.

A protocol is an object with `events` (event name to handler), `connected(sid, auth)` and `disconnected(sid)`. Each is
called in its connection's own order.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from imageserver.accounts.login import Logins
from imageserver.errors import NotAllowed
from imageserver.transport.socketio.server import ConnectionRefused


class SocketProtocol(Protocol):
    """A protocol over Socket.IO events."""

    @property
    def events(self) -> Mapping[str, Callable[..., Any]]: ...

    def connected(self, sid: str, auth: Any) -> None:
        """A new connection, with what it brought as `auth`. NotAllowed turns it away."""

    def disconnected(self, sid: str) -> None: ...


class Server(Protocol):
    """What this file needs of the Socket.IO server."""

    def on(self, event: str, handler: Callable[..., Any]) -> None:
        """Register `handler(sid, *arguments)`, or `handler(event, sid, *arguments)` for the event "*"."""


class Events:
    """Registers every protocol's events at `server`. ValueError when two protocols claim one event."""

    def __init__(self, server: Server, protocols: Sequence[SocketProtocol], logins: Logins) -> None:
        self._logins = logins
        self._protocols = protocols
        self._known: set[str] = set()
        for protocol in protocols:
            for event, handler in protocol.events.items():
                if event in self._known:
                    raise ValueError(f"two protocols claim the event {event!r}")
                self._known.add(event)
                server.on(event, handler)
        server.on("connect", self._connected)
        server.on("disconnect", self._disconnected)
        server.on("*", self._unknown)

    def _connected(self, sid: str, _environ: Any, auth: Any) -> None:
        try:
            for protocol in self._protocols:
                protocol.connected(sid, auth)
        except NotAllowed as error:
            self._forget(sid)
            raise ConnectionRefused(str(error)) from None

    def _disconnected(self, sid: str, _reason: str) -> None:
        self._forget(sid)

    def _forget(self, sid: str) -> None:
        for protocol in self._protocols:
            protocol.disconnected(sid)
        self._logins.forget(sid)

    def _unknown(self, event: str, _sid: str, *_args: Any) -> str:
        """The acknowledgement of an event that nobody here knows; one that asks for none hears nothing."""
        return json.dumps(
            {
                "success": False,
                "error": f"there is no event {event[:64]!r}; there are: {', '.join(sorted(self._known))}",
            }
        )
