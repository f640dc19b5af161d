"""A worker process of a node: the program that runs models on a server, in its jail, as a child of an actor.

The model's code is in that process alone. It has no network, and so no way to the cluster, unless its manifest asks.
"""

from __future__ import annotations

import contextlib
import itertools
import mmap
import os
import queue
import signal
import socket
import subprocess
import threading
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from imageserver import bootstrap
from imageserver.errors import EndpointFailed, ModelError
from imageserver.inference.shared import wire
from imageserver.inference.worker.cluster import answers
from imageserver.inference.worker.cluster.settings import NO_ROOM, patience
from imageserver.jail import environment, scratch, usage
from imageserver.jail.rules import Jail

LOOK_EVERY = 1.0
"""Seconds between two looks at what it has taken."""
NOT_CONVERTED = "it has not been converted for this version of OpenVINO: install the server's on the nodes"
DIED = "the worker process died"
SMOOTHING = 0.1
"""Part of the latest batch in what one takes."""


@dataclass(eq=False)
class _Batch:
    """One that runs, or waits for its turn."""

    message: wire.Message
    """For the worker process."""
    begun: Future[float] = field(default_factory=Future)
    """When its turn came."""
    answer: Future[wire.Message] = field(default_factory=Future)


class ChildWorker:
    """Starts on construction. `load` once, then `run` from several threads. EndpointFailed, OSError: it does not.

    Args:
        arguments: for its command line.
        jail: what it may do; one that takes more is killed.
    """

    def __init__(self, arguments: Sequence[str], jail: Jail) -> None:
        self.ended: Future[str] = Future()
        """How it ended, once it has."""
        self._jail, self._arguments = replace(jail, scratch=str(scratch.SCRATCH.new())), arguments
        self._memory = os.memfd_create("imageserver-arena")
        os.ftruncate(self._memory, wire.SLOTS * wire.SLOT_BYTES)
        self._arena = memoryview(mmap.mmap(self._memory, wire.SLOTS * wire.SLOT_BYTES))
        self._slots: queue.SimpleQueue[int] = queue.SimpleQueue()
        for slot in range(wire.SLOTS):
            self._slots.put(slot)
        self._numbers, self._sending, self._lock = itertools.count(1), threading.Lock(), threading.Lock()
        self._running: _Batch | None = None
        self._next: deque[_Batch] = deque()
        """Those that wait for their turn: the process has one at a time, and their own time has not begun."""
        self._took = 0.0
        """Seconds that a batch takes at present."""
        self._started: Future[subprocess.Popen[bytes]] = Future()
        self._loaded: Future[wire.Message] = Future()
        self._fault = ""
        self._control, self._theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        # It ends with the thread that has started it: with this one, which lives as long.
        threading.Thread(target=self._live, name="worker", daemon=True).start()
        self._process = self._started.result()
        threading.Thread(target=self._watch, name="watch", daemon=True).start()

    def load(self, name: str, folder: Path, seconds: float) -> wire.Message:
        """What it says, `loaded` or `failed`. ModelError: it ended, or took too long."""
        self._send({"op": "load", "model": name, "folder": str(folder)})
        try:
            return self._loaded.result(seconds)
        except TimeoutError:
            self.kill(f" as loading took longer than {seconds:g} s")
            raise ModelError(f"the model {name!r} does not load: it took longer than {seconds:g} s") from None

    def run(self, model: str, data: bytes, items: Sequence[wire.Item], seconds: float) -> bytes:
        """The answer to a batch (answers.py), within so many seconds: one that begins too late for that is lost."""
        begun = time.monotonic()
        begin_by = begun + patience(seconds, self._took)
        try:
            slot = self._slots.get(timeout=begin_by - begun)
        except queue.Empty:
            return self._lost(NO_ROOM)
        view = self._arena[slot * wire.SLOT_BYTES : (slot + 1) * wire.SLOT_BYTES]
        try:
            view[: len(data)] = data
            message = {"op": "run", "id": next(self._numbers), "model": model, "slot": slot, "items": list(items)}
            return answers.pack(self._run(_Batch(message), begin_by, begun + seconds), view)
        finally:
            self._slots.put(slot)

    def kill(self, why: str = "") -> None:
        """SIGKILL. Harmless when it has ended."""
        self._fault = self._fault or why
        self._process.kill()

    # ---- within -------------------------------------------------------------------------------------------------

    def _run(self, batch: _Batch, begin_by: float, end: float) -> wire.Message:
        """What the worker process says of it."""
        with self._lock:
            if self.ended.done():
                return answers.lost(DIED)
            self._next.append(batch)
            self._begin_next()
        try:
            begun = batch.begun.result(max(0.0, begin_by - time.monotonic()))
        except TimeoutError:
            with self._lock:
                if batch in self._next:
                    self._next.remove(batch)
                    return answers.lost(NO_ROOM)
            begun = batch.begun.result()
        try:
            return batch.answer.result(max(0.0, end - time.monotonic()))
        except TimeoutError:
            with self._lock:
                if self._running is batch:
                    self.kill(f" as a batch took longer than {round(end - begun, 2):g} s")
            return batch.answer.result()  # by its end

    def _begin_next(self) -> None:
        """Under the lock, by whoever sees first that it can; none with a process that is to end."""
        if self._running is None and self._next and not self._fault:
            self._running = self._next.popleft()
            self._send(self._running.message)
            self._running.begun.set_result(time.monotonic())

    def _done(self, message: wire.Message) -> None:
        with self._lock:
            batch = self._running
            if batch is None or batch.message["id"] != message["id"]:
                return
            took = time.monotonic() - batch.begun.result()
            self._took += (took - self._took) * (SMOOTHING if self._took else 1.0)
            self._running = None
            self._begin_next()
        batch.answer.set_result({key: value for key, value in message.items() if key not in ("op", "id")})

    def _live(self) -> None:
        try:
            self._started.set_result(self._start())
        except OSError as error:
            self._control.close()
            scratch.remove(Path(self._jail.scratch))
            self._started.set_exception(EndpointFailed(f"no process can be started on the node ({error.strerror})"))
            return
        finally:
            self._theirs.close()
            os.close(self._memory)
        process = self._started.result()
        try:
            for message in self._messages():
                self._on_message(message)
        except (LookupError, TypeError, ValueError) as error:
            self._fault = f" after a message that cannot be understood ({type(error).__name__})"
        process.kill()
        code = process.wait()
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        self._end(f"its worker process ended by {how}{self._fault}")
        self._control.close()

    def _start(self) -> subprocess.Popen[bytes]:
        control, memory = self._theirs.fileno(), self._memory
        given = ["--control", str(control), "--arena", str(memory), "--jail", self._jail.to_text()]
        return subprocess.Popen(
            bootstrap.command("inference.worker.main", *given, *self._arguments),
            pass_fds=(control, memory),
            env=environment.scrubbed(os.environ, self._jail.variables),
            process_group=0 if self._jail.processes else None,
            stdin=subprocess.DEVNULL,
        )

    def _on_message(self, message: wire.Message) -> None:
        match message["op"]:
            case "loaded" | "failed":
                self._loaded.set_result(message)
            case "convert":
                self._send({"op": "converted", "error": NOT_CONVERTED})
            case "done":
                self._done(message)

    def _end(self, how: str) -> None:
        with self._lock:
            running, self._running = self._running, None
            waiting, self._next = self._next, deque()
            self.ended.set_result(how)
        if running is not None:
            running.answer.set_result(answers.lost(DIED, ended=True))
        for batch in waiting:  # they are not to blame
            batch.answer.set_result(answers.lost(DIED))
            batch.begun.set_result(time.monotonic())
        if not self._loaded.done():
            self._loaded.set_exception(ModelError(f"the model does not load: {how}"))
        if self._jail.processes:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
        scratch.remove(Path(self._jail.scratch))

    def _watch(self) -> None:
        while not self.ended.done():
            time.sleep(LOOK_EVERY)
            taken, _limit = usage.excess(self._process.pid, self._jail, len(self._arena))
            if taken and not self.ended.done():
                self.kill(f" after it {taken}")

    def _messages(self) -> Any:
        unpacker = wire.Unpacker()
        with contextlib.suppress(OSError):
            while data := self._control.recv(65536):
                yield from unpacker.feed(data)

    def _send(self, message: wire.Message) -> None:
        with self._sending, contextlib.suppress(OSError):  # its end is told
            self._control.sendall(wire.pack(message))

    def _lost(self, reason: str) -> bytes:
        return answers.pack(answers.lost(reason), self._arena[:0])
