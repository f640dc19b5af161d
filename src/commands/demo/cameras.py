"""The demo's cameras: each streams one scene at a server, as any camera in Python does, by the clients' library.

The first prediction of each, and each new reason for which there is none, go to standard output as a line of JSON.
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
from typing import TYPE_CHECKING, Any

from imageserver import folders
from imageserver.commands.demo.scenes import Scene, scenes
from imageserver.errors import SettingError
from imageserver.inference.shared import lifetime

if TYPE_CHECKING:
    from imageserver_client import Camera, Result

TRIES = 3
"""To come back after a connection is lost: the server is on this machine, and ends with us."""


def main() -> int:
    """Stream at the server whose address is the only argument, until the process that started this one ends it."""
    lifetime.end_with_parent()
    sys.path.insert(0, str(folders.CLIENTS))  # as for every program of the clients
    from client_programs.command import ended

    return ended(lambda: _stream(sys.argv[1]), "imageserver demo")


def _stream(server: str) -> int:
    try:
        seen = scenes()
    except SettingError as error:
        print(f"imageserver demo: {error}", file=sys.stderr)
        return 2
    with contextlib.ExitStack() as open_ones:
        cameras = [open_ones.enter_context(_camera(server, scene)) for scene in seen]
        start = time.monotonic()
        due = [start] * len(seen)
        while True:
            for number, scene in enumerate(seen):
                if (now := time.monotonic()) >= due[number]:
                    cameras[number].send(scene.picture(now - start))
                    due[number] = max(due[number] + 1 / scene.hz, now)  # what falls behind does not catch up
            time.sleep(max(0.0, min(due) - time.monotonic()))


def _camera(server: str, scene: Scene) -> Camera:
    from imageserver_client import Camera

    return Camera(server, model=scene.model, name=scene.name, on_result=_Teller(scene.name), tries=TRIES)


class _Teller:
    """Tells what is new among the results of a camera."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._predicted = False
        self._error: str | None = None

    def __call__(self, result: Result) -> None:
        if result.prediction is None and result.error != self._error:
            self._error = result.error
            self._tell(error=result.error)
        elif result.prediction is not None and not self._predicted:
            from client_programs.report import describe

            self._predicted = True
            self._tell(prediction=describe(result.prediction))

    def _tell(self, **what: Any) -> None:
        sys.stdout.write(json.dumps({"camera": self._name, **what}) + "\n")  # one write, since each has its thread
        sys.stdout.flush()
