"""WebSocket connections (RFC 6455) on green sockets: reading in large pieces, writing without ever blocking.

A WSGI application calls `accept` to get one of a request.

          close, fail, drop                the client's close frame, the end of the stream, abort
    OPEN -------------------> CLOSING ---------------------------------------------------------> CLOSED
     |                                                                                             ^
     +------------ the client's close frame, the end of the stream, abort -------------------------+
"""

from __future__ import annotations

import enum
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from imageserver.errors import ProtocolError, TimedOut
from imageserver.limits import Limits, note
from imageserver.transport import hub
from imageserver.transport.budget import FULL, Account, unlimited
from imageserver.transport.websocket import frames
from imageserver.transport.websocket.frames import BINARY, CLOSE, PING, TEXT, CloseCode
from imageserver.transport.websocket.incoming import Incoming
from imageserver.transport.websocket.outgoing import Outgoing

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment


class WebSocketState(enum.Enum):
    """How far a connection is: drawn at the top of this file."""

    OPEN = enum.auto()
    CLOSING = enum.auto()
    """Nothing is sent or handled any more; the client has `close_seconds` to end it too."""
    CLOSED = enum.auto()


_OPEN = WebSocketState.OPEN
LEAVE_WITHIN = 0.5
"""Seconds that a client has to end a connection that is dropped: a server that stops waits for it."""
_WASTE = memoryview(bytearray(65536))  # what nobody looks at, of all connections


class WebSocket:
    """One connection. `messages` or `receive` belong to one green thread; `send` and `close` to any."""

    __slots__ = (
        "_account", "_clock", "_close_timer", "_limits", "_log", "_messages", "_pings", "_pings_since", "_sock",
        "close_code", "close_reason", "incoming", "outgoing", "state",
    )  # fmt: skip

    def __init__(
        self,
        sock: hub.Socket,
        rest: bytes,
        limits: Limits,
        clock: Callable[[], float] = time.monotonic,
        log: Callable[[str], None] = lambda _line: None,
        account: Account | None = None,
        max_text: int | None = None,
    ) -> None:
        account = self._account = account or unlimited()
        sock.setblocking(False)
        self._sock, self._limits, self._clock, self._log = sock, limits, clock, log
        self._pings, self._pings_since = 0, 0.0
        self._close_timer: hub.Timer | None = None
        self._messages: Iterator[tuple[int, bytes]] | None = None
        self.state = _OPEN
        self.close_code: int | None = None
        """Why it ends: the code of the close frame, ours or theirs; None while it is open."""
        self.close_reason = ""
        self.incoming = Incoming(sock, rest, limits, clock, account.charge("messages"), max_text)
        self.outgoing = Outgoing(sock, account.charge("answers"))

    @property
    def untaken(self) -> int:
        """Bytes sent that the client's side has not taken yet: here, or in the kernel."""
        return self.outgoing.size + hub.unacknowledged(self._sock)

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
                self.fail(ProtocolError(CloseCode.INVALID_FRAME_PAYLOAD_DATA, "text must be UTF-8"))
        return None

    def messages(self) -> Iterator[tuple[int, bytes]]:
        """Wait for messages and yield each as (TEXT or BINARY, payload), until the connection ends.

        Call it once: what one iterator has read, another would miss. Text is yielded as bytes and not checked to be
        UTF-8. Pings are answered meanwhile. Never raises:
        a client that breaks the protocol or a limit is closed with the code that says so, and the iterator ends.
        """
        clock, turn = self._clock, self.incoming.turn
        turn.begin()
        try:
            for batch in self.incoming.batches():
                for opcode, payload in batch:
                    if opcode > BINARY:
                        if not self._control(opcode, payload):
                            return
                    elif self.state is _OPEN:  # else the client had not yet heard of the end
                        yield opcode, payload
                    if clock() >= turn.ends:
                        turn.pass_on()
                if clock() >= turn.ends:  # many bytes may make no message
                    turn.pass_on()
        except ProtocolError as error:
            self.incoming.end()
            self.fail(error)
            self._finish_sending()
        finally:
            self._enter(WebSocketState.CLOSED, CloseCode.ABNORMAL_CLOSURE)
            self.incoming.end()

    def write(self, data: bytes) -> bool:
        """Send frames that are encoded already. Never blocks: what the kernel does not take waits, up to the limit;
        beyond it the client is closed. Returns False when the connection has ended or ends by this.
        """
        if self.state is not _OPEN:
            return False
        outgoing = self.outgoing
        if outgoing.size and outgoing.size + len(data) > self._limits.max_outgoing_bytes:
            return self._give_up(ProtocolError(CloseCode.POLICY_VIOLATION, "reads too slowly", "max_outgoing_bytes"))
        return outgoing.write(data) or self._give_up(ProtocolError(CloseCode.TRY_AGAIN_LATER, FULL))

    def send(self, data: str | bytes) -> bool:
        """Send a message; otherwise like `write`."""
        return self.write(encode_text(data) if isinstance(data, str) else frames.frame(BINARY, data))

    def close(self, code: int = CloseCode.NORMAL_CLOSURE, reason: str = "") -> None:
        """Send a close frame; the connection ends when the client has answered or `close_seconds` are over."""
        if self.state is _OPEN:
            self._end_soon(code, reason)
            self._send_close(code, reason)

    def fail(self, error: ProtocolError) -> None:
        """Close it for what the client did, which is counted and logged."""
        reason = note(error.reason, error.limit, self._account.owner)
        if self.state is _OPEN and error.code != CloseCode.TRY_AGAIN_LATER:  # the budget tells of that now and then
            self._log(f"is closed with {error.code}: {reason}")
        self.close(error.code, error.reason)

    def drop(self) -> None:
        """End it without a close frame, as a lost network would, behind what was sent."""
        if self.state is _OPEN:
            self._end_soon(CloseCode.ABNORMAL_CLOSURE)
            if self.outgoing.size:
                self.outgoing.drained = self._leave
            else:
                self._leave()

    def abort(self) -> None:
        """End it at once, without a close frame; whoever reads sees the end."""
        self._enter(WebSocketState.CLOSED, CloseCode.ABNORMAL_CLOSURE)
        hub.shut(self._sock)

    def ended(self) -> None:
        """Let go of timers and callbacks; the owner calls it when it has stopped reading."""
        self._enter(WebSocketState.CLOSED, CloseCode.ABNORMAL_CLOSURE)
        if self._close_timer is not None:
            self._close_timer.cancel()
        self.outgoing.drained = None
        self.outgoing.wait(self._limits.close_time)  # for the close frame

    def count_ping(self) -> None:
        """Raises `ProtocolError` when a client wants more answers to its pings than `pings_per_second`."""
        now = self._clock()
        if now - self._pings_since >= 1:
            self._pings, self._pings_since = 0, now
        self._pings += 1
        if self._pings > self._limits.max_pings:
            raise ProtocolError(CloseCode.POLICY_VIOLATION, "too many pings", "max_pings")

    def _give_up(self, error: ProtocolError) -> bool:
        """End it at once, and let go of what it does not read; False."""
        self.outgoing.clear()
        self.fail(error)
        hub.shut(self._sock)
        return False

    def _enter(self, state: WebSocketState, code: int, reason: str = "") -> None:
        """Change the state, which only ever goes on; why it ends is what was said first."""
        if self.close_code is None:
            self.close_code, self.close_reason = code, reason
        self.state = state

    def _end_soon(self, code: int, reason: str = "") -> None:
        self._enter(WebSocketState.CLOSING, code, reason)
        self.outgoing.drained = None
        self._end_within(self._limits.close_time)

    def _end_within(self, seconds: float) -> None:
        if self._close_timer is not None:
            self._close_timer.cancel()
        self._close_timer = hub.call_later(seconds, hub.shut, self._sock)

    def _shut_writing(self) -> None:
        hub.shut(self._sock, reading=False)

    def _leave(self) -> None:
        """All was sent: a client that is there ends it as well, in a moment."""
        self._shut_writing()
        self._end_within(LEAVE_WITHIN)

    def _control(self, opcode: int, payload: bytes) -> bool:
        """Act on a control frame; False: it was the close frame. Nothing is to be done for a `FRAGMENT`."""
        if opcode == PING:
            self.count_ping()
            self.write(frames.frame(frames.PONG, payload))
        elif opcode == CLOSE:
            code, reason = frames.parse_close(payload)
            if self.state is _OPEN:
                self._enter(WebSocketState.CLOSED, code, reason)
                self._send_close(code, "")
            return False
        return True

    def _send_close(self, code: int, reason: str) -> None:
        self.outgoing.write(frames.frame(CLOSE, frames.close_payload(code, reason)))

    def _finish_sending(self) -> None:
        """Give the close frame a chance to arrive: read and drop what the client still sends, for a moment."""
        end = self._clock() + self._limits.close_time
        if not self.outgoing.size:
            self._shut_writing()
        try:
            while self._clock() < end:
                count = hub.receive_nowait(self._sock, _WASTE)
                if count == 0:
                    return
                if count is None:
                    hub.wait_readable(self._sock, max(0.001, end - self._clock()))
                else:
                    self.incoming.turn.pass_on()
        except (OSError, TimedOut):
            return


