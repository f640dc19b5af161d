"""Finds the tests that send something large to a server, and has a loop probe beside each of them.

Nobody has to remember a mark: what this process sends through its sockets is counted for each port, and the probe
begins to ask before the first large part leaves. What a test's own programs send is not seen: such a test is marked
`sends_large`, and the probe asks every server that is there when the test begins. A server inside the test's process
is not asked, since the test holds its GIL as well; those are tested in processes of their own, too.
"""

from __future__ import annotations

import os
import re
import socket
import ssl
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.loop_probe import LoopProbe
from tests.running import children

LARGE = 2**16
"""Bytes to one port within one test."""
BESIDE = 64
"""Bytes for which each send counts beside its own: a thousand small ones are large."""
CONNECTION = 1024
"""Bytes for which a connection counts."""
LISTEN = "0A"


class LargeSends:
    """The plug-in of pytest."""

    def __init__(self) -> None:
        self._probe = LoopProbe()
        self._lock = threading.Lock()
        self._watching = False
        self._sent: defaultdict[int, int] = defaultdict(int)
        self._seen: set[int] = set()
        self._problems: list[str] = []
        count_sends(self)

    def pytest_runtestloop(self, session: pytest.Session) -> None:
        """Start the probe where tests run that start servers: in the workers of xdist, or here without them."""
        option = session.config.option
        if "not slow" not in option.markexpr and getattr(option, "dist", "no") == "no":
            self._probe.start()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Iterator[None]:
        """Run the test, and fail it when it made a server hold its loop for too long."""
        self._sent.clear()
        self._seen.clear()
        self._problems.clear()
        self._watching = item.get_closest_marker("no_loop_probe") is None
        if item.get_closest_marker("sends_large"):
            self._watch_all()
        try:
            result = yield
        finally:
            with self._lock:
                self._watching = False
                reports = self._probe.report() if self._seen else {}
        for pid, report in reports.items():
            item.user_properties.append(("loop_held", report.held))
            if report.unanswered:
                self._problems.append(f"the loop probe has no answer: {report.unanswered} (see the mark no_loop_probe)")
            if report.too_long:
                self._problems.append(f"process {pid} is a server, and {report.too_long}")
        if self._problems:
            pytest.fail("; ".join(self._problems), pytrace=False)
        return result

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Say in how many tests the probe ran, and what it found at worst."""
        held = [
            (value, report.nodeid)
            for report in (*terminalreporter.getreports("passed"), *terminalreporter.getreports("failed"))
            for name, value in report.user_properties
            if name == "loop_held" and report.when == "call"
        ]
        if held:
            longest, test = max(held)
            count = len({nodeid for _, nodeid in held})
            found = f"a server's loop was held for at most {longest * 1e3:.0f} ms, in {test}"
            terminalreporter.write_line(f"loop probe: beside {count} tests; {found}")

    def pytest_unconfigure(self) -> None:
        self._probe.close()

    def note(self, sock: socket.socket, size: int) -> None:
        """Something is about to be sent, or a connection was made."""
        if not self._watching or sock.family not in (socket.AF_INET, socket.AF_INET6):
            return
        try:
            port = sock.getpeername()[1]
        except OSError:
            return
        self._sent[port] += size
        if self._sent[port] >= LARGE and port not in self._seen:
            self._watch(port)

    def _watch(self, port: int) -> None:
        """Have the server behind a port watched: its owner, or where that is a proxy, all servers of this test."""
        with self._lock:
            if port in self._seen or not self._watching:
                return
            self._seen.add(port)
            servers = listeners()
            owner = [pid for pid, ports in servers.items() if port in ports]
            for pid in owner or (servers if port in listening() else ()):
                self._probe.watch(pid, sorted(servers[pid], key=lambda one: one != port))

    def _watch_all(self) -> None:
        with self._lock:
            for pid, ports in listeners().items():
                self._seen.update(ports)
                self._probe.watch(pid, sorted(ports))


def count_sends(large: LargeSends) -> None:
    """Have every socket of this process tell what it sends."""

    def counted(method: Callable[..., Any]) -> Callable[..., Any]:
        def send(self: socket.socket, data: Any, *rest: Any) -> Any:
            large.note(self, len(data) + BESIDE)
            return method(self, data, *rest)

        return send

    def connect(self: socket.socket, address: Any, method: Callable[..., Any] = socket.socket.connect) -> Any:
        result = method(self, address)
        large.note(self, CONNECTION)
        return result

    for kind, name in ((socket.socket, "send"), (socket.socket, "sendall"), (ssl.SSLSocket, "send")):
        setattr(kind, name, counted(getattr(kind, name)))
    socket.socket.connect = connect  # type: ignore[method-assign]


def listening() -> dict[int, str]:
    """Where somebody on this machine listens: inodes of the sockets by port."""
    found = {}
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == LISTEN:
                found[int(fields[1].rpartition(":")[2], 16)] = fields[9]
    return found


def listeners() -> dict[int, set[int]]:
    """The servers that this process started, directly or not: their ports by process number. Python programs alone."""
    ports = {inode: port for port, inode in listening().items()}
    found: dict[int, set[int]] = {}
    waiting = children(os.getpid())
    while waiting:
        pid = waiting.pop()
        try:
            waiting += children(pid)
            if "python" not in Path(f"/proc/{pid}/exe").resolve().name:
                continue
            if b"gunicorn" in Path(f"/proc/{pid}/cmdline").read_bytes():
                continue  # a second opinion on requests, and no server of ours
            links = [str(link.readlink()) for link in Path(f"/proc/{pid}/fd").iterdir()]
        except (FileNotFoundError, ProcessLookupError):
            continue  # it ended meanwhile
        sockets = {match[1] for link in links if (match := re.fullmatch(r"socket:\[(\d+)\]", link))}
        if owned := {ports[inode] for inode in sockets & set(ports)}:
            found[pid] = owned
    return found
