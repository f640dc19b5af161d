"""Bytes on their way out of a socket, without ever blocking: the kernel takes them, or they wait here for room."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

from imageserver.transport import hub
from imageserver.transport.budget import Charge

_NOTHING: deque[bytes | memoryview] = deque()  # one for all that wait for nothing: an empty deque has 600 bytes


class Outgoing:
    """What waits for one client. `sock` must be in non-blocking mode."""

    __slots__ = ("_charge", "_parts", "_sock", "_writer", "drained", "size")

    def __init__(self, sock: hub.Socket, charge: Charge) -> None:
        self._sock, self._charge = sock, charge
        self._parts = _NOTHING
        self._writer: hub.Task | None = None
        self.size = 0
        """Bytes not yet given to the kernel."""
        self.drained: Callable[[], None] | None = None
        """Called whenever `size` has come down to 0; must not block."""

    def write(self, data: bytes) -> bool:
        """Give `data` to the kernel, or keep what it does not take and have it written when there is room.

        False when so much cannot be kept: then `clear`.
        """
        if self.size:
            self._parts.append(data)
            self.size += len(data)
        else:
            try:
                sent = hub.send_nowait(self._sock, data)
            except OSError:
                return True  # the reader sees the end of the stream and does what is to be done
            if sent == len(data):
                return True
            self._parts = deque((memoryview(data)[sent:],))
            self.size = len(data) - sent
        if self._writer is None:
            self._writer = hub.spawn(self._write_parts)
        return self._charge.set(self.size)

    def clear(self) -> None:
        """Give up what waits."""
        self._parts.clear()
        self.size = 0
        self._charge.set(0)

    def wait(self, seconds: float) -> bool:
        """Wait until everything has gone to the kernel, at most so long; whether it has."""
        end = time.monotonic() + seconds
        while self.size and time.monotonic() < end:
            hub.sleep(0.005)
        return not self.size

    def _write_parts(self) -> None:
        try:
            while self._parts:
                hub.wait_writable(self._sock)
                while self._parts:
                    data = self._parts[0]
                    sent = hub.send_nowait(self._sock, data)
                    if not self._parts or self._parts[0] is not data:
                        break  # given up meanwhile
                    self.size -= sent
                    if sent < len(data):
                        self._parts[0] = memoryview(data)[sent:]
                        break
                    self._parts.popleft()
                self._charge.set(self.size)
        except (OSError, EOFError):
            self.clear()
        finally:
            self._writer = None
        if self.drained is not None:
            self.drained()
