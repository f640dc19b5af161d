"""The server's side of the windows of `-d`: hands the newest result of each stream to the display process, never waits.

The display process (process.py) asks for one picture after the other; what it has not asked for is replaced by what
is newer. When it cannot start or dies, one line says why, and the server goes on without windows.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

from imageserver import folders
from imageserver.inference.server.arena import Arena
from imageserver.inference.server.child_process import ChildProcess
from imageserver.inference.server.jails.rights import WINDOWS
from imageserver.inference.shared import wire
from imageserver.streams.stream import Frame, Prediction, Stream, Streams, StreamSubscriber
from imageserver.transport import hub

PYTHON = folders.PROJECT / ".venv-display" / "bin" / "python"
MOST_FPS = 15.0
"""Pictures a second shown of each stream: more cost the models' time, and nobody sees them."""


class _Window:
    """One stream's window."""

    def __init__(self, name: str, title: str) -> None:
        self.name, self.title = name, title
        self.hidden = False  # a person closed it
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
        self._next: dict[_Window, tuple[wire.Picture, wire.Message]] = {}
        """The picture to show next in each, and the message that shows it, in the order in which they wait."""
        self._to_close: deque[str] = deque()
        self._work = hub.Event()
        self._asked = False
        """The display process waits for a picture."""
        self._problem = ""
        self._process: ChildProcess | None = None
        if not python.exists():
            self._give_up("its environment is missing: run `make display` once")
            return
        self._arena = Arena(1, wire.SLOT_BYTES)
        self._process = ChildProcess(
            "display",
            "display.process",
            [],
            self._on_message,
            self._on_exit,
            jail=WINDOWS,
            arena=self._arena,
            python=str(python),
            quiet=True,  # Qt's own complaints; what matters comes as a message or as the exit code
        )
        hub.spawn(self._write)
        self._leave = streams.watch(self)

    def stop(self) -> None:
        """Close all windows; the process ends."""
        process, self._process = self._process, None
        if process is not None:
            process.send({"op": "stop"})

    # ---- what the streams say (StreamSubscriber) ----------------------------------------------------------------

    def predicted(self, stream: Stream, frame: Frame, prediction: Prediction) -> None:
        window = self._windows.get(stream.id)
        if window is None or window.name != stream.name:
            self.closed(stream)  # it has authenticated under a name meanwhile
            window = self._windows[stream.id] = _Window(stream.name, self._title(stream.name))
        now = self._clock()
        fps = window.count(now)
        if not window.hidden and now - window.shown_at >= 1 / MOST_FPS:
            window.shown_at = now
            message = {"op": "show", "title": window.title, "size": len(frame.data), "rotate": stream.rotate}
            self._next[window] = (frame.data, {**message, "fps": fps, "prediction": prediction})
            self._work.set()

    def closed(self, stream: Stream) -> None:
        window = self._windows.pop(stream.id, None)
        if window is not None:
            self._next.pop(window, None)
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
        while (process := self._process) is not None:
            self._work.wait()
            self._work.clear()
            while self._to_close:
                process.send({"op": "close", "title": self._to_close.popleft()})
            if self._asked and self._next:
                self._asked = False
                picture, message = self._next.pop(next(iter(self._next)))
                self._arena.write(0, 0, picture)
                process.send(message)

    def _on_message(self, message: wire.Message) -> None:
        match message["op"]:
            case "ready":
                self._asked = True
                self._work.set()
            case "hidden":
                for window in self._windows.values():
                    window.hidden = window.hidden or window.title == message["title"]
            case "failed":
                self._problem = message["error"]

    def _on_exit(self) -> None:
        self._leave()
        process, self._process = self._process, None
        self._work.set()
        if process is not None:  # it was not told to stop
            ended = f"the display process ended by {process.exit_text}; start again to have them back"
            self._give_up(self._problem or ended)

    def _give_up(self, why: str) -> None:
        self._windows.clear()
        self._next.clear()
        self._log(f"-d: no windows are shown, and the server goes on without them; {why}")
