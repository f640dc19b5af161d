"""A Redis of the tests' own, on a free port of 127.0.0.1 unless told otherwise, with a password; it keeps nothing.

Where `redis-server` or the client's library is missing, tests that ask for it are skipped.
"""

from __future__ import annotations

import contextlib
import importlib.util
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import pytest

PASSWORD = "correct horse"


def lacking() -> str:
    """Why there can be none here; "" where there can."""
    if importlib.util.find_spec("redis") is None:
        return "redis-py is not installed"
    return "" if shutil.which("redis-server") else "Redis is not installed: scripts/apt-packages.sh"


class RedisServer:
    """One Redis. `start` again after `kill`: it comes back on the same port. `host`: the address that it listens on."""

    def __init__(self, host: str = "127.0.0.1") -> None:
        self.host = host
        with socket.socket() as free:
            free.bind((host, 0))
            self.port = free.getsockname()[1]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """Without the password."""
        return f"redis://{self.host}:{self.port}"

    def start(self) -> None:
        """Returns when it answers."""
        words = ["--port", str(self.port), "--bind", self.host, "--save", "", "--requirepass", PASSWORD]
        self._process = subprocess.Popen(
            ["redis-server", *words], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, cwd="/"
        )
        end = time.monotonic() + 60
        while True:
            with contextlib.suppress(OSError), socket.create_connection((self.host, self.port), 5) as asked:
                asked.sendall(b"PING\r\n")
                if asked.recv(100):
                    return
            assert time.monotonic() < end and self._process.poll() is None, "redis-server does not start"
            time.sleep(0.01)

    def client(self) -> Any:
        """A client of its own, to be closed."""
        import redis

        return redis.Redis(self.host, port=self.port, password=PASSWORD, socket_timeout=30)

    def kill(self, number: int = signal.SIGKILL) -> None:
        """kill -9, or another signal."""
        assert self._process is not None
        self._process.send_signal(number)
        if number == signal.SIGKILL:
            self._process.wait(30)

    def close(self) -> None:
        """End it."""
        if self._process is not None and self._process.poll() is None:
            self.kill()


@contextlib.contextmanager
def running() -> Iterator[RedisServer]:
    """One that runs; skips the test where there can be none."""
    if reason := lacking():
        pytest.skip(reason)
    server = RedisServer()
    try:
        server.start()
        yield server
    finally:
        server.close()
