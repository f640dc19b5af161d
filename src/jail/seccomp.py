"""A filter of system calls (seccomp): what a model has no business with is refused before the kernel looks at it.

The filter is a program for the classic Berkeley packet filter, which the kernel runs at each call on a `seccomp_data`:
the call's number, the machine, and the arguments. Source: seccomp(2), the kernel's
Documentation/userspace-api/seccomp_filter.rst. Pure but for `install`.
"""

from __future__ import annotations

import ctypes
import errno
import socket
import struct
from dataclasses import dataclass

from imageserver.jail import kernel

SET_MODE_FILTER, GET_ACTION_AVAILABLE = 1, 2
ALLOW, ERRNO = 0x7FFF0000, 0x00050000

LOAD, JUMP_EQUAL, JUMP_GREATER, AND, RETURN = 0x20, 0x15, 0x25, 0x54, 0x06
AT_NUMBER, AT_MACHINE, AT_ARGUMENTS = 0, 4, 16

CLONE_THREAD = 0x00010000
CLONE_NAMESPACES = 0x7E020080
TIOCSTI, TIOCLINUX = 0x5412, 0x541C
"""Put text into the input of the terminal that the server was started from, as if a person had typed it."""

MACHINES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
"""The machines that the numbers below are for, with what seccomp_data calls them (linux/audit.h)."""

LAST = 462
"""The newest call that is known here (mseal, Linux 6.10). Those after it do not exist for a jailed process."""

NUMBERS = {
    # name: (x86_64, aarch64); None where that machine has no such call
    "acct": (163, 89),
    "add_key": (248, 217),
    "bpf": (321, 280),
    "chmod": (90, None),
    "chown": (92, None),
    "chroot": (161, 51),
    "clone": (56, 220),
    "clone3": (435, 435),
    "execve": (59, 221),
    "execveat": (322, 281),
    "fanotify_init": (300, 262),
    "fchmod": (91, 52),
    "fchmodat": (268, 53),
    "fchmodat2": (452, 452),
    "fchown": (93, 55),
    "fchownat": (260, 54),
    "fork": (57, None),
    "fremovexattr": (199, 16),
    "fsconfig": (431, 431),
    "fsetxattr": (190, 7),
    "fsmount": (432, 432),
    "fsopen": (430, 430),
    "fspick": (433, 433),
    "futimesat": (261, None),
    "inotify_init": (253, None),
    "inotify_init1": (294, 26),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "io_uring_setup": (425, 425),
    "ioctl": (16, 29),
    "ioprio_set": (251, 30),
    "kcmp": (312, 272),
    "kexec_file_load": (320, 294),
    "kexec_load": (246, 104),
    "keyctl": (250, 219),
    "kill": (62, 129),
    "lchown": (94, None),
    "lremovexattr": (198, 15),
    "lsetxattr": (189, 6),
    "memfd_create": (319, 279),
    "memfd_secret": (447, 447),
    "migrate_pages": (256, 238),
    "modify_ldt": (154, None),
    "mount": (165, 40),
    "mount_setattr": (442, 442),
    "move_mount": (429, 429),
    "move_pages": (279, 239),
    "mq_open": (240, 180),
    "msgget": (68, 186),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    "open_tree": (428, 428),
    "perf_event_open": (298, 241),
    "personality": (135, 92),
    "pidfd_getfd": (438, 438),
    "pidfd_send_signal": (424, 424),
    "pivot_root": (155, 41),
    "prctl": (157, 167),
    "prlimit64": (302, 261),
    "process_madvise": (440, 440),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "ptrace": (101, 117),
    "quotactl": (179, 60),
    "removexattr": (197, 14),
    "request_key": (249, 218),
    "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240),
    "sched_setaffinity": (203, 122),
    "sched_setattr": (314, 274),
    "sched_setparam": (142, 118),
    "sched_setscheduler": (144, 119),
    "semget": (64, 190),
    "setns": (308, 268),
    "setpgid": (109, 154),
    "setpriority": (141, 140),
    "setsid": (112, 157),
    "setxattr": (188, 5),
    "shmget": (29, 194),
    "socket": (41, 198),
    "syslog": (103, 116),
    "tgkill": (234, 131),
    "tkill": (200, 130),
    "truncate": (76, 45),
    "umount2": (166, 39),
    "unshare": (272, 97),
    "uselib": (134, None),
    "userfaultfd": (323, 282),
    "utime": (132, None),
    "utimensat": (280, 88),
    "utimes": (235, None),
    "vfork": (58, None),
}

