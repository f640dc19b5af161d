"""A listening socket and its connections, for every port alike: accepting them, counting them, ending them."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Protocol

from imageserver import metrics
from imageserver.limits import Limits, hit, note
from imageserver.transport import descriptors, hub
from imageserver.transport.budget import owner_of
from imageserver.transport.fairness import SharedTurn, Turn

QUIET = 10.0
"""Seconds without a refusal after which the log is told that connections are taken again."""

_NO_ROOM = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class Connection(Protocol):
    """A client's connection."""

    @property
    def idle(self) -> bool:
        """Whether nothing is being done for it, so that it may be ended at any moment."""

    def run(self) -> None:
        """Serve it until either side ends it."""

    def cut(self) -> None:
        """End it from outside."""


class Refusals:
    """Connections that are refused: counted, told in a line when a limit begins to, and in one when all is over."""

    def __init__(self, log: Callable[[str], None], clock: Callable[[], float]) -> None:
        self._log, self._clock = log, clock
        self._count = 0
        self._last: dict[str, float] = {}  # by limit

    def add(self, sentence: str, limit: str, owner: str = "") -> None:
        """One more, for a limit, whose first one's sentence stands in the log."""
        now = self._clock()
        if limit in self._last and now - self._last[limit] < QUIET:
            hit(limit, owner)
        else:
            self._log(note(sentence, limit, owner))
        self._last[limit] = now
        self._count += 1
        if self._count == 1:
            hub.call_later(QUIET, self._look)

    def _look(self) -> None:
        left = max(self._last.values()) + QUIET - self._clock()
        if left > 0:
            hub.call_later(left, self._look)
        else:
            self._log(f"connections are taken again; {self._count} were refused or had to wait")
            self._count = 0
            self._last.clear()


class Listener:
    """Accepts connections, each of which runs in a green thread of its own. Derive from it and define `admit`.

    Args:
        sock: the listening socket.
        transport: their label in the metrics.
        limits: `spare_descriptors` counts here.
        log: takes one line at a time.
        clock: monotonic seconds.
        shared: the turn that its connections share, if they do.
    """

    def __init__(
        self,
        sock: hub.Socket,
        transport: str,
        limits: Limits,
        *,
        log: Callable[[str], None],
        clock: Callable[[], float],
        shared: SharedTurn | None = None,
    ) -> None:
        self.log, self.clock, self.stopping = log, clock, False
        self._closed = False
        self.connections: set[Connection] = set()
        self.limits, self._refusals = limits, Refusals(log, clock)
        self._sock, self._turn = sock, Turn(clock, shared)
        self._gauge = metrics.CONNECTIONS.child(transport)

    @property
    def address(self) -> tuple[str, int]:
        """Host and port that it listens on."""
        host, port = self._sock.getsockname()[:2]
        return host, port

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return self.address[1]

    def admit(self, sock: hub.Socket, host: str, port: int) -> Connection | None:
        """The connection of a client that has been accepted; None when it was refused, and `sock` closed."""
        raise NotImplementedError

    def refuse(self, sock: hub.Socket, host: str, sentence: str, limit: str) -> None:
        """Turn a client away for a limit, as whoever derives from this says it to clients; the log has a line."""
        self._refusals.add(f"{sentence}; one more, of {host}, was refused", limit, owner_of(host))
        self.turn_away(sock)

    def turn_away(self, sock: hub.Socket) -> None:
        """Tell a client that there is no room, as far as its protocol has words for that, and close `sock`."""
        sock.close()

    def left(self, connection: Connection) -> None:
        """A connection has ended."""

    def serve(self) -> None:
        """Accept until `close`, then close the listening socket. Blocks; run it in a green thread of its own."""
        with self._sock:  # not closed in `close`: a descriptor closed under whoever waits for it wakes nobody
            while not self._closed:
                self._turn.share()  # in a storm of reconnections somebody always waits to be let in
                self._accept()

    def _accept(self) -> None:
        try:
            sock, address = self._sock.accept()
        except OSError as error:
            if error.errno in _NO_ROOM:
                self._refusals.add(f"port {self.port} cannot accept connections: {error.strerror}", "spare_descriptors")
                hub.sleep(0.1)  # those waiting stay in the kernel's queue
            return
        if descriptors.taken(sock.fileno(), self.limits.spare_descriptors):
            sentence = f"{sock.fileno()} files and sockets are open, and the rest is kept for the server itself"
            self.refuse(sock, address[0], sentence, "spare_descriptors")
            return
        connection = self.admit(sock, address[0], address[1])
        if connection is not None:
            self.connections.add(connection)
            self._gauge.value += 1
            hub.spawn(self._run, connection)

    def leave(self) -> None:
        """Go on, but end each connection behind its next answer: a proxy that keeps some shall find others."""
        self.stopping = True

    def close(self) -> None:
        """Accept no more: who comes is refused at once, and another server may have the port. The others are served."""
        self._closed = True
        hub.shut(self._sock)  # `serve` wakes up and closes it

    def stop(self, grace: float) -> None:
        """Accept no more, end what is idle, give the rest `grace` seconds, then cut it off."""
        self.stopping = True
        self.close()
        for connection in list(self.connections):
            if connection.idle:
                connection.cut()
        end = self.clock() + grace
        while self.connections and self.clock() < end:
            hub.sleep(0.02)
        for connection in list(self.connections):
            connection.cut()

    def _run(self, connection: Connection) -> None:
        try:
            connection.run()
        finally:
            self.connections.discard(connection)
            self._gauge.value -= 1
            self.left(connection)
