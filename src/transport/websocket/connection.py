"""WebSocket connections (RFC 6455) on green sockets: reading in large pieces, writing without ever blocking.

websocket_app(handler, limits)      a WSGI application; handler(ws, environ) runs for each connection
accept(environ, …)                  the same for an application that decides for itself whether to upgrade
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from imageserver import metrics
from imageserver.transport import hub
from imageserver.transport.fairness import Turn
from imageserver.transport.limits import WebSocketLimits
from imageserver.transport.websocket import frames
from imageserver.transport.websocket.frames import BINARY, CLOSE, PING, TEXT, ProtocolError

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

__all__ = ["BINARY", "TEXT", "ProtocolError", "WebSocket", "WebSocketLimits", "accept", "encode_text", "websocket_app"]

_chunks: list[frames.Chunk] = []  # memory to read into, lent to whoever reads just now: an idle connection has none
_SPARE_CHUNKS = 4


class WebSocket:
    """One connection. `messages` or `receive` belong to one green thread; `send` and `close` to any."""

    __slots__ = (
        "_clock", "_close_timer", "_closed_by_us", "_limits", "_log", "_messages", "_pings", "_pings_since", "_queue", "_receiver", "_rest",
        "_sock", "_turn", "_waiting", "_writer", "close_code", "close_reason", "drained", "queued", "read_at",
    )  # fmt: skip

    def __init__(
        self,
        sock: hub.Socket,
        rest: bytes,
        limits: WebSocketLimits,
        clock: Callable[[], float] = time.monotonic,
        log: Callable[[str], None] = lambda _line: None,
    ) -> None:
        sock.setblocking(False)
        self._log = log
        self._sock, self._rest, self._limits, self._clock = sock, rest, limits, clock
        self._receiver = frames.Receiver(limits.message_bytes, clock)
        self._queue: deque[bytes | memoryview] = deque()
        self._writer: hub.Task | None = None
        self._pings, self._pings_since = 0, 0.0
        self._closed_by_us = False
        self._close_timer: hub.Timer | None = None
        self.queued = 0
        """Bytes not yet given to the kernel."""
        self.drained: Callable[[], None] | None = None
        """Called whenever `queued` has come down to 0; must not block."""
        self.close_code: int | None = None
        """Why it ended: the code of the close frame, ours or theirs; NO_STATUS without one; None while it is open."""
        self.close_reason = ""
        self.read_at = clock()
        """When something last came from the client."""
        self._waiting = False
        self._turn = Turn(clock)
        self._messages: Iterator[tuple[int, bytes]] | None = None

    @property
    def handling(self) -> bool:
        """Whether what came is being handled, so that nothing is read just now."""
        return not self._waiting

    def receive(self) -> str | bytes | None:
        """Wait for the next message: text as str, binary as bytes, None when the connection has ended."""
        if self._messages is None:
            self._messages = self.messages()
        for opcode, payload in self._messages:
            if opcode == BINARY:
                return payload
            try:
                return payload.decode()
            except UnicodeDecodeError:
                self.fail(ProtocolError(frames.INVALID_DATA, "text must be UTF-8"))
        return None

    def messages(self) -> Iterator[tuple[int, bytes]]:
        """Wait for messages and yield each as (TEXT or BINARY, payload), until the connection ends.

        Call it once: what one iterator has read, another would miss. Text is yielded as bytes and not checked to be
        UTF-8. Pings are answered meanwhile. Never raises:
        a client that breaks the protocol or a limit is closed with the code that says so, and the iterator ends.
        """
        clock, turn = self._clock, self._turn
        turn.begin()
        try:
            for batch in self._batches():
                for opcode, payload in batch:
                    if opcode > BINARY:
                        if not self._control(opcode, payload):
                            return
                    elif not self._closed_by_us:  # else the client had not yet heard of it
                        yield opcode, payload
                    if clock() >= turn.ends:
                        turn.pass_on()
                if clock() >= turn.ends:  # many bytes may make no message
                    turn.pass_on()
        except ProtocolError as error:
            self.fail(error)
            self._finish_sending()
        finally:
            if self.close_code is None and not self._closed_by_us:
                self.close_code = 1006

    @property
    def untaken(self) -> int:
        """Bytes sent that the client's side has not taken yet: `queued`, and those that wait in the kernel."""
        return self.queued + hub.unacknowledged(self._sock)

    def send(self, data: str | bytes) -> bool:
        """Send a message. Never blocks: what the kernel does not take waits, up to the limit; beyond it the client is closed.

        Returns False when the connection has ended or ends by this.
        """
        if isinstance(data, str):
            return self.write(frames.frame(TEXT, data.encode()))
        return self.write(frames.frame(BINARY, data))

    def write(self, data: bytes) -> bool:
        """Send frames that are encoded already; otherwise like `send`."""
        if self.close_code is not None:
            return False
        if self.queued and self.queued + len(data) > self._limits.queue_bytes:
            self._queue.clear()
            self.queued = 0
            self.fail(ProtocolError(frames.POLICY, "reads too slowly", "queue_bytes"))
            hub.shut(self._sock)
            return False
        self._write(data)
        return True

    def wait_drained(self, timeout: float) -> bool:
        """Wait until everything sent has gone to the kernel, at most `timeout` seconds; whether it has."""
        end = self._clock() + timeout
        while self.queued and self.close_code is None and self._clock() < end:
            hub.sleep(0.005)
        return not self.queued

    def close(self, code: int = frames.NORMAL, reason: str = "") -> None:
        """Send a close frame; the connection ends when the client has answered or `close_seconds` are over."""
        if self.close_code is None:
            self.close_code, self.close_reason, self._closed_by_us = code, reason, True
            self._send_close(code, reason)
            self._close_timer = hub.call_later(self._limits.close_seconds, hub.shut, self._sock)

    def fail(self, error: ProtocolError) -> None:
        """Close it for what the client did, which is counted and logged."""
        if error.limit:
            metrics.LIMITS_HIT.inc(error.limit)
        if self.close_code is None:
            self._log(f"is closed with {error.code}: {error.reason}")
        self.close(error.code, error.reason)

    def abort(self) -> None:
        """End it at once, without a close frame; whoever reads sees the end."""
        if self.close_code is None:
            self.close_code = 1006
        hub.shut(self._sock)

    def _batches(self) -> Iterator[Iterator[tuple[int, bytes]]]:
        """Read, and yield what each read completes, to be used up before the next; ends with the stream."""
        receiver, sock = self._receiver, self._sock
        if self._rest:
            chunk = frames.Chunk(len(self._rest))
            chunk.view[: chunk.size] = self._rest
            self._rest = b""
            yield receiver.parse(chunk, chunk.size)
        while True:
            chunk = _chunks.pop() if _chunks else frames.Chunk()
            try:
                count = hub.receive_nowait(sock, receiver.room(chunk))
                if count:
                    self.read_at = self._clock()
                    yield receiver.parse(chunk, count)
            except OSError:
                return
            finally:
                if len(_chunks) < _SPARE_CHUNKS:
                    _chunks.append(chunk)
            if count is None:
                self._wait()
            elif not count:
                return
            del chunk

    def _control(self, opcode: int, payload: bytes) -> bool:
        """Act on a control frame; False: it was the close frame."""
        if opcode == PING:
            self._pong(payload)
        elif opcode == CLOSE:
            code, reason = frames.parse_close(payload)
            if not self._closed_by_us:
                self.close_code, self.close_reason = code, reason
                self._send_close(code, "")
            return False
        return True

    def _wait(self) -> None:
        since = self._receiver.since
        left = None if since is None else max(0.0, since + self._limits.message_seconds - self._clock())
        self._waiting = True
        try:
            hub.wait_readable(self._sock, left)
        except hub.TimedOut:
            sentence = f"a message may take {self._limits.message_seconds:g} seconds"
            raise ProtocolError(frames.POLICY, sentence, "message_seconds") from None
        finally:
            self._waiting = False
            self._turn.begin()

    def _pong(self, payload: bytes) -> None:
        self.count_ping()
        if self.close_code is None:
            self._write(frames.frame(frames.PONG, payload))

    def count_ping(self) -> None:
        """Raises `ProtocolError` when a client wants more answers to its pings than `pings_per_second`."""
        now = self._clock()
        if now - self._pings_since >= 1:
            self._pings, self._pings_since = 0, now
        self._pings += 1
        if self._pings > self._limits.pings_per_second:
            raise ProtocolError(frames.POLICY, "too many pings", "pings_per_second")

    def _send_close(self, code: int, reason: str) -> None:
        self._write(frames.frame(CLOSE, frames.close_payload(code, reason)))

    def _write(self, data: bytes) -> None:
        """Give `data` to the kernel, or queue what it does not take and have it written when there is room."""
        if not self.queued:
            try:
                sent = hub.send_nowait(self._sock, data)
            except OSError:
                return  # the reader sees the end of the stream and does what is to be done
            if sent == len(data):
                return
            self._queue.append(memoryview(data)[sent:])
            self.queued = len(data) - sent
        else:
            self._queue.append(data)
            self.queued += len(data)
        if self._writer is None:
            self._writer = hub.spawn(self._write_queue)

    def _write_queue(self) -> None:
        try:
            while self._queue:
                hub.wait_writable(self._sock)
                while self._queue:
                    data = self._queue[0]
                    sent = hub.send_nowait(self._sock, data)
                    if not self._queue or self._queue[0] is not data:
                        break  # given up meanwhile
                    self.queued -= sent
                    if sent < len(data):
                        self._queue[0] = memoryview(data)[sent:]
                        break
                    self._queue.popleft()
        except (OSError, EOFError):
            self._queue.clear()
            self.queued = 0
        finally:
            self._writer = None
        if self.drained is not None and self.close_code is None:
            self.drained()

    def _finish_sending(self) -> None:
        """Give the close frame a chance to arrive: read and drop what the client still sends, for a moment."""
        waste = memoryview(bytearray(65536))
        end = self._clock() + self._limits.close_seconds
        hub.shut(self._sock, reading=False) if not self.queued else None
        try:
            while self._clock() < end:
                count = hub.receive_nowait(self._sock, waste)
                if count == 0:
                    return
                if count is None:
                    hub.wait_readable(self._sock, max(0.001, end - self._clock()))
        except (OSError, hub.TimedOut):
            return

    def ended(self) -> None:
        """Let go of timers and callbacks; the owner calls it when it has stopped reading."""
        if self._close_timer is not None:
            self._close_timer.cancel()
        self.drained = None
        if self.close_code is None:
            self.close_code = 1006
        if self._writer is not None and self.queued:
            self.wait_written()

    def wait_written(self) -> None:
        """Wait, at most `close_seconds`, for the writer to finish with the close frame."""
        end = self._clock() + self._limits.close_seconds
        while self.queued and self._clock() < end:
            hub.sleep(0.01)


