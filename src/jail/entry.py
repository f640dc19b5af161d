"""How a process goes into its jail: its first act, while it has one thread, before any code that is not the project's.

What it does is inherited by every thread and program that it begins, and cannot be undone.
"""

from __future__ import annotations

import contextlib
import glob
import os
import resource
import struct
import sys
import tempfile
from pathlib import Path

from imageserver.jail import kernel, landlock, output, seccomp
from imageserver.jail.rules import GIB, MIB, Jail

LIBRARIES = 3 * GIB
"""Address space beside a process's own memory: the libraries of the runtimes, memory shared with the server."""

STACKS = 16 * MIB
"""For the runtimes' threads, of which each processor has two: stacks count as taken, touched or not."""

SYSTEM = (
    "/usr/lib", "/usr/lib32", "/usr/lib64", "/usr/local/lib", "/usr/local/lib64", "/lib", "/lib64", "/usr/share",
    "/usr/local/cuda*", "/nix/store", "/gnu/store",
    "/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/localtime", "/etc/timezone",
    "/etc/nsswitch.conf", "/etc/ssl/openssl.cnf", "/etc/pki/tls/openssl.cnf", "/etc/crypto-policies",
    "/etc/OpenCL", "/etc/vulkan",
    "/sys/devices", "/sys/bus", "/sys/module", "/sys/kernel/mm", "/sys/fs/cgroup",
    "/proc/cpuinfo", "/proc/meminfo", "/proc/stat", "/proc/version", "/proc/filesystems", "/proc/devices",
    "/proc/modules", "/proc/loadavg", "/proc/sys/kernel", "/proc/sys/vm", "/proc/driver/nvidia",
)  # fmt: skip
"""Readable in every jail; a `*` stands for what is there."""

OF_ITSELF = (
    "auxv", "cgroup", "cmdline", "comm", "exe", "fd", "fdinfo", "limits", "maps", "mountinfo", "mounts", "smaps",
    "smaps_rollup", "stat", "statm", "status",
)  # fmt: skip
"""Readable of /proc/self; not what is under net/, which tells of everybody's connections."""

NETWORK = (
    "/etc/hosts", "/etc/resolv.conf", "/etc/host.conf", "/etc/gai.conf", "/etc/services", "/etc/protocols",
    "/run/systemd/resolve/stub-resolv.conf", "/run/systemd/resolve/resolv.conf",
    "/etc/ssl/certs", "/etc/ssl/cert.pem", "/etc/pki/tls/certs", "/etc/pki/ca-trust/extracted", "/etc/ca-certificates",
)  # fmt: skip
"""Readable where sockets are allowed."""

PROGRAMS = ("/bin", "/usr/bin", "/usr/local/bin")
DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/nvidia*", "/dev/kfd")
GRAPHICS_CARDS = ("/dev/nvidia[0-9]*", "/dev/kfd")
"""What the drivers of these map is no memory: address space is no measure there."""

CAP_DAC_READ_SEARCH = 2
"""The one capability that root keeps: its models may belong to somebody else. What it may read is Landlock's to say."""


def enter(jail: Jail) -> None:
    """Give up every right that `jail` does not name.

    What this system has no means for is left out (system.py says what); where its means fail the process ends.
    """
    output.forgive()
    try:
        _enter(jail)
    except OSError as error:
        sys.exit(f"the jail of this process cannot be made ({error}): mend that, or start the server with --no-jail")


def _enter(jail: Jail) -> None:
    os.environ["HOME"] = os.environ["TMPDIR"] = jail.scratch
    tempfile.tempdir = None  # what it found before is elsewhere
    kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
    os.umask(0o077)
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")
    if not jail.enforced:
        return
    _limit(jail)
    if landlock.version():
        landlock.restrict(paths(jail), tcp=jail.network and not jail.connect, connect=jail.connect)
    _drop_capabilities()
    if seccomp.available():
        program = seccomp.program(kernel.MACHINE, jail.network, jail.processes, os.getpid(), os.getppid())
        seccomp.install(program)


def paths(jail: Jail) -> list[tuple[str | Path, int]]:
    """What the jail lets a process open, with the rights to each."""
    read = landlock.RUN if jail.processes else landlock.READ
    python = [Path(prefix, part) for prefix in {sys.prefix, sys.base_prefix} for part in ("lib", "lib64", "pyvenv.cfg")]
    libraries = [entry for entry in os.environ.get("LD_LIBRARY_PATH", "").split(":") if os.path.isabs(entry)]
    code = [Path(__file__).resolve().parent.parent, *python, *map(Path, filter(os.path.isabs, sys.path))]
    of_itself = [f"/proc/self/{name}" for name in OF_ITSELF]
    system = [*SYSTEM, *of_itself, *(NETWORK if jail.network else ())]
    if jail.processes:
        system += [*PROGRAMS, sys.prefix + "/bin", sys.base_prefix + "/bin"]
    readable: list[str | Path] = [*code, *libraries, *_expanded(system), *jail.read]
    return [
        *((path, read) for path in readable),
        *((path, landlock.DEVICE) for path in _expanded(DEVICES)),
        *((path, landlock.WRITE | read) for path in filter(None, (jail.scratch, *jail.write))),
    ]


def _expanded(names: list[str] | tuple[str, ...]) -> list[str]:
    return [path for name in names for path in glob.glob(name)]


def _limit(jail: Jail) -> None:
    limits = {
        resource.RLIMIT_CORE: 0,  # a core holds pictures
        resource.RLIMIT_NOFILE: jail.open_files,
        resource.RLIMIT_FSIZE: jail.largest_file or resource.RLIM_INFINITY,
        resource.RLIMIT_MSGQUEUE: 0,
    }
    if jail.memory:
        limits[resource.RLIMIT_DATA] = jail.memory + STACKS * (os.cpu_count() or 1)
        if not _expanded(GRAPHICS_CARDS):
            limits[resource.RLIMIT_AS] = limits[resource.RLIMIT_DATA] + LIBRARIES
    for limit, most in limits.items():
        _, hard = resource.getrlimit(limit)
        least = most if hard == resource.RLIM_INFINITY else hard if most == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(limit, (least, least))


def _drop_capabilities() -> None:
    """What root can do beyond other users, or whoever was given some of it."""
    number, held = {"x86_64": 126, "aarch64": 91}.get(kernel.MACHINE), _capabilities()
    if number is None or not held:
        return
    kept = held & 1 << CAP_DAC_READ_SEARCH
    header = struct.pack("=Ii", 0x20080522, 0)  # _LINUX_CAPABILITY_VERSION_3, this thread
    sets = struct.pack("=6I", kept, kept, 0, 0, 0, 0)  # effective, permitted, inheritable; lower and upper words
    with contextlib.suppress(PermissionError):  # who runs the server may have forbidden the call; the rest holds
        kernel.call(number, header, sets)


def _capabilities() -> int:
    """Those that this process has or could take up, a bit for each."""
    status = Path("/proc/self/status").read_text("ascii", "replace")
    return int(status.partition("CapPrm:")[2].split()[0], 16)
