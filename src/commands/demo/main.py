"""Starts the demo's server and cameras, opens the page, tells what happens, and ends both; nothing of it stays behind.

This process neither serves nor streams: a server is a program of its own, and so are cameras. It hears of both by what
they print, the server's log as JSON. Both end with it, however it ends.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import queue
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
import webbrowser
from pathlib import Path
from typing import Any, NamedTuple

from imageserver import bootstrap
from imageserver.commands.arguments import of
from imageserver.commands.demo import samples
from imageserver.config import kinds
from imageserver.lines import printable

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Each ends the demo: Ctrl-C, whoever started it, the end of its terminal."""
END_WITHIN = 10.0
"""Seconds in which a process that was told to end does so."""
MOST_WAITING = 1000
"""Lines of both processes that wait to be told: where nobody reads this program's own, they wait as well."""
LEVELS = ("warning", "error", "critical")
"""Of the server's log, what is told."""


def parser() -> argparse.ArgumentParser:
    """Of the command line; its name is what was typed."""
    made = argparse.ArgumentParser(
        description="Start a server with sample cameras, and open its page in the browser. Ctrl-C ends all of it; "
        "nothing stays behind, and no other server's settings or data are touched.",
    )
    made.add_argument("--no-browser", action="store_true", help="only print the page's address")
    made.add_argument(
        "-i", "--ip", type=of(kinds.ADDRESS), metavar="ADDRESS",
        help="address to listen on (default 127.0.0.1: this machine alone); 0.0.0.0 is every one",
    )  # fmt: skip
    made.add_argument(
        "-p", "--port", type=of(kinds.PORT), default=8080, metavar="PORT",
        help="port to listen on (default %(default)s); 0 is any free one",
    )  # fmt: skip
    made.add_argument(
        "--phone", action="store_true",
        help="let phones of this network be cameras, too: means -i 0.0.0.0, and HTTPS as well; anybody there can look",
    )  # fmt: skip
    return made


def main() -> int:
    """Run until somebody ends it; returns 0 then, 2 when it cannot start, 1 when a process of it fails."""
    known = parser()
    given = known.parse_args()
    if reason := samples.missing():
        print(f"{known.prog}: {reason}", file=sys.stderr)
        return 2
    for number in SIGNALS:
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # as nohup has it
            signal.signal(number, signal.default_int_handler)
    try:
        with tempfile.TemporaryDirectory(prefix="imageserver-demo-", ignore_cleanup_errors=True) as data:
            return _run(Demo(given, Path(data), known.prog))
    except KeyboardInterrupt:
        with contextlib.suppress(OSError):  # the terminal may be what has ended
            _say("The demo has ended; nothing of it is left behind.")
    except BrokenPipeError:  # whoever read this has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        print(f"{known.prog}: the system refuses what it needs ({error}): make room and try again.", file=sys.stderr)
        return 1
    return 0


def _run(demo: Demo) -> int:
    """Run it, and end its processes however that ends."""
    try:
        return demo.run()
    finally:
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)  # what has begun to end is ended in seconds
        demo.end()


def settings(given: argparse.Namespace, data: Path) -> dict[str, Any]:
    """Those of the server that differ from its defaults."""
    listening = {"ip": "0.0.0.0", "https_port": 0} if given.phone else {"ip": "127.0.0.1"}
    if given.ip:
        listening["ip"] = given.ip
    return {
        **listening,
        "port": given.port,
        "tcp_port": kinds.OFF,
        "preload": ["lenet"],
        "log_json": True,
        "data": str(data),
    }


class _Line(NamedTuple):
    """Something that a process printed; None: it has ended."""

    process: subprocess.Popen[str]
    text: str | None


