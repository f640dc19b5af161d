"""python-socketio's `Server` for both generations, on our Engine.IO server.

What is taken from python-socketio: the registry of handlers, rooms and members (`Manager`), and the packets. Each
method below that replaces one of its own says which behaviour of python-socketio 5.18 it mends.
`tests/transport/test_upstream.py` fails when an update makes one of them unnecessary or wrong.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

import socketio
from bidict import ValueDuplicationError
from socketio import packet as packets

from imageserver import errors, metrics
from imageserver.errors import describe
from imageserver.transport import hub
from imageserver.transport.engineio.packet import MESSAGE, Packet
from imageserver.transport.engineio.server import EngineServer
from imageserver.transport.engineio.session import Group
from imageserver.transport.limits import SocketIOLimits
from imageserver.transport.socketio.header_cache import Form, Forms
from imageserver.transport.socketio.packets import Packet as SocketPacket

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

_OWN_PARAMETERS = {"EIO", "transport", "sid", "t", "b64", "j"}
_RESERVED = {"connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"}
"""Names that the protocol keeps for itself: no client may send an event of this name."""

_NAMESPACE_QUERY = re.compile(r"0/[^,?]*\?([^,]*)")


class ConnectionRefused(errors.ImageServerError):
    """Raised by a `connect` handler to turn a client away; the message goes to the client."""


class _Incoming:
    """A packet whose attachments are still to come."""

    __slots__ = ("attachments", "form", "id", "kind", "since")

    def __init__(self, form: Form, id: int | None, kind: int = packets.BINARY_EVENT) -> None:  # noqa: A002
        self.form, self.id, self.kind = form, id, kind
        self.attachments: list[bytes] = []
        self.since: float | None = None


class _Manager(socketio.Manager):
    """Rooms and their members."""

    def __init__(self) -> None:
        super().__init__()
        self._rooms_of: dict[tuple[str, str], set[str | None]] = {}

    def pre_connect(self, eio_sid: str, namespace: str) -> str | None:
        """Upstream gives every member a new id; in generation 3 the client takes the engine's for its own."""
        session = self.server.eio.sessions[eio_sid]
        if session.generation == 4:
            sid: str = self.server.eio.generate_id()
        else:
            sid = eio_sid if namespace == "/" else f"{namespace}#{eio_sid}"
        try:
            self.basic_enter_room(sid, namespace, None, eio_sid=eio_sid)
        except ValueDuplicationError:
            return None
        self.basic_enter_room(sid, namespace, sid, eio_sid=eio_sid)
        self.pending_connect.setdefault(namespace, []).append(sid)
        return sid

    def basic_enter_room(self, sid: str, namespace: str, room: str | None, eio_sid: str | None = None) -> None:
        super().basic_enter_room(sid, namespace, room, eio_sid=eio_sid)
        self._rooms_of.setdefault((namespace, sid), set()).add(room)

    def basic_leave_room(self, sid: str, namespace: str, room: str | None) -> None:
        super().basic_leave_room(sid, namespace, room)
        self._rooms_of.get((namespace, sid), set()).discard(room)

    def basic_disconnect(self, sid: str, namespace: str, **kwargs: Any) -> None:
        """Upstream looks through every room for the member, and each member has one: the time for all to leave grows with their square."""
        for room in self._rooms_of.pop((namespace, sid), set()):
            super().basic_leave_room(sid, namespace, room)
        self.callbacks.pop(sid, None)
        for pending in (self.pending_connect, self.pending_disconnect):
            if sid in pending.get(namespace, ()):
                pending[namespace].remove(sid)
                if not pending[namespace]:
                    del pending[namespace]