REFUSED = (
    # Other processes: their memory, their descriptors, their turns at the processor.
    "ptrace", "process_vm_readv", "process_vm_writev", "process_madvise", "kcmp", "pidfd_getfd", "pidfd_send_signal",
    "tkill", "migrate_pages", "move_pages", "ioprio_set", "setpriority", "sched_setattr", "sched_setparam",
    "sched_setscheduler",
    # Out of the group of processes that is ended together.
    "setpgid", "setsid",
    # Memory that no limit of a process counts, and that outlives it.
    "memfd_create", "memfd_secret", "shmget", "semget", "msgget", "mq_open",
    # Namespaces, mounts, files by number instead of by path.
    "unshare", "setns", "mount", "umount2", "pivot_root", "chroot", "fsopen", "fsconfig", "fsmount", "fspick",
    "move_mount", "open_tree", "mount_setattr", "name_to_handle_at", "open_by_handle_at", "quotactl", "fanotify_init",
    # What Landlock does not refuse of files that may not be opened: whose they are, how old, how long.
    "chmod", "fchmod", "fchmodat", "fchmodat2", "chown", "fchown", "lchown", "fchownat", "utime", "utimes", "utimensat",
    "futimesat", "setxattr", "lsetxattr", "fsetxattr", "removexattr", "lremovexattr", "fremovexattr", "truncate",
    "inotify_init", "inotify_init1",
    # io_uring would do all that is refused here.
    "io_uring_setup", "io_uring_enter", "io_uring_register",
    # Doors into the kernel that have stood open before.
    "bpf", "perf_event_open", "userfaultfd", "keyctl", "add_key", "request_key", "kexec_load", "kexec_file_load",
    "acct", "syslog", "personality", "modify_ldt", "uselib",
)  # fmt: skip
PROCESSES = ("fork", "vfork", "execve", "execveat")

Instruction = tuple[int, int, int, int]
"""Code, how far to jump when it is true, when it is not, operand."""


@dataclass(frozen=True)
class Rule:
    """Whether a call is refused depends on one argument: its lower 32 bits, of which `mask` counts.

    Args:
        name: of the call.
        argument: its number, from 0.
        values: those that are meant.
        refuse: whether the values are what is refused, or all that is allowed.
    """

    name: str
    argument: int
    values: tuple[int, ...]
    refuse: bool = True
    mask: int = 0xFFFFFFFF
    error: int = errno.EPERM


def rules(network: bool, processes: bool, pid: int, parent: int) -> list[Rule]:
    """The calls that one argument decides about, for the process `pid` whose parent is `parent`."""
    found = [
        Rule("ioctl", 1, (TIOCSTI, TIOCLINUX)),
        Rule("prctl", 0, (kernel.PR_SET_PDEATHSIG,)),  # it ends with its parent, whatever its code wants
        Rule("prlimit64", 0, (0, pid), refuse=False),
        Rule("sched_setaffinity", 0, (0, pid), refuse=False),
    ]
    if processes:
        # It has to do with processes of its own, whose numbers are not known yet.
        found += [Rule(name, 0, (parent,)) for name in ("kill", "tgkill", "rt_sigqueueinfo", "rt_tgsigqueueinfo")]
        found += [Rule("clone", 0, (0,), refuse=False, mask=CLONE_NAMESPACES)]
    else:
        signals = ("kill", "tgkill", "rt_sigqueueinfo", "rt_tgsigqueueinfo")
        found += [Rule(name, 0, (pid,), refuse=False) for name in signals]
        found += [Rule("clone", 0, (CLONE_THREAD,), refuse=False, mask=CLONE_THREAD)]
    # AF_NETLINK: the look-up of names asks which addresses there are.
    families = (socket.AF_INET, socket.AF_INET6, socket.AF_NETLINK) if network else ()
    return [*found, Rule("socket", 0, tuple(map(int, families)), refuse=False, error=errno.EACCES)]


