"""A process that must not outlive the one that started it, nor end before it by itself. Linux."""

from __future__ import annotations

import ctypes
import signal

PR_SET_PDEATHSIG = 1


def end_with_parent() -> None:
    """Ask the kernel to kill this process when its parent ends, however that happens (prctl(2)).

    What a terminal sends to all programs that it has begun (Ctrl-C, its own end) is for the parent to decide on.
    """
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
