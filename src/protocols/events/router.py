"""The router of Socket.IO's namespace `/`: connect, disconnect, and each event to its protocol, if its sender may.

What an event asks is its row in accounts/doors.py. A protocol is an object with `events` (event name to handler),
`refused`, `changed` and `disconnected`; each is called in its connection's own order.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from imageserver.accounts import doors
from imageserver.accounts.database import User
from imageserver.accounts.doors import Door, Login
from imageserver.accounts.rates import Rates
from imageserver.errors import ConnectionRefused, ImageServerError
from imageserver.protocols.events.answers import failure
from imageserver.protocols.events.clients import SocketClient, SocketClients
from imageserver.transport.socketio.server import SocketIOServer

Handler = Callable[..., Any]
"""handler(client, argument, *more) -> acknowledgement; the first argument is None where a client sends none."""


class SocketProtocol(Protocol):
    """A protocol over Socket.IO events."""

    @property
    def events(self) -> Mapping[str, Handler]: ...

    def refused(self, client: SocketClient, event: str, sentence: str) -> Any:
        """An event was turned away; returns its acknowledgement. `sentence` says why; "": nobody has logged in."""

    def changed(self, client: SocketClient, before: User | None) -> None:
        """Somebody else is there from now on, or nobody; `before`: who had proved to be there until now."""

    def disconnected(self, client: SocketClient) -> None:
        """The connection has ended; harmless for one that never spoke this protocol."""


class Events:
    """Registers every protocol's events at `server`.

    Args:
        server: Where clients are.
        clients: Who they are.
        protocols: What they speak.
        rates: How often they may.

    Raises:
        ValueError: Two protocols claim one event, or its row asks for a login as no event can.
        KeyError: An event has no row in the table of doors.
    """

    def __init__(
        self, server: SocketIOServer, clients: SocketClients, protocols: Sequence[SocketProtocol], rates: Rates
    ) -> None:
        self._server, self._clients, self._protocols, self._rates = server, clients, protocols, rates
        self._doors: dict[str, Door] = {}
        self._allowed: dict[tuple[Login, frozenset[str]], tuple[Door, dict[str, SocketClient]]] = {}
        """Of all doors that ask the same one, and those who may pass it, by their ids."""
        for protocol in protocols:
            for event, handler in protocol.events.items():
                if event in self._doors:
                    raise ValueError(f"two protocols claim the event {event!r}")
                self._doors[event] = door = doors.TABLE.event(event)
                if door.login not in (Login.NEVER, Login.AUTH, Login.SESSION):
                    raise ValueError(f"whether {event!r} asks a login would change while clients are connected")
                server.on(event, self._route(event, handler, protocol))
        clients.changed = self._changed
        server.on("connect", self._connected)
        server.on("disconnect", self._disconnected)
        server.on("*", self._unknown)

    def _route(self, event: str, handler: Handler, protocol: SocketProtocol) -> Handler:
        """Calls `handler` for those who may. This is done for each frame, so one look-up has to tell."""
        door = self._doors[event]
        _door, allowed = self._allowed.setdefault((door.login, door.roles), (door, {}))

        def route(sid: str, argument: Any = None, *more: Any) -> Any:
            client = allowed.get(sid)
            if client is None:
                return self._refuse(sid, event, protocol)
            if more:
                return handler(client, argument, *more)
            return handler(client, argument)  # the common case, at a third of what a call with a list costs

        def rated(sid: str, *arguments: Any) -> Any:
            client = allowed.get(sid)
            if client is not None and (wait := self._rates.take(door, self._server.account(sid).owner)):
                return protocol.refused(client, event, f"too many {event}: try again in {int(wait) + 1} seconds")
            return route(sid, *arguments)

        return rated if self._rates.holds(door) else route

    def _refuse(self, sid: str, event: str, protocol: SocketProtocol) -> Any:
        client = self._clients.get(sid)
        return None if client is None else protocol.refused(client, event, self._doors[event].refuses(client.user))

    def _connected(self, sid: str, environ: Mapping[str, str], auth: Mapping[str, Any] | None) -> None:
        try:
            self._clients.connect(sid, environ, auth or {})
        except Exception as error:
            self._disconnected(sid)
            if isinstance(error, ImageServerError):
                raise ConnectionRefused(str(error)) from None
            raise

    def _changed(self, client: SocketClient, before: User | None) -> None:
        for door, allowed in self._allowed.values():
            if self._clients.may(client, door):
                allowed[client.sid] = client
            else:
                allowed.pop(client.sid, None)
        for protocol in self._protocols:
            protocol.changed(client, before)

    def _disconnected(self, sid: str, _reason: str = "") -> None:
        for _door, allowed in self._allowed.values():
            allowed.pop(sid, None)
        client = self._clients.forget(sid)
        if client is not None:
            for protocol in self._protocols:
                protocol.disconnected(client)

    def _unknown(self, event: str, _sid: str, *_args: Any) -> str:
        """The acknowledgement of an event that nobody here knows; one that asks for none hears nothing."""
        return failure(f"there is no event {event[:64]!r}; there are: {', '.join(sorted(self._doors))}")
