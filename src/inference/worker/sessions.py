"""A worker process for one stateful model: started by the server, with `--control FD --arena FD --folder FOLDER`.

It has *lanes*: each is a thread with a model object of its own, made when the lane is first used. The server assigns
sessions to lanes and sends a lane one call at a time, so a model's author needs to think of no threads: an object is
never called twice at once, and all calls of a session go to the same object.
"""

from __future__ import annotations

import contextlib
import os
import queue
import socket
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imageserver.errors import ImageServerError, describe
from imageserver.inference.shared import manifest, wire
from imageserver.inference.worker import main as worker
from imageserver.jail import entry

if TYPE_CHECKING:
    from imageserver.inference.worker.context import LoadContext
    from imageserver.inference.worker.model_api import StatefulModel


class SessionThread:
    """A thread and its model object; `calls` are run in order."""

    def __init__(self, owner: SessionWorker, number: int, model: StatefulModel | None) -> None:
        self._owner, self._number, self._model = owner, number, model
        self._calls: queue.SimpleQueue[wire.Message] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=f"lane {number}", daemon=True)
        self._thread.start()

    def put(self, call: wire.Message) -> None:
        self._calls.put(call)

    def _run(self) -> None:
        with contextlib.suppress(OSError):  # the server is gone
            while True:
                call = self._calls.get()
                self._owner.send({"op": "outcome", "id": call["id"], **self._outcome(call)})

    def _outcome(self, call: wire.Message) -> dict[str, Any]:
        from imageserver.inference.worker import results

        owner = self._owner
        method = "forward_single_frame" if call["op"] == "frame" else call["op"]
        try:
            if self._model is None:
                self._model = owner.make_model()
                owner.send({"op": "made", "lane": self._number})
            sid, timestamp = call["sid"], call["timestamp"]
            match call["op"]:
                case "start":
                    self._model.start(sid, timestamp)
                    output = None
                case "frame":
                    output = self._model.forward_single_frame(sid, owner.frame(self._number, call), timestamp)
                case _:
                    output = self._model.end(sid, timestamp)
            if output is not None and not isinstance(output, dict):
                raise TypeError(f"{method} returned {type(output).__name__}, not a dictionary or None")
            plain: dict[str, Any] | None = results.plain(output)
            wire.pack({"output": plain})  # what JSON cannot hold is this call's failure and not the worker's end
            return {"output": plain}
        except ImageServerError as error:
            return {"error": str(error)}
        # A model's code may raise anything, and must not end other sessions.
        except (Exception, SystemExit) as error:  # noqa: BLE001
            owner.context.note(f"{owner.manifest.name}: {describe(error)}")
            return {"error": f"the model failed in {method} ({type(error).__name__})"}


class SessionWorker:
    """`serve` returns when it is told to stop, or when the server is gone."""

    def __init__(
        self, control: socket.socket, arena: memoryview, slot_bytes: int, folder: Path, context: LoadContext
    ) -> None:
        self.manifest = manifest.read(folder)
        self.context = context
        self._control, self._arena, self._slot_bytes = control, arena, slot_bytes
        self._sending = threading.Lock()
        self._lanes: dict[int, SessionThread] = {}

    def serve(self) -> None:
        self.send({"op": "hello", "pid": os.getpid()})
        begun = time.monotonic()
        try:
            first = self.make_model()
        except ImageServerError as error:
            self.send({"op": "failed", "model": self.manifest.name, "error": " ".join(str(error).split())[:1000]})
            return
        self._lanes[0] = SessionThread(self, 0, first)
        seconds = round(time.monotonic() - begun, 3)
        about = {"runtime": "python", "seconds": seconds, "warnings": []}
        self.send({"op": "loaded", "model": self.manifest.name, **about})
        unpacker = wire.Unpacker()
        while data := self._control.recv(65536):
            for message in unpacker.feed(data):
                if message["op"] == "stop":
                    return
                lane = message["lane"]
                if lane not in self._lanes:
                    self._lanes[lane] = SessionThread(self, lane, None)
                self._lanes[lane].put(message)

    def make_model(self) -> StatefulModel:
        """A new object of the model's class. ModelError when that fails."""
        from imageserver.inference.worker import loader

        return loader.stateful(self.manifest)

    def frame(self, lane: int, call: wire.Message) -> Any:
        """The frame in the lane's slot, upright: uint8 RGB (height, width, 3), or a Pillow image.

        PictureError, LimitExceeded.
        """
        from imageserver.inference.worker import decode

        start = lane * self._slot_bytes
        data = self._arena[start : start + call["size"]]
        # No model input is given: a stateful model sees the frame as it came.
        pixels = decode.decode(
            data,
            channels=3,
            least=sys.maxsize,
            rotate=call["rotate"],
            limits=self.context.limits,
            budget=decode.DecodingBudget(self.context.costly_bytes),
        ).pixels
        if self.manifest.state is not None and self.manifest.state.frame == "pil":
            from PIL import Image

            return Image.fromarray(pixels)
        return pixels

    def send(self, message: wire.Message) -> None:
        data = wire.pack(message)
        with self._sending:
            self._control.sendall(data)


def main() -> None:
    worker.bind_life_to_parent()
    parser = worker.parser()
    parser.add_argument("--folder", type=Path, required=True, help="the model's folder")
    parser.add_argument("--slots", type=int, required=True, help="slots of the shared memory, one for each lane")
    parser.add_argument("--slot-bytes", type=int, required=True, help="bytes of a slot")
    options = parser.parse_args()
    entry.enter(options.jail)
    control, arena = worker.open_wall(options, options.slots * options.slot_bytes)
    worker.set_environment(options.threads, options.max_pixels)
    context = worker.make_context(options)
    with contextlib.suppress(OSError):  # the server is gone: nobody is left to be told
        SessionWorker(control, arena, options.slot_bytes, options.folder, context).serve()
    sys.stderr.flush()
    os._exit(0)  # a model that is still in a call must not delay the end
