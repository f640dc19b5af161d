"""A PostgreSQL of the tests' own: a cluster in a temporary folder, on a Unix socket and a free port, one for a session.

Where the programs of PostgreSQL or psycopg are missing, tests that ask for it are skipped.
"""

from __future__ import annotations

import contextlib
import glob
import importlib.util
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

SETTINGS = """
fsync = off
full_page_writes = off
max_connections = 60
shared_buffers = 8MB
logging_collector = off
autovacuum = off
"""


def lacking() -> str:
    """Why there can be none here; "" where there can."""
    if importlib.util.find_spec("psycopg") is None:
        return "psycopg is not installed"
    if not _programs():
        return "PostgreSQL is not installed: scripts/apt-packages.sh"
    if os.geteuid() == 0 and _owner() is None:
        return "PostgreSQL does not run as root, and there is no user postgres"
    return ""


def _programs() -> str:
    found = sorted(glob.glob("/usr/lib/postgresql/*/bin"), key=lambda path: int(path.split("/")[4]))
    return found[-1] if found else ""


def _owner() -> pwd.struct_passwd | None:
    with contextlib.suppress(KeyError):
        return pwd.getpwnam("postgres")
    return None


class Cluster:
    """One PostgreSQL. `start` again after `kill`: it comes back on the same port.

    Args:
        host: The address that it listens on.
        trusted: A further network whose machines it takes at their word; "": none but this machine's own 127.0.0.1.
    """

    def __init__(self, host: str = "127.0.0.1", trusted: str = "") -> None:
        self.host = host
        self.folder = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))  # short: the path of a socket is
        self._as: dict[str, object] = {}
        if os.geteuid() == 0:
            owner = _owner()
            assert owner is not None
            os.chown(self.folder, owner.pw_uid, owner.pw_gid)
            self._as = {"user": owner.pw_uid, "group": owner.pw_gid, "extra_groups": []}
        self.data = self.folder / "data"
        self._run(
            "initdb", "--no-sync", "-A", "trust", "-U", "tests", "--no-locale", "-E", "UTF8", "-D", str(self.data)
        )
        with open(self.data / "postgresql.conf", "a") as file:
            file.write(f"{SETTINGS}listen_addresses = '{host}'\n")
        if trusted:
            with open(self.data / "pg_hba.conf", "a") as file:
                file.write(f"host all all {trusted} trust\n")
        with socket.socket() as free:
            free.bind((host, 0))
            self.port = free.getsockname()[1]
        self._process: subprocess.Popen[bytes] | None = None
        self._databases = 0

    def start(self) -> None:
        """Returns when it takes connections."""
        with open(self.folder / "log", "ab") as log:
            self._process = subprocess.Popen(
                [f"{_programs()}/postgres", "-D", self.data, "-p", str(self.port), "-k", self.folder],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.folder, start_new_session=True, **self._as,
            )  # fmt: skip
        import psycopg

        end = time.monotonic() + 60
        while True:
            try:
                psycopg.connect(self.address("postgres"), connect_timeout=5).close()
                return
            except psycopg.OperationalError:
                assert time.monotonic() < end, (self.folder / "log").read_text()
                assert self._process.poll() is None, (self.folder / "log").read_text()
                time.sleep(0.05)

    def address(self, database: str) -> str:
        """Over TCP."""
        return f"postgresql://tests@{self.host}:{self.port}/{database}"

    def database(self) -> str:
        """The address of a new, empty database."""
        import psycopg

        self._databases += 1
        name = f"d{self._databases}"
        with psycopg.connect(self.address("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return self.address(name)

    def durable(self) -> None:
        """Have what is committed on the disk, as in truth; the tests else save the time."""
        import psycopg

        with psycopg.connect(self.address("postgres"), autocommit=True) as connection:
            for name in ("fsync", "full_page_writes"):
                connection.execute(f"ALTER SYSTEM SET {name} = on")
            connection.execute("SELECT pg_reload_conf()")

    def kill(self, number: int = signal.SIGKILL) -> None:
        """kill -9 of all of its processes; or another signal."""
        assert self._process is not None
        for pid in self._pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        if number == signal.SIGKILL:
            self._process.wait(30)

    def _pids(self) -> list[int]:
        assert self._process is not None
        found = [self._process.pid]
        for status in glob.glob("/proc/[0-9]*/stat"):
            with contextlib.suppress(OSError):
                fields = Path(status).read_text().rpartition(")")[2].split()
                if int(fields[1]) == self._process.pid:
                    found.append(int(status.split("/")[2]))
        return found

    def close(self) -> None:
        """End it, and remove all of it."""
        if self._process is not None and self._process.poll() is None:
            self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [f"{_programs()}/{program}", *arguments], cwd=self.folder, capture_output=True, text=True, **self._as
        )
        assert done.returncode == 0, done.stderr


@contextlib.contextmanager
def running():
    """A cluster that runs; skips the test where there can be none."""
    if reason := lacking():
        pytest.skip(reason)
    cluster = Cluster()
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.close()
