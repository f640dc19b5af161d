"""Tells systemd how the server is: ready, alive, stopping (sd_notify(3), sd_watchdog_enabled(3)), in pure Python.

    service = Service(Notifier.from_environment(os.environ), problem=…, coming=…, alive=…)
    hub.spawn(service.run)
    service.stopping(0)

Without systemd (no NOTIFY_SOCKET in the environment) all of this does nothing.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Callable, Iterator, MutableMapping

from imageserver.transport import hub

LOOK_EVERY = 0.25
"""Seconds between two looks until the server is ready."""
MOST_BETWEEN = 5.0
"""Seconds between two looks afterwards, at most; a third of the watchdog's time when that is less."""
PATIENCE = 120.0
"""Seconds that the default model, once ready, may be out of order before a restart is worth what it costs others."""
EXTEND = 30.0
"""Seconds that the start may take from now on, told anew while the default model is being loaded."""

STOP = 10.0
"""Seconds that the server may take to stop once its clients have left."""


class Notifier:
    """Sends datagrams to systemd's socket: `address` is a path, or begins with @ for an abstract one; "" sends nothing.

    `watchdog`: within how many seconds systemd expects to hear WATCHDOG=1; 0 when it does not.
    """

    def __init__(self, address: str = "", watchdog: float = 0.0) -> None:
        self.address, self.watchdog = address, watchdog

    @classmethod
    def from_environment(cls, environment: MutableMapping[str, str]) -> Notifier:
        """What systemd has put into the environment; taken out of it, as it is not for the processes we start."""
        address = environment.pop("NOTIFY_SOCKET", "")
        micros, pid = environment.pop("WATCHDOG_USEC", ""), environment.pop("WATCHDOG_PID", "")
        meant = micros.isdigit() and pid in ("", str(os.getpid()))
        return cls(address if address[:1] in ("/", "@") else "", int(micros) / 1e6 if meant else 0.0)

    def send(self, *assignments: str) -> None:
        """Send lines such as "READY=1". Never blocks, never raises: systemd may be busy or gone, the server goes on."""
        if self.address:
            text = "\n".join(line.replace("\n", " ") for line in assignments)
            with (
                contextlib.suppress(OSError),
                socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sock,
            ):
                sock.sendto(text.encode(errors="replace"), self.address.replace("@", "\0", 1))


class Service:
    """Readiness and liveness as systemd wants them.

    `problem()` is one sentence while the server is not ready, else None; `coming()` says whether it is on its way to
    be; `alive()` whether it still listens. READY=1 goes out when there is no problem for the first time. From then on
    the watchdog hears from us while the loop turns (else nothing here runs), the server listens, and the last problem
    is no older than PATIENCE.
    """

    def __init__(
        self,
        notifier: Notifier,
        *,
        problem: Callable[[], str | None],
        coming: Callable[[], bool],
        alive: Callable[[], bool],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._notifier, self._clock = notifier, clock
        self._problem, self._coming, self._alive = problem, coming, alive
        self._ready = self._stopping = False
        self._well_at = clock()
        self._status = ""

    def run(self) -> None:
        """For ever, if systemd listens; spawn it."""
        while self._notifier.address and not self._stopping:
            self.look()
            hub.sleep(self.pause)

    @property
    def pause(self) -> float:
        """Seconds until the next look."""
        if not self._ready:
            return LOOK_EVERY
        return min(MOST_BETWEEN, self._notifier.watchdog / 3) if self._notifier.watchdog else MOST_BETWEEN

    def look(self) -> None:
        """See how the server is, and say so."""
        problem, now = self._problem(), self._clock()
        lines = []
        if problem is None:
            self._well_at = now
            if not self._ready:
                self._ready = True
                lines.append("READY=1")
        elif not self._ready and self._coming():
            lines.append(f"EXTEND_TIMEOUT_USEC={int(EXTEND * 1e6)}")
        status = problem or "ready"
        if status != self._status:
            self._status = status
            lines.append(f"STATUS={status}")
        if self._ready and self._alive() and now - self._well_at <= PATIENCE:
            lines.append("WATCHDOG=1")
        if lines:
            self._notifier.send(*lines)

    @contextlib.contextmanager
    def reloading(self) -> Iterator[None]:
        """Say that something is read again, and at the end that it was, as Type=notify-reload wants it."""
        if self._ready and not self._stopping:
            self._notifier.send("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")
        try:
            yield
        finally:
            if self._ready and not self._stopping:
                self._notifier.send("READY=1")

    def stopping(self, seconds: float) -> None:
        """Say that the server is on its way out, and takes so many seconds more than it does without clients."""
        self._stopping = True
        more = [f"EXTEND_TIMEOUT_USEC={int((seconds + STOP) * 1e6)}"] if seconds else []
        self._notifier.send("STOPPING=1", "STATUS=stopping", *more)
