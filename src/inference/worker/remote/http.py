"""Asks an endpoint over HTTP/1.1, on connections that are kept. h11 is the grammar; what is bounded is bounded here.

The whole of an answer has one deadline, however slowly its bytes come; its headers and its body have a limit each.
Redirects are not followed, nothing is decompressed, and no proxy of the environment is asked.
"""

from __future__ import annotations

import select
import socket
import ssl
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar, cast
from urllib.parse import quote

import h11

from imageserver.errors import EndpointFailed
from imageserver.inference.shared.elsewhere.open_inference import Address, Remote
from imageserver.inference.shared.request_bodies import Bytes
from imageserver.inference.worker.remote import messages
from imageserver.inference.worker.remote.messages import Answer, ModelForm, Question
from imageserver.inference.worker.remote.transport import left, refuse

HEADER_BYTES = 2**16
PIECE = 2**18
"""Bytes read at once."""
MOST_INFORMATIONAL = 8
"""Answers 1xx before the real one."""
LENGTH = "inference-header-content-length"
DEADLINE = "x-envoy-expected-rq-timeout-ms"
"""How long the answer is waited for, in milliseconds, as proxies tell it to the servers behind them."""
BINARY = "binary_tensor_data"

Read = TypeVar("Read")


class _Connection:
    """One connection; `exchange` is one request and its answer."""

    def __init__(self, made: socket.socket) -> None:
        self._socket = made
        self._state = h11.Connection(h11.CLIENT, max_incomplete_event_size=HEADER_BYTES)
        self.heard = False
        """Whether a byte of the present answer has come."""

    @property
    def stale(self) -> bool:
        """Whether the other side has closed it, or says something that nobody asked for."""
        return bool(select.select([self._socket], [], [], 0)[0])

    def exchange(
        self, request: h11.Request, body: Sequence[Bytes], most: int, deadline: float
    ) -> tuple[int, dict[bytes, bytes], bytearray]:
        """Status, headers by lower-case names, and the body of at most `most` bytes. EndpointFailed, OSError, h11's."""
        self.heard = False
        for event in (request, *(h11.Data(data=cast(bytes, part)) for part in body), h11.EndOfMessage()):
            for part in self._state.send_with_data_passthrough(event) or ():
                if len(part):
                    self._socket.settimeout(left(deadline))
                    self._socket.sendall(part)
        response = self._response(deadline)
        found, data = dict(response.headers), bytearray()
        if found.get(b"content-encoding", b"identity") != b"identity":
            raise EndpointFailed("compresses its answers, which nobody asked for")
        while not isinstance(event := self._next(deadline), h11.EndOfMessage):
            data += event.data
            if len(data) > most:
                raise EndpointFailed(f"answers with more than {most} bytes (--remote-answer-bytes)")
        return response.status_code, found, data

    def reusable(self) -> bool:
        """Get ready for the next request; False: it has to be closed."""
        if self._state.our_state is h11.DONE and self._state.their_state is h11.DONE:
            self._state.start_next_cycle()
            return not self._state.trailing_data[0]
        return False

    def close(self) -> None:
        self._socket.close()

    def _response(self, deadline: float) -> Any:
        for _ in range(MOST_INFORMATIONAL):
            if isinstance(event := self._next(deadline), h11.Response):
                return event
        raise EndpointFailed("says 1xx again and again")

    def _next(self, deadline: float) -> Any:
        while (event := self._state.next_event()) is h11.NEED_DATA:
            self._socket.settimeout(left(deadline))
            data = self._socket.recv(PIECE)
            self.heard = self.heard or bool(data)
            self._state.receive_data(data)
        if isinstance(event, h11.ConnectionClosed) or event is h11.PAUSED:
            raise EndpointFailed("closed the connection before its answer")
        return event


