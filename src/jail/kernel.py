"""System calls that Python's standard library has no name for, through ctypes."""

from __future__ import annotations

import ctypes
import os
import platform
from typing import Any

PR_SET_PDEATHSIG, PR_SET_NO_NEW_PRIVS = 1, 38

MACHINE = platform.machine()


def call(number: int, *arguments: Any) -> int:
    """`syscall(number, *arguments)`; integers go as 64 bits. OSError, also where there is no such call."""
    words = [ctypes.c_ulong(word) if isinstance(word, int) else word for word in arguments]
    return _checked("syscall", ctypes.c_long(number), *words)


def prctl(option: int, argument: int) -> None:
    """`prctl(option, argument, 0, 0, 0)`. OSError."""
    _checked("prctl", option, *(ctypes.c_ulong(word) for word in (argument, 0, 0, 0)))


def _checked(function: str, *arguments: Any) -> int:
    """The result of a function of the C library that sets errno. OSError, also where there is no such function."""
    found = getattr(ctypes.CDLL(None, use_errno=True), function, None)
    if found is None:
        raise OSError(f"this system has no {function}")
    found.restype = ctypes.c_long
    result: int = found(*arguments)
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result
