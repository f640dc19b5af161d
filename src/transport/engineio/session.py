"""One Engine.IO session: what waits for the client, its heartbeat, and which transport it is on.

A session begins on polling or on WebSocket and may move from the first to the second. Whoever reads for it (a POST,
or the WebSocket's green thread) runs the handlers, so a session's messages are handled one after the other.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator
from types import ModuleType
from typing import TYPE_CHECKING

from imageserver import metrics
from imageserver.transport import fairness, hub
from imageserver.transport.engineio.packet import CLOSE, MESSAGE, NOOP, OPEN, PING, PONG, DecodeError, Packet, open_data
from imageserver.transport.websocket.connection import BINARY, ProtocolError, WebSocket
from imageserver.transport.websocket.frames import BINARY as BINARY_FRAME
from imageserver.transport.websocket.frames import INVALID_DATA, NO_STATUS, TEXT, frame

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

    from imageserver.transport.engineio.server import EngineServer

MOST_IN_ANSWER = 16
"""Packets in one answer to a poll: python-engineio's clients of both generations refuse more."""

COALESCE_BYTES = 64 * 1024

VERDICT_SECONDS = 0.05
"""How near the end of a heartbeat's time a poll waits for what becomes of it, and how late a timer may be at the client's expense;
at most a quarter of `ping_timeout`."""


class Group:
    """Packets that belong together, such as an event and its attachments; nothing is ever sent between them.

    `key`: while a group waits, a newer one with the same key takes its place. One group may go to many clients:
    it is encoded once for each form that any of them needs.
    """

    __slots__ = ("_frames", "key", "packets", "size")

    def __init__(self, packets: Iterable[Packet], key: str | None = None) -> None:
        self.packets = tuple(packets)
        self.key = key
        self.size = sum(len(packet.data) + 16 for packet in self.packets)
        self._frames: dict[tuple[int, bool], bytes] = {}

    def frames(self, codec: ModuleType, base64: bool) -> bytes:
        """The packets as WebSocket frames of one generation."""
        form = (codec.VERSION, base64)
        encoded = self._frames.get(form)
        if encoded is None:
            encoded = self._frames[form] = b"".join(
                _frames(codec.encode_packet(packet, base64=base64) for packet in self.packets)
            )
        return encoded


def _frames(messages: Iterable[str | bytes]) -> Iterator[bytes]:
    for message in messages:
        yield frame(TEXT, message.encode()) if isinstance(message, str) else frame(BINARY_FRAME, message)


