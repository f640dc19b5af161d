"""The OpenCV windows of `-d`: a program of its own, which owns the GUI's main thread.

It is started with `--control FD --arena FD`.

It runs in the environment that `make display` makes, since OpenCV's wheel with windows needs X11 and libGL, or, of an
installed package, in that of the server with the extra `display`; so it imports nothing of the server but wire.py,
whose messages it speaks, and the jail. Pictures come in shared memory of one slot:

server to display    {"op": "show", "title": str, "size": int, "rotate": int, "fps": float, "prediction": {…}}
                     {"op": "close", "title": str}
                     {"op": "stop"}
display to server    {"op": "ready"}                   windows can be opened, or the picture was shown: send one more
                     {"op": "hidden", "title": str}    a person closed this window
                     {"op": "failed", "error": str}    it cannot show windows at all, and ends
"""

from __future__ import annotations

import argparse
import contextlib
import mmap
import os
import select
import socket
from typing import Any

from imageserver import folders
from imageserver.inference.shared import drawing, lifetime, wire
from imageserver.jail import entry
from imageserver.jail.rules import Jail

LARGEST = 960
"""Pixels of a window's longer side; larger pictures are shown smaller."""
COLUMNS, STEP = 3, (420, 340)
"""New windows are laid out in so many columns, this many pixels apart."""


class Display:
    """Shows what comes until the server says stop or is gone."""

    def __init__(self, control: socket.socket, arena: memoryview, cv2: Any, numpy: Any) -> None:
        self._control, self._arena, self._cv2, self._numpy = control, arena, cv2, numpy
        self._open: set[str] = set()

    def run(self) -> None:
        """Returns when it is to end."""
        unpacker = wire.Unpacker()
        send(self._control, {"op": "ready"})
        while True:
            readable, _, _ = select.select([self._control], [], [], 0.02)
            if readable:
                data = self._control.recv(65536)
                if not data:
                    return
                for message in unpacker.feed(data):
                    match message["op"]:
                        case "show":
                            self._show(message)
                        case "close":
                            self._close(message["title"])
                        case "stop":
                            return
            self._turn()

    def _show(self, message: wire.Message) -> None:
        title, picture = message["title"], self._numpy.frombuffer(self._arena[: message["size"]], self._numpy.uint8)
        pixels = self._cv2.imdecode(picture, self._cv2.IMREAD_COLOR)
        if pixels is not None:
            image = draw(self._cv2, pixels, message["rotate"], message["prediction"], message["fps"])
            if title not in self._open:
                self._place(title, *image.shape[:2])
            self._cv2.imshow(title, image)
        send(self._control, {"op": "ready"})

    def _place(self, title: str, height: int, width: int) -> None:
        """A new window, beside those that are open."""
        cv2 = self._cv2
        cv2.namedWindow(title, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO | cv2.WINDOW_GUI_NORMAL)
        row, column = divmod(len(self._open), COLUMNS)
        cv2.moveWindow(title, column * STEP[0], row * STEP[1])
        cv2.resizeWindow(title, width, height)
        self._open.add(title)

    def _close(self, title: str) -> None:
        if title in self._open:
            self._open.discard(title)
            with contextlib.suppress(self._cv2.error):
                self._cv2.destroyWindow(title)

    def _turn(self) -> None:
        """Let the GUI do its work, and see which windows a person has closed."""
        self._cv2.waitKey(1)
        for title in list(self._open):
            if self._cv2.getWindowProperty(title, self._cv2.WND_PROP_VISIBLE) < 1:
                self._close(title)
                send(self._control, {"op": "hidden", "title": title})


def send(control: socket.socket, message: wire.Message) -> None:
    control.sendall(wire.pack(message))


def draw(cv2: Any, pixels: Any, rotate: int, prediction: dict[str, Any], fps: float) -> Any:
    """The picture upright and at window size, with boxes and label and score and rate: uint8 BGR (height, width, 3)."""
    turns = {90: cv2.ROTATE_90_CLOCKWISE, 180: cv2.ROTATE_180, 270: cv2.ROTATE_90_COUNTERCLOCKWISE}
    if rotate in turns:
        pixels = cv2.rotate(pixels, turns[rotate])
    image = drawing.fit(cv2, pixels, LARGEST)
    drawing.mark(cv2, image, prediction, pixels.shape[1])
    drawing.write(cv2, image, f"{fps:.1f} fps", (6, 18))
    return image


def problem(cv2: Any) -> str:
    """Why no window can be opened here, "" if one can: one sentence with the remedy."""
    if "NONE" in cv2.getBuildInformation().partition("GUI:")[2].partition("\n")[0]:
        return f"the installed OpenCV has no windows: run {folders.ADD_WINDOWS}"
    name, wayland = os.environ.get("DISPLAY", ""), os.environ.get("WAYLAND_DISPLAY")
    if not (name or wayland):
        return "there is no screen here: set DISPLAY, or start without -d"
    if not wayland and name.startswith(":") and not answers(name):
        return f"the screen DISPLAY={name} does not answer: set DISPLAY to one that does, or start without -d"
    return ""


def answers(name: str) -> bool:
    """Whether an X server of this machine listens as `:number`. Qt would abort the whole process to say so."""
    path = "/tmp/.X11-unix/X" + name[1:].partition(".")[0]
    for address in ("\0" + path, path):
        with socket.socket(socket.AF_UNIX) as probe:
            if probe.connect_ex(address) == 0:
                return True
    return False


def main() -> int:
    lifetime.end_with_parent()
    parser = argparse.ArgumentParser(description="The windows of ImageServer; the server starts this.")
    parser.add_argument("--control", type=int, required=True, help="file descriptor of the socket to the server")
    parser.add_argument("--arena", type=int, required=True, help="file descriptor of the shared memory")
    parser.add_argument("--jail", type=Jail.from_text, required=True, help="what it may do (jail/rules.py)")
    options = parser.parse_args()
    os.environ.setdefault("XAUTHORITY", os.path.expanduser("~/.Xauthority"))  # its home is another from here on
    entry.enter(options.jail)
    control = socket.socket(fileno=options.control)
    arena = memoryview(mmap.mmap(options.arena, wire.SLOT_BYTES))
    os.nice(5)  # a person sees no difference; the models do
    os.environ.setdefault("QT_LOGGING_RULES", "*=false")
    try:
        import cv2
        import numpy

        why = problem(cv2)
    except ImportError as error:
        why = f"OpenCV for windows cannot be loaded ({error}): run {folders.ADD_WINDOWS}, and install libgl1"
    if why:
        send(control, {"op": "failed", "error": why})
        return 1
    cv2.setNumThreads(1)
    with contextlib.suppress(OSError):  # the server is gone
        Display(control, arena, cv2, numpy).run()
    return 0
