"""A worker process: started by the server, with `--control FD --arena FD`.

It reads batches from its socket and pictures from shared memory (wire.py), runs one batch at a time, answers, and
loads models in a second thread meanwhile, so the former version of a model serves until the new one is warm.

Its first act is to go into its jail. It never outlives
the server: the kernel kills it when its parent dies, and its socket reads end-of-file. SIGINT and
SIGHUP are ignored: what a terminal sends reaches all processes, and the server has its own way to stop its workers.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import gc
import mmap
import os
import queue
import socket
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imageserver.errors import ImageServerError, describe
from imageserver.inference.shared import conversion_cache, lifetime, wire
from imageserver.inference.shared.manifest import Manifest
from imageserver.jail import entry
from imageserver.jail.rules import Jail

if TYPE_CHECKING:
    from imageserver.inference.worker.context import LoadContext, Note
    from imageserver.inference.worker.predictor import Serving


class Worker:
    """`serve` returns when it is told to stop, or when the server is gone."""

    def __init__(self, control: socket.socket, arena: memoryview, context: LoadContext) -> None:
        self._control, self._arena, self._context = control, arena, context
        self._sending = threading.Lock()
        self._models: dict[str, Serving] = {}
        self._to_load: dict[str, Path] = {}
        self._loads = threading.Condition()
        self._converted: queue.SimpleQueue[str] = queue.SimpleQueue()

    def serve(self) -> None:
        threading.Thread(target=self._load_all, name="loader", daemon=True).start()
        self._send({"op": "hello", "pid": os.getpid()})
        unpacker = wire.Unpacker()
        while data := self._control.recv(65536):
            for message in unpacker.feed(data):
                match message["op"]:
                    case "run":
                        self._begin(message)
                    case "load":
                        with self._loads:
                            self._to_load[message["model"]] = Path(message["folder"])
                            self._loads.notify()
                    case "unload":
                        with self._loads:
                            self._to_load.pop(message["model"], None)
                        self._models.pop(message["model"], None)
                    case "converted":
                        self._converted.put(message["error"])
                    case "waiting":
                        self._waits(message["seconds"])
                    case "leave":
                        self._leaves(message["replicas"])
                    case "stop":
                        return

    def _waits(self, seconds: float) -> None:
        """For so long the oldest picture has waited: of interest where there can be more workers."""

    def _leaves(self, replicas: int) -> None:
        """So many fewer there are to be, for a newer version: of interest where there are replicas."""

    def _begin(self, message: wire.Message) -> None:
        self._answer(message, self._run(message))

    def _run(self, message: wire.Message) -> wire.Message:
        from imageserver.inference.worker import batch

        serving = self._models.get(message["model"])
        wanted: list[wire.Item] = message["items"]
        if serving is None:
            return failures(wanted, f"the model {message['model']!r} is not loaded")
        start = message["slot"] * wire.SLOT_BYTES
        return batch.run(serving, self._arena[start : start + wire.SLOT_BYTES], wanted)

    def _answer(self, message: wire.Message, done: wire.Message) -> None:
        try:
            self._send({"op": "done", "id": message["id"], **done})
        except ValueError as error:  # a model's own code can answer with 100 MB, or with half a surrogate pair
            self._context.note(f"an answer that cannot be sent: {error}")
            sentence = "the model's answer is too large or holds text that is none"
            self._send({"op": "done", "id": message["id"], **failures(message["items"], sentence)})

    def _send(self, message: dict[str, Any]) -> None:
        data = wire.pack(message)
        with self._sending:
            self._control.sendall(data)

    def _load_all(self) -> None:
        while True:
            with self._loads:
                while not self._to_load:
                    self._loads.wait()
                name = next(iter(self._to_load))
                folder = self._to_load.pop(name)
            try:
                self._load(name, folder)
            except OSError:
                return  # the socket is gone, and with it the server

    def convert(self, manifest: Manifest) -> str:
        """Have the server convert a model, which this process cannot do from its jail; a sentence when that failed."""
        self._send({"op": "convert", "folder": str(manifest.folder)})
        return self._converted.get()

    def _load(self, name: str, folder: Path) -> None:
        from imageserver.inference.worker import loader

        start = time.monotonic()
        try:
            serving = loader.load(folder, replace(self._context, convert=self.convert))
        except ImageServerError as error:
            self._failed(name, str(error), error.__cause__)
            return
        # Runtimes raise what they like; the worker serves its other models on.
        except Exception as error:  # noqa: BLE001
            self._failed(name, f"the model {name!r} does not load: {type(error).__name__}: {error}", error)
            return
        self._models[name] = serving
        settle()
        self._loaded(name, serving, time.monotonic() - start)

    def _loaded(self, name: str, serving: Serving, seconds: float) -> None:
        about = {"runtime": serving.runtime, "seconds": round(seconds, 3), "warnings": serving.warnings}
        self._send({"op": "loaded", "model": name, **about, "decoded_as": serving.decoded_as})

    def _failed(self, name: str, sentence: str, cause: BaseException | None) -> None:
        if cause is not None:
            self._context.note(f"{name}: {describe(cause)}")
        self._send({"op": "failed", "model": name, "error": " ".join(sentence.split())[:1000]})


def settle() -> None:
    """A model has loaded: what it holds lives long, and the collector need not walk through it between batches."""
    gc.collect()
    gc.freeze()
    ctypes.CDLL(None).malloc_trim(0)  # loading and warming up leave tens of MB behind that nobody will use again


def failures(items: Sequence[wire.Item], sentence: str) -> wire.Message:
    """The rest of the message `done` where nothing could be answered."""
    return {"results": [{"error": sentence, "reason": "model"}] * len(items)}


def parser() -> argparse.ArgumentParser:
    """What every worker's command line holds."""
    parser = argparse.ArgumentParser(
        prog="worker", description="A worker process of ImageServer; the server starts it."
    )
    parser.add_argument("--control", type=int, required=True, help="file descriptor of the socket to the server")
    parser.add_argument("--arena", type=int, required=True, help="file descriptor of the shared memory")
    parser.add_argument("--jail", type=Jail.from_text, required=True, help="what it may do (jail/rules.py)")
    parser.add_argument(
        "--models-cache", type=Path, default=conversion_cache.cache_folder(), help="folder of converted models"
    )
    parser.add_argument("--threads", type=int, default=1, help="threads that this worker may keep busy")
    parser.add_argument("--max-bytes", type=int, default=16 * 2**20, help="largest picture, in bytes")
    parser.add_argument("--max-pixels", type=int, default=50_000_000, help="largest picture, in pixels")
    parser.add_argument("--max-decoded-bytes", type=int, default=192 * 2**20, help="largest picture, in bytes decoded")
    parser.add_argument("--costly-bytes", type=int, default=48 * 2**20, help="what a batch may cost to decode")
    return parser


