"""How much memory there is (the machine's, or what its container or service may have), and how it is given back."""

from __future__ import annotations

import contextlib
import ctypes
import os
from pathlib import Path

LARGE = 4 * 2**20
"""Bytes from which memory is the system's again as soon as it is freed."""

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # mallopt(3)


def give_back_large() -> None:
    """Have what is large returned to the system when it is freed; where the C library is another, nothing happens.

    glibc left to itself takes what was freed once for what comes often, and keeps up to 32 MiB of each in its heap:
    after a crowd of large pictures the process would stay as large as it ever was.
    """
    with contextlib.suppress(OSError, AttributeError):
        library = ctypes.CDLL(None)
        library.mallopt(_M_MMAP_THRESHOLD, LARGE)
        library.mallopt(_M_TRIM_THRESHOLD, 2 * LARGE)  # what is smaller stays at hand: frames come all the time


def memory_of_machine(proc: Path = Path("/proc/self/cgroup"), cgroups: Path = Path("/sys/fs/cgroup")) -> int:
    """Bytes of memory that this process may use.

    Args:
        proc: Where the kernel says in which control groups the process is.
        cgroups: Where these are mounted.
    """
    least = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for folder, name in _groups(proc, cgroups):
        try:
            least = min(least, int((folder / name).read_text()))
        except (OSError, ValueError):
            continue  # not there, or "max"
    return least


def _groups(proc: Path, cgroups: Path) -> list[tuple[Path, str]]:
    """Each group that bounds the process, the groups around it included, and the file that says by how much."""
    try:
        lines = proc.read_text().splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0":
            root, name = cgroups, "memory.max"
        elif "memory" in controllers.split(","):
            root, name = cgroups / "memory", "memory.limit_in_bytes"
        else:
            continue
        group = root / path.lstrip("/")
        # In a container the root itself is the container's group, whatever the path says.
        found += [(folder, name) for folder in (group, *group.parents) if folder == root or root in folder.parents]
    return found
