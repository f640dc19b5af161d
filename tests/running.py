"""Real servers and real clients for the tests: each server is a process of its own on a port of its own."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import socketio
from tests.prepared import Prepared, Process

ROOT = Path(__file__).resolve().parent.parent
TEST_MODELS = ROOT / "tests" / "models"
PATIENCE = 60.0
"""Seconds until a test gives up waiting; never how long something is expected to take."""


def until(condition: Callable[[], Any], what: str, patience: float = PATIENCE, every: float = 0.0) -> Any:
    """Wait until `condition()` is true and return it; fail the test naming `what` when it does not come.

    The longer it waits the less often it looks, so that to look takes no processor from what is waited for; where to
    look is expensive, `every` so many seconds.
    """
    begun = time.monotonic()
    while not (found := condition()):
        waited = time.monotonic() - begun
        assert waited < patience, f"waited {patience:g} s in vain for {what}"
        time.sleep(every or min(max(0.005, waited / 20), 0.1))
    return found


FRONT_DOOR = (sys.executable, ROOT / "src" / "ImageServer.py")
CHEAP = (sys.executable, ROOT / "tests" / "prepared.py")
prepared: Prepared | None = None
"""What starts servers in `make test`, made by conftest.py. In the long tests and outside they start as users do it."""


class Server:
    """The server as a process. Use as a context: it is stopped at the end, and killed if that fails."""

    command: Sequence[str | Path] = ()
    """What starts it, where `prepared` is not to."""
    cheap = False
    """Whether it checks passwords at a small part of the price."""

    def __init__(self, *arguments: str, data: Path, models: Path | None = TEST_MODELS, model: str = "echo") -> None:
        chosen = [] if models is None else ["--models", str(models)]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("IMAGESERVER_")}
        environment["IMAGESERVER_WORKERS"] = "1"  # where the arguments say nothing: each takes processor time to start
        listening = ["-i", "127.0.0.1", "-p", "0", "--tcp-port", "off"]
        self.process = self._started(
            [*listening, "--data", str(data), *chosen, "-m", model, *arguments], environment, data
        )
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.port = 0

    def _started(
        self, arguments: list[str], environment: dict[str, str], folder: Path
    ) -> subprocess.Popen[str] | Process:
        if prepared is not None and not self.command:
            return prepared.start(arguments, environment, folder, cheap=self.cheap)
        command = self.command or (CHEAP if self.cheap else FRONT_DOOR)
        return subprocess.Popen(
            [*map(str, command), *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment,
            cwd=folder,
        )

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))

    def __enter__(self) -> Server:
        match = until(lambda: self.find(r"wsgi starting up on https?://\S*:(\d+)") or self._ended(), "the start line")
        assert isinstance(match, re.Match), "\n".join(self.lines)
        self.port = int(match[1])
        return self

    def __exit__(self, *_exception: object) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
                raise AssertionError("the server did not stop on SIGTERM:\n" + self.text) from None
        self._reader.join(10)
        assert self.process.stdout is not None
        self.process.stdout.close()

    def _ended(self) -> str | None:
        return None if self.process.poll() is None else "ended"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    def find(self, pattern: str) -> re.Match[str] | None:
        """The first line that matches, so far."""
        return next((match for line in list(self.lines) if (match := re.search(pattern, line))), None)

    def wait_for(self, pattern: str) -> re.Match[str]:
        """Wait for a line that matches."""
        found: re.Match[str] = until(lambda: self.find(pattern), f"a line {pattern!r} in\n{self.text}")
        return found

    def ready(self) -> Server:
        """Wait until the default model is warm."""
        until(lambda: self.get("/health/ready")[0] == 200, f"readiness\n{self.text}")
        return self

    def get(self, path: str) -> tuple[int, bytes]:
        """Status and body of a GET."""
        try:
            with urllib.request.urlopen(self.url + path, timeout=PATIENCE) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read()

    def workers(self) -> list[int]:
        """Process numbers of the worker processes."""
        return children(self.process.pid)


def processes(server: Server, module: str) -> list[int]:
    """Process numbers of the server's processes that run a module of the package, such as "display.process"."""
    found = []
    for pid in children(server.process.pid):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            if module in Path(f"/proc/{pid}/cmdline").read_text().split("\0"):
                found.append(pid)
    return found


class FrontDoor(Server):
    """`src/ImageServer.py`, started as users start it: for tests of its start."""

    command = FRONT_DOOR


class CheapServer(Server):
    """Checks passwords at a small part of the price; that they have it, nobody's too, is test_database.py's to say."""

    cheap = True


def children(pid: int) -> list[int]:
    """Direct children of a process."""
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # a thread that has ended meanwhile
            found += [int(child) for child in (task / "children").read_text().split()]
    return found


def alive(pid: int) -> bool:
    """Whether the process exists and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


class Camera:
    """A camera app: python-socketio's own client, with what it received kept in order."""

    def __init__(self, server: Server, transports: tuple[str, ...] = ("websocket",), auth: Any = None) -> None:
        self.client = socketio.Client(reconnection=False)
        self.predictions: list[dict[str, Any]] = []
        self.errors: list[dict[str, Any]] = []
        self.logins: list[bool] = []
        self.others: list[tuple[str, tuple[Any, ...]]] = []
        self._answers: queue.Queue[Any] = queue.Queue()
        self.client.on("prediction", lambda text: self.predictions.append(json.loads(text)))
        self.client.on("frame_error", lambda text: self.errors.append(json.loads(text)))
        self.client.on("onAuthentication", self.logins.append)
        self.client.on("*", lambda event, *arguments: self.others.append((event, arguments)))
        self.client.connect(server.url, transports=list(transports), auth=auth, wait_timeout=PATIENCE)
        self._sockets = (self.client.eio.ws, self.client.eio.http)

    def __enter__(self) -> Camera:
        return self

    def __exit__(self, *_exception: object) -> None:
        if self.client.connected:
            self.client.disconnect()
        self.client.eio.wait()
        # The library leaves these to the garbage collector when it was the server that ended the connection.
        ws, http = self._sockets
        if ws is not None:
            ws.shutdown()
        if http is not None:
            http.close()

    def login(self, name: str, password: str) -> bool:
        """Authenticate; returns the server's answer."""
        count = len(self.logins)
        self.client.emit("authenticate", (name, password, "onAuthentication"))
        until(lambda: len(self.logins) > count, "an answer to authenticate")
        return self.logins[-1]

    def send(self, picture: bytes) -> None:
        self.client.emit("receiveImage", picture)

    def ask(self, picture: bytes) -> dict[str, Any]:
        """Send a frame and wait for what comes back for it."""
        count = len(self.predictions) + len(self.errors)
        self.send(picture)
        until(lambda: len(self.predictions) + len(self.errors) > count, "an answer to a frame")
        return max([*self.predictions, *self.errors], key=lambda answer: answer["seq"])

    def configure(self, **options: Any) -> dict[str, Any]:
        """Send `configure`; returns its acknowledgement."""
        answer: dict[str, Any] = json.loads(self.client.call("configure", options, timeout=PATIENCE))
        return answer


def picture(grey: int = 128, width: int = 64, height: int = 48, suffix: str = ".jpg") -> bytes:
    """A plain picture file."""
    import cv2

    done, data = cv2.imencode(suffix, np.full((height, width, 3), grey, np.uint8))
    assert done
    return data.tobytes()
