"""Ends connections on which something takes too long: libpq has no such limit while the other side is silent."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator

import psycopg

_LOOK_EVERY = 0.25
"""Seconds."""


class Deadlines:
    """Shuts the socket of a connection down when what it does has lasted `seconds`: whoever waits for it is told so."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._until: dict[psycopg.Connection, float] = {}
        self._lock = threading.Lock()

    def start(self) -> None:
        """Look from now on."""
        threading.Thread(target=self._run, name="deadlines", daemon=True).start()

    @contextlib.contextmanager
    def of(self, connection: psycopg.Connection) -> Iterator[None]:
        """The block may take that long with this connection."""
        with self._lock:
            self._until[connection] = time.monotonic() + self._seconds
        try:
            yield
        finally:
            with self._lock:
                self._until.pop(connection, None)

    def _run(self) -> None:
        while True:
            time.sleep(_LOOK_EVERY)
            now = time.monotonic()
            with self._lock:  # so that no descriptor is closed, and given to another, at this moment
                late = [connection for connection, until in self._until.items() if until <= now]
                for connection in late:
                    del self._until[connection]
                    _shut(connection)


def _shut(connection: psycopg.Connection) -> None:
    with contextlib.suppress(OSError, psycopg.Error):
        duplicate = socket.socket(fileno=socket.dup(connection.fileno()))
        with duplicate:
            duplicate.shutdown(socket.SHUT_RDWR)
