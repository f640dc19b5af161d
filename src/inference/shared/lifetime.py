"""A process that must not outlive the one that started it. Linux."""

from __future__ import annotations

import ctypes
import os
import signal

PR_SET_PDEATHSIG = 1


def end_with_parent(parent: int | None = None) -> None:
    """Ask the kernel to kill this process when its parent ends, however that happens (prctl(2)).

    `parent`: its process id, when known: a parent that ended before the kernel was asked has the same effect.
    """
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if parent is not None and os.getppid() != parent:
        os._exit(1)
