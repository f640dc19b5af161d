"""How long did a server hold its loop? A probe beside it asks, in a process of its own: no GIL counts but the server's.

    python tests/loop_probe.py          commands come as lines of JSON on standard input; each is answered by one

The probe sends `GET /health/live` over one kept connection, every few milliseconds, and times the answers. Not every
slow answer is the server's fault, and the kernel says how much of it is: for how long the server's main thread was
ready to run and had no processor (`/proc/PID/task/PID/schedstat`), and for how long the probe itself was. What remains
is the time for which the loop was held: it computed, waited for another thread's GIL, or slept. Where processors were
short during that very answer (such waits, time stolen from the machine, pressure), the remainder is no measure to
5 ms either, and a wider bound holds; what the server's other threads waited for a processor, perhaps with the GIL,
is then no fault of the server either.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import select
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sized
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

PERIOD = 0.005
"""Seconds between an answer and the next question."""
BOUND = 0.05
BUSY_BOUND = 0.25
"""Seconds for which a server may hold its loop: on a quiet machine, and on a busy one."""
SHORTAGE = 0.01
"""Seconds of an answer without a processor, from which on the machine counts as busy."""
KEPT = 20
"""Answers that are reported."""
LOOKS = 20
"""Questions after which threads that have begun meanwhile are looked for."""
PATIENCE = 60.0
BEGIN = 0.05
"""Seconds that a test waits for the first answer; some of its clients may have to hurry."""
REQUEST = b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n"
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Answer:
    """One answer of a server; times in seconds."""

    at: float
    """When it was asked for, after the probe began."""
    took: float
    server_waited: float
    """For which the server's main thread wanted a processor and had none."""
    probe_waited: float
    threads_waited: float
    """The same of the server's other threads, all together."""
    stolen: float
    """Which the hypervisor gave to others, of all processors together."""
    pressure: float
    """For which anybody on this machine waited for a processor."""

    @property
    def held(self) -> float:
        """For how long the server's loop was held."""
        without = self.server_waited + self.probe_waited + (self.threads_waited if self.busy else 0.0)
        return max(0.0, self.took - without)

    @property
    def busy(self) -> bool:
        """Whether processors were short meanwhile, or somebody else's wait may have been the server's (for its GIL)."""
        without = self.server_waited + self.probe_waited + self.stolen
        return without >= SHORTAGE or self.pressure >= self.took / 2

    @property
    def bound(self) -> float:
        return BUSY_BOUND if self.busy else BOUND

    def __str__(self) -> str:
        machine = "a busy machine" if self.busy else "a quiet machine"
        return (
            f"its loop was held for {self.held * 1e3:.0f} ms, {self.at:.2f} s after the probe began (at most "
            f"{self.bound * 1e3:.0f} ms on {machine}): the answer took {self.took * 1e3:.0f} ms, of which the server "
            f"waited {self.server_waited * 1e3:.0f} ms for a processor, its other threads "
            f"{self.threads_waited * 1e3:.0f} ms, and the probe {self.probe_waited * 1e3:.0f} ms"
        )


@dataclass(frozen=True)
class Report:
    """What a probe found: how many answers came, and those that were worst, measured by their bounds."""

    answers: int
    longest: list[Answer]
    unanswered: str = ""
    """Why a question has no answer, "" when all have one or the server ended meanwhile."""

    @property
    def held(self) -> float:
        """The longest time for which the loop was held, in seconds."""
        return max((answer.held for answer in self.longest), default=0.0)

    @property
    def too_long(self) -> Answer | None:
        """The worst answer above its bound, if there is one."""
        return self.longest[0] if self.longest and self.longest[0].held > self.longest[0].bound else None