def encode_text(text: str) -> bytes:
    """A text message as it goes over the wire, for `WebSocket.write`: encoded once for many clients."""
    return frames.frame(TEXT, text.encode())


def accept(
    environ: WSGIEnvironment, limits: Limits, account: Account | None = None, max_text: int | None = None
) -> WebSocket | None:
    """Upgrade this request to a WebSocket; None when it does not ask for one properly (then answer 400 or 426).

    `account`: to which its buffers are charged; the request's, if there is no other. `max_text`: bytes of a text, as
    many as of any message by default.
    """
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
    account = account or environ["transport.account"]

    def say(line: str) -> None:
        log(f"a WebSocket of {peer} {line}")

    ws = WebSocket(sock, rest, limits, log=say, account=account, max_text=max_text)
    head = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade"
    ws.write(f"{head}\r\nSec-WebSocket-Accept: {key}\r\n\r\n".encode())
    forget_headers(environ)
    return ws


def forget_headers(environ: WSGIEnvironment) -> None:
    """Let go of what only a request's beginning needed: a WebSocket, or a poll, holds it for as long as it lasts."""
    kept = {name: environ[name] for name in environ if not name.startswith("HTTP_") and name != "RAW_URI"}
    if "HTTP_ORIGIN" in environ:  # stands in the answer to a poll
        kept["HTTP_ORIGIN"] = environ["HTTP_ORIGIN"]
    environ.clear()  # with its room for thousands of names
    environ.update(kept)
