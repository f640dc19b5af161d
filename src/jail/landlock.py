"""Landlock: a process gives up files, TCP, signals and abstract sockets for itself and all that it starts.

Source: landlock(7) and the kernel's Documentation/userspace-api/landlock.rst. What a kernel knows is told by the
version of its interface; what is not known there is left out, as that document advises.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterable
from pathlib import Path

from imageserver.jail import kernel

CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446
"""Numbers of the system calls, the same on every machine."""

GET_VERSION = 1
PATH_BENEATH, NET_PORT = 1, 2

EXECUTE, WRITE_FILE, READ_FILE, READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
REFER, TRUNCATE, IOCTL_DEV = 1 << 13, 1 << 14, 1 << 15
FIRST = (1 << 13) - 1
"""Every right to files that version 1 knows."""

READ = READ_FILE | READ_DIR
RUN = READ | EXECUTE
DEVICE = READ_FILE | WRITE_FILE | IOCTL_DEV
WRITE = READ | WRITE_FILE | REFER | TRUNCATE | sum(1 << bit for bit in (4, 5, 7, 8, 10, 12))
"""Remove folders and files, make folders, files, FIFOs and links; no devices, no sockets."""
OF_A_FILE = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV
"""The rights that a rule on a file, in place of a folder, may hold."""

TCP = 0b11
"""bind and connect"""
CONNECT = 0b10
SCOPED = 0b11
"""abstract Unix sockets, signals"""


class _RulesetAttribute(ctypes.Structure):
    _fields_ = (("fs", ctypes.c_uint64), ("net", ctypes.c_uint64), ("scoped", ctypes.c_uint64))


class _PathBeneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("allowed", ctypes.c_uint64), ("parent", ctypes.c_int32))


class _NetPort(ctypes.Structure):
    _fields_ = (("allowed", ctypes.c_uint64), ("port", ctypes.c_uint64))


def version() -> int:
    """The version of the kernel's interface; 0: it has no Landlock, or it is switched off or forbidden here."""
    try:
        return kernel.call(CREATE_RULESET, None, 0, GET_VERSION)
    except OSError:
        return 0


def handled(version: int) -> tuple[int, int, int]:
    """What a kernel of this version can refuse: rights to files, to TCP, and what reaches other processes."""
    files = FIRST
    for right, since in ((REFER, 2), (TRUNCATE, 3), (IOCTL_DEV, 5)):
        files |= right if version >= since else 0
    return files, TCP if version >= 4 else 0, SCOPED if version >= 6 else 0


def restrict(allowed: Iterable[tuple[str | Path, int]], *, tcp: bool, connect: Iterable[int] = ()) -> None:
    """Refuse this thread, and all that it begins from now on, every file but those `allowed`.

    Needs no_new_privs. Links in `allowed` are followed; what is not there is left out.
    Abstract Unix sockets and signals to processes outside are refused as well, where the kernel knows how.

    Args:
        allowed: paths of files and folders, each with the rights to it and to all that is in it.
        tcp: whether TCP is allowed.
        connect: ports that TCP may go to where it is not.

    Raises:
        OSError: the kernel does not do it.
    """
    fs, net, scoped = handled(version())
    attribute = _RulesetAttribute(fs, 0 if tcp else net, scoped)
    # Kernels that do not know the later fields take none that is longer, unless the rest is zero.
    ruleset = kernel.call(CREATE_RULESET, ctypes.byref(attribute), ctypes.sizeof(attribute), 0)
    try:
        for path, rights in allowed:
            _allow(ruleset, path, rights & fs)
        for port in connect if attribute.net else ():
            rule = _NetPort(CONNECT, port)
            kernel.call(ADD_RULE, ruleset, NET_PORT, ctypes.byref(rule), 0)
        kernel.call(RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)


def _allow(ruleset: int, path: str | Path, rights: int) -> None:
    try:
        opened = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return  # not there, or not for this user: nothing to allow
    try:
        if not os.path.isdir(f"/proc/self/fd/{opened}"):
            rights &= OF_A_FILE
        kernel.call(ADD_RULE, ruleset, PATH_BENEATH, ctypes.byref(_PathBeneath(rights, opened)), 0)
    finally:
        os.close(opened)