class LoopProbe:
    """The probe's process, for one server after the other; started when it is first needed."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._owed = 0  # answers to commands

    def start(self) -> None:
        """Start the process, so that the first server need not wait for that."""
        if self._process is None:
            command = [sys.executable, "-I", __file__]
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)

    def watch(self, pid: int, ports: list[int], patience: float = BEGIN) -> None:
        """Begin to ask a server; returns after its first answer, or after `patience` seconds without one.

        Args:
            pid: of the process whose main thread runs the loop.
            ports: where it listens; the probe finds the one that speaks HTTP, or HTTPS.
        """
        self._tell({"watch": pid, "ports": ports})
        assert self._process is not None
        if select.select([self._process.stdout], [], [], patience)[0]:
            self._hear()

    def report(self) -> dict[int, Report]:
        """End asking; what was found, by process number. Nothing where nobody was watched."""
        if self._process is None:
            return {}
        self._tell({"report": True})
        while self._owed > 1:
            self._hear()
        return {
            int(pid): Report(one["answers"], [Answer(**answer) for answer in one["longest"]], one["unanswered"])
            for pid, one in self._hear().items()
        }

    def close(self) -> None:
        if self._process is not None:
            assert self._process.stdin is not None
            assert self._process.stdout is not None
            self._process.stdin.close()
            self._process.wait(PATIENCE)
            self._process.stdout.close()
            self._process = None

    def _tell(self, command: dict[str, Any]) -> None:
        self.start()
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(command).encode() + b"\n")
        self._owed += 1

    def _hear(self) -> dict[str, Any]:
        assert self._process is not None
        assert self._process.stdout is not None
        said: dict[str, Any] = json.loads(self._process.stdout.readline())
        self._owed -= 1
        return said


class Kernel:
    """What the kernel says about waits for processors; read again and again from files that stay open."""

    def __init__(self, pid: int) -> None:
        paths = (f"/proc/{pid}/task/{pid}/schedstat", "/proc/self/schedstat", "/proc/stat")
        self._files = [os.open(path, os.O_RDONLY) for path in paths]
        with contextlib.suppress(FileNotFoundError):  # not every kernel tells of pressure
            self._files.append(os.open("/proc/pressure/cpu", os.O_RDONLY))
        self._threads = Threads(pid)

    def waits(self) -> tuple[float, ...]:
        """So far, in seconds and the order of `Answer`."""
        server, probe, machine, *pressure = (os.pread(file, 512, 0) for file in self._files)
        pressed = int(pressure[0].split(b"total=", 1)[1].split(None, 1)[0]) / 1e6 if pressure else 0.0
        stolen = int(machine.split(None, 9)[8]) / TICKS
        return waited(server), waited(probe), self._threads.waited(), stolen, pressed

    def close(self) -> None:
        self._threads.close()
        for file in self._files:
            os.close(file)


class Threads:
    """What all threads of a process but its first waited for a processor; new ones are found after a moment."""

    def __init__(self, pid: int) -> None:
        self._folder, self._pid = f"/proc/{pid}/task", pid
        self._files: dict[str, int] = {}
        self._before: dict[str, float] = {}
        self._now: dict[str, float] = {}
        self._looks = 0

    def waited(self) -> float:
        """Seconds since they were found."""
        if self._looks % LOOKS == 0:
            self._find()
        self._looks += 1
        for name, file in self._files.items():
            with contextlib.suppress(ProcessLookupError):  # it has ended: what it waited stays
                self._now[name] = waited(os.pread(file, 512, 0))
        return sum(self._now.values()) - sum(self._before.values())

    def _find(self) -> None:
        with contextlib.suppress(
            FileNotFoundError, ProcessLookupError
        ):  # a thread, or the process, has ended meanwhile
            for name in set(os.listdir(self._folder)) - {str(self._pid), *self._files}:
                self._files[name] = os.open(f"{self._folder}/{name}/schedstat", os.O_RDONLY)
                self._before[name] = self._now[name] = waited(os.pread(self._files[name], 512, 0))

    def close(self) -> None:
        for file in self._files.values():
            os.close(file)


def waited(schedstat: bytes) -> float:
    return int(schedstat.split()[1]) / 1e9


class Watched:
    """A server that is asked. Ends by itself when the server does."""

    def __init__(self, pid: int, ports: list[int]) -> None:
        self.pid, self.ports = pid, ports
        self.begun = time.monotonic()
        self.count = 0
        self.longest: list[Answer] = []
        self.unanswered = ""
        self.kernel = Kernel(pid)
        before, begun = self.kernel.waits(), time.monotonic()
        try:
            self.sock = self._connect()
        except OSError:
            self.kernel.close()
            raise
        self._note(begun, before)

    def _connect(self) -> socket.socket:
        """A connection over which the server answers HTTP."""
        for port in self.ports:
            for connect in (connect_plain, connect_tls):
                with contextlib.suppress(OSError, ValueError):
                    sock = connect(port)
                    try:
                        exchange(sock)
                    except (OSError, ValueError):
                        sock.close()
                        raise
                    self.ports = [port]
                    return sock
        raise ConnectionError(f"no HTTP on any of the ports {self.ports} of process {self.pid}")

    def ask(self) -> None:
        """Ask once and note how long the answer took."""
        before = self.kernel.waits()
        begun = time.monotonic()
        try:
            kept = exchange(self.sock)
        except (OSError, ValueError) as error:
            if isinstance(error, TimeoutError):
                self.unanswered = f"process {self.pid} did not answer within {PATIENCE:g} s"
                raise
            kept = False  # as servers may, between two requests
        self._note(begun, before)
        if not kept:
            self.sock.close()
            self.sock = self._connect()

    def _note(self, begun: float, before: tuple[float, ...]) -> None:
        took = time.monotonic() - begun
        waits = (after - then for after, then in zip(self.kernel.waits(), before, strict=True))
        self.longest.append(Answer(begun - self.begun, took, *waits))
        self.count += 1
        if len(self.longest) > 2 * KEPT:
            self._sort()

    def _sort(self) -> None:
        self.longest.sort(key=lambda one: (one.held / one.bound, one.held), reverse=True)
        del self.longest[KEPT:]

    def report(self) -> dict[str, Any]:
        self._sort()
        return {
            "answers": self.count,
            "longest": [asdict(answer) for answer in self.longest],
            "unanswered": self.unanswered,
        }

    def close(self) -> None:
        self.sock.close()
        self.kernel.close()


def connect_plain(port: int) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", port), PATIENCE)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def connect_tls(port: int) -> socket.socket:
    """As it is the tests' own server, its certificate need not be known."""
    import ssl

    context = ssl._create_unverified_context()
    with connect_plain(port) as sock:
        return context.wrap_socket(sock)


