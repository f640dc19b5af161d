"""What clients send over Socket.IO: packets and their attachments, put together, and the handlers of events called."""

from __future__ import annotations

import json
import re
from typing import Any

from socketio import packet as packets

from imageserver import errors
from imageserver.errors import describe
from imageserver.limits import note
from imageserver.transport.engineio.server import EngineServer
from imageserver.transport.socketio.attachments import AnnouncedPacket, Attachments
from imageserver.transport.socketio.header_cache import EventHeader, HeaderCache
from imageserver.transport.socketio.members import Handlers, Members
from imageserver.transport.socketio.packets import SocketPacket, group_of

_RESERVED = {"connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"}
"""Names that the protocol keeps for itself: no client may send an event of this name."""

_NAMESPACE_QUERY = re.compile(r"0/[^,?]*\?([^,]*)")


class EventReader:
    """Takes the messages of all connections, each in its order, and calls the handlers of events there and then."""

    def __init__(self, engine: EngineServer, handlers: Handlers, members: Members) -> None:
        self._engine, self._handlers, self._members, self._joined = engine, handlers, members, members.joined
        self._limits, self._log = engine.limits, engine.log
        self._headers = HeaderCache()
        self._attachments = Attachments(engine)
        self.waiting = self._attachments.waiting

    def offer(self, eio_sid: str, raw: bytes) -> bool:
        """Take a text message if it is the header of a binary event that was seen before; whether it is."""
        found = self._headers.find(raw)
        if found is None or eio_sid in self.waiting:
            return False
        header, number = found
        simple = number is None and header.count == 1
        self.waiting[eio_sid] = header if simple else AnnouncedPacket(header, number)
        if self._attachments.sweep is None:  # not `announce`: this is done for each frame
            self._attachments.sweep_later()
        return True

    def message(self, eio_sid: str, data: str | bytes) -> None:
        """Take a message. A client that sends what is no Socket.IO is disconnected."""
        try:
            if isinstance(data, bytes):
                waiting = self.waiting.pop(eio_sid, None)
                if waiting.__class__ is EventHeader:
                    self._event(eio_sid, waiting.namespace, None, waiting.event, waiting.fill([data]))
                else:
                    self._attachment(eio_sid, waiting, data)
            else:
                self._packet(eio_sid, data)
        except errors.LimitExceeded:  # the budget has told
            self._engine.close(eio_sid)
        except (ValueError, TypeError, IndexError, KeyError, RecursionError) as error:
            self._log(f"{self._engine.who(eio_sid)} is disconnected: its packet is no Socket.IO ({error})")
            self._engine.close(eio_sid)

    def forget(self, eio_sid: str) -> None:
        """A connection has ended."""
        self._attachments.forget(eio_sid)

    def _attachment(self, eio_sid: str, incoming: Any, data: bytes) -> None:
        if incoming is None:
            raise ValueError("binary data that no packet announced")
        if not self._attachments.add(eio_sid, incoming, data):
            return
        header = incoming.header
        arguments = header.fill(incoming.attachments)
        if incoming.kind == packets.BINARY_EVENT:  # nothing asks for an acknowledgement, so one is let pass
            self._event(eio_sid, header.namespace, incoming.id, header.event, arguments)

    def _packet(self, eio_sid: str, text: str) -> None:
        if eio_sid in self.waiting:
            raise ValueError("a packet among another one's attachments")
        pkt = SocketPacket(encoded_packet=text or " ")
        kind, namespace, data = pkt.packet_type, pkt.namespace or "/", pkt.data
        self._check_name(eio_sid, namespace)
        if kind in (packets.CONNECT, packets.DISCONNECT):
            session = self._engine.sessions.get(eio_sid)
            if kind == packets.CONNECT and data is not None and not isinstance(data, dict):
                raise ValueError("a CONNECT packet whose data is no object")
            if session is None:
                return
            if kind == packets.DISCONNECT:
                self._members.left(session, namespace)
            else:
                self._members.join(session, namespace, data, self._query_in(eio_sid, text))
        elif kind in (packets.EVENT, packets.BINARY_EVENT) and _names_an_event(data):
            self._check_name(eio_sid, data[0])
            if kind == packets.EVENT:
                self._event(eio_sid, namespace, pkt.id, data[0], data[1:])
            else:
                header = EventHeader(namespace, data[0], data[1:], pkt.attachment_count)
                self._announce(eio_sid, pkt, header)
                self._headers.learn(b"4" + text.encode(), header)
        elif kind in (packets.ACK, packets.BINARY_ACK) and isinstance(data, list) and pkt.id is not None:
            if kind == packets.BINARY_ACK:
                self._announce(eio_sid, pkt, EventHeader(namespace, "", data, pkt.attachment_count))
        else:
            raise ValueError(f"a packet of type {kind} without what belongs to it")

    def _check_name(self, eio_sid: str, name: str) -> None:
        """ValueError for the name of an event or a namespace that is too long."""
        most = self._limits.max_name_length
        if len(name) > most:
            why = f"a name of {len(name)} characters; {most} are allowed"
            raise ValueError(note(why, "max_name_length", self._engine.owner(eio_sid)))

    def _query_in(self, eio_sid: str, text: str) -> str:
        """The query behind the namespace of a CONNECT packet. ValueError for one longer than a request's may be."""
        found = _NAMESPACE_QUERY.match(text)
        query = "" if found is None else found[1]
        if len(query) > self._limits.max_request_line:
            why = f"a query of {len(query)} characters"
            raise ValueError(note(why, "max_request_line", self._engine.owner(eio_sid)))
        return query

    def _announce(self, eio_sid: str, pkt: SocketPacket, header: EventHeader) -> None:
        if not 1 <= header.count <= self._limits.max_attachments:
            why = f"{header.count} attachments; 1 to {self._limits.max_attachments} are allowed"
            raise ValueError(note(why, "max_attachments", self._engine.owner(eio_sid)))
        self._attachments.announce(eio_sid, AnnouncedPacket(header, pkt.id, pkt.packet_type))

    def _event(self, eio_sid: str, namespace: str, number: int | None, event: str, arguments: list[Any]) -> None:
        """Call the handler, here and now, and acknowledge, also when it raises."""
        members = self._joined.get(namespace)
        sid = None if members is None else members.get(eio_sid)
        if sid is None:
            return  # it was turned out, and does not know yet
        handlers = self._handlers.get(namespace, {})
        handler, given = handlers.get(event), (sid, *arguments)
        if handler is None:
            handler, given = handlers.get("*"), (event, sid, *arguments)
        if handler is None:
            return  # unanswered, as every server leaves it: an acknowledgement would say that somebody dealt with it
        try:
            answer = handler(*given)
        except Exception as error:  # noqa: BLE001 - whatever a handler forgot to catch: the connection goes on
            answer = json.dumps({"success": False, "error": self._failed(event, eio_sid, error)})
        if number is not None:
            values = [] if answer is None else list(answer) if isinstance(answer, tuple) else [answer]
            self._engine.send(eio_sid, group_of(SocketPacket(packets.ACK, values, namespace=namespace, id=number)))

    def _failed(self, event: str, eio_sid: str, error: Exception) -> str:
        """Log what a handler raised; what the client is told."""
        if isinstance(error, errors.ImageServerError):
            return str(error)
        trace = error.__traceback__
        self._log(f"event {event[:64]!r} of {self._engine.who(eio_sid)} failed: {describe(error)}")
        if isinstance(error, TypeError) and trace is not None and trace.tb_next is None:
            return f"the event {event[:64]!r} takes other arguments"
        return f"the event {event[:64]!r} failed in the server; its log says why"


def _names_an_event(data: Any) -> bool:
    """Whether a packet's data begin with the name of an event. ValueError for one that no client may send."""
    if not (isinstance(data, list) and data and isinstance(data[0], str)):
        return False
    if data[0] in _RESERVED:
        raise ValueError(f"an event may not be called {data[0]!r}")
    return True
