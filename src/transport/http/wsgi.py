"""What WSGI (PEP 3333) asks of a server: `wsgi.input` for a request's body, `start_response` for its answer."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterable
from email.utils import formatdate
from typing import Any

import h11

from imageserver.errors import Refusal
from imageserver.limits import Limits, note
from imageserver.transport import pace
from imageserver.transport.budget import FULL, SMALL, Account, Charge, owner_of
from imageserver.transport.http.channel import ChannelState, HttpChannel

Headers = list[tuple[str, str]]


_REASONS = {
    400: "Bad Request", 408: "Request Timeout", 413: "Content Too Large", 414: "URI Too Long", 429: "Too Many Requests",
    431: "Request Header Fields Too Large", 500: "Internal Server Error", 501: "Not Implemented",
    503: "Service Unavailable",
}  # fmt: skip


class Response:
    """The WSGI side of one response. `body`: the request's, if there is one. `last`: whether the server stops."""

    def __init__(
        self, channel: HttpChannel, method: str, body: Body | None = None, last: Callable[[], bool] = lambda: False
    ) -> None:
        self._channel, self._method, self._body, self._last = channel, method, body, last
        self._head: h11.Response | None = None
        self._started = False

    def start_response(self, status: str, headers: Headers, exc_info: Any = None) -> Callable[[bytes], object]:
        if exc_info is not None and self._started:
            raise exc_info[1].with_traceback(exc_info[2])
        code, _, reason = status.partition(" ")
        names = {name.lower() for name, _ in headers}
        extra = [] if "date" in names else [("Date", formatdate(usegmt=True))]
        # A client that waits to be asked for its body may send it now or not, so no other request can follow
        # (RFC 9110, section 10.1.1).
        if "connection" not in names:
            if self._last() or self._channel.expects_continue:
                extra.append(("Connection", "close"))
            elif self._channel.keep_alive_asked:
                extra.append(("Connection", "keep-alive"))
        self._head = h11.Response(
            status_code=int(code),
            headers=[(name.encode("latin-1"), value.encode("latin-1")) for name, value in [*headers, *extra]],
            reason=reason.encode("latin-1"),
        )
        return self._send

    def send_all(self, result: Iterable[bytes]) -> None:
        if isinstance(result, (list, tuple)) and self._head is not None and not self._started:
            body = b"".join(result)
            self._complete_length(len(body))
            self._send(body, last=True)
            return
        for part in result:
            if part:
                self._send(part)
        self._send(b"", last=True)

    def refuse(self, refusal: Refusal, more: Iterable[tuple[str, str]] = ()) -> None:
        """Answer with a refusal and `more` headers, in place of whatever the application had begun but not sent."""
        channel = self._channel
        owner = owner_of(channel.peer) if self._body is None else self._body.account.owner
        noted = note(refusal.sentence, refusal.limit, owner)
        if refusal.log:
            channel.log(f"a request of {channel.peer} was refused: {noted}")
        if self._started or channel.state is ChannelState.UPGRADED:
            channel.give_up()
            return
        if self._body is not None:
            self._body.failure = None  # it is being answered
        body = json.dumps({"error": refusal.sentence}).encode()
        headers = [("Content-Type", "application/json"), ("Content-Length", str(len(body))), ("Connection", "close")]
        headers += [*more, *([("Retry-After", "5")] if refusal.status == 503 else [])]
        try:
            self.start_response(f"{refusal.status} {_REASONS.get(refusal.status, 'Refused')}", headers)
            self._send(body, last=True)
        except (OSError, EOFError, h11.LocalProtocolError):
            channel.give_up()

    def _complete_length(self, length: int) -> None:
        head = self._head
        assert head is not None
        framed = any(name in (b"content-length", b"transfer-encoding") for name, _ in head.headers)
        if not framed and head.status_code not in (204, 304):
            headers = [*head.headers.raw_items(), (b"Content-Length", str(length).encode())]
            self._head = h11.Response(status_code=head.status_code, headers=headers, reason=head.reason)

    def _send(self, data: bytes, last: bool = False) -> None:
        head, waiting = self._head, None
        events: list[h11.Event] = []
        if head is None:
            raise RuntimeError("the application answered without start_response")
        if not self._started:
            if self._body is not None and self._body.failure is not None:
                raise self._body.failure  # whatever the application made of the failed read, this is what happened
            events.append(head)
        if len(data) > SMALL and self._body is not None:
            waiting = self._body.account.charge("answers")
            if not waiting.set(len(data)):
                raise Refusal(503, FULL, log=False)
        self._started = True
        if data and self._method != "HEAD" and head.status_code not in (204, 304):
            events.append(h11.Data(data=data))
        if last:
            events.append(h11.EndOfMessage())
        try:
            self._channel.send(*events)
        finally:
            if waiting is not None:
                waiting.set(0)


class Body(io.RawIOBase):
    """`wsgi.input`, unbuffered: the body's bytes, however they are framed, and its limits.

    They count as the client's from when they were read until the request ends, since whoever reads them keeps them.
    """

    account: Account
    """Whose they are; known once the request's headers are."""
    expected = 0
    """Bytes by the Content-Length, 0 without one."""

    def __init__(self, channel: HttpChannel, limits: Limits, clock: Callable[[], float]) -> None:
        self._channel, self._limits, self._clock = channel, limits, clock
        self._count = 0
        self._pace: pace.Pace | None = None
        self._charge: Charge | None = None
        self._left = memoryview(b"")
        self._ended = False
        self.failure: Refusal | None = None
        self.slow = False
        """Whether it came so slowly that nobody waits for the rest."""

    def readable(self) -> bool:
        return True

    def readinto(self, into: Any) -> int:
        if not self._left and not self._ended:
            self._fill()
        count = min(len(self._left), len(into))
        into[:count] = self._left[:count]
        self._left = self._left[count:]
        return count

    def _fill(self) -> None:
        """Wait for the next bytes. Raises OSError, Refusal."""
        limits = self._limits
        if self._pace is None or self._charge is None:
            self._charge = self.account.charge("bodies")
            if not self.account.fits(self.expected):
                raise self._fail(Refusal(503, FULL, log=False))
            self._pace = pace.of_arrival(limits, self._clock)
        self._channel.continue_body()
        while True:
            left = self._pace.end - self._clock()
            try:
                event = self._channel.next_event(min(max(left, 0.0), limits.keep_alive_time))
                if isinstance(event, h11.Data):
                    self._count += len(event.data)
                    self._pace.reached(self._count)
                if left <= 0 and self._pace.end <= self._clock():
                    raise TimeoutError
            except TimeoutError:
                self.slow = True
                sentence = f"The request's body came at less than {limits.min_body_rate} bytes a second."
                raise self._fail(Refusal(408, sentence, "min_body_rate")) from None
            except Refusal as refusal:
                raise self._fail(refusal) from None
            if isinstance(event, h11.Data):
                if self._count > limits.max_body_bytes:
                    sentence = f"A request body may have {limits.max_body_bytes} bytes."
                    raise self._fail(Refusal(413, sentence, "max_body_bytes"))
                if not self._charge.set(self._count):
                    raise self._fail(Refusal(503, FULL, log=False))
                self._left = memoryview(bytes(event.data))
                return
            if event is not h11.NEED_DATA:
                self._ended = True
                return

    def _fail(self, failure: Refusal) -> Refusal:
        """Remember what is to be answered, whatever the application makes of it; gives everything back."""
        self.failure = failure
        if self._charge is not None:
            self._charge.set(0)
        return failure