class Demo:
    """The processes, and what is told of them.

    Args:
        given: what the command line says.
        data: the server's data folder, which somebody else removes.
        name: what was typed, for sentences.
    """

    def __init__(self, given: argparse.Namespace, data: Path, name: str) -> None:
        self._given, self._data, self._name = given, data, name
        self._lines: queue.Queue[_Line] = queue.Queue(MOST_WAITING)
        self._server: subprocess.Popen[str] | None = None
        self._cameras: subprocess.Popen[str] | None = None
        self._begun = time.monotonic()
        self._predicted = False

    def run(self) -> int:
        """Start both and tell what they say, until one ends; returns the exit code for that. OSError."""
        _say("A server and its sample cameras start. Ctrl-C ends them.")
        self._server = self._start("server", json.dumps(settings(self._given, self._data)), "imageserver demo")
        while True:
            process, text = self._lines.get()
            if text is None:
                return self._failed(process)
            said = json.loads(text)
            if process is self._server:
                self._server_said(said["level"], said["message"])
            else:
                self._camera_said(**said)

    def end(self) -> None:
        """End both, the cameras first, so that they miss nothing."""
        for process in (self._cameras, self._server):
            if process is None:
                continue
            process.terminate()
            try:
                process.wait(END_WITHIN)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _start(self, module: str, *arguments: str) -> subprocess.Popen[str]:
        started = subprocess.Popen(
            bootstrap.command(f"commands.{module}", *arguments),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            encoding="utf-8",
            process_group=0,  # what a terminal sends is for this process to decide on
        )
        threading.Thread(target=self._read, args=(started,), daemon=True).start()
        return started

    def _read(self, process: subprocess.Popen[str]) -> None:
        """In a thread of its own: all that a process prints."""
        for text in process.stdout or ():
            self._lines.put(_Line(process, text))
        self._lines.put(_Line(process, None))

    def _server_said(self, level: str, message: str) -> None:
        if level in LEVELS:
            if not message.startswith("anybody who reaches"):  # -i and --phone say so
                _say(f"{level}: {message}")
        elif found := re.search(r"wsgi starting up on (http://\S+)", message):
            address = found[1].replace("//0.0.0.0:", "//127.0.0.1:").replace("//[::]:", "//[::1]:")
            self._cameras = self._start("demo.cameras", address)
            self._open(address)
        elif message.startswith("cameras on this network reach it"):
            _say(message)
        elif found := re.match(r"a phone is a camera at (https://\S+)", message):
            _say(message)
            if sys.stdout.isatty() and "utf" in sys.stdout.encoding.lower():
                from imageserver.pages import qr  # for --phone alone

                for line in qr.lines(found[1]):
                    _say(line)

    def _open(self, address: str) -> None:
        page = f"{address}/"
        if self._given.no_browser:
            _say(f"The page is at {page}")
        elif not has_browser():
            elsewhere = "" if self._given.ip or self._given.phone else " (for other machines as well with -i 0.0.0.0)"
            _say(f"No browser can be opened here. The page is at {page}{elsewhere}")
        else:
            _say(f"The page is at {page} and opens in your browser.")
            # Some browsers return at their end only.
            threading.Thread(target=webbrowser.open, args=(page,), daemon=True).start()

    def _camera_said(self, camera: str, prediction: str = "", error: str = "") -> None:
        if error:
            _say(f"{camera} gets no prediction: {error}")
            return
        if not self._predicted:
            self._predicted = True
            _say(f"The first prediction came after {time.monotonic() - self._begun:.1f} s.")
        _say(f"{camera}: {prediction}")

    def _failed(self, process: subprocess.Popen[str]) -> int:
        """Say that a process has ended by itself. One that could not start has said why."""
        code = process.wait()
        if process is self._server and self._cameras is None and code > 0:
            return code
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        who = "server" if process is self._server else "cameras"
        print(f"{self._name}: the {who} ended unasked ({how}), and with it the demo: start it again.", file=sys.stderr)
        return 1


def has_browser() -> bool:
    """Whether a browser with windows can be opened. One in the terminal would take that away."""
    if sys.platform.startswith("linux") and not any(map(os.environ.get, ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"))):
        return False
    try:
        webbrowser.get()
    except webbrowser.Error:
        return False
    return True


def _say(sentence: str) -> None:
    print(printable(sentence), flush=True)
