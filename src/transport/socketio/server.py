"""One Socket.IO server for both protocol generations: what the rest of the project sees.

Handlers never learn which generation or transport a client uses. They run in the green thread that reads for their
connection, one after the other in the order of arrival; one that blocks keeps only its own client waiting, and
heartbeats go on meanwhile. Binary arguments are `bytes`, the receiver's own.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

from socketio.packet import EVENT

from imageserver.errors import ConnectionRefused
from imageserver.limits import Limits
from imageserver.transport import hub
from imageserver.transport.budget import Account, unlimited
from imageserver.transport.engineio.server import EngineServer
from imageserver.transport.engineio.session import EngineState
from imageserver.transport.http.clients import ClientAddresses
from imageserver.transport.http.origins import Origins
from imageserver.transport.socketio.events import EventReader
from imageserver.transport.socketio.members import Handlers, Members
from imageserver.transport.socketio.packets import SocketPacket, group_of

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

__all__ = ["ConnectionRefused", "Limits", "SocketIOServer"]


class SocketIOServer:
    """A WSGI application for the path `/socket.io/`.

    Args:
        limits: the bounds of sessions and messages.
        origins: which web pages may use it, by default its own alone.
        clients: counts connections by address, where others are counted with these.
        login_required: whether a client is `logged_in` within `login_time`, or else is disconnected.
        keep: what is kept of the request that a connection begins with, a short text, until a connect handler has it.
        front_end: with what the ids of connections begin, and a dot, where this is one of several servers.
        log: takes one line at a time.
    """

    def __init__(
        self,
        limits: Limits | None = None,
        *,
        origins: Origins | None = None,
        clients: ClientAddresses | None = None,
        login_required: bool = False,
        keep: Callable[[WSGIEnvironment], str] = lambda _environ: "",
        front_end: str = "",
        log: Callable[[str], None],
    ) -> None:
        self._handlers: Handlers = {}
        self._engine = engine = EngineServer(
            limits or Limits(),
            origins=origins,
            clients=clients,
            login_required=login_required,
            keep=keep,
            front_end=front_end,
            log=log,
        )
        self._members = Members(engine, self._handlers)
        self._reader = EventReader(engine, self._handlers, self._members)
        engine.connect, engine.disconnect = self._members.connected, self._disconnected
        engine.message, engine.offer_text = self._reader.message, self._reader.offer

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        return self._engine.handle_request(environ, start_response)

    def on(self, event: str, handler: Callable[..., Any], namespace: str = "/") -> None:
        """Register the handler of an event; a namespace exists once it has a handler.

        handler(sid, *arguments) -> acknowledgement: None for none, a tuple for several values, otherwise the one value.
        "connect": handler(sid, environ, auth), which may raise `ConnectionRefused`; `environ` has REMOTE_ADDR and
        QUERY_STRING of the request that the connection began with, and as KEPT what `keep` made of it; `auth` is what
        the client sent, for generation 3 its query parameters, or None. "disconnect": handler(sid, reason). "*":
        handler(event, sid, *arguments) for every event that has no handler of its own.
        """
        self._handlers.setdefault(namespace, {})[event] = handler

    def emit(
        self,
        event: str,
        *arguments: Any,
        to: str | None = None,
        skip: str | None = None,
        namespace: str = "/",
        newest: str | None = None,
    ) -> None:
        """Send an event to a client or room (`to`; None: everybody in the namespace), except to `skip`. Never blocks.

        `newest`: while an emission under this key waits for a slow client, this one takes its place.
        """
        key = None if newest is None else f"{namespace} {newest}"
        group = group_of(SocketPacket(EVENT, [event, *arguments], namespace=namespace), key)
        for sid, session in self._members.rooms.members(namespace, to):
            if sid != skip:
                self._members.send(sid, session, group)

    def disconnect(self, sid: str, *, close: bool = False) -> None:
        """Turn a client out; its disconnect handler runs before this returns. Harmless when it has gone.

        `close`: end its connection as well, and do not wait for the client to do it.
        """
        self._members.disconnect(sid, close=close)

    def drop(self, sid: str) -> None:
        """Close a client's connection as a lost network would: it may come back. Harmless when it has gone."""
        membership = self._members.where.get(sid)
        if membership is not None:
            membership.session.drop()

    def enter_room(self, sid: str, room: str, namespace: str = "/") -> None:
        """Put a client into a room. ValueError when it is not connected, or when the room is another client's id."""
        self._members.rooms.enter(sid, namespace, room)

    def leave_room(self, sid: str, room: str, namespace: str = "/") -> None:
        """Take a client out of a room; harmless when it is not there."""
        self._members.rooms.leave(sid, namespace, room)

    def address(self, sid: str) -> str:
        """Where the client is, as far as trusted proxies tell; "" when it has gone."""
        membership = self._members.where.get(sid)
        return "" if membership is None else membership.session.address

    def checking_login(self, sid: str) -> AbstractContextManager[None]:
        """Around the check of a client's login: its time to log in runs out only after it, if it does."""
        membership = self._members.where.get(sid)
        return nullcontext() if membership is None else self._engine.admission.checking(membership.session)

    def logged_in(self, sid: str) -> None:
        """The client has shown who it is; harmless when it has gone."""
        membership = self._members.where.get(sid)
        if membership is not None:
            self._engine.admission.logged_in(membership.session)

    def account(self, sid: str) -> Account:
        """To which what waits for a client is charged; when it has gone, one to which it makes no difference."""
        membership = self._members.where.get(sid)
        return unlimited() if membership is None else membership.session.account

    def generation(self, sid: str) -> int:
        """3 or 4, the client's version of Engine.IO: for logs. KeyError when it has gone."""
        return self._members.where[sid].session.generation

    def leave(self) -> list[str]:
        """Let nobody in any more, for the server is about to stop; returns the ids of those who are here."""
        self._engine.admission.leaving = True
        return list(self._members.where)

    def waiting(self, sid: str) -> bool:
        """Whether something waits for the client to be sent or, on polling, fetched."""
        membership = self._members.where.get(sid)
        return membership is not None and bool(membership.session.queue)

    def close_all(self, grace: float) -> None:
        """Drop every connection, so that clients try to come back: for a shutdown.

        There is no close frame: at one, the Java clients' okhttp stops reading and does not tell them for 45 seconds.

        Returns when all disconnect handlers have run, after `grace` seconds at the latest.
        """
        sessions = list(self._engine.sessions.values())
        for session in sessions:
            session.drop()
        end = time.monotonic() + grace
        while any(session.state is not EngineState.FINISHED for session in sessions) and time.monotonic() < end:
            hub.sleep(0.01)

    def _disconnected(self, eio_sid: str, reason: str) -> None:
        self._reader.forget(eio_sid)
        self._members.disconnected(eio_sid, reason)
