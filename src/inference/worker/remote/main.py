"""A worker process for one model that another server runs: started by the server, with `--control FD --arena FD`.

It speaks the messages of every worker (wire.py), has `--batches` slots, and answers as many batches at the same time,
each on a thread. It prepares pictures as the worker of a local model does; what it cannot have answered elsewhere is
`lost`, as if it had died, and where nobody answers at all it says `unreachable`, and `loaded` once somebody does again.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import queue
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imageserver.errors import ImageServerError, Unreachable, describe
from imageserver.inference.shared import manifest, wire
from imageserver.inference.worker import main as worker
from imageserver.inference.worker.main import Worker
from imageserver.inference.worker.remote.settings import NOBODY, RemoteSettings
from imageserver.jail import entry

if TYPE_CHECKING:
    from imageserver.inference.worker.context import Note
    from imageserver.inference.worker.predictor import Serving
    from imageserver.inference.worker.remote.endpoints import Endpoints

TELL_EVERY = 1.0
"""Seconds between two messages of figures."""


class RemoteWorker(Worker):
    """One that has several batches under way."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._batches = self._context.remote.batches
        self._threads = ThreadPoolExecutor(self._batches, "batch")
        self._free: queue.SimpleQueue[Serving] = queue.SimpleQueue()
        self._endpoints: Endpoints | None = None
        self._telling = threading.Lock()
        self._reached: bool | None = None
        """What the server was told last; None: nothing yet."""

    def _begin(self, message: wire.Message) -> None:
        self._threads.submit(self._answer_one, message)

    def _answer_one(self, message: wire.Message) -> None:
        with contextlib.suppress(OSError):  # the server is gone
            self._answer(message, self._run(message))

    def _run(self, message: wire.Message) -> wire.Message:
        from imageserver.inference.worker import batch

        serving = self._free.get()
        start = message["slot"] * wire.SLOT_BYTES
        assert self._endpoints is not None
        try:
            with self._endpoints.time.of_batch():
                return batch.run(serving, self._arena[start : start + wire.SLOT_BYTES], message["items"])
        except Unreachable as error:
            return {"results": [], "lost": str(error)}
        # As many batches as there are slots: one that stayed unanswered would hold its slot for ever.
        except Exception as error:  # noqa: BLE001
            self._context.note(f"{message['model']}: {describe(error)}")
            return worker.failures(message["items"], f"the model {message['model']!r} failed on this picture")
        finally:
            self._free.put(serving)

    def _load(self, name: str, folder: Path) -> None:
        from imageserver.inference.worker import loader

        begun, context = time.monotonic(), replace(self._context, note=unrepeated(self._context.note))
        while True:
            try:
                serving, endpoints = loader.elsewhere(manifest.read(folder), context)
                break
            except Unreachable as error:
                self._tell_unreachable(name, str(error))
                time.sleep(self._context.remote.look_every)
            except ImageServerError as error:
                self._failed(name, str(error), error.__cause__)
                return
            except Exception as error:  # noqa: BLE001 - libraries raise what they like
                self._failed(name, f"the model {name!r} does not load: {type(error).__name__}", error)
                return
        self._endpoints = endpoints
        for _ in range(self._batches):
            self._free.put(serving.beside())
        worker.settle()
        seconds = time.monotonic() - begun
        tell = partial(self._tell, name, serving, endpoints, seconds)
        tell()
        endpoints.watch(tell)
        threading.Thread(target=self._tell_figures, args=(name, endpoints), name="figures", daemon=True).start()

    def _tell(self, name: str, serving: Serving, endpoints: Endpoints, seconds: float) -> None:
        with self._telling:
            if endpoints.usable == self._reached:
                return
            self._reached = endpoints.usable
            if self._reached:
                self._loaded(name, serving, seconds)
            else:
                self._send({"op": "unreachable", "model": name, "error": NOBODY})

    def _tell_unreachable(self, name: str, error: str) -> None:
        with self._telling:
            if self._reached is not False:
                self._reached = False
                self._send({"op": "unreachable", "model": name, "error": error})

    def _tell_figures(self, name: str, endpoints: Endpoints) -> None:
        """What each endpoint has answered, and whether it is asked, whenever that has changed."""
        before: object = None
        with contextlib.suppress(OSError):  # the server is gone
            while True:
                rows = [[each.name, each.breaker.allows, each.answered, each.failed] for each in endpoints.all]
                figures = {"endpoints": rows, "retried": endpoints.retried}
                if figures != before:
                    self._send({"op": "endpoints", "model": name, **figures})
                    before = figures
                time.sleep(TELL_EVERY)


def unrepeated(note: Note) -> Note:
    """The same, but for what was noted just before: what is wrong with an endpoint stays so for hours."""
    last = [""]

    def noted(text: str) -> None:
        if text != last[0]:
            last[0] = text
            note(text)

    return noted


def parser() -> argparse.ArgumentParser:
    """What its command line holds."""
    parser = worker.parser()
    for field in fields(RemoteSettings):
        option = "--remote-" + field.name.replace("_", "-")
        parser.add_argument(option, type=type(field.default), default=field.default, help="as in RemoteSettings")
    return parser


def main() -> None:
    worker.bind_life_to_parent()
    options = parser().parse_args()
    entry.enter(options.jail)
    given = {field.name: getattr(options, f"remote_{field.name}") for field in fields(RemoteSettings)}
    settings = RemoteSettings(**given)
    control, arena = worker.open_wall(options, settings.batches * wire.SLOT_BYTES)
    worker.set_environment(options.threads, options.max_pixels)
    with contextlib.suppress(OSError):  # the server is gone: nobody is left to be told
        RemoteWorker(control, arena, replace(worker.make_context(options), remote=settings)).serve()
    sys.stderr.flush()
    os._exit(0)  # what is still under way must not delay the end
