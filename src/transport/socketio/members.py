"""Who is in which namespace of Socket.IO: how a connection joins one, and how it leaves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

from socketio import packet as packets

from imageserver import errors
from imageserver.errors import describe
from imageserver.limits import hit, note
from imageserver.transport import hub
from imageserver.transport.engineio.outgoing import Group
from imageserver.transport.engineio.server import EngineServer
from imageserver.transport.engineio.session import EngineSession
from imageserver.transport.socketio.packets import SocketPacket, group_of
from imageserver.transport.socketio.rooms import Rooms

Handlers = dict[str, dict[str, Callable[..., Any]]]
"""Namespace, event: the handler."""

_OWN_PARAMETERS = {"EIO", "transport", "sid", "t", "b64", "j"}


class Membership(NamedTuple):
    """A namespace, and the connection that is in it."""

    namespace: str
    session: EngineSession


class Members:
    """The members of every namespace, by their ids. A member is one from its connect handler on."""

    def __init__(self, engine: EngineServer, handlers: Handlers) -> None:
        self._engine, self._handlers, self._limits, self._log = engine, handlers, engine.limits, engine.log
        self.rooms = Rooms()
        self.where: dict[str, Membership] = {}
        self.joined: dict[str, dict[str, str]] = {}
        """Namespace, engine's id: the member's id, once its connect handler has let it in."""
        self.early: dict[str, list[Group]] = {}
        """What connect handlers that still run have emitted to their member: sent behind the CONNECT packet."""
        self.deadlines: dict[str, hub.Timer] = {}
        """Engine's ids of connections that are in no namespace yet."""

    def send(self, sid: str, session: EngineSession, group: Group) -> None:
        """Send to one member; what is sent to one that is still being let in waits for its CONNECT packet."""
        early = self.early.get(sid) if self.early else None
        if early is None:
            session.send(group)
        else:
            early.append(group)

    def connected(self, session: EngineSession) -> None:
        """A new connection: in generation 3 it is in `/` without asking, in 4 it has a time to ask."""
        self.deadlines[session.sid] = hub.call_later(self._limits.join_time, self._not_joined, session)
        if session.generation == 3:
            self.join(session, "/", None)

    def disconnected(self, eio_sid: str, reason: str) -> None:
        """A connection has ended."""
        self._stop_deadline(eio_sid)
        for members in list(self.joined.values()):
            if eio_sid in members:
                self._leave(members[eio_sid], reason)

    def join(self, session: EngineSession, namespace: str, auth: Any, query: str = "") -> None:
        """Let a connection into a namespace, if the `connect` handler does. `query`: generation 3's `auth`."""
        if any(self.where[sid] == (namespace, session) for sid in self.early):
            return  # the same CONNECT again while the first is still being decided
        refusal = self._refusal(session, namespace)
        if refusal is not None:
            if refusal:
                self._refuse(session, namespace, refusal)
            return
        sid = self._engine.new_id()
        if session.generation == 3:
            sid = session.sid if namespace == "/" else f"{namespace}#{session.sid}"  # what the client calls itself
            pairs = parse_qsl(session.query) + parse_qsl(query)
            auth = {name: value for name, value in pairs if name not in _OWN_PARAMETERS} or None
        self.where[sid] = Membership(namespace, session)
        self.early[sid] = []
        self.rooms.add(sid, namespace, session)
        handler = self._handlers.get(namespace, {}).get("connect")
        try:
            if handler is not None:
                kept, session.kept = session.kept, ""
                handler(sid, {"REMOTE_ADDR": session.address, "QUERY_STRING": session.query, "KEPT": kept}, auth)
        except Exception as error:  # noqa: BLE001 - whatever a handler forgot to catch ends this connection only
            message = str(error)
            if not isinstance(error, errors.ImageServerError):
                self._log(f"connect of {session.who} failed: {describe(error)}")
                message = "The server could not let you in; its log says why."
            self._forget(sid)
            self._refuse(session, namespace, message)
            return
        if sid not in self.early:
            return  # the handler itself has disconnected it
        self._stop_deadline(session.sid)
        self.joined.setdefault(namespace, {})[session.sid] = sid
        data = None if session.generation == 3 else {"sid": sid}
        session.send(group_of(SocketPacket(packets.CONNECT, data, namespace=namespace)))
        for group in self.early.pop(sid):
            session.send(group)

    def disconnect(self, sid: str, *, close: bool = False) -> None:
        """Turn a member out; a connection in no namespace then has `close_seconds` to close, with `close` none."""
        membership = self.where.get(sid)
        if membership is not None:
            namespace, session = membership
            session.send(group_of(SocketPacket(packets.DISCONNECT, namespace=namespace)))
            self._leave(sid, "server disconnect")
            if close:
                self._engine.close(session.sid)
            else:
                hub.call_later(self._limits.close_time, self._close_unused, session.sid)

    def left(self, session: EngineSession, namespace: str) -> None:
        """The client wants to leave; in generation 3 leaving `/` is leaving all."""
        everywhere = namespace == "/" and session.generation == 3
        for name in list(self.joined) if everywhere else [namespace]:
            sid = self.joined.get(name, {}).get(session.sid)
            if sid is not None:
                self._leave(sid, "client disconnect")

    def _refusal(self, session: EngineSession, namespace: str) -> str | None:
        """Why a connection may not join, "" for a reason that is not told; None when it may."""
        if session.sid in self.joined.get(namespace, ()):
            return "" if session.generation == 3 else "Already connected"
        if namespace != "/" and namespace not in self._handlers:
            return "Invalid namespace"
        if sum(session.sid in members for members in self.joined.values()) >= self._limits.max_namespaces:
            hit("max_namespaces", session.account.owner)
            return f"A connection may be in {self._limits.max_namespaces} namespaces"
        return None

    def _refuse(self, session: EngineSession, namespace: str, message: str) -> None:
        data = message if session.generation == 3 else {"message": message}
        session.send(group_of(SocketPacket(packets.CONNECT_ERROR, data, namespace=namespace)))

    def _leave(self, sid: str, reason: str) -> None:
        """Tell the `disconnect` handler, once, and forget the member."""
        namespace, session = self.where[sid]
        members = self.joined.get(namespace, {})
        if members.pop(session.sid, None) is None and sid not in self.early:
            return  # its handler runs already
        if not members:
            self.joined.pop(namespace, None)
        self.early.pop(sid, None)
        handler = self._handlers.get(namespace, {}).get("disconnect")
        try:
            if handler is not None:
                handler(sid, reason)
        except Exception as error:  # noqa: BLE001 - whatever a handler forgot to catch must not keep the member here
            self._log(f"disconnect of {session.who} failed: {describe(error)}")
        finally:
            self._forget(sid)

    def _forget(self, sid: str) -> None:
        self.early.pop(sid, None)
        membership = self.where.pop(sid, None)
        if membership is not None:
            self.rooms.remove(sid, membership.namespace)

    def _close_unused(self, eio_sid: str) -> None:
        if not any(eio_sid in members for members in self.joined.values()):
            self._engine.close(eio_sid)

    def _stop_deadline(self, eio_sid: str) -> None:
        deadline = self.deadlines.pop(eio_sid, None)
        if deadline is not None:
            deadline.cancel()

    def _not_joined(self, session: EngineSession) -> None:
        if any(self.where[sid].session is session for sid in self.early):  # its handler still runs
            self.deadlines[session.sid] = hub.call_later(self._limits.join_time, self._not_joined, session)
            return
        self.deadlines.pop(session.sid, None)
        if session.is_open:
            seconds = self._limits.join_time
            why = f"{session.who} joined no namespace within {seconds:g} seconds; it is disconnected"
            self._log(note(why, "join_time", session.account.owner))
            session.close("server disconnect")
