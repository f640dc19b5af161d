"""The server under attack, of this tree or of another, and what an attack did to it."""

from __future__ import annotations

import base64
import contextlib
import re
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.loop_probe import LoopProbe

HONEST = ("honest", "a password of the honest")
MALLORY = ("mallory", "a password of the other one")
PATIENCE = 60.0
SETTLE = 1.0
"""Seconds after the attack during which the probe goes on."""


@dataclass
class Attack:
    """One attack: its name, its sentence, options of the server, and what sends it."""

    name: str
    sentence: str
    run: Callable[[Target], None]
    options: tuple[str, ...] = ()
    prepare: Callable[[Path], None] | None = None
    """Fills the server's data folder before it starts."""
    secure: bool = False


ATTACKS: dict[str, Attack] = {}


def attack(
    name: str,
    sentence: str,
    *options: str,
    prepare: Callable[[Path], None] | None = None,
    secure: bool = False,
) -> Callable[[Callable[[Target], None]], Callable[[Target], None]]:
    """Put a function into the table of attacks."""

    def register(run: Callable[[Target], None]) -> Callable[[Target], None]:
        ATTACKS[name] = Attack(name, sentence, run, options, prepare, secure)
        return run

    return register


@dataclass
class Outcome:
    """What an attack did."""

    held: float
    """Seconds for which the loop was held, at worst."""
    slowest: float
    """Seconds of the slowest answer of the probe."""
    grown: float
    """MB that the server's process had more at its peak than before."""
    seconds: float
    seen: Counter[str] = field(default_factory=Counter)
    """What the attacker saw: status, close code, or how it ended; and how often."""
    limits: dict[str, int] = field(default_factory=dict)
    """`imageserver_limits_hit_total`, what came to it."""
    log: int = 0
    """Bytes of log that it cost."""

    def __str__(self) -> str:
        seen = ", ".join(f"{what} ({count}x)" if count > 1 else what for what, count in self.seen.items())
        limits = ", ".join(f"{name} {count}" for name, count in self.limits.items())
        return (
            f"loop held {self.held * 1e3:.0f} ms (slowest answer {self.slowest * 1e3:.0f} ms), "
            f"memory +{self.grown:.0f} MB, {self.seconds:.1f} s, log {self.log / 1e3:.1f} KB\n"
            f"    seen: {seen}" + (f"\n    limits hit: {limits}" if limits else "")
        )


class Target:
    """Where a server listens. `guarded` is with `-a`: only users with a password. `tcp_port`: 0 without one."""

    def __init__(self, port: int, tcp_port: int, *, guarded: bool, secure: bool = False) -> None:
        self.port, self.tcp_port = port, tcp_port
        self.guarded, self.secure = guarded, secure
        self.seen: Counter[str] = Counter()

    def ask(self, path: str, body: bytes | None = None, user: tuple[str, str] = HONEST) -> tuple[int, bytes]:
        """An honest request: status and body. OSError when there is no answer."""
        scheme = "https" if self.secure else "http"
        request = urllib.request.Request(f"{scheme}://127.0.0.1:{self.port}{path}", body)
        if body is not None:
            request.add_header("Content-Type", "image/jpeg")
        if self.guarded:
            request.add_header("Authorization", "Basic " + base64.b64encode(":".join(user).encode()).decode())
        context = ssl._create_unverified_context() if self.secure else None
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE, context=context) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read()


class ServedTarget(Target):
    """A server of its own for an attack, of the tree given, with its data in `folder`."""

    def __init__(self, tree: Path, folder: str, guarded: bool, options: tuple[str, ...], secure: bool = False) -> None:
        self._probe = LoopProbe()
        self._said = Path(folder, "said.txt")
        command = [sys.executable, str(tree / "src" / "ImageServer.py"), "-i", "127.0.0.1", "-p", "0"]
        command += ["--tcp-port", "0" if "--preload" not in options else "off", "--data", folder]
        command += ["--models", str(tree / "models"), "-m", "faces", *options]
        if guarded:
            command += ["-a", "--user", ":".join(HONEST), "--user", ":".join(MALLORY)]
        if secure:
            command += ["-s"]
        with self._said.open("wb") as said:
            self.process = subprocess.Popen(command, stdout=said, stderr=subprocess.STDOUT, cwd=folder)
        port = int(self._find(r"starting up on https?://127\.0\.0\.1:(\d+)"))
        tcp_port = int(found[1]) if (found := re.search(r"TCP.*:(\d+)", self._said.read_text())) else 0
        super().__init__(port, tcp_port, guarded=guarded, secure=secure)

    def _find(self, pattern: str) -> str:
        """Wait for a line of the log."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end and self.process.poll() is None:
            if found := re.search(pattern, self._said.read_text()):
                return found[1]
            time.sleep(0.05)
        raise SystemExit(f"the server did not say {pattern!r}:\n{self._said.read_text()}")

    def ready(self) -> None:
        """Wait for the default model."""
        end = time.monotonic() + 2 * PATIENCE
        while time.monotonic() < end:
            with contextlib.suppress(OSError):
                if self.ask("/health/ready")[0] == 200:
                    return
            time.sleep(0.2)
        raise SystemExit(f"the default model was not ready:\n{self._said.read_text()}")

    def limits(self) -> Counter[str]:
        """How often which limit was hit so far."""
        with contextlib.suppress(OSError):
            text = self.ask("/metrics")[1].decode()
            found = re.findall(r'^imageserver_limits_hit_total\{limit="([^"]+)"\} (\S+)', text, re.MULTILINE)
            return Counter({name: int(float(value)) for name, value in found})
        return Counter()

    def memory(self, name: str) -> int:
        """`VmRSS` or `VmHWM` of the server's own process, in bytes."""
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        found = re.search(rf"{name}:\s+(\d+)", text)
        return int(found[1]) * 1024 if found else 0

    def suffer(self, attack: Attack) -> Outcome:
        """Run the attack beside the probe."""
        limits, said = self.limits(), self._said.stat().st_size
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")  # the peak begins anew
        before = self.memory("VmRSS")
        self._probe.watch(self.process.pid, [self.port], PATIENCE)
        begun = time.monotonic()
        attack.run(self)
        seconds = time.monotonic() - begun
        time.sleep(SETTLE)
        alive = self.process.poll() is None
        grown = self.memory("VmHWM") - before if alive else 0
        report = self._probe.report()[self.process.pid]
        if report.unanswered or not alive:
            self.seen[report.unanswered or "the server died"] += 1
        slowest = max((answer.took for answer in report.longest), default=0.0)
        more = {name: count - limits[name] for name, count in self.limits().items() if count > limits[name]}
        return Outcome(report.held, slowest, grown / 1e6, seconds, self.seen, more, self._said.stat().st_size - said)

    def stop(self) -> None:
        self._probe.close()
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


@contextlib.contextmanager
def served(tree: Path, chosen: Attack, guarded: bool) -> Iterator[ServedTarget]:
    """A server for one attack, with its default model ready."""
    with tempfile.TemporaryDirectory() as folder:
        if chosen.prepare is not None:
            chosen.prepare(Path(folder))
        target = ServedTarget(tree, folder, guarded, chosen.options, chosen.secure)
        try:
            target.ready()
            yield target
        finally:
            target.stop()


def at_once(count: int, run: Callable[[int], None]) -> None:
    """Run a function on threads of its own, with 0 to count - 1, and wait for all."""
    threads = [threading.Thread(target=run, args=[index], daemon=True) for index in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
