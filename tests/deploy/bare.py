"""A bare Debian 12 in a folder: debootstrap's smallest, and what the README says people install first.

What runs in it sees processes and mounts of its own; both end with it, so nothing is left to unmount.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

PACKAGES = ("python3", "python3-venv", "make", "ca-certificates")
"""Of Debian, beside its smallest: what the README asks for. No compiler comes with them."""

MISSING = next(
    (f"needs {each}" for each in ("debootstrap", "unshare", "chroot") if shutil.which(each) is None),
    "" if os.geteuid() == 0 else "needs root: debootstrap makes devices, and chroot changes the root",
)
"""Why it cannot be made here; "" where it can."""

THROUGH = ("PIP_CERT", "PIP_INDEX_URL", "SSL_CERT_FILE", "UV_DEFAULT_INDEX", "http_proxy", "https_proxy", "no_proxy")
"""Variables of this machine by which packages are reached; files that they name are copied."""

START = r"""
root=$1 user=$2 folder=$3; shift 3
mount --make-rprivate /
mount -t proc proc "$root/proc"
mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
chroot --userspec="$user" "$root" env -i -C "$folder" "$@"
exit 0
"""
"""The shell stays the first process of the namespace: another user's is no longer killed when `unshare` is."""


class Debian:
    """A new Debian in `root`, with a user `user` whose home is /home/user. CalledProcessError: it could not be made."""

    def __init__(self, root: Path, packages: Sequence[str] = PACKAGES) -> None:
        self.root = root
        include = f"--include={','.join(packages)}"
        command = ["debootstrap", "--variant=minbase", include, "bookworm", root]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, timeout=600)
        self.variables = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}
        for name in THROUGH:
            if name in os.environ:
                self.variables[name] = os.environ[name]
                if name.endswith(("CERT", "FILE")):
                    target = root / os.environ[name].lstrip("/")
                    target.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy(os.environ[name], target)
        shutil.copy("/etc/resolv.conf", root / "etc/resolv.conf")
        self.run("useradd", "--create-home", "user", user="root")

    @property
    def home(self) -> Path:
        return self.root / "home" / "user"

    def command(self, *words: str, user: str = "user", folder: str = "", **variables: str) -> list[str]:
        """What runs `words` in it."""
        home = "/root" if user == "root" else f"/home/{user}"
        given = {**self.variables, "HOME": home, "USER": user, **variables}
        unshare = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "bash", "-ceu", START, "bare"]
        return [*unshare, str(self.root), user, folder or home, *(f"{k}={v}" for k, v in given.items()), *words]

    def run(self, *words: str, timeout: float = 600, **options: str) -> str:
        """What it printed, both streams; AssertionError with that where it did not end well."""
        done = subprocess.run(
            self.command(*words, **options),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            timeout=timeout,
        )
        assert done.returncode == 0, f"{' '.join(words)}: exit code {done.returncode}\n{done.stdout}"
        return done.stdout

    @contextmanager
    def running(self, *words: str, **options: str) -> Iterator[Program]:
        """A program that is told to end, by Ctrl-C to all of it, when the block is left."""
        program = Program(self.command(*words, **options))
        try:
            yield program
        finally:
            program.end()


class Program:
    """What it prints, line by line, with the seconds since its start."""

    def __init__(self, command: list[str]) -> None:
        self.began = time.monotonic()
        self.lines: list[tuple[float, str]] = []
        self.process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append((time.monotonic() - self.began, line.rstrip("\n")))

    def wait_for(self, pattern: str, patience: float) -> tuple[float, re.Match[str]]:
        """When a line came that matches, and the match."""
        while True:
            ended = self.process.poll() is not None
            for moment, line in list(self.lines):
                if match := re.search(pattern, line):
                    return moment, match
            waited = time.monotonic() - self.began
            assert not ended and waited < patience, f"no line {pattern!r} in {waited:.0f} s:\n{self.text}"
            time.sleep(0.05)

    @property
    def text(self) -> str:
        return "\n".join(line for _moment, line in self.lines)

    def end(self) -> None:
        """As Ctrl-C at its terminal would; the first process of the namespace takes all others with it."""
        if self.process.poll() is None:
            first = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
            os.killpg(self.process.pid, signal.SIGINT)
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                for process in first:
                    os.kill(int(process), signal.SIGKILL)
                self.process.wait()
        self._reader.join(10)
        assert self.process.stdout is not None
        self.process.stdout.close()
