"""What WSGI (PEP 3333) asks of a server: `wsgi.input` for a request's body, `start_response` for its answer."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Callable, Iterable
from email.utils import formatdate
from typing import TYPE_CHECKING, Any

import h11

from imageserver import metrics

if TYPE_CHECKING:
    from imageserver.transport.http.connection import Connection
    from imageserver.transport.http.server import HttpServer

Headers = list[tuple[str, str]]


class Refusal(Exception):
    """The request ends here, with this status and sentence; `limit` names the limit that it ran into, or is "".

    `log`: whether a line in the log is still due.
    """

    def __init__(self, status: int, sentence: str, limit: str = "", *, log: bool = True) -> None:
        super().__init__(sentence)
        self.status, self.sentence, self.limit, self.log = status, sentence, limit, log


_REASONS = {
    400: "Bad Request", 408: "Request Timeout", 413: "Content Too Large", 414: "URI Too Long", 429: "Too Many Requests",
    431: "Request Header Fields Too Large", 500: "Internal Server Error", 501: "Not Implemented", 503: "Service Unavailable",
}  # fmt: skip


class Answer:
    """The WSGI side of one response."""

    def __init__(self, connection: Connection, method: str) -> None:
        self._connection, self._method = connection, method
        self._head: h11.Response | None = None
        self.started = False

    def start_response(self, status: str, headers: Headers, exc_info: Any = None) -> Callable[[bytes], object]:
        if exc_info is not None and self.started:
            raise exc_info[1].with_traceback(exc_info[2])
        code, _, reason = status.partition(" ")
        names = {name.lower() for name, _ in headers}
        extra = [] if "date" in names else [("Date", formatdate(usegmt=True))]
        # A client that waits to be asked for its body may send it now or not, so no other request can follow (RFC 9110, section 10.1.1).
        if (self._connection.server.stopping or self._connection.expected) and "connection" not in names:
            extra.append(("Connection", "close"))
        self._head = h11.Response(
            status_code=int(code),
            headers=[(name.encode("latin-1"), value.encode("latin-1")) for name, value in [*headers, *extra]],
            reason=reason.encode("latin-1"),
        )
        return self._write

    def send_all(self, result: Iterable[bytes]) -> None:
        if isinstance(result, (list, tuple)) and self._head is not None and not self.started:
            body = b"".join(result)
            self._complete_length(len(body))
            self._send(body, last=True)
            return
        for part in result:
            if part:
                self._write(part)
        self._send(b"", last=True)

    def refuse(self, refusal: Refusal) -> None:
        """Answer with a refusal, in place of whatever the application had begun but not sent."""
        connection = self._connection
        if refusal.limit:
            metrics.LIMITS_HIT.inc(refusal.limit)
        if refusal.log:
            connection.server.log(f"a request of {connection.peer} was refused: {refusal.sentence}")
        if self.started or connection.taken:
            connection.give_up()
            return
        if connection.body is not None:
            connection.body.failure = None  # it is being answered
        body = json.dumps({"error": refusal.sentence}).encode()
        headers = [("Content-Type", "application/json"), ("Content-Length", str(len(body))), ("Connection", "close")]
        try:
            self.start_response(f"{refusal.status} {_REASONS.get(refusal.status, 'Refused')}", headers)
            self._send(body, last=True)
        except (OSError, EOFError, h11.LocalProtocolError):
            connection.give_up()

    def _write(self, data: bytes) -> None:
        self._send(data)

    def _complete_length(self, length: int) -> None:
        head = self._head
        assert head is not None
        if not any(
            name in (b"content-length", b"transfer-encoding") for name, _ in head.headers
        ) and head.status_code not in (204, 304):
            headers = [*head.headers.raw_items(), (b"Content-Length", str(length).encode())]
            self._head = h11.Response(status_code=head.status_code, headers=headers, reason=head.reason)

    def _send(self, data: bytes, last: bool = False) -> None:
        head = self._head
        events: list[h11.Event] = []
        if head is None:
            raise RuntimeError("the application answered without start_response")
        body = self._connection.body
        if body is not None and body.failure is not None and not self.started:
            raise body.failure  # whatever the application made of the failed read, this is what happened
        if not self.started:
            self.started = True
            events.append(head)
        if data and self._method != "HEAD" and head.status_code not in (204, 304):
            events.append(h11.Data(data=data))
        if last:
            events.append(h11.EndOfMessage())
        self._connection.send(*events)


class Body(io.RawIOBase):
    """`wsgi.input`, unbuffered: the body's bytes, however they are framed, and its limits."""

    def __init__(self, connection: Connection, server: HttpServer) -> None:
        self._connection, self._limits, self._clock = connection, server.limits, server.clock
        self._begun = server.clock()
        self._count = 0
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
        limits = self._limits
        self._connection.continue_body()
        while True:
            # The average is what counts: what came early may be followed by a pause.
            end = (
                self._begun
                + limits.body_grace_seconds
                + (self._count / limits.body_rate if limits.body_rate else math.inf)
            )
            try:
                left = min(end - self._clock(), limits.keep_alive_seconds)
                if left <= 0:
                    raise TimeoutError
                event = self._connection.next_event(left)
            except TimeoutError:
                sentence = f"The request's body came at less than {limits.body_rate} bytes a second."
                self.slow, self.failure = True, Refusal(408, sentence, "body_rate")
                raise self.failure from None
            except Refusal as refusal:
                self.failure = refusal
                raise
            if isinstance(event, h11.Data):
                self._count += len(event.data)
                if self._count > limits.body_bytes:
                    self.failure = Refusal(413, f"A request body may have {limits.body_bytes} bytes.", "body_bytes")
                    raise self.failure
                self._left = memoryview(bytes(event.data))
                return
            if event is not h11.NEED_DATA:
                self._ended = True
                return