class HttpTransport:
    """A `Transport`.

    Args:
        remote: what the manifest says.
        address: of this endpoint.
        login: the value of Authorization, or "".
        answer_bytes: the largest answer.
    """

    def __init__(self, remote: Remote, address: Address, login: str, answer_bytes: int) -> None:
        self._address, self._most = address, answer_bytes
        version = f"/versions/{quote(remote.version, safe='')}" if remote.version else ""
        self._model = f"{address.path}/v2/models/{quote(remote.model, safe='')}{version}"
        host = f"[{address.host}]" if ":" in address.host else address.host
        self._headers = [("Host", f"{host}:{address.port}"), ("Accept-Encoding", "identity")]
        if login:
            self._headers.append(("Authorization", login))
        self._tls = None
        if address.encrypted:
            self._tls = ssl.create_default_context(cafile=remote.ca_file)
        self._where: list[Any] = []
        self._idle: list[_Connection] = []
        self._lock = threading.Lock()
        self._binary = self._closed = False

    def form(self, deadline: float) -> ModelForm:
        try:
            self._where = socket.getaddrinfo(self._address.host, self._address.port, type=socket.SOCK_STREAM)
        except OSError as error:
            raise EndpointFailed(f"has a name that is not found: {error.strerror}") from None
        status, _headers, body = self._ask("GET", f"{self._address.path}/v2", deadline)
        self._binary = status == 200 and BINARY in _read(messages.extensions, body)
        status, _headers, body = self._ask("GET", self._model, deadline)
        if status != 200:
            refuse(status if status not in (400, 500) else 503, messages.fault(body))
        return _read(messages.model_form, body)

    def ready(self, deadline: float) -> None:
        status, _headers, body = self._ask("GET", f"{self._model}/ready", deadline)
        if status in (401, 403):
            refuse(status, messages.fault(body))
        if status != 200 or not messages.said_ready(body):
            raise EndpointFailed(f"says that the model is not ready ({status})")

    def infer(self, question: Question, deadline: float) -> Answer:
        body, head = messages.request(question, binary=self._binary)
        headers = [(DEADLINE, str(max(1, int(left(deadline) * 1000)))), ("Content-Length", str(sum(map(len, body))))]
        headers.append(("Content-Type", "application/octet-stream" if head else "application/json"))
        if head:
            headers.append((LENGTH, str(head)))
        status, found, data = self._ask("POST", f"{self._model}/infer", deadline, headers, body)
        if status != 200:
            refuse(status, messages.fault(data))
        length = found.get(LENGTH.encode(), b"0")
        if not length.isdigit() or len(length) > 9:
            raise EndpointFailed("gives a length of its JSON that is none")
        return _read(lambda body: messages.answer(body, int(length)), data)

    def close(self) -> None:
        with self._lock:
            idle, self._idle, self._closed = self._idle, [], True
        for connection in idle:
            connection.close()

    def _ask(
        self,
        method: str,
        path: str,
        deadline: float,
        headers: Iterable[tuple[str, str]] = (),
        body: Sequence[Bytes] = (),
    ) -> tuple[int, dict[bytes, bytes], bytearray]:
        """EndpointFailed."""
        request = h11.Request(method=method, target=path, headers=[*self._headers, *headers])
        while True:
            connection, kept = self._connection(deadline)
            try:
                answer = connection.exchange(request, body, self._most, deadline)
                self._keep(connection)
                return answer
            except (OSError, EndpointFailed, h11.RemoteProtocolError) as error:
                connection.close()
                # A connection that was kept may be closed by the other side at any moment: no answer has begun on it.
                if not kept or connection.heard or isinstance(error, TimeoutError):
                    raise _failed(error) from None
                left(deadline)

    def _keep(self, connection: _Connection) -> None:
        """Keep it for the next request, if it can have one."""
        with self._lock:
            if connection.reusable() and not self._closed:
                self._idle.append(connection)
                return
        connection.close()

    def _connection(self, deadline: float) -> tuple[_Connection, bool]:
        """One that was kept (True), or a new one. EndpointFailed."""
        while True:
            with self._lock:
                connection = self._idle.pop() if self._idle else None
            if connection is None:
                return self._connect(deadline), False
            if not connection.stale:
                return connection, True
            connection.close()

    def _connect(self, deadline: float) -> _Connection:
        failure: Exception = EndpointFailed("has a name that was not found yet")
        for number, (family, kind, protocol, _name, where) in enumerate(self._where):
            made = socket.socket(family, kind, protocol)
            try:
                made.settimeout(left(deadline) / (len(self._where) - number))
                made.connect(where)
                made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                if self._tls is not None:
                    made.settimeout(left(deadline))
                    made = self._tls.wrap_socket(made, server_hostname=self._address.host)
                return _Connection(made)
            except (OSError, EndpointFailed) as error:
                made.close()
                failure = error
        raise _failed(failure) from None


def _read(read: Callable[[Bytes], Read], body: bytearray) -> Read:
    """What a function of `messages` makes of an answer. EndpointFailed."""
    try:
        return read(body)
    except ValueError as error:
        raise EndpointFailed(f"gives an answer that {error}") from None


def _failed(error: Exception) -> EndpointFailed:
    if isinstance(error, EndpointFailed):
        return error
    if isinstance(error, TimeoutError):
        return EndpointFailed("did not answer in time")
    if isinstance(error, ssl.SSLCertVerificationError):
        return EndpointFailed(f"shows a certificate that is not trusted ({error.verify_message}): see ca_file")
    if isinstance(error, h11.RemoteProtocolError):
        return EndpointFailed(f"does not speak HTTP as it should: {str(error)[:200]}")
    reason = error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__
    return EndpointFailed(f"cannot be reached: {reason}")
