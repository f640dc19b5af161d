"""h11 on a socket: the events of one HTTP connection, read and written within the limits of time and size.

The grammar of HTTP/1.1 is h11's; where that is lenient, `strictness.py` looks at the bytes before h11 does. What
answers the requests is not known here.

            a request's head                    the request's end
    IDLE ---------------------> ANSWERING -----------------------> IDLE
                                    |
                                    +--- take_over --------------> UPGRADED
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Any

import h11

from imageserver.errors import Refusal
from imageserver.limits import Limits, note
from imageserver.transport import hub
from imageserver.transport.budget import FULL, Account, owner_of
from imageserver.transport.fairness import Turn
from imageserver.transport.http import strictness
from imageserver.transport.http.sending import send_all

Clock = Callable[[], float]
"""Monotonic seconds."""

READ_BYTES = 64 * 1024


class ChannelState(enum.Enum):
    """What a connection is doing: drawn at the top of this file."""

    IDLE = enum.auto()
    """Nothing is being asked or answered, so it may be closed at any moment."""
    ANSWERING = enum.auto()
    UPGRADED = enum.auto()
    """The socket belongs to whoever took it over, until the application returns."""


class HttpChannel:
    """One connection's side of HTTP. `sock` may be exchanged for a TLS one before anything was read.

    `log` takes one line at a time; to `account` a head is charged that has come in part.
    """

    __slots__ = (
        "_chunks", "_clock", "_events", "_head", "_limits", "_turn",
        "keep_alive_asked", "log", "method", "peer", "sock", "state",
    )  # fmt: skip

    def __init__(
        self, sock: hub.Socket, peer: str, limits: Limits, clock: Clock, log: Callable[[str], None], account: Account
    ) -> None:
        self.sock, self.peer, self.log = sock, peer, log
        self._limits, self._clock, self._turn = limits, clock, Turn(clock)
        self._head = account.charge("heads")  # of requests whose heads take more than one read
        self._events = h11.Connection(h11.SERVER, max_incomplete_event_size=limits.max_header_bytes)
        self._chunks: strictness.ChunkedFraming | None = None
        """Of the body that is being read, if that comes in chunks."""
        self.state = ChannelState.IDLE
        self.method = "GET"
        """Of the request that is being answered, as far as it was read."""
        self.keep_alive_asked = False
        """Whether a client of HTTP/1.0 wants the connection kept, and so has to be told that it is."""

    @property
    def expects_continue(self) -> bool:
        """Whether the client waits for "100 Continue" before it sends its body."""
        return self._events.they_are_waiting_for_100_continue

    def read_head(self) -> h11.Request | None:
        """Wait for the next request; None when there is none. Raises OSError, Refusal."""
        event: Any = h11.NEED_DATA
        self.method = "GET"  # what is refused before it is read gets a body
        self._turn.share()
        try:
            if self._events.trailing_data[0]:  # it may have come with the one before
                event = self._parse()
            if event is h11.NEED_DATA:
                try:
                    event = self._wait_for_head()
                finally:
                    self._head.set(0)
            if not isinstance(event, h11.Request):
                return None  # the client closed, or asked for nothing in time
            self.method, values = event.method.decode("ascii"), dict(event.headers)
            strictness.check_request(event, values, self._limits)
            self._chunks = None
            if b"transfer-encoding" in values:
                self._chunks = strictness.ChunkedFraming(self._limits)
                self._chunks.feed(self._events.trailing_data[0])
        except Refusal:
            self._enter(ChannelState.ANSWERING)
            raise
        self._enter(ChannelState.ANSWERING)
        # h11 keeps no connection of HTTP/1.0.
        self.keep_alive_asked = event.http_version == b"1.0" and strictness.asks_to_keep(values)
        if self.keep_alive_asked:
            self._take_as_1_1(event)
        return event

    def next_event(self, timeout: float) -> Any:
        """The next event of the request; the time is for each read. Raises OSError (TimeoutError), Refusal."""
        self._turn.share()  # a client that sends without pause always has more to read
        event = self._parse()
        if event is h11.NEED_DATA:
            self.sock.settimeout(max(timeout, 0.001))
            data = self.sock.recv(READ_BYTES)
            if self._chunks is not None:
                self._chunks.feed(data)
            self._events.receive_data(data)
            event = self._parse()
        return event

    def continue_body(self) -> None:
        """Send "100 Continue" to a client that waits for it."""
        if self.expects_continue:
            self.send(h11.InformationalResponse(status_code=100, headers=[], reason=b"Continue"))

    def send(self, *events: h11.Event) -> None:
        """Send events to the client. Raises OSError (TimeoutError when it takes too little in `send_time`)."""
        parts: list[bytes] = []
        for event in events:
            pieces = self._events.send_with_data_passthrough(event) or []
            parts += pieces if isinstance(event, h11.Data) else [b"".join(pieces)]
        if sum(map(len, parts)) <= READ_BYTES:  # one packet where possible; what is large is not copied for that
            parts = [b"".join(parts)]
        try:
            send_all(self.sock, parts, self._limits, self._clock, self._turn)
        except TimeoutError as error:
            self.log(note(f"{self.peer} {error}; it is given up", "send_time", owner_of(self.peer)))
            raise

    def give_up(self) -> None:
        """Note that the answer cannot be completed, so that nothing follows it."""
        if self.state is not ChannelState.UPGRADED:
            self._events.send_failed()

    def take_over(self) -> tuple[hub.Socket, bytes]:
        """Give the socket to whoever upgrades the protocol, with what was read beyond the request.

        The connection stays open until the application returns.
        """
        event = self._parse()
        while event is not h11.PAUSED and event is not h11.NEED_DATA:
            event = self._parse()
        rest = bytes(self._events.trailing_data[0])
        self._enter(ChannelState.UPGRADED)
        del self._events  # an open WebSocket has no use for its memory
        return self.sock, rest

    def finish(self, *, drain: bool) -> bool:
        """Make ready for the next request; whether there can be one. `drain`: read what still comes of this one."""
        events = self._events
        if drain and events.their_state is h11.SEND_BODY:
            self._drain()
        if events.our_state is h11.DONE and events.their_state is h11.DONE:
            events.start_next_cycle()
            self._enter(ChannelState.IDLE)
            return True
        if events.our_state is not h11.ERROR:
            self.linger()
        return False

    def linger(self) -> None:
        """Say that nothing more comes, and wait a moment for the client to close: no reset may overtake the answer."""
        linger(self.sock, self._clock, self._limits.drain_bytes)

    def _enter(self, state: ChannelState) -> None:
        assert self.state is not ChannelState.UPGRADED, "nothing of HTTP follows an upgrade"
        self.state = state

    def _wait_for_head(self) -> Any:
        limits, clock = self._limits, self._clock
        event: Any = h11.NEED_DATA
        fresh = True
        end = clock() + limits.keep_alive_time
        while event is h11.NEED_DATA:
            if fresh and self._events.trailing_data[0]:
                fresh, end = False, clock() + limits.header_time
                if not self._head.set(limits.max_header_bytes):
                    raise Refusal(503, FULL, log=False)
            try:
                event = self.next_event(end - clock())
            except TimeoutError:
                if fresh:
                    return None
                sentence = f"The request's headers took longer than {limits.header_time:g} seconds."
                raise Refusal(408, sentence, "header_time") from None
        return event

    def _parse(self) -> Any:
        """The next event of what has been read. Raises Refusal."""
        in_head = self._events.their_state is h11.IDLE
        if in_head:
            strictness.check_head(self._events.trailing_data[0], self._limits)
        try:
            return self._events.next_event()
        except h11.RemoteProtocolError as error:
            error.__traceback__ = None  # h11 raises it where it is `self`: a circle, in which all of this would stay
            arrived, ended = self._events.trailing_data
            raise _misread(error, bytes(arrived) if in_head else None, ended, self._limits) from None

    def _take_as_1_1(self, request: h11.Request) -> None:
        """Give h11 the same request anew, as one of HTTP/1.1; the answer is still framed for HTTP/1.0."""
        headers = [(name, value) for name, value in request.headers if name not in (b"expect", b"host")]
        again = h11.Request(method=request.method, target=request.target, headers=[*headers, (b"host", b"any")])
        head = h11.Connection(h11.CLIENT).send(again) or b""
        arrived, ended = self._events.trailing_data
        self._events = h11.Connection(h11.SERVER, max_incomplete_event_size=self._limits.max_header_bytes)
        self._events.receive_data(head + bytes(arrived))
        if ended:
            self._events.receive_data(b"")
        self._parse()
        self._events.their_http_version = b"1.0"

    def _drain(self) -> None:
        """Drop the rest of a body: a client that is cut off while it sends may never see the answer."""
        end, left = self._clock() + self._limits.drain_time, self._limits.drain_bytes
        while left > 0 and self._clock() < end:
            try:
                event = self.next_event(end - self._clock())
            except (Refusal, TimeoutError):
                return
            if isinstance(event, h11.Data):
                left -= len(event.data)
            elif event is not h11.NEED_DATA:
                return


def linger(sock: hub.Socket, clock: Clock, most: int) -> None:
    """Send no more, and read what comes until the client has closed too: a second, and `most` bytes, at the most."""
    try:
        hub.shut(sock, reading=False)
        end, left = clock() + 1, most
        while left > 0 and clock() < end:
            sock.settimeout(max(end - clock(), 0.001))
            got = len(sock.recv(READ_BYTES))
            if not got:
                return
            left -= got
    except OSError:
        pass  # closed or too slow: either way it had its chance


def _misread(error: h11.RemoteProtocolError, head: bytes | None, ended: bool, limits: Limits) -> Refusal:
    """The refusal of what h11 could not read; `head`: what there is of the headers, if it was reading them."""
    if error.error_status_hint == 431:
        if head is None or b"\n" in head[: limits.max_request_line]:
            return strictness.long_headers(limits)
        return strictness.long_line(limits)  # it will not wait any longer for the end of the headers
    refusal = strictness.doubt(str(error).partition(": bytearray(")[0])  # what follows is h11's memory
    refusal.log = not ended
    return refusal