class Bridge(socketio.Server):
    """The Socket.IO server; `SocketIOServer` is what the rest of the project sees of it."""

    def __init__(self, limits: SocketIOLimits, *, cors_origins: Iterable[str], log: Callable[[str], None]) -> None:
        silent = logging.getLogger("transport.socketio")
        silent.setLevel(logging.CRITICAL)  # `log` says what there is to say, in one line each
        self._limits, self._log = limits, log
        self._members: dict[str, dict[str, str]] = {}  # namespace, engine's id: the member's id
        self.where: dict[str, tuple[str, str]] = {}
        """Member's id to (namespace, engine's id); a member has its place from the connect handler on."""
        self._held: dict[
            str, list[Group]
        ] = {}  # what connect handlers emitted; it must not overtake the CONNECT packet
        self._forms = Forms()
        self._waiting: dict[str, Form | _Incoming] = {}  # engine's id: the packet whose attachments come next
        self._deadlines: dict[str, hub.Timer] = {}  # connections that are in no namespace yet
        self._sweep: hub.Timer | None = None
        engine = {"limits": limits, "cors_origins": cors_origins, "log": log}
        super().__init__(
            client_manager=_Manager(), logger=silent, serializer=SocketPacket, async_handlers=False, **engine
        )
        self.eio: EngineServer
        self.eio.offer_text = self._offer

    def _engineio_server_class(self) -> type[EngineServer]:
        """Upstream stands on python-engineio, which refuses generation 3."""
        return EngineServer

    def send_group(self, sid: str, eio_sid: str, group: Group) -> None:
        """Send to one member; what is sent to one that is still being let in waits for its CONNECT packet."""
        held = self._held.get(sid) if self._held else None
        if held is not None:
            held.append(group)
        else:
            self.eio.send_group(eio_sid, group)

    def _send_packet(self, eio_sid: str, pkt: SocketPacket) -> None:
        """Upstream sends header and attachments as separate messages, between which others may come."""
        self.eio.send_group(eio_sid, group_of(pkt))

    def _handle_eio_connect(self, eio_sid: str, environ: WSGIEnvironment) -> None:
        """Upstream waits for a CONNECT packet, for ever; clients of generation 3 are in `/` without one."""
        self.environ[eio_sid] = environ
        self._deadlines[eio_sid] = hub.call_later(self._limits.connect_seconds, self._not_joined, eio_sid)
        if self.eio.sessions[eio_sid].generation == 3:
            self._handle_connect(eio_sid, "/", None)

    def _not_joined(self, eio_sid: str) -> None:
        if any(self.where[sid][1] == eio_sid for sid in self._held):  # its handler still runs
            self._deadlines[eio_sid] = hub.call_later(self._limits.connect_seconds, self._not_joined, eio_sid)
            return
        self._deadlines.pop(eio_sid, None)
        if eio_sid in self.eio.sessions:
            metrics.LIMITS_HIT.inc("connect_seconds")
            self._log(
                f"client {eio_sid} joined no namespace within {self._limits.connect_seconds:g} seconds; it is disconnected"
            )
            self.eio.disconnect(eio_sid)

    def _handle_connect(self, eio_sid: str, namespace: str | None, data: Any, query: str = "") -> None:
        """Upstream knows no generation 3, sends what the handler emits before the CONNECT packet, calls a handler
        again with fewer arguments when it raises TypeError, and names no reason for an unknown namespace.
        """
        namespace = namespace or "/"
        session = self.eio.sessions.get(eio_sid)
        if session is None:
            return
        old = session.generation == 3
        if eio_sid in self._members.get(namespace, ()):
            if not old:
                self._refuse(eio_sid, namespace, old, "Already connected")
            return
        if namespace != "/" and namespace not in self.handlers:
            self._refuse(eio_sid, namespace, old, "Invalid namespace")
            return
        if sum(eio_sid in members for members in self._members.values()) >= self._limits.namespaces:
            metrics.LIMITS_HIT.inc("namespaces")
            self._refuse(eio_sid, namespace, old, f"A connection may be in {self._limits.namespaces} namespaces")
            return
        environ = session.environ
        sid = self.manager.pre_connect(eio_sid, namespace)
        if sid is None:
            return  # the same CONNECT again while the first is still being decided
        if old:  # it has no auth object: the query of the handshake and of the namespace stand for it
            pairs = parse_qsl(environ.get("QUERY_STRING", "")) + parse_qsl(query)
            data = {name: value for name, value in pairs if name not in _OWN_PARAMETERS} or None
        self.where[sid] = (namespace, eio_sid)
        held = self._held[sid] = []
        try:
            handler = self.handlers.get(namespace, {}).get("connect")
            if handler is not None:
                handler(sid, environ, data)
        except Exception as error:  # noqa: BLE001 - whatever a handler forgot to catch ends this connection only
            message = (
                str(error)
                if isinstance(error, errors.ImageServerError)
                else "The server could not let you in; its log says why."
            )
            if not isinstance(error, errors.ImageServerError):
                self._log(f"connect of client {sid} failed: {describe(error)}")
            del self._held[sid]
            self.where.pop(sid, None)
            self.manager.disconnect(sid, namespace, ignore_queue=True)
            self._refuse(eio_sid, namespace, old, message)
            return
        del self._held[sid]
        if sid not in self.where:
            return  # the handler itself has disconnected it
        deadline = self._deadlines.pop(eio_sid, None)
        if deadline is not None:
            deadline.cancel()
        self.manager.connect(sid, namespace)
        self._members.setdefault(namespace, {})[eio_sid] = sid
        self._send_packet(eio_sid, SocketPacket(packets.CONNECT, None if old else {"sid": sid}, namespace=namespace))
        for group in held:
            self.eio.send_group(eio_sid, group)

    def _refuse(self, eio_sid: str, namespace: str, old: bool, message: str) -> None:
        data = message if old else {"message": message}
        self._send_packet(eio_sid, SocketPacket(packets.CONNECT_ERROR, data, namespace=namespace))

    def disconnect(self, sid: str, namespace: str | None = None, ignore_queue: bool = False) -> None:
        """Upstream leaves a connection open for ever that was turned out of its last namespace."""
        place = self.where.get(sid)
        if place is not None:
            self._send_packet(place[1], SocketPacket(packets.DISCONNECT, namespace=place[0]))
            self._leave(*place, "server disconnect")
            hub.call_later(self._limits.close_seconds, self._close_unused, place[1])

    def _close_unused(self, eio_sid: str) -> None:
        if not any(eio_sid in members for members in self._members.values()):
            self.eio.disconnect(eio_sid)

    def _handle_disconnect(self, eio_sid: str, namespace: str | None, reason: str | None = None) -> None:
        """Upstream knows no generation 3, in which leaving `/` is leaving all, and calls a handler that raises TypeError twice."""
        namespace = namespace or "/"
        session = self.eio.sessions.get(eio_sid)
        everywhere = namespace == "/" and session is not None and session.generation == 3
        for name in list(self._members) if everywhere else [namespace]:
            self._leave(name, eio_sid, reason or "client disconnect")

    def _leave(self, namespace: str, eio_sid: str, reason: str) -> None:
        members = self._members.get(namespace, {})
        sid = members.pop(eio_sid, None)
        if sid is None:  # not let in yet, or gone
            sid = self.manager.sid_from_eio_sid(eio_sid, namespace)
            if sid is None:
                return
        if not members:
            self._members.pop(namespace, None)
        handler = self.handlers.get(namespace, {}).get("disconnect")
        try:
            if handler is not None and self.where.get(sid):
                handler(sid, reason)
        except Exception as error:  # noqa: BLE001 - whatever a handler forgot to catch must not keep the member here
            self._log(f"disconnect of client {sid} failed: {describe(error)}")
        finally:
            self.where.pop(sid, None)
            self.manager.disconnect(sid, namespace, ignore_queue=True)

    def _handle_eio_disconnect(self, eio_sid: str, reason: str) -> None:
        """Upstream asks every namespace and lets one failing handler keep the rest from being told."""
        self._waiting.pop(eio_sid, None)
        deadline = self._deadlines.pop(eio_sid, None)
        if deadline is not None:
            deadline.cancel()
        for namespace in [name for name, members in self._members.items() if eio_sid in members]:
            self._leave(namespace, eio_sid, reason)
        self.environ.pop(eio_sid, None)

    def _offer(self, eio_sid: str, raw: bytes) -> bool:
        """The quick way of a binary event's header."""
        found = self._forms.find(raw)
        if found is None or eio_sid in self._waiting:
            return False
        form, number = found
        self._waiting[eio_sid] = form if number is None and form.count == 1 else _Incoming(form, number)
        if self._sweep is None:
            self._sweep = hub.call_later(self._limits.attachments_seconds / 2, self._sweep_waiting)
        return True

    def _handle_eio_message(self, eio_sid: str, data: str | bytes) -> None:
        """Upstream parses every header, lets any number of attachments be announced, and does not say in one line what was wrong."""
        try:
            if isinstance(data, bytes):
                waiting = self._waiting.pop(eio_sid, None)
                if waiting.__class__ is Form:
                    self._event(eio_sid, waiting.namespace, None, waiting.event, waiting.fill([data]))
                else:
                    self._attachment(eio_sid, waiting, data)
            else:
                self._packet(eio_sid, data)
        except (ValueError, TypeError, IndexError, KeyError, RecursionError) as error:
            self._log(f"client {eio_sid} is disconnected: its packet is no Socket.IO ({error})")
            self.eio.disconnect(eio_sid)

    def _attachment(self, eio_sid: str, incoming: Any, data: bytes) -> None:
        if incoming is None:
            raise ValueError("binary data that no packet announced")
        incoming.attachments.append(data)
        if len(incoming.attachments) < incoming.form.count:
            self._waiting[eio_sid] = incoming
            return
        arguments = incoming.form.fill(incoming.attachments)
        if incoming.kind == packets.BINARY_ACK:
            self._handle_ack(eio_sid, incoming.form.namespace, incoming.id, arguments)
        else:
            self._event(eio_sid, incoming.form.namespace, incoming.id, incoming.form.event, arguments)

    def _packet(self, eio_sid: str, text: str) -> None:
        if eio_sid in self._waiting:
            raise ValueError("a packet among another one's attachments")
        pkt = SocketPacket(encoded_packet=text or " ")
        kind, namespace, data = pkt.packet_type, pkt.namespace or "/", pkt.data
        if kind == packets.CONNECT:
            if data is not None and not isinstance(data, dict):
                raise ValueError("a CONNECT packet whose data is no object")
            query = _NAMESPACE_QUERY.match(text)
            self._handle_connect(eio_sid, namespace, data, "" if query is None else query[1])
        elif kind == packets.DISCONNECT:
            self._handle_disconnect(eio_sid, namespace)
        elif (
            kind in (packets.EVENT, packets.BINARY_EVENT)
            and isinstance(data, list)
            and data
            and isinstance(data[0], str)
        ):
            if data[0] in _RESERVED:
                raise ValueError(f"an event may not be called {data[0]!r}")
            if kind == packets.EVENT:
                self._event(eio_sid, namespace, pkt.id, data[0], data[1:])
            else:
                form = Form(namespace, data[0], data[1:], pkt.attachment_count)
                self._announce(eio_sid, pkt, form)
                self._forms.learn(b"4" + text.encode(), form)
        elif kind == packets.ACK and isinstance(data, list) and pkt.id is not None:
            self._handle_ack(eio_sid, namespace, pkt.id, data)
        elif kind == packets.BINARY_ACK and isinstance(data, list) and pkt.id is not None:
            self._announce(eio_sid, pkt, Form(namespace, "", data, pkt.attachment_count))
        else:
            raise ValueError(f"a packet of type {kind} without what belongs to it")

    def _announce(self, eio_sid: str, pkt: SocketPacket, form: Form) -> None:
        if not 1 <= form.count <= self._limits.attachments:
            metrics.LIMITS_HIT.inc("attachments")
            raise ValueError(f"{form.count} attachments; 1 to {self._limits.attachments} are allowed")
        self._waiting[eio_sid] = _Incoming(form, pkt.id, pkt.packet_type)
        if self._sweep is None:
            self._sweep = hub.call_later(self._limits.attachments_seconds / 2, self._sweep_waiting)

    def _sweep_waiting(self) -> None:
        """Disconnect whoever owes an attachment for too long. Twice in that time, so that nothing is timed for each event."""
        now = self.eio.clock()
        for eio_sid, waiting in list(self._waiting.items()):
            incoming = _Incoming(waiting, None) if isinstance(waiting, Form) else waiting
            if incoming.since is None:
                incoming.since = now
                self._waiting[eio_sid] = incoming
            elif now - incoming.since >= self._limits.attachments_seconds / 2:
                metrics.LIMITS_HIT.inc("attachments_seconds")
                self._log(
                    f"client {eio_sid} is disconnected: no attachment within {self._limits.attachments_seconds:g} seconds"
                )
                self.eio.disconnect(eio_sid)
        self._sweep = (
            hub.call_later(self._limits.attachments_seconds / 2, self._sweep_waiting) if self._waiting else None
        )

    def _event(self, eio_sid: str, namespace: str, number: int | None, event: str, arguments: list[Any]) -> None:
        """Call the handler, here and now, and acknowledge. Upstream leaves an event unanswered whose handler raises."""
        members = self._members.get(namespace)
        sid = None if members is None else members.get(eio_sid)
        if sid is None:
            return  # it was turned out, and does not know yet
        handlers = self.handlers.get(namespace, {})
        handler, others = handlers.get(event), handlers.get("*")
        if handler is None and others is None:
            return  # unanswered, as every server leaves it: an acknowledgement would say that somebody has dealt with it
        try:
            answer = others(event, sid, *arguments) if handler is None else handler(sid, *arguments)
        except Exception as error:  # noqa: BLE001 - whatever a handler forgot to catch: the connection goes on
            answer = json.dumps({"success": False, "error": self._failed(event, sid, error)})
        if number is not None:
            values = [] if answer is None else list(answer) if isinstance(answer, tuple) else [answer]
            self._send_packet(eio_sid, SocketPacket(packets.ACK, values, namespace=namespace, id=number))

    def _failed(self, event: str, sid: str, error: Exception) -> str:
        """Log what a handler raised; what the client is told."""
        if isinstance(error, errors.ImageServerError):
            return str(error)
        trace = error.__traceback__
        self._log(f"event {event[:64]!r} of client {sid} failed: {describe(error)}")
        if isinstance(error, TypeError) and trace is not None and trace.tb_next is None:
            return f"the event {event[:64]!r} takes other arguments"
        return f"the event {event[:64]!r} failed in the server; its log says why"


def group_of(pkt: SocketPacket, key: str | None = None) -> Group:
    """A Socket.IO packet as the Engine.IO packets that carry it."""
    encoded = pkt.encode()
    parts = encoded if isinstance(encoded, list) else [encoded]
    return Group([Packet(MESSAGE, bytes(part) if isinstance(part, bytearray) else part) for part in parts], key)