def exchange(sock: socket.socket) -> bool:
    """One request and its answer; whether the connection can be used once more. ValueError when it is no HTTP."""
    sock.sendall(REQUEST)
    data = b""
    while b"\r\n\r\n" not in data:
        data += (more := sock.recv(65536))
        if not more or not data.startswith(b"HTTP/1."[: len(data)]):
            raise ValueError("no HTTP")
    head, _, body = data.partition(b"\r\n\r\n")
    lines = dict(line.lower().partition(b":")[::2] for line in head.split(b"\r\n")[1:])
    missing = int(lines.get(b"content-length", b"0")) - len(body)
    while missing > 0:
        more = sock.recv(min(missing, 65536))
        if not more:
            raise ValueError("the answer ends early")
        missing -= len(more)
    return b"content-length" in lines and lines.get(b"connection", b"").strip() != b"close"


def is_ending(pid: int) -> bool:
    """Whether a process has ended, or does so within a moment: killed, its sockets go before it does."""
    for _look in range(20):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return True
        if state in "ZX":
            return True
        time.sleep(0.01)
    return False


def commands(watched: Sized) -> Iterator[dict[str, Any] | None]:
    """The commands from standard input; None whenever it is time to ask those `watched`, until the input ends."""
    waiting = b""
    while True:
        while b"\n" not in waiting:
            if not select.select([0], [], [], PERIOD if watched else None)[0]:
                yield None
                continue
            data = os.read(0, 65536)
            if not data:
                return
            waiting += data
        line, _, waiting = waiting.partition(b"\n")
        yield json.loads(line)


def serve() -> None:
    watched: dict[int, Watched] = {}
    ended: dict[int, dict[str, Any]] = {}
    gc.disable()
    for command in commands(watched):
        answer: dict[str, Any] = {}
        if command is None:
            for pid, one in list(watched.items()):
                try:
                    one.ask()
                except (OSError, ValueError):  # it ends, and listens no more
                    ended[pid] = watched.pop(pid).report()
                    one.close()
            continue
        if "watch" in command:
            pid = command["watch"]
            try:
                if pid not in watched:
                    watched[pid] = Watched(pid, command["ports"])
            except OSError as error:
                if not is_ending(pid):
                    ended[pid] = {"answers": 0, "longest": [], "unanswered": str(error)}
        else:
            answer = {str(pid): one.report() for pid, one in watched.items()}
            answer |= {str(pid): report for pid, report in ended.items()}
            for one in watched.values():
                one.close()
            watched.clear()
            ended.clear()
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    serve()
