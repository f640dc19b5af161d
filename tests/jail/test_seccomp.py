"""The filter of system calls as a table: what it answers to which call, by an interpreter of its instructions."""

from __future__ import annotations

import errno
import socket

import pytest

from imageserver.jail import seccomp
from imageserver.jail.seccomp import ALLOW, ERRNO, Instruction

PID, PARENT = 4711, 42
THREAD = 0x3D0F00  # what glibc's pthread_create asks for, CLONE_THREAD in it
FORK = 0x1200011


def answer(program: list[Instruction], number: int, *arguments: int, machine: int) -> int:
    """0 where the call is allowed, else its errno."""
    data = {0: number, 4: machine} | {16 + 8 * at: value & 0xFFFFFFFF for at, value in enumerate(arguments)}
    at, held = 0, 0
    while True:
        code, when_true, when_false, operand = program[at]
        at += 1
        match code:
            case seccomp.LOAD:
                held = data[operand]
            case seccomp.AND:
                held &= operand
            case seccomp.JUMP_EQUAL:
                at += when_true if held == operand else when_false
            case seccomp.JUMP_GREATER:
                at += when_true if held > operand else when_false
            case seccomp.RETURN:
                if operand == ALLOW:
                    return 0
                assert operand & 0xFFFF0000 == ERRNO
                return operand & 0xFFFF
            case _:
                raise AssertionError(f"no such instruction: {code:#x}")


@pytest.fixture(params=["x86_64", "aarch64"])
def machine(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


def ask(machine: str, name: str, *arguments: int, network: bool = False, processes: bool = False) -> int:
    program = seccomp.program(machine, network, processes, PID, PARENT)
    number = seccomp.NUMBERS[name][list(seccomp.MACHINES).index(machine)]
    if number is None:
        pytest.skip(f"{machine} has no {name}")
    return answer(program, number, *arguments, *[0] * (6 - len(arguments)), machine=seccomp.MACHINES[machine])


@pytest.mark.parametrize("name", [*seccomp.REFUSED, *seccomp.PROCESSES])
def test_what_no_model_needs_is_refused(machine: str, name: str) -> None:
    assert ask(machine, name) == errno.EPERM


@pytest.mark.parametrize(
    ("name", "arguments", "expected"),
    [
        ("socket", (socket.AF_INET,), errno.EACCES),
        ("socket", (socket.AF_INET6,), errno.EACCES),
        ("socket", (socket.AF_UNIX,), errno.EACCES),
        ("socket", (socket.AF_NETLINK,), errno.EACCES),
        ("socket", (socket.AF_INET | 1 << 32,), errno.EACCES),
        ("clone", (THREAD,), 0),
        ("clone", (FORK,), errno.EPERM),
        ("clone", (FORK | 1 << 32,), errno.EPERM),
        ("clone3", (0,), errno.ENOSYS),
        ("kill", (PID, 9), 0),
        ("kill", (PARENT, 9), errno.EPERM),
        ("kill", (0, 9), errno.EPERM),
        ("kill", (-1, 9), errno.EPERM),
        ("tgkill", (PID, PID, 6), 0),
        ("tgkill", (PARENT, PARENT, 6), errno.EPERM),
        ("rt_sigqueueinfo", (PARENT, 9), errno.EPERM),
        ("ioctl", (2, seccomp.TIOCSTI), errno.EPERM),
        ("ioctl", (2, seccomp.TIOCSTI | 1 << 32), errno.EPERM),
        ("ioctl", (2, seccomp.TIOCLINUX), errno.EPERM),
        ("ioctl", (2, 0x5413), 0),
        ("prctl", (1, 0), errno.EPERM),
        ("prctl", (15, 0), 0),
        ("prlimit64", (0, 7), 0),
        ("prlimit64", (PID, 7), 0),
        ("prlimit64", (PARENT, 7), errno.EPERM),
        ("sched_setaffinity", (0,), 0),
        ("sched_setaffinity", (PARENT,), errno.EPERM),
    ],
)
def test_what_an_argument_decides_about(machine: str, name: str, arguments: tuple[int, ...], expected: int) -> None:
    assert ask(machine, name, *arguments) == expected


@pytest.mark.parametrize(
    ("family", "expected"),
    [(socket.AF_INET, 0), (socket.AF_INET6, 0), (socket.AF_NETLINK, 0)]
    + [(family, errno.EACCES) for family in (socket.AF_UNIX, socket.AF_PACKET, 40, 999)],
)
def test_a_network_is_the_internet(machine: str, family: int, expected: int) -> None:
    assert ask(machine, "socket", family, network=True) == expected


@pytest.mark.parametrize(
    ("name", "arguments", "expected"),
    [
        ("fork", (), 0),
        ("execve", (), 0),
        ("clone", (FORK,), 0),
        ("clone", (FORK | 0x10000000,), errno.EPERM),  # CLONE_NEWUSER
        ("clone", (FORK | 0x80,), errno.EPERM),  # CLONE_NEWTIME
        ("clone3", (), errno.ENOSYS),
        ("kill", (PID + 1, 9), 0),
        ("kill", (PARENT, 9), errno.EPERM),
        ("setsid", (), errno.EPERM),
        ("ptrace", (), errno.EPERM),
        ("socket", (socket.AF_INET,), errno.EACCES),
    ],
)
def test_one_that_may_start_programs_still_may_not(
    machine: str, name: str, arguments: tuple[int, ...], expected: int
) -> None:
    assert ask(machine, name, *arguments, processes=True) == expected


@pytest.mark.parametrize("number", [seccomp.LAST + 1, 1000, 0x40000000 + 41, 2**32 - 1])
def test_calls_that_nobody_knew_do_not_exist(machine: str, number: int) -> None:
    program = seccomp.program(machine, False, False, PID, PARENT)
    assert answer(program, number, machine=seccomp.MACHINES[machine]) == errno.ENOSYS


def test_calls_of_another_machine_do_not_exist(machine: str) -> None:
    program = seccomp.program(machine, False, False, PID, PARENT)
    assert answer(program, 0, machine=0x40000003) == errno.ENOSYS  # i386, whose numbers mean other calls


@pytest.mark.parametrize("number", [0, 1, 3, 9, 11, 12, 202, 220, 257, 332])
def test_what_every_program_does_is_allowed_on_x86_64(number: int) -> None:
    assert answer(seccomp.program("x86_64", False, False, PID, PARENT), number, machine=0xC000003E) == 0


def test_every_jump_stays_within_the_program(machine: str) -> None:
    for network in (False, True):
        for processes in (False, True):
            program = seccomp.program(machine, network, processes, PID, PARENT)
            assert len(program) < 4096
            for at, (_code, when_true, when_false, _operand) in enumerate(program):
                assert max(when_true, when_false) < 256
                assert at + max(when_true, when_false) + 1 < len(program) or program[at][0] == seccomp.RETURN


def test_each_call_has_a_number_of_its_own() -> None:
    for column in (0, 1):
        numbers = [pair[column] for pair in seccomp.NUMBERS.values() if pair[column] is not None]
        assert len(numbers) == len(set(numbers))
    used = {*seccomp.REFUSED, *seccomp.PROCESSES, "clone3"}
    used |= {rule.name for processes in (False, True) for rule in seccomp.rules(False, processes, PID, PARENT)}
    assert used == set(seccomp.NUMBERS)
