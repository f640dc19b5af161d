"""A cluster of Ray's on this machine: a head and nodes, each a group of processes of its own, for the long tests.

It runs in an environment of its own, `build/ray`, where the server runs as well that uses it. Where that is not there,
tests are skipped.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
from pathlib import Path

from tests.running import FRONT_DOOR, ROOT, Server, until

PYTHON = ROOT / "build" / "ray" / "bin" / "python"
RAY = PYTHON.with_name("ray")
STARTS_WITHIN = 120.0
QUICKLY = {
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_health_check_period_ms": "500",
    "RAY_health_check_timeout_ms": "500",
    "RAY_health_check_failure_threshold": "3",
    "RAY_raylet_start_wait_time_s": "300",
    "RAY_agent_register_timeout_ms": "300000",  # on a machine that has much to do
}
"""A node that is gone is known after two seconds."""


def lacking() -> str:
    """Why there can be none here; "" where there can."""
    return "" if RAY.exists() else "Ray is not installed: make test-long does so, into build/ray"


class RayServer(Server):
    """A server in that environment."""

    command = (PYTHON, *FRONT_DOOR[1:])


class RayNode:
    """One `ray start`, with all that it starts."""

    def __init__(self, arguments: list[str], environment: dict[str, str], log: Path) -> None:
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                [str(RAY), "start", *arguments, "--block", "--object-store-memory=80000000", "--disable-usage-stats"],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self.log = log

    def stop(self) -> None:
        """As `ray stop`: it says goodbye to the others."""
        self.process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(60)
        self.kill()

    def kill(self) -> None:
        """kill -9 of the whole node, workers of other sessions among them."""
        for pid in [*descendants(self.process.pid), self.process.pid]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()


class RayCluster:
    """A head without processors, and nodes with some; as a context.

    `place`: the address that all of them are at; "": this machine's own, as Ray finds it.
    """

    def __init__(self, place: str = "") -> None:
        self._place = [f"--node-ip-address={place}"] if place else []
        self.folder = Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp"))  # short: the paths of sockets are
        package = self.folder / "package"
        package.mkdir()
        (package / "imageserver").symlink_to(ROOT / "src")
        # As where it is installed: nodes find the package by its name.
        self.environment = {
            **os.environ,
            **QUICKLY,
            "PYTHONPATH": str(package),
            "XDG_CACHE_HOME": str(self.folder / "cache"),
            "RAY_AUTH_MODE": "disabled",
        }
        self.port, self.client_port = free_port(), free_port()
        self.host = ""
        """Where the head listens: at this machine's own address."""
        self.nodes: list[RayNode] = []
        self.head: RayNode | None = None
        self.started = 0

    def start_head(self) -> None:
        """On the same ports as one before it."""
        ports = [f"--port={self.port}", f"--ray-client-server-port={self.client_port}"]
        self.head = self._start("--head", *ports, "--num-cpus=0", "--include-dashboard=false", "--temp-dir", "ray")
        log = self.head.log
        said = until(lambda: re.search(r"Local node IP: (\S+)", log.read_text()), "the address", STARTS_WITHIN, 0.2)
        self.host = said[1]
        until(lambda: listens(self.host, self.client_port), f"the head\n{log.read_text()[-2000:]}", STARTS_WITHIN, 0.2)

    def add_node(self, cpus: int = 2) -> RayNode:
        """One more, when it is there."""
        self.nodes.append(self._start(f"--address={self.host}:{self.port}", f"--num-cpus={cpus}"))
        log = self.nodes[-1].log
        until(lambda: "now block forever" in log.read_text(), f"a node\n{log.read_text()[-2000:]}", STARTS_WITHIN, 0.2)
        return self.nodes[-1]

    @property
    def address(self) -> str:
        return f"ray://{self.host}:{self.client_port}"

    def _start(self, *arguments: str) -> RayNode:
        chosen = [str(self.folder / "ray") if word == "ray" else word for word in (*arguments, *self._place)]
        self.started += 1
        log = self.folder / f"{self.started}.log"
        return RayNode(chosen, self.environment, log)

    def __enter__(self) -> RayCluster:
        try:
            self.start_head()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_exception: object) -> None:
        for node in (*self.nodes, self.head):
            if node is not None and node.process.poll() is None:
                node.kill()
        shutil.rmtree(self.folder, ignore_errors=True)


def descendants(pid: int) -> list[int]:
    """All processes below one, the deepest last."""
    found, look = [], [pid]
    while look:
        parent = look.pop()
        for task in Path(f"/proc/{parent}/task").glob("*/children"):
            with contextlib.suppress(OSError):
                below = [int(child) for child in task.read_text().split()]
                found += below
                look += below
    return found


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


def listens(host: str, port: int) -> bool:
    with socket.socket() as found:
        found.settimeout(1)
        return found.connect_ex((host, port)) == 0
