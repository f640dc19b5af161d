"""Headless Chromium as a process, spoken to by the DevTools protocol through two pipes."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.running import PATIENCE

CHROMIUM = next(filter(None, map(shutil.which, ("google-chrome", "chromium", "chromium-browser"))), None)

OPTIONS = (
    "--headless=new",
    "--no-sandbox",
    "--no-first-run",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-extensions",
    "--disable-sync",
    "--disable-component-update",
    "--disable-background-networking",
    # A page that is left has ended, and its script has been counted, before the next one begins.
    "--disable-features=BackForwardCache,Translate,MediaRouter,OptimizationHints",
    # Several pages of one browser are each as much in front as one person's only page.
    "--disable-background-timer-throttling",
    "--disable-backgrounding-occluded-windows",
    "--disable-renderer-backgrounding",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
    "--autoplay-policy=no-user-gesture-required",
    "--ignore-certificate-errors",
    "--host-resolver-rules=MAP *.example 127.0.0.1",
)

Event = Callable[[str, dict[str, Any]], None]
"""Takes the name of an event and its parameters; called in the thread that reads, so it must not ask anything."""


class DevToolsError(Exception):
    """The browser refuses what it was asked."""


class DevTools:
    """A browser's process.

    Args:
        folder: Where it keeps its profile.
        options: Further options of the command line.
    """

    def __init__(self, folder: Path, *options: str) -> None:
        assert CHROMIUM is not None
        to_browser, from_browser = os.pipe(), os.pipe()
        theirs = [_above_nine(to_browser[0]), _above_nine(from_browser[1])]
        # It reads from descriptor 3 and writes to 4, and closes with the pipes, however this process ends.
        command = ["bash", "-c", f'exec "$@" 3<&{theirs[0]} 4>&{theirs[1]}', "chromium", CHROMIUM]
        command += [*OPTIONS, *options, f"--user-data-dir={folder}", "--remote-debugging-pipe", "about:blank"]
        quiet = subprocess.DEVNULL
        self.process = subprocess.Popen(command, pass_fds=theirs, stdin=quiet, stdout=quiet, stderr=quiet)
        for descriptor in theirs:
            os.close(descriptor)
        self._write, self._read = to_browser[1], from_browser[0]
        self._answered = threading.Condition()
        self._answers: dict[int, dict[str, Any]] = {}
        self._last = 0
        self._ended = False
        self._listeners: dict[str, Event] = {}
        self._reader = threading.Thread(target=self._hear, daemon=True)
        self._reader.start()

    def ask(self, method: str, session: str = "", **parameters: Any) -> dict[str, Any]:
        """Send a command and wait for its result.

        Raises:
            DevToolsError: The browser refused, or has ended.
        """
        message: dict[str, Any] = {"method": method, "params": parameters}
        if session:
            message["sessionId"] = session
        with self._answered:
            self._last += 1
            message["id"] = number = self._last
            self._send(json.dumps(message).encode() + b"\0")
            come = self._answered.wait_for(lambda: number in self._answers or self._ended, PATIENCE)
            assert come, f"the browser does not answer {method}"
            answer = self._answers.pop(number, {"error": {"message": "the browser has ended"}})
        if "error" in answer:
            raise DevToolsError(f"{method}: {answer['error']['message']}")
        result: dict[str, Any] = answer["result"]
        return result

    def listen(self, session: str, listener: Event) -> None:
        """Have the events of a session told to `listener`."""
        self._listeners[session] = listener

    def forget(self, session: str) -> None:
        """Tell nobody of the session any more."""
        self._listeners.pop(session, None)

    def close(self) -> None:
        """End the browser."""
        with contextlib.suppress(DevToolsError, OSError):
            self.ask("Browser.close")
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._reader.join(10)
        os.close(self._write)
        os.close(self._read)

    def _send(self, data: bytes) -> None:
        while data:
            data = data[os.write(self._write, data) :]

    def _hear(self) -> None:
        rest = b""
        while data := os.read(self._read, 2**20):
            *messages, rest = (rest + data).split(b"\0")
            for text in messages:
                message = json.loads(text)
                if "id" in message:
                    with self._answered:
                        self._answers[message["id"]] = message
                        self._answered.notify_all()
                elif listener := self._listeners.get(message.get("sessionId", "")):
                    listener(message["method"], message["params"])
        with self._answered:
            self._ended = True
            self._answered.notify_all()


def _above_nine(descriptor: int) -> int:
    """The descriptor under a number that is neither 3 nor 4."""
    moved = fcntl.fcntl(descriptor, fcntl.F_DUPFD, 10)
    os.close(descriptor)
    return moved
