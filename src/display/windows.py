"""The server's side of the windows of `-d`: hands the newest result of each stream to the display process, never waits.

The display process (process.py) asks for one picture after the other; what it has not asked for is replaced by what
is newer. When it cannot start or dies, one line says why, and the server goes on without windows.
"""

from __future__ import annotations

import json
import socket
import struct
import subprocess
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

from imageserver import folders
from imageserver.inference.server.child_process import Picture
from imageserver.streams.stream import Frame, Prediction, Stream, Streams, StreamSubscriber
from imageserver.transport import hub

PYTHON = folders.PROJECT / ".venv-display" / "bin" / "python"
MOST_FPS = 15.0
"""Pictures a second shown of each stream: more cost the models' time, and nobody sees them."""
_LENGTH = struct.Struct("<I")


class _Window:
    """One stream's window."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.hidden = False  # a person closed it
        self.next: tuple[Picture, int, Prediction] | None = None
        self.shown_at = 0.0
        self._times: deque[float] = deque(maxlen=20)

    def count(self, now: float) -> float:
        """Count a result; returns results a second."""
        self._times.append(now)
        span = now - self._times[0]
        return (len(self._times) - 1) / span if span > 0 else 0.0


class Windows(StreamSubscriber):
    """Watches the streams; construct and it begins. `log` takes the one line that says why there are no windows."""

    def __init__(self, streams: Streams, log: Callable[[str], None], python: Path = PYTHON) -> None:
        self._log, self._clock = log, time.monotonic
        self._windows: dict[str, _Window] = {}
        self._to_close: deque[str] = deque()
        self._work = hub.Event()
        self._asked = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._stopping = False
        if not python.exists():
            self._give_up("its environment is missing: run `make display` once")
            return
        ours, theirs = socket.socketpair()
        self._socket = hub.green(ours)
        with theirs:
            self._process = subprocess.Popen(
                [str(python), "-P", str(Path(__file__).with_name("process.py")), "--control", str(theirs.fileno())],
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,  # Qt's own complaints; what matters comes over the socket or as the exit code
            )
        hub.spawn(self._read)
        hub.spawn(self._write)
        self._leave = streams.watch(self)

    @property
    def pid(self) -> int | None:
        """The display process, None when there is none."""
        return self._process.pid if self._process else None

    def stop(self) -> None:
        """Close all windows; the process ends."""
        self._stopping = True
        if self._process is not None:
            self._process.terminate()

    # ---- what the streams say (StreamSubscriber) ----------------------------------------------------------------

    def predicted(self, stream: Stream, frame: Frame, prediction: Prediction) -> None:
        window = self._windows.get(stream.id)
        if window is None:
            window = self._windows[stream.id] = _Window(self._title(stream.name))
        elif window.title.partition(" (")[0] != stream.name:
            self._to_close.append(window.title)  # it has authenticated under a name meanwhile
            window.title = self._title(stream.name)
        now = self._clock()
        fps = window.count(now)
        if not window.hidden and now - window.shown_at >= 1 / MOST_FPS:
            window.shown_at = now
            window.next = (frame.data, stream.rotate, {**prediction, "fps": fps})
        self._work.set()

    def closed(self, stream: Stream) -> None:
        window = self._windows.pop(stream.id, None)
        if window is not None:
            self._to_close.append(window.title)
            self._work.set()

    # ---- within -----------------------------------------------------------------------------------------------

    def _title(self, name: str) -> str:
        """The stream's name, numbered from the second window of that name on."""
        taken = {window.title for window in self._windows.values()}
        number = 1
        title = name
        while title in taken:
            number += 1
            title = f"{name} ({number})"
        return title

    def _write(self) -> None:
        try:
            while True:
                self._work.wait()
                self._work.clear()
                while self._to_close:
                    self._send({"op": "close", "title": self._to_close.popleft()})
                for window in [window for window in self._windows.values() if window.next is not None]:
                    if not self._asked:
                        break
                    picture, rotate, prediction = window.next or (b"", 0, {})
                    window.next = None
                    self._asked -= 1
                    fps = prediction.pop("fps")
                    message = {"op": "show", "title": window.title, "size": len(picture), "rotate": rotate, "fps": fps}
                    self._send({**message, "prediction": prediction}, picture)
        except OSError:
            return  # its end is told by the reader

    def _send(self, message: dict[str, Any], picture: Picture = b"") -> None:
        body = json.dumps(message).encode()
        self._socket.sendall(_LENGTH.pack(len(body)) + body)
        if picture:
            self._socket.sendall(picture)

    def _read(self) -> None:
        buffer = bytearray()
        why = ""
        try:
            while data := self._socket.recv(4096):
                buffer += data
                while len(buffer) >= _LENGTH.size and len(buffer) >= _LENGTH.size + _LENGTH.unpack_from(buffer)[0]:
                    end = _LENGTH.size + _LENGTH.unpack_from(buffer)[0]
                    message = json.loads(buffer[_LENGTH.size : end])
                    del buffer[:end]
                    why = self._handle(message) or why
        except OSError:
            pass  # a killed process may reset its socket: the same end
        self._socket.close()
        self._leave()
        process, self._process = self._process, None
        while process is not None and process.poll() is None:
            process.kill()  # one that closed its socket is of no use
            hub.sleep(0.01)
        if process is not None and not self._stopping:
            self._give_up(why or f"the display process ended with {process.returncode}; start again to have them back")

    def _handle(self, message: dict[str, Any]) -> str:
        """A message of the display process; returns why it fails, if it says so."""
        match message["op"]:
            case "ready":
                self._asked += 1
                self._work.set()
            case "hidden":
                for window in self._windows.values():
                    window.hidden = window.hidden or window.title == message["title"]
            case "failed":
                return str(message["error"])
        return ""

    def _give_up(self, why: str) -> None:
        self._windows.clear()
        self._log(f"-d: no windows are shown, and the server goes on without them; {why}")
