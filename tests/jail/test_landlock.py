"""What is asked of which version of Landlock; what is refused is seen by the models that attack their jail."""

from __future__ import annotations

import errno
import socket
import subprocess
import sys

import pytest
from tests.running import ROOT

from imageserver.jail import landlock


@pytest.mark.parametrize(
    ("version", "files", "tcp", "scoped"),
    [
        (1, 0x1FFF, 0, 0),
        (2, 0x3FFF, 0, 0),
        (3, 0x7FFF, 0, 0),
        (4, 0x7FFF, 3, 0),
        (5, 0xFFFF, 3, 0),
        (6, 0xFFFF, 3, 3),
        (7, 0xFFFF, 3, 3),
        (99, 0xFFFF, 3, 3),
    ],
)
def test_nothing_is_asked_that_a_kernel_does_not_know(version: int, files: int, tcp: int, scoped: int) -> None:
    assert landlock.handled(version) == (files, tcp, scoped)


def test_writing_makes_no_devices_and_no_sockets() -> None:
    made = {"character device": 6, "socket": 9, "block device": 11}
    assert not [name for name, bit in made.items() if landlock.WRITE & 1 << bit]
    assert not landlock.WRITE & landlock.EXECUTE
    assert not landlock.READ & (landlock.WRITE_FILE | landlock.EXECUTE)


def test_a_rule_on_a_file_holds_rights_to_files_only() -> None:
    assert landlock.READ & landlock.OF_A_FILE == landlock.READ_FILE
    assert landlock.WRITE & landlock.OF_A_FILE == landlock.READ_FILE | landlock.WRITE_FILE | landlock.TRUNCATE


CONNECT = """
import socket, sys
from imageserver.jail import kernel, landlock
kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
landlock.restrict([], tcp=False, connect=[int(sys.argv[1])])
for port in sys.argv[1:]:
    with socket.socket() as made:
        print(made.connect_ex(("127.0.0.1", int(port))))
with socket.socket() as made:
    try:
        made.bind(("127.0.0.1", 0))
        print("bound")
    except PermissionError:
        print("refused")
"""


@pytest.mark.skipif(landlock.version() < 4, reason="this kernel does not know of TCP")
def test_tcp_goes_to_the_ports_that_are_named_alone():
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
        ports = [str(each.getsockname()[1]) for each in (one, other)]
        program = [sys.executable, "-c", "import bootstrap; bootstrap.provide_package()\n" + CONNECT, *ports]
        done = subprocess.run(program, cwd=ROOT / "src", capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == ["0", str(errno.EACCES), "refused"], done.stderr
