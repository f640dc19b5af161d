"""How much memory there is (the machine's, or what its container or service may have), how it is given back, and when
garbage is looked for."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import math
import os
import time
from collections.abc import Callable
from pathlib import Path

from imageserver.transport import hub

LARGE = 4 * 2**20
"""Bytes from which memory is the system's again as soon as it is freed."""

FREED = 8 * 2**20
"""Bytes that have to lie free before what is scattered is returned."""
TRIM_EVERY = 2.0
"""Seconds between two looks at that; so there is never much to return at once."""
TRIM_AGAIN = (5, 15, 45)
"""Looks after which it is tried again: the little that lay between what was free has ended by then."""
LOOK_EVERY = 1.0
HOUR = 3600.0
CROWD = 1000
"""Connections that have to leave before everything is looked at."""
YOUNG = (700, 5, 1)
"""When the garbage collector looks at the youngest, the younger and all objects (`gc.set_threshold`)."""

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # mallopt(3)


def resident() -> int:
    """Bytes of memory that this process has now; 0 where the system does not say so."""
    with contextlib.suppress(OSError):
        return int(Path("/proc/self/statm").read_text("ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return 0


class _Mallinfo(ctypes.Structure):
    """mallinfo2(3)."""

    _fields_ = [
        *((name, ctypes.c_size_t) for name in ("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks")),
        *((name, ctypes.c_size_t) for name in ("uordblks", "fordblks", "keepcost")),
    ]


class Heap:
    """Returns to the system what was freed; where the C library is another than glibc, nothing happens.

    glibc left to itself takes what was freed once for what comes often, and keeps up to 32 MiB of each in its heap; and
    of what is small it returns only what lies at the heap's end. After a crowd the process would stay as large as it
    ever was. So what is large is returned at once, and what lies scattered when there is much of it.

    Args:
        spare: bytes that the process holds beyond what is in use. None: what the system and the C library say.
        trim: returns what is scattered, within 0.4 ms for each MB. None: the C library's.
    """

    def __init__(self, spare: Callable[[], int] | None = None, trim: Callable[[], object] | None = None) -> None:
        self._spare, self._trim = spare, trim
        self._least = math.inf  # what cannot be returned: of Python's own, of threads, of libraries
        self._looks = TRIM_AGAIN[-1]  # since there was much to return
        with contextlib.suppress(OSError, AttributeError):
            library = ctypes.CDLL(None)
            library.mallopt(_M_MMAP_THRESHOLD, LARGE)
            library.mallopt(_M_TRIM_THRESHOLD, 2 * LARGE)  # what is smaller stays at hand: frames come all the time
            library.mallinfo2.restype = _Mallinfo
            self._spare = spare or (lambda: _own() - _in_use(library.mallinfo2()))
            self._trim = trim or (lambda: library.malloc_trim(0))

    def run(self) -> None:
        """Look again and again, where that is possible; spawn it."""
        while self._spare and self._trim:
            hub.sleep(TRIM_EVERY)
            with contextlib.suppress(OSError):  # no descriptor is left; there will be
                self.look()

    def look(self) -> None:
        """Return what is scattered, if much was freed since the last time.

        On the loop: in a thread that waits for a processor it would hold the heap's lock, and with it the loop.
        """
        if self._spare and self._trim:
            spare = self._spare()
            self._looks = 0 if spare - self._least > FREED else self._looks + 1
            if self._looks == 0 or self._looks in TRIM_AGAIN:
                self._trim()
                self._least = self._spare()
            self._least = min(self._least, spare)


def _own() -> int:
    """Bytes of memory that the process alone holds."""
    resident, shared = Path("/proc/self/statm").read_text().split()[1:3]
    return (int(resident) - int(shared)) * os.sysconf("SC_PAGE_SIZE")


def _in_use(found: _Mallinfo) -> int:
    """Bytes that the C library has given out."""
    return int(found.uordblks + found.hblkhd)


class Garbage:
    """Has Python's garbage collector look at what is new only, however much there is.

    Each of its full collections looks at every object again: with 10,000 connections that holds the loop for a third
    of a second. So what one has left over is frozen, and the next looks at what has come since. What was frozen and
    then ends in a circle of references stays; no connection does, but something may. So everything is looked at once
    an hour, and when most of a crowd has left, which is quick again.

    Args:
        count: says how many connections are open.
        clock: monotonic seconds.
    """

    def __init__(self, count: Callable[[], float], clock: Callable[[], float] = time.monotonic) -> None:
        self._count, self._clock = count, clock
        self._most, self._before, self._looked = 0.0, 0.0, clock()

    def start(self) -> None:
        """Begin, once everything that stays is there; then spawn `run`."""
        gc.set_threshold(*YOUNG)
        gc.callbacks.append(self._freeze)
        self._look_at_all()

    def run(self) -> None:
        """For ever; spawn it."""
        while True:
            hub.sleep(LOOK_EVERY)
            self.look()

    def look(self) -> None:
        """Look at everything, if it is time to."""
        count, now = self._count(), self._clock()
        self._most = max(self._most, count)
        crowd_has_left = self._most - count > max(CROWD, self._most / 2) and count >= self._before
        self._before = count
        if crowd_has_left or now - self._looked >= HOUR:
            self._most, self._looked = count, now
            self._look_at_all()

    def _look_at_all(self) -> None:
        gc.unfreeze()
        gc.collect()
        gc.collect()  # what was left over is frozen: else Python waited with the next until a quarter more is there

    def _freeze(self, phase: str, about: dict[str, int]) -> None:
        if phase == "stop" and about["generation"] == 2:
            gc.freeze()


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
