"""Whether a disabled model works again: a worker of its own loads it and answers a probe picture.

The shared workers do not have the model meanwhile, so that a trial that fails costs nobody anything.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable

from imageserver.inference.server.batching import Work
from imageserver.inference.server.jails.conversions import Conversions
from imageserver.inference.server.jails.rights import Jails
from imageserver.inference.server.worker import SharedWorker, WorkerKind
from imageserver.inference.shared import wire
from imageserver.inference.shared.manifest import Manifest
from imageserver.transport import hub

SIDE = 64


def probe() -> bytes:
    """A grey ramp as a PNG file: a picture that no model may end of."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", SIDE, SIDE, 8, 0, 0, 0, 0)
    rows = b"".join(b"\0" + bytes(range(row, row + SIDE)) for row in range(SIDE))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


class Trials:
    """`run` is one trial; `stop` ends those that run.

    Args:
        arguments: for each worker's command line.
        jails: for each worker.
        conversions: where a model may be converted.
        kind: the program for a model.
        time_limit: seconds for a model to load, and to answer.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        arguments: list[str],
        jails: Jails,
        conversions: Conversions,
        kind: Callable[[Manifest], WorkerKind],
        time_limit: Callable[[Manifest], float],
        clock: Callable[[], float],
    ) -> None:
        self._arguments, self._jails, self._conversions = arguments, jails, conversions
        self._kind, self._time_limit, self._clock = kind, time_limit, clock
        self._running: set[_Trial] = set()

    def run(self, manifest: Manifest) -> str:
        """Wait until the model has answered; a sentence when it did not, else ""."""
        trial = _Trial(manifest, self._conversions)
        try:
            trial.worker = SharedWorker(
                f"trial worker of {manifest.name}",
                self._arguments,
                trial.on_message,
                trial.on_exit,
                self._clock,
                self._jails.own(manifest),
                kind=self._kind(manifest),
            )
        except OSError as error:
            return f"no process could be started for it ({error.strerror})"
        self._running.add(trial)
        limit = self._time_limit(manifest)
        if not trial.ended.wait(limit):
            trial.end(f"it did not answer within {limit:g} s")
            trial.worker.process.kill()
        self._running.discard(trial)
        hub.spawn(trial.worker.process.end)
        return trial.error

    def stop(self) -> None:
        """End all of them."""
        for trial in list(self._running):
            trial.end("the server is stopping")


class _Trial:
    """One trial: what its worker says."""

    worker: SharedWorker

    def __init__(self, manifest: Manifest, conversions: Conversions) -> None:
        self._manifest, self._conversions = manifest, conversions
        self.ended = hub.Event()
        self.error = ""

    def end(self, error: str) -> None:
        """The first end counts."""
        if not self.ended.is_set():
            self.error = error
            self.ended.set()

    def on_message(self, worker: SharedWorker, message: wire.Message) -> None:
        match message["op"]:
            case "hello":
                worker.reads = True
                worker.load(self._manifest)
            case "convert":
                hub.spawn(self._conversions.answer, worker.process, worker.network(message["folder"]))
            case "failed" | "unreachable":
                self.end(message["error"])
            case "loaded":
                self._ask(worker)
            case "done" if "lost" in message:
                self.end(message["lost"])
            case "done":
                result = message["results"][0]
                self.end(result["error"] if result.get("reason") == "model" else "")

    def on_exit(self, worker: SharedWorker) -> None:
        self.end(f"its worker ended by {worker.process.exit_text}")

    def _ask(self, worker: SharedWorker) -> None:
        work = Work(probe())
        batch = worker.begin(0, self._manifest.name)
        worker.arena.write(batch.slot, 0, work.data)
        item: wire.Item = {"at": 0, "size": len(work.data), "form": work.content, "rotate": 0}
        worker.process.send({"op": "run", "id": 0, "model": self._manifest.name, "slot": batch.slot, "items": [item]})
