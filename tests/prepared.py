"""Servers that need not import anything: forks of a process that has, one for each process of pytest.

Nine tenths of a server's start are imports, half a second of a processor, and the tests start hundreds. The fork
happens before a server begins to be one: no thread, loop or file of the server is there yet, and `main` is called as
the front door calls it. Tests of the start itself and the long tests start the program as users do.

Without `--control` this file is a server itself, with cheap passwords.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TextIO

ROOT = Path(__file__).resolve().parent.parent
REQUEST = 2**17
"""Bytes of a request at most: arguments and environment."""


class Process:
    """A process started from the prepared one; a part of `subprocess.Popen`.

    Attributes:
        stdout: what it writes to standard output and standard error.
    """

    def __init__(self, args: Sequence[str], pid: int, stdout: TextIO, status: int) -> None:
        self.args = args
        self.pid = pid
        self.stdout = stdout
        self.returncode: int | None = None
        self._status = status
        self._lock = threading.Lock()

    def poll(self) -> int | None:
        """The exit code, below zero for a signal; None while it runs."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end. subprocess.TimeoutExpired: it has not come within `timeout` seconds."""
        if self.returncode is None:
            ended = select.poll()  # select takes no descriptors above 1023
            ended.register(self._status, select.POLLIN)
            if not ended.poll(None if timeout is None else timeout * 1000):
                raise subprocess.TimeoutExpired(f"process {self.pid}", timeout or 0.0)
            with self._lock:
                if self.returncode is None:
                    self.returncode = int(os.read(self._status, 16))
                    os.close(self._status)
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):  # it has ended since: its parent is another, and waits for it
                os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class Prepared:
    """The process that has imported the server; begun with the first server."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._lock = threading.Lock()

    def start(self, arguments: Sequence[str], environment: dict[str, str], folder: Path, *, cheap: bool) -> Process:
        """Start a server.

        Args:
            arguments: its command line.
            environment: all of it.
            folder: where it is to be started.
            cheap: passwords cost it little.
        """
        request = {"arguments": arguments, "environment": environment, "folder": str(folder), "cheap": cheap}
        (output, its_output), (status, its_status) = os.pipe(), os.pipe()
        with self._lock:
            control = self._begun()
            socket.send_fds(control, [json.dumps(request).encode()], [its_output, its_status])
            os.close(its_output)
            os.close(its_status)
            pid = control.recv(16)
        assert pid, "the prepared process has ended: what it wrote to standard error says why"
        return Process(arguments, int(pid), open(output, encoding="utf-8"), status)

    def close(self) -> None:
        """End it; servers that still run stay."""
        if self._process is not None and self._control is not None:
            self._control.close()
            self._process.wait()
            self._process = self._control = None

    def _begun(self) -> socket.socket:
        if self._control is None:
            self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            for one in (self._control, theirs):
                one.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, REQUEST)
            with theirs:
                self._process = subprocess.Popen(
                    [sys.executable, __file__, "--control", str(theirs.fileno())],
                    pass_fds=[theirs.fileno()],
                    stdout=subprocess.DEVNULL,
                )
        return self._control


def serve(control: socket.socket) -> dict[str, Any] | None:
    """Fork for each request; returns in each child with the request, and with None when no more can come."""
    running: dict[int, tuple[int, int]] = {}  # process number and pipe for its exit code, by the descriptor of its end
    while True:
        for ready in select.select([control, *running], [], [])[0]:
            if ready is not control:
                pid, status = running.pop(ready)
                os.write(status, str(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])).encode())
                os.close(status)
                os.close(ready)
                continue
            data, descriptors, _flags, _address = socket.recv_fds(control, REQUEST, 2)
            if not data:
                return None
            output, status = descriptors
            if pid := os.fork():
                control.send(str(pid).encode())
                os.close(output)
                running[os.pidfd_open(pid)] = pid, status
                continue
            control.close()
            for descriptor in (status, *running, *(status for _, status in running.values())):
                os.close(descriptor)
            for standard in (1, 2):
                os.dup2(output, standard)
            os.close(output)
            request: dict[str, Any] = json.loads(data)
            return request


def main() -> int:
    """Be a server; with `--control DESCRIPTOR` in each child, for which this process waits."""
    sys.path.insert(0, str(ROOT / "src"))
    import bootstrap

    bootstrap.start()
    from imageserver.app import server

    arguments, cheap = sys.argv[1:], True
    if arguments[:1] == ["--control"]:
        request = serve(socket.socket(fileno=int(arguments[1])))
        if request is None:
            return 0
        arguments, cheap = request["arguments"], request["cheap"]
        os.environ.clear()
        os.environ.update(request["environment"])
        os.chdir(request["folder"])
    sys.argv = [str(ROOT / "src" / "ImageServer.py"), *arguments]
    if cheap:
        make_passwords_cheap()
    return server.main(arguments)


def make_passwords_cheap() -> None:
    """Have this process check passwords at a small part of the price."""
    import functools

    import argon2

    cheap = {"time_cost": 1, "memory_cost": 8, "parallelism": 1}
    argon2.PasswordHasher = functools.partial(argon2.PasswordHasher, **cheap)  # type: ignore[misc]


if __name__ == "__main__":
    sys.exit(main())