class Session:
    """A client's session, in `server.sessions` under `sid` while it is open."""

    __slots__ = (
        "_beat_at", "_beat_sent", "_running", "_seen", "_server", "_timer", "base64", "codec", "environ", "finished", "poll",
        "poll_sock", "posting", "queue", "queued", "reason", "sid", "upgrading", "ws",
    )  # fmt: skip

    def __init__(
        self, server: EngineServer, sid: str, codec: ModuleType, base64: bool, environ: WSGIEnvironment
    ) -> None:
        self._server, self.sid, self.codec, self.base64, self.environ = server, sid, codec, base64, environ
        self.queue: deque[Group] = deque()
        self.queued = 0
        """Bytes in `queue`."""
        self.ws: WebSocket | None = None
        self.upgrading: WebSocket | None = None
        self.poll: hub.Event | None = None
        """Set to wake the poll that waits; None while none does."""
        self.poll_sock: hub.Socket | None = None
        self.posting = False
        self.reason: str | None = None
        """Why it was closed; None while it is open."""
        self.finished = False
        self._running = 0  # green threads that read for this session and will do what its end needs
        self._seen = server.clock()
        self._beat_at = 0.0  # when the server's next ping is due
        self._beat_sent = 0.0
        self._timer: hub.Timer | None = None

    @property
    def generation(self) -> int:
        """3 or 4: the protocol of Engine.IO."""
        version: int = self.codec.VERSION
        return version

    def open(self, upgrades: list[str]) -> None:
        """Queue the OPEN packet and start the heartbeat."""
        limits = self._server.limits
        interval, timeout = round(limits.ping_interval * 1000), round(limits.ping_timeout * 1000)
        fields: dict[str, object] = {
            "sid": self.sid,
            "upgrades": upgrades,
            "pingInterval": interval,
            "pingTimeout": timeout,
        }
        if self.generation == 4:
            fields["maxPayload"] = limits.message_bytes
        self.send(Group([Packet(OPEN, open_data(fields))]))
        if self.generation == 4:
            self._beat_in(limits.ping_interval)
        else:
            self._timer = hub.call_later(limits.ping_interval + limits.ping_timeout, self._expect_beat)

    def send(self, group: Group) -> bool:
        """Send, or queue until the client fetches it. Never blocks. False when the session is closed, or is by this."""
        if self.reason is not None:
            return False
        ws = self.ws
        if ws is not None and not self.queue and not ws.queued:
            return ws.write(group.frames(self.codec, self.base64))
        if group.key is not None and self._replace(group):
            return True
        waiting = self.queued + (0 if ws is None else ws.queued)
        if waiting and waiting + group.size > self._server.limits.queue_bytes:
            metrics.LIMITS_HIT.inc("queue_bytes")
            self._server.log(
                f"client {self.sid} has {waiting} bytes waiting, the most that queue_bytes allows; it is disconnected"
            )
            self.close("transport error")
            return False
        self.queue.append(group)
        self.queued += group.size
        if self.poll is not None:
            self.poll.set()
        return True

    def _replace(self, group: Group) -> bool:
        for index, waiting in enumerate(self.queue):
            if waiting.key == group.key:
                self.queued += group.size - waiting.size
                self.queue[index] = group
                return True
        return False

    def flush(self) -> None:
        """Give what waits to the WebSocket, as far as the kernel takes it. Must not block: `drained` of the WebSocket."""
        ws = self.ws
        while self.queue and ws is not None and not ws.queued:
            encoded: list[bytes] = []
            size = 0
            while self.queue and size < COALESCE_BYTES:
                group = self.queue.popleft()
                self.queued -= group.size
                encoded.append(group.frames(self.codec, self.base64))
                size += len(encoded[-1])
            ws.write(b"".join(encoded))

    def take(self) -> list[Packet]:
        """Remove from the queue what one answer to a poll carries."""
        packets: list[Packet] = []
        while self.queue and (not packets or len(packets) + len(self.queue[0].packets) <= MOST_IN_ANSWER):
            group = self.queue.popleft()
            self.queued -= group.size
            packets.extend(group.packets)
        return packets

    def receive(self, packet: Packet) -> None:
        """Act on one packet from the client, whichever way it came. Raises `DecodeError` for one that has no place here."""
        kind, data = packet
        if kind == MESSAGE:
            self._server.message(self.sid, data)
        elif kind == PING and self.generation == 3:
            self.send(Group([Packet(PONG, data)]))
        elif kind == PONG and self.generation == 4:
            if self._timer is not None:
                self._timer.cancel()
                self._beat_in(self._server.limits.ping_interval)
        elif kind == CLOSE:
            # A poll that waits is answered with NOOP, so is one that crosses this packet on the way.
            self.close("client disconnect", [Packet(NOOP)])
        else:
            raise DecodeError(f"a packet of type {kind} has no place here")

    def read(self, ws: WebSocket, messages: Iterator[tuple[int, bytes]]) -> None:
        """Handle what comes over the WebSocket until it ends."""
        decode, sid, offer, handle = self.codec.decode_packet, self.sid, self._server.offer_text, self._server.message
        plain = self.generation == 4  # binary messages are data alone
        try:
            for opcode, payload in messages:
                if opcode == BINARY:
                    if plain:
                        handle(sid, payload)
                    else:
                        self.receive(decode(payload))
                elif not offer(sid, payload):
                    packet = decode(payload.decode(), fairness.pause)
                    if packet.type == PING:
                        ws.count_ping()
                    self.receive(packet)
                if self.reason is not None:
                    break
        except DecodeError as error:
            self._server.log(f"client {sid} is disconnected: {error}")
            self.close("transport error")
        except UnicodeDecodeError:
            ws.fail(ProtocolError(INVALID_DATA, "text must be UTF-8"))
            self.close("transport error")
        except ProtocolError as error:
            ws.fail(error)
            self.close("transport error")
        self.close("transport close")
        for _message in messages:
            pass  # until the client has answered the close frame

    def run(self) -> _Running:
        """`with session.run():` around whatever reads for it and calls handlers."""
        return _Running(self)

    def close(self, reason: str, farewell: Iterable[Packet] = (Packet(CLOSE),)) -> None:
        """End it; never blocks. A polling client is told with `farewell`: in the poll that waits, or in its next one
        when the end is an orderly one. Without a farewell its poll fails, and it will try to come back.
        """
        if self.reason is not None:
            return
        self.reason = reason
        if self._timer is not None:
            self._timer.cancel()
        if self.ws is not None:
            self.flush()
            self.ws.close(NO_STATUS)
        else:
            if self.upgrading is not None:
                self.upgrading.close(NO_STATUS)
            packets = tuple(farewell)
            if packets:
                self.queue.append(Group(packets))
            else:
                self.queue.clear()
        self._server.forget(self)
        if self.poll is not None:
            self.poll.set()
        if not self._running:
            hub.spawn(self.finish)

    def finish(self) -> None:
        """Tell the application, once, in a green thread that may block."""
        if not self.finished:
            self.finished = True
            self._server.finished(self)

    def alive(self) -> None:
        """Note that the client has sent something."""
        self._seen = self._server.clock()

    def entered(self) -> None:
        self._running += 1

    def left(self) -> None:
        self._running -= 1
        if self.reason is not None and not self._running:
            self.finish()

    def _last_seen(self) -> float:
        if self.posting or (self.ws is not None and self.ws.handling):
            return self._server.clock()  # its next heartbeat may be behind what is being read or handled just now
        return max(self._seen, 0.0 if self.ws is None else self.ws.read_at)

    def settle(self, seconds: float) -> None:
        """Wait, at most so long, while it moves to a WebSocket: a POST right behind the move's last packet comes too late, not in time."""
        end = self._server.clock() + seconds
        while self.upgrading is not None and self._server.clock() < end:
            hub.sleep(0.001)

    def verdict(self) -> bool:
        """Whether the session is open, for a poll that has come; waits while a heartbeat is missing whose time is all but over.

        Such a poll would fetch a ping that nobody can answer in time, or keep an answer that nobody will fetch.
        """
        while self.reason is None and self._left() < self._verdict_seconds():
            hub.sleep(0.001)
        return self.reason is None

    def _verdict_seconds(self) -> float:
        return min(VERDICT_SECONDS, self._server.limits.ping_timeout / 4)

    def _left(self) -> float:
        """Seconds that the client has to send something, infinity when nothing is expected from it."""
        limits, seen = self._server.limits, self._last_seen()
        if self.generation == 3:
            return seen + limits.ping_interval + limits.ping_timeout - self._server.clock()
        return math.inf if seen >= self._beat_sent else self._beat_sent + limits.ping_timeout - self._server.clock()

    def _beat_in(self, seconds: float) -> None:
        self._beat_at = self._server.clock() + seconds
        self._timer = hub.call_later(seconds, self._beat)

    def _beat(self) -> None:
        """Generation 4: the server's ping."""
        # A timer is always a little late, and two in a row would be so twice; but when the loop was busy, the client's time begins now.
        self._beat_sent = max(self._beat_at, self._server.clock() - self._verdict_seconds())
        self.send(Group([Packet(PING)]))
        if self.reason is None:
            self._timer = hub.call_later(
                max(0.0, min(self._left(), self._server.limits.ping_timeout)), self._check_beat
            )

    def _check_beat(self, last: bool = False) -> None:
        if self._last_seen() < self._beat_sent:
            if last:
                self.close("ping timeout")
            else:  # the answer may be there, unread, when the loop was busy: read what there is, then look again
                self._timer = hub.call_later(0, self._check_beat, True)
        else:
            self._beat_in(max(0.0, self._server.limits.ping_interval - self._server.limits.ping_timeout))

    def _expect_beat(self, last: bool = False) -> None:
        """Generation 3: the client's ping."""
        left = self._left()
        if left <= 0 and last:
            self.close("ping timeout")
        elif left <= 0:
            self._timer = hub.call_later(0, self._expect_beat, True)
        else:
            self._timer = hub.call_later(left, self._expect_beat)


class _Running:
    def __init__(self, session: Session) -> None:
        self._session = session

    def __enter__(self) -> None:
        self._session.entered()

    def __exit__(self, *_: object) -> None:
        self._session.left()
