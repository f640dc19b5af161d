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
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import replace
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
        self._running: dict[int, Future[wire.Message]] = {}
        """One at most, and which is known by its number."""
        self._turn = threading.Lock()
        """Held by the batch that runs: its time is its own, and one that waits has not begun."""
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
            if not self._turn.acquire(timeout=max(0.0, begin_by - time.monotonic())):
                return self._lost(NO_ROOM)
            try:
                done = self._run(model, slot, items, begun + seconds)
            finally:
                self._turn.release()
            return answers.pack(done, view)
        finally:
            self._slots.put(slot)

    def kill(self, why: str = "") -> None:
        """SIGKILL. Harmless when it has ended."""
        self._fault = self._fault or why
        self._process.kill()

    # ---- within -------------------------------------------------------------------------------------------------

    def _run(self, model: str, slot: int, items: Sequence[wire.Item], end: float) -> wire.Message:
        """What the worker process says of the batch, whose turn it is."""
        number, answer, begun = next(self._numbers), Future[wire.Message](), time.monotonic()
        with self._lock:
            if self.ended.done():
                return answers.lost(DIED)
            self._running[number] = answer
        self._send({"op": "run", "id": number, "model": model, "slot": slot, "items": list(items)})
        try:
            done = answer.result(max(0.0, end - begun))
        except TimeoutError:
            self.kill(f" as a batch took longer than {round(end - begun, 2):g} s")
            return answer.result()  # by its end
        finally:
            with self._lock:
                self._running.pop(number, None)
        self._took += (time.monotonic() - begun - self._took) * (SMOOTHING if self._took else 1.0)
        return done

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
                with self._lock:
                    answer = self._running.pop(message["id"], None)
                if answer is not None:
                    answer.set_result({key: value for key, value in message.items() if key not in ("op", "id")})

    def _end(self, how: str) -> None:
        with self._lock:
            running, self._running = self._running, {}
            self.ended.set_result(how)
        for answer in running.values():
            answer.set_result(answers.lost(DIED, ended=True))
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
