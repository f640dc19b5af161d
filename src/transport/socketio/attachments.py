"""Packets of Socket.IO whose attachments are still to come: how many bytes of these may wait, and for how long."""

from __future__ import annotations

import math

from socketio import packet as packets

from imageserver.errors import LimitExceeded
from imageserver.limits import note
from imageserver.transport import hub, pace
from imageserver.transport.budget import FULL, Charge
from imageserver.transport.engineio.server import BESIDE_BYTES, EngineServer
from imageserver.transport.pace import Pace
from imageserver.transport.socketio.header_cache import EventHeader


class AnnouncedPacket:
    """A packet, and those of its attachments that have come."""

    __slots__ = ("attachments", "charge", "header", "id", "kind", "pace", "since", "size")

    def __init__(self, header: EventHeader, id: int | None, kind: int = packets.BINARY_EVENT) -> None:  # noqa: A002
        self.header, self.id, self.kind = header, id, kind
        self.attachments: list[bytes] = []
        self.size = 0
        """Bytes of these."""
        self.charge: Charge | None = None
        self.pace: Pace | None = None
        """From the first attachment on, when others are to come."""
        self.since: float | None = None
        """When it was first looked at."""


class Attachments:
    """What is announced on all connections. A client that owes attachments for too long is disconnected."""

    def __init__(self, engine: EngineServer) -> None:
        self._engine, self._limits, self._log = engine, engine.limits, engine.log
        self.waiting: dict[str, EventHeader | AnnouncedPacket] = {}
        """Engine's id: the packet whose attachments come next; of one attachment that needs no answer, its header."""
        self.sweep: hub.Timer | None = None
        self._seconds = min(self._limits.attachment_time, self._limits.body_grace) / 2

    def announce(self, eio_sid: str, packet: EventHeader | AnnouncedPacket) -> None:
        """Wait for the attachments of `packet`."""
        self.waiting[eio_sid] = packet
        if self.sweep is None:
            self.sweep_later()

    def add(self, eio_sid: str, packet: AnnouncedPacket, data: bytes) -> bool:
        """Take an attachment; whether it is the last.

        ValueError: all together are too large. LimitExceeded: its client may not have so much waiting now.
        """
        packet.attachments.append(data)
        packet.size += len(data)
        most = self._limits.max_message_bytes
        if packet.size > most:
            why = f"{packet.size} bytes of attachments; {most} are allowed"
            raise ValueError(note(why, "max_message_bytes", self._engine.owner(eio_sid)))
        if len(packet.attachments) == packet.header.count:
            self._let_go(eio_sid, packet)
            return True
        if packet.charge is None:
            packet.charge = self._engine.sessions[eio_sid].account.charge("attachments")
            packet.pace = pace.of_arrival(self._limits, self._engine.clock)
        if not packet.charge.set(packet.size):
            raise LimitExceeded(FULL)
        self._allow(eio_sid, most - packet.size)
        self.waiting[eio_sid] = packet
        return False

    def forget(self, eio_sid: str) -> None:
        """A connection has ended."""
        packet = self.waiting.pop(eio_sid, None)
        if isinstance(packet, AnnouncedPacket):
            self._let_go(eio_sid, packet)

    def _let_go(self, eio_sid: str, packet: AnnouncedPacket) -> None:
        if packet.charge is not None:
            packet.charge.set(0)
            self._allow(eio_sid, None)

    def _allow(self, eio_sid: str, left: int | None) -> None:
        """Let the WebSocket keep no more of the next attachment than is left for it; None: as of any message."""
        session = self._engine.sessions.get(eio_sid)
        if session is not None and session.ws is not None:
            # As base64 it has a third more, and line breaks.
            most = None if left is None else left + left // 2 + BESIDE_BYTES
            session.ws.incoming.receiver.most_kept = most

    def sweep_later(self) -> None:
        """Look at what is waited for, when the time comes; for whoever has put something into `waiting`."""
        self.sweep = hub.call_later(self._seconds, self._sweep_waiting)

    def _sweep_waiting(self) -> None:
        """Disconnect whoever owes an attachment for too long; now and then, since nothing is timed for each event."""
        now, most = self._engine.clock(), self._limits.attachment_time
        for eio_sid, waiting in list(self.waiting.items()):
            packet = AnnouncedPacket(waiting, None) if isinstance(waiting, EventHeader) else waiting
            if packet.since is None:
                packet.since = now
                self.waiting[eio_sid] = packet
            if now - packet.since >= most - self._seconds:
                self._give_up(eio_sid, packet, f"no attachment within {most:g} seconds", "attachment_time")
            elif packet.pace is not None and self._too_slow(eio_sid, packet, packet.pace):
                why = f"its attachments came at less than {self._limits.min_body_rate} bytes a second"
                self._give_up(eio_sid, packet, why, "min_body_rate")
        self.sweep = None
        if self.waiting:
            self.sweep_later()

    def _too_slow(self, eio_sid: str, packet: AnnouncedPacket, pace: Pace) -> bool:
        session = self._engine.sessions.get(eio_sid)
        if session is None or session.posting is not None:
            pace.begin(packet.size)  # a POST has a pace of its own
            return False
        pace.reached(packet.size + (0 if session.ws is None else session.ws.incoming.receiver.arrived))
        return pace.end <= self._engine.clock()

    def _give_up(self, eio_sid: str, packet: AnnouncedPacket, reason: str, limit: str) -> None:
        why = f"{self._engine.who(eio_sid)} is disconnected: {reason}"
        self._log(note(why, limit, self._engine.owner(eio_sid)))
        packet.since, packet.pace = math.inf, None  # told once, though its end may come after the next look
        self._engine.close(eio_sid)