def program(machine: str, network: bool, processes: bool, pid: int, parent: int) -> list[Instruction]:
    """The filter. KeyError: there are no numbers for this machine."""
    column = list(MACHINES).index(machine) if machine in MACHINES else MACHINES[machine]
    written: list[Instruction] = [
        (LOAD, 0, 0, AT_MACHINE),
        (JUMP_EQUAL, 1, 0, MACHINES[machine]),
        (RETURN, 0, 0, ERRNO | errno.ENOSYS),  # calls of another machine's kind have other numbers
        (LOAD, 0, 0, AT_NUMBER),
        (JUMP_GREATER, 0, 1, LAST),  # those of x32 on x86_64 among them
        (RETURN, 0, 0, ERRNO | errno.ENOSYS),
    ]
    # Its arguments lie in memory, which a filter cannot read; the C library then takes clone.
    written += _when(NUMBERS["clone3"][column], [(RETURN, 0, 0, ERRNO | errno.ENOSYS)])
    for rule in rules(network, processes, pid, parent):
        written += _when(NUMBERS[rule.name][column], _decide(rule))
    for name in REFUSED if processes else (*REFUSED, *PROCESSES):
        written += _when(NUMBERS[name][column], [(RETURN, 0, 0, ERRNO | errno.EPERM)])
    return [*written, (RETURN, 0, 0, ALLOW)]


def _when(number: int | None, block: list[Instruction]) -> list[Instruction]:
    """`block`, which ends with a verdict, for the call of this number only."""
    return [] if number is None else [(JUMP_EQUAL, 0, len(block), number), *block]


def _decide(rule: Rule) -> list[Instruction]:
    refused, allowed = (RETURN, 0, 0, ERRNO | rule.error), (RETURN, 0, 0, ALLOW)
    block = [(LOAD, 0, 0, AT_ARGUMENTS + 8 * rule.argument), (AND, 0, 0, rule.mask)]
    for left, value in enumerate(reversed(rule.values)):
        # To the last verdict when it is this value; else to the next, and behind the last value to the first verdict.
        block.insert(2, (JUMP_EQUAL, left + 1, 0, value & 0xFFFFFFFF))
    return [*block, allowed, refused] if rule.refuse else [*block, refused, allowed]


def available() -> bool:
    """Whether this kernel and machine filter system calls."""
    if kernel.MACHINE not in MACHINES:
        return False
    try:
        kernel.call(_number_of_seccomp(), GET_ACTION_AVAILABLE, 0, ctypes.byref(ctypes.c_uint32(ERRNO)))
    except OSError:
        return False
    return True


def install(written: list[Instruction]) -> None:
    """Filter the calls of this thread and of all that it begins from now on. Needs no_new_privs. OSError."""
    code = b"".join(struct.pack("=HBBI", *instruction) for instruction in written)
    buffer = ctypes.create_string_buffer(code, len(code))
    filter_program = _FilterProgram(len(written), ctypes.cast(buffer, ctypes.c_void_p))
    kernel.call(_number_of_seccomp(), SET_MODE_FILTER, 0, ctypes.byref(filter_program))


def _number_of_seccomp() -> int:
    return {"x86_64": 317, "aarch64": 277}[kernel.MACHINE]


class _FilterProgram(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))
