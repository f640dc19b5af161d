"""The server's side of the windows of `-d`: hands the newest result of each stream to the display process, never waits.

The display process (process.py) asks for one picture after the other; what it has not asked for is replaced by what
is newer. When it cannot start, ends, or shows nothing for `SHOW_WITHIN` seconds, another one is started after a pause,
and pauses grow. One line says so, and one that the windows are back; the streams never notice.
"""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

from imageserver import folders
from imageserver.inference.server.arena import Arena
from imageserver.inference.server.child_process import ChildProcess
from imageserver.inference.server.jails.rights import WINDOWS
from imageserver.inference.shared import wire
from imageserver.streams.frame import Frame, Prediction
from imageserver.streams.stream import Stream, Streams, StreamSubscriber
from imageserver.transport import hub

PYTHON = Path(sys.executable) if folders.INSTALLED else folders.PROJECT / ".venv-display" / "bin" / "python"
MOST_FPS = 15.0
"""Pictures a second shown of each stream: more cost the models' time, and nobody sees them."""
SHOW_WITHIN = 10.0
"""Seconds that the display process may take for a picture: a screen that hangs does not answer at all."""
FIRST, LONGEST = 0.5, 60.0
"""Seconds until the display process is started again; twice as long each time, until one has lived for `LONGEST`."""


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


class _DisplayProcess:
    """One display process, begun by its construction. OSError.

    Args:
        python: the interpreter.
        woken: called when it can show something, or has ended.
        hidden: called with the title of a window that a person has closed.
    """

    def __init__(self, python: Path, woken: Callable[[], None], hidden: Callable[[str], None]) -> None:
        if not python.exists():
            raise FileNotFoundError(f"its environment is missing: run {folders.ADD_WINDOWS}")
        self._woken, self._hidden = woken, hidden
        self.asks = self.shows = self.ended = False
        """It waits for a picture; has shown one; has ended."""
        self.problem = ""
        self.begun = time.monotonic()
        self._showing: hub.Timer | None = None
        self._overdue = False
        self._arena = Arena(1, wire.SLOT_BYTES)
        self.process = ChildProcess(
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

    def show(self, picture: wire.Picture, message: wire.Message) -> None:
        """Show a picture, for which it has asked."""
        self.asks = False
        self._showing = hub.call_later(SHOW_WITHIN, self._kill)
        self._arena.write(0, 0, picture)
        self.process.send(message)

    def _kill(self) -> None:
        self._overdue = True
        self.process.kill()

    def _on_message(self, message: wire.Message) -> None:
        match message["op"]:
            case "ready":
                self.asks = True
                self.shows |= self._answered()
                self._woken()
            case "hidden":
                self._hidden(message["title"])
            case "failed":
                self.problem = message["error"]

    def _on_exit(self) -> None:
        self._answered()
        self.ended = True
        if not self.problem:
            self.problem = f"the display process ended by {self.process.exit_text}"
        if self._overdue:
            self.problem = f"the display process showed nothing for {SHOW_WITHIN:g} s"
        self._woken()

    def _answered(self) -> bool:
        """Stop the clock of the picture that was to be shown, if one was."""
        timer, self._showing = self._showing, None
        if timer is not None:
            timer.cancel()
        return timer is not None


class Windows(StreamSubscriber):
    """Watches the streams; construct and it begins. `log` takes the lines that say why there are no windows."""

    def __init__(self, streams: Streams, log: Callable[[str], None], python: Path = PYTHON) -> None:
        self._log, self._python, self._clock = log, python, time.monotonic
        self._windows: dict[str, _Window] = {}
        self._next: dict[_Window, tuple[wire.Picture, wire.Message]] = {}
        """The picture to show next in each, and the message that shows it, in the order in which they wait."""
        self._to_close: deque[str] = deque()
        self._work = hub.Event()
        self._display: _DisplayProcess | None = None
        self._missed = False
        """The log says that there are no windows."""
        self._stopping = hub.Event()
        streams.watch(self)
        hub.spawn(self._run)

    def stop(self) -> None:
        """Close all windows; returns when the process has ended."""
        self._stopping.set()
        self._work.set()
        if self._display is not None:
            self._display.process.end()

    # ---- what the streams say (StreamSubscriber) ----------------------------------------------------------------

    def predicted(self, stream: Stream, frame: Frame, prediction: Prediction) -> None:
        if self._display is None:
            return
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
            if self._display is not None:
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

    def _run(self) -> None:
        """Have a display process for as long as the server runs."""
        pause = FIRST
        while not self._stopping.is_set():
            try:
                display = self._display = _DisplayProcess(self._python, self._work.set, self._hide)
            except OSError as error:
                self._miss(error.strerror or str(error))
            else:
                self._write(display)
                self._display = None
                self._next.clear()
                self._to_close.clear()
                if self._stopping.is_set():
                    return
                self._miss(display.problem)
                if self._clock() - display.begun > LONGEST:
                    pause = FIRST
            self._stopping.wait(pause)
            pause = min(2 * pause, LONGEST)

    def _write(self, display: _DisplayProcess) -> None:
        """Tell the process what to show and to close, until it has ended."""
        while not display.ended:
            self._work.wait()
            self._work.clear()
            if display.shows and self._missed:
                self._missed = False
                self._log("-d: windows are shown again")
            while self._to_close:
                display.process.send({"op": "close", "title": self._to_close.popleft()})
            if display.asks and self._next:
                display.show(*self._next.pop(next(iter(self._next))))

    def _hide(self, title: str) -> None:
        for window in self._windows.values():
            window.hidden = window.hidden or window.title == title

    def _miss(self, why: str) -> None:
        """Say once that there are no windows."""
        if not self._missed:
            self._missed = True
            self._log(f"-d: no windows are shown, and the server goes on without them until they can be; {why}")
