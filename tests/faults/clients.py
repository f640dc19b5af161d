"""Real clients as programs, which print "up" when they are served over a new connection, and "down" when one ends."""

from __future__ import annotations

import http.server
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.running import ROOT

PROGRAMS = ROOT / "tests" / "clients"
MODULES = PROGRAMS / "node_modules"
OKHTTP = [Path("/usr/share/java/okhttp.jar"), Path("/usr/share/java/okio.jar")]
CHROMIUM = next(filter(None, map(shutil.which, ("google-chrome", "chromium", "chromium-browser"))), None)
UP = ("up", '"label"', "Waiting for snap")
"""What a line says, of these programs or of those in clients/, that is served."""


class Program:
    """A client that runs, and when it said what."""

    def __init__(self, name: str, *command: str | Path) -> None:
        self.name = name
        self.lines: list[tuple[float, str]] = []
        self.process = subprocess.Popen(
            list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append((time.monotonic(), line.strip()))

    def up_after(self, moment: float) -> float | None:
        """When it was served for the first time after `moment`; None when it was not yet."""
        return next((at for at, line in list(self.lines) if at > moment and _is_up(line)), None)

    def end(self) -> None:
        """Kill it."""
        self.process.kill()
        self.process.wait()
        self._reader.join()
        assert self.process.stdout is not None
        self.process.stdout.close()


def _is_up(line: str) -> bool:
    return any(word in line for word in UP)


class Reports(http.server.ThreadingHTTPServer):
    """A page for a browser, and what it reports: by POST of a line to any path but "/"."""

    def __init__(self, page: bytes) -> None:
        super().__init__(("127.0.0.1", 0), _Reports)
        self.page = page
        self.lines: list[tuple[float, str]] = []


class _Reports(http.server.BaseHTTPRequestHandler):
    server: Reports

    def do_GET(self) -> None:
        self._answer(self.server.page)

    def do_POST(self) -> None:
        line = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self.server.lines.append((time.monotonic(), line))
        self._answer(b"")

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


PAGE = """<!doctype html><script>BUNDLE</script><script>
const tell = line => fetch("/told", {method: "POST", body: line});
const socket = io("http://127.0.0.1:PORT");
socket.on("disconnect", () => tell("socket down"));
let socketUp = false;
socket.on("connect", () => { socketUp = false; });
socket.on("prediction", () => { if (!socketUp) tell("socket up"); socketUp = true; });
const picture = Uint8Array.from(atob("PICTURE"), each => each.charCodeAt(0));
setInterval(() => { if (socket.connected) socket.emit("receiveImage", picture); }, 200);
function relay() {
  const ws = new WebSocket("ws://127.0.0.1:PORT/ws");
  ws.onopen = () => tell("relay up");
  ws.onclose = () => setTimeout(relay, 1000);
}
relay();
const events = new EventSource("http://127.0.0.1:PORT/lenet/train/events");
events.onopen = () => tell("events up");
</script>"""


class Page(Program):
    """A part of the page in Chromium: what it reports with the first word `name`."""

    def __init__(self, name: str, reports: Reports) -> None:
        self.name, self._reports, self._word = f"Chromium, {name}", reports, name

    @property
    def lines(self) -> list[tuple[float, str]]:  # type: ignore[override]
        return [(at, line) for at, line in self._reports.lines if line.startswith(self._word)]

    def end(self) -> None:
        """The browser is ended by `browser`."""


@contextmanager
def browser(port: int, picture: str, folder: Path) -> Iterator[list[Program]]:
    """Chromium with a page that streams, sits in the relay and follows trainings."""
    bundle = (MODULES / "socket.io-client" / "dist" / "socket.io.min.js").read_text()
    page = PAGE.replace("PORT", str(port)).replace("PICTURE", picture).replace("BUNDLE", bundle)
    reports = Reports(page.encode())
    serving = threading.Thread(target=reports.serve_forever, args=(0.05,))
    serving.start()
    options = ("--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-dev-shm-usage")
    address = f"http://127.0.0.1:{reports.server_port}/"
    command = [str(CHROMIUM), *options, f"--user-data-dir={folder}", address]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield [Page(name, reports) for name in ("socket", "relay", "events")]
    finally:
        process.terminate()
        process.wait(20)
        reports.shutdown()
        serving.join()
        reports.server_close()


def commands(port: int, picture: Path) -> Iterator[tuple[str, list[str | Path]]]:
    """The names of all clients, and their command lines."""
    clients, both, one = ROOT / "clients", "polling,websocket", "websocket"
    for name in ("python4", "python5"):
        program = [ROOT / "build" / f"clients-{name}" / "bin" / "python", PROGRAMS / "returning.py", str(port)]
        yield f"{name}, {one}", [*program, one, picture]
        yield f"{name}, polling", [*program, "polling", picture]
    for package in ("socket.io-client-2", "socket.io-client-3", "socket.io-client"):
        yield f"{package}, {both}", ["node", PROGRAMS / "returning.js", str(port), MODULES / package, both, picture]
    java = ["java", "-XX:TieredStopAtLevel=1", "-cp", ":".join(map(str, OKHTTP)), PROGRAMS / "Returning.java"]
    for generation in ("3", "4"):
        yield f"OkHttp, generation {generation}", [*java, str(port), generation, picture]
    server = ["--server", f"127.0.0.1:{port}"]
    yield "clients/camera.py", [sys.executable, clients / "camera.py", picture, "--loop", "--json", *server]
    yield "clients/capture.py", [sys.executable, clients / "capture.py", *server]
    yield "websocket-client", [sys.executable, PROGRAMS / "returning_relay.py", str(port)]


def is_here(command: list[str | Path]) -> bool:
    """Whether what a command line names is installed."""
    if command[0] == "java" and not all(path.exists() for path in OKHTTP):
        return False
    files = [word for word in command[1:] if isinstance(word, Path)]
    return shutil.which(command[0]) is not None and all(file.exists() for file in files)