def encode_text(text: str) -> bytes:
    """A text message as it goes over the wire, for `WebSocket.write`: encoded once for many clients."""
    return frames.frame(TEXT, text.encode())


def accept(environ: WSGIEnvironment, limits: WebSocketLimits) -> WebSocket | None:
    """Upgrade this request to a WebSocket; None when it does not ask for one properly (then answer 400 or 426)."""
    if environ["REQUEST_METHOD"] != "GET" or environ.get("transport.upgrade", "").lower() != "websocket":
        return None
    if "upgrade" not in environ.get("HTTP_CONNECTION", "").lower() or environ.get("HTTP_SEC_WEBSOCKET_VERSION") != "13":
        return None
    try:
        key = frames.accept_key(environ.get("HTTP_SEC_WEBSOCKET_KEY", ""))
    except ValueError:
        return None
    sock, rest = environ["transport.connection"].take_over()
    peer, log = environ["REMOTE_ADDR"], environ["transport.connection"].log
    ws = WebSocket(sock, rest, limits, log=lambda line: log(f"a WebSocket of {peer} {line}"))
    answer = f"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {key}\r\n\r\n"
    ws.write(answer.encode())
    return ws


def websocket_app(
    handler: Callable[[WebSocket, WSGIEnvironment], None], limits: WebSocketLimits | None = None
) -> WSGIApplication:
    """A WSGI application that calls `handler(ws, environ)` for each connection and closes it when that returns."""
    chosen = limits or WebSocketLimits()
    gauge = metrics.CONNECTIONS.child("websocket")

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
        ws = accept(environ, chosen)
        if ws is None:
            body = b"This address speaks WebSocket.\n"
            headers = [("Content-Type", "text/plain"), ("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13")]
            start_response("426 Upgrade Required", headers)
            return [body]
        gauge.value += 1
        try:
            handler(ws, environ)
        finally:
            gauge.value -= 1
            if ws.close_code is None:
                ws.close()
                while ws.receive() is not None:
                    pass  # until the client has answered the close frame
            ws.ended()
        return []

    return app
