"""The terminal that the server was begun in, if it was: when that is closed, the server ends."""

from __future__ import annotations

import os
import signal


class Terminal:
    """Tells the two meanings of SIGHUP apart: "read your files again", and "your terminal was closed".

    Make it at the start. A server without a terminal (a service, a container), or begun with nohup, has none to lose.
    """

    def __init__(self) -> None:
        self._held = signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN and _controls()
        if not self._held:
            # Nothing is there to be read again until the server serves, and it must not be ended by the wish for it.
            signal.signal(signal.SIGHUP, signal.SIG_IGN)

    @property
    def closed(self) -> bool:
        """Whether it was there at the start and is gone."""
        return self._held and not _controls()


def _controls() -> bool:
    """Whether this process has a controlling terminal (tty(4)); the kernel takes it away before it sends SIGHUP."""
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:
        return False
    return True