def bind_life_to_parent() -> None:
    """Ask the kernel to kill this process when its parent ends, and ignore what a terminal sends."""
    lifetime.end_with_parent()


def open_wall(options: argparse.Namespace, arena_bytes: int) -> tuple[socket.socket, memoryview]:
    """The socket to the server, and the memory shared with it."""
    for descriptor in (options.control, options.arena):
        os.set_inheritable(descriptor, False)  # a model that starts programs must not keep the server's socket open
    arena = memoryview(mmap.mmap(options.arena, arena_bytes))
    os.close(options.arena)
    return socket.socket(fileno=options.control), arena


def set_environment(threads: int, max_pixels: int) -> None:
    """What the libraries read when they are imported: threads, a second line of defence on pixels, silence."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "TF_NUM_INTRAOP_THREADS"):
        os.environ.setdefault(name, str(threads))
    os.environ["OPENCV_IO_MAX_IMAGE_PIXELS"] = str(max_pixels)
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")  # a broken picture is its sender's business, not our log's
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")


def make_context(options: argparse.Namespace) -> LoadContext:
    """What this worker's models are loaded with. Imports cv2, so the environment must be set."""
    from concurrent.futures import ThreadPoolExecutor

    import cv2

    from imageserver.inference.worker.context import LoadContext
    from imageserver.inference.worker.decode import PictureLimits

    threads = max(1, options.threads)
    cv2.setNumThreads(threads)
    return LoadContext(
        note_to_stderr(os.getpid()),
        threads,
        options.models_cache,
        PictureLimits(options.max_bytes, options.max_pixels, options.max_decoded_bytes),
        options.costly_bytes,
        pool=ThreadPoolExecutor(threads, "decoder") if threads > 1 else None,
    )


def note_to_stderr(pid: int) -> Note:
    """A `Note` that writes one line to standard error."""

    def note(text: str) -> None:
        sys.stderr.write(f"worker {pid}: {' '.join(text.split())}\n")
        sys.stderr.flush()

    return note


def main() -> None:
    bind_life_to_parent()
    options = parser().parse_args()
    entry.enter(options.jail)
    control, arena = open_wall(options, wire.SLOTS * wire.SLOT_BYTES)
    set_environment(options.threads, options.max_pixels)
    with contextlib.suppress(OSError):  # the server is gone: nobody is left to be told
        Worker(control, arena, make_context(options)).serve()
    sys.stderr.flush()
    os._exit(0)  # a model that is still loading, or threads of a runtime, must not delay the end
