"""One Engine.IO session: which transport it is on, what waits for its client, and how it ends.

Whoever reads for it (a POST, or the WebSocket's green thread) runs the handlers, one after the other: after the move
to a WebSocket its reader waits for the POST that still runs.

    OPENING ---> POLLING <--------> UPGRADING ------> WEBSOCKET <--- OPENING
                    |      probe,       |   upgrade       |
                    |      failed       |                 |
                    +-------------------+-----------------+----> CLOSED ----> FINISHED
                                                   either side ends it     the application knows
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from functools import partial
from types import ModuleType
from typing import NamedTuple, Protocol

from imageserver import metrics
from imageserver.errors import DecodeError
from imageserver.limits import ANONYMOUS_TEXT_BYTES, Limits, note
from imageserver.transport import hub
from imageserver.transport.budget import Account
from imageserver.transport.engineio.heartbeat import Heartbeat
from imageserver.transport.engineio.outgoing import Group, SendQueue
from imageserver.transport.engineio.packet import CLOSE, MESSAGE, NOOP, OPEN, PING, PONG, EnginePacket, open_data
from imageserver.transport.websocket.connection import WebSocket
from imageserver.transport.websocket.frames import CloseCode


class EngineState(enum.Enum):
    """Where a session is: drawn at the top of this file."""

    OPENING = enum.auto()
    POLLING = enum.auto()
    UPGRADING = enum.auto()
    """On polling still, while a WebSocket probes."""
    WEBSOCKET = enum.auto()
    CLOSED = enum.auto()
    """Nothing is sent or handled any more; what runs for it comes to its end."""
    FINISHED = enum.auto()


_CLOSE = EnginePacket(CLOSE)
_ORDERLY = ("client disconnect", "server disconnect")
_WEBSOCKET = EngineState.WEBSOCKET
_GAUGES = {
    EngineState.POLLING: metrics.CONNECTIONS.child("polling"),
    EngineState.UPGRADING: metrics.CONNECTIONS.child("polling"),
    _WEBSOCKET: metrics.CONNECTIONS.child("websocket"),
}


class Owner(Protocol):
    """What a session needs of the server."""

    limits: Limits
    login_required: bool
    clock: Callable[[], float]
    log: Callable[[str], None]
    message: Callable[[str, str | bytes], None]
    disconnect: Callable[[str, str], object]
    offer_text: Callable[[str, bytes], bool]

    def forget(self, session: EngineSession, *, orderly: bool) -> None:
        """It is closed: nothing may find it any more but, after an orderly end, the poll that fetches the last."""


class WaitingPoll(NamedTuple):
    """A poll that waits for something to carry: set `woken` to let it look."""

    woken: hub.Event
    sock: hub.Socket


class EngineSession:
    """A client's session. `with session:` around whatever reads for it and calls handlers."""

    __slots__ = (
        "_readers", "_seen", "account", "address", "anonymous", "base64", "codec", "heartbeat", "kept", "owner",
        "poll", "posting", "query", "queue", "reason", "sid", "state", "ws",
    )  # fmt: skip

    def __init__(
        self, owner: Owner, sid: str, codec: ModuleType, base64: bool, address: str, query: str, account: Account
    ) -> None:
        self.owner, self.sid, self.codec, self.base64 = owner, sid, codec, base64
        # Of the request that it began with nothing else is kept: thousands of sessions would hold all their headers.
        self.address, self.query, self.kept = address, query, ""  # `kept`: a text that the application chose
        self.account = account  # to which all that waits for this client is charged
        self.anonymous = owner.login_required  # nobody has logged in on it, though that is asked for
        self.state = EngineState.OPENING
        self.queue = SendQueue(account.charge("answers"))
        self.ws: WebSocket | None = None
        """What it is on, or is moving to."""
        self.poll: WaitingPoll | None = None
        self.posting: hub.Event | None = None
        """Set at the end of the POST that is being handled; None while there is none."""
        self.reason = ""
        """Why it was closed."""
        self.heartbeat = Heartbeat(self, owner.limits, owner.clock)
        self._readers = 0  # green threads that read for this session and will do what its end needs
        self._seen = owner.clock()

    @property
    def generation(self) -> int:
        """3 or 4: the protocol of Engine.IO."""
        version: int = self.codec.VERSION
        return version

    @property
    def who(self) -> str:
        """Whose it is, for the log."""
        return f"client {self.sid} of {self.address}"

    @property
    def max_text(self) -> int:
        """Bytes that a text packet of its client may have."""
        most = self.owner.limits.max_text_bytes
        return min(most, ANONYMOUS_TEXT_BYTES) if self.anonymous else most

    @property
    def is_open(self) -> bool:
        """Whether it is not closed."""
        return self.state is not EngineState.CLOSED and self.state is not EngineState.FINISHED

    def open(self, ws: WebSocket | None) -> None:
        """Begin on polling, or on a WebSocket: send the OPEN packet and start the heartbeat."""
        self.ws = ws
        self._change(EngineState.POLLING if ws is None else _WEBSOCKET)
        limits = self.owner.limits
        interval, timeout = round(limits.ping_interval * 1000), round(limits.ping_timeout * 1000)
        upgrades = ["websocket"] if ws is None else []
        fields = {"sid": self.sid, "upgrades": upgrades, "pingInterval": interval, "pingTimeout": timeout}
        if self.generation == 4:
            fields["maxPayload"] = limits.max_message_bytes
        self.send_packet(EnginePacket(OPEN, open_data(fields)))
        self.heartbeat.start()

    def probe(self, ws: WebSocket) -> None:
        """A WebSocket wants to take the session over."""
        self.ws = ws
        self._change(EngineState.UPGRADING)

    def end_probe(self, *, upgraded: bool) -> None:
        """It has taken it over, or failed; nothing happens when the session was closed meanwhile."""
        if self.state is EngineState.UPGRADING:
            if not upgraded:
                self.ws = None
            self._change(_WEBSOCKET if upgraded else EngineState.POLLING)
            self.flush()
            self.wake_poll()

    def send(self, group: Group) -> bool:
        """Send, or queue until the client fetches it. Never blocks. False when the session is closed, or is by this."""
        ws = self.ws if self.state is _WEBSOCKET else None
        if ws is not None and not self.queue and not ws.outgoing.size:
            return ws.write(group.frames(self.codec, self.base64))
        if not self.is_open:
            return False
        if group.key is not None and self.queue.replace(group):
            return True
        waiting = self.queue.size + (0 if ws is None else ws.outgoing.size)
        over = waiting and waiting + group.size > self.owner.limits.max_outgoing_bytes
        if not over and self.queue.put(group):
            self.wake_poll()
            return True
        limit = "max_outgoing_bytes" if over else ""  # else the budget has counted it
        self.owner.log(note(f"{self.who} has {waiting} bytes waiting; it is disconnected", limit, self.account.owner))
        self.queue.clear()
        self.close("transport error")
        return False

    def send_packet(self, packet: EnginePacket) -> bool:
        """Send one packet; otherwise like `send`."""
        return self.send(Group([packet]))

    def flush(self) -> None:
        """Give what waits to the WebSocket, as far as the kernel takes it. Never blocks."""
        ws = self.ws
        while ws is not None and ws.close_code is None and self.queue and not ws.outgoing.size:
            ws.write(self.queue.take_frames(self.codec, self.base64))

    def receive(self, packet: EnginePacket) -> None:
        """Act on one packet from the client, whichever way it came. Raises DecodeError for one that no client sends."""
        kind, data = packet
        if kind == MESSAGE:
            self.owner.message(self.sid, data)
        elif kind == PING and self.generation == 3:
            self.send_packet(EnginePacket(PONG, data))
        elif kind == PONG and self.generation == 4:
            self.heartbeat.answered()
        elif kind == CLOSE:
            # A poll that waits is answered with NOOP, so is one that crosses this packet on the way.
            self.close("client disconnect", EnginePacket(NOOP))
        else:
            raise DecodeError(f"a packet of type {kind} does not belong here")

    def close(self, reason: str, last: EnginePacket | None = _CLOSE) -> None:
        """End it; never blocks. A polling client is told with `last`: in the poll that waits, or in its next one when
        the end is an orderly one. `last=None`: as a lost network would, so that the client tries to come back: a poll
        fails, and a WebSocket ends without a close frame, at which some clients would stop reading.
        """
        if not self.is_open:
            return
        before, ws, self.reason = self.state, self.ws, reason
        self._change(EngineState.CLOSED)
        self.heartbeat.stop()
        if ws is not None and before is _WEBSOCKET:
            if self.queue:
                hub.call_later(self.owner.limits.close_time, ws.abort)
            self._end(ws, orderly=last is not None)
        else:
            if last is None:
                self.queue.clear()
            else:
                self.queue.put(Group([last]))
            if ws is not None:
                ws.close(CloseCode.NO_STATUS_RCVD)
        self.owner.forget(self, orderly=before is not _WEBSOCKET and reason in _ORDERLY)
        self.wake_poll()
        if not self._readers:
            hub.spawn(self._finish)

    def drop(self) -> None:
        """Close it as a lost network would, so that the client tries to come back; never blocks."""
        self.close("transport close", None)

    def alive(self) -> None:
        """Note that the client has sent something."""
        self._seen = self.owner.clock()

    def last_seen(self) -> float:
        """When the client last sent something."""
        ws = self.ws if self.state is _WEBSOCKET else None
        if self.posting is not None or (ws is not None and not ws.incoming.waiting):
            return self.owner.clock()  # its next heartbeat may be behind what is being read or handled just now
        return self._seen if ws is None else max(self._seen, ws.incoming.read_at)

    def wake_poll(self) -> None:
        """Let the poll that waits look again, if there is one."""
        if self.poll is not None:
            self.poll.woken.set()

    def __enter__(self) -> None:
        self._readers += 1

    def __exit__(self, *_: object) -> None:
        self._readers -= 1
        if not self._readers:
            self._finish()

    def _end(self, ws: WebSocket, *, orderly: bool) -> None:
        """End the WebSocket behind what waits, which it gets as fast as the kernel takes it."""
        self.flush()
        if self.queue and ws.close_code is None:
            ws.outgoing.drained = partial(self._end, ws, orderly=orderly)
        elif orderly:
            ws.close(CloseCode.NO_STATUS_RCVD)
        else:
            ws.drop()

    def _finish(self) -> None:
        """Tell the application of the end, once, in a green thread that may block."""
        if self.state is EngineState.CLOSED:
            self._change(EngineState.FINISHED)
            self.owner.disconnect(self.sid, self.reason)
            del self.heartbeat  # it refers to this in turn

    def _change(self, state: EngineState) -> None:
        """Change the state, and count it."""
        for counted, step in ((self.state, -1), (state, 1)):
            if counted in _GAUGES:
                _GAUGES[counted].value += step
        self.state = state
