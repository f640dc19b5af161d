"""A worker process as the server sees it: its socket, its arena, its life.

It is started as a program of its own, never forked from the server's loop, and it cannot outlive the server: the
kernel kills it when its parent dies (PR_SET_PDEATHSIG, set by the worker itself), and its socket reads end-of-file.
"""

from __future__ import annotations

import mmap
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable

from imageserver import bootstrap
from imageserver.inference.shared import wire
from imageserver.transport import hub

Picture = bytes | bytearray | memoryview

COPY_CHUNK = 2**20
"""Bytes copied into the arena before the loop gets a turn: about 0.2 ms."""


class WorkerProcess:
    """Starts on construction. `on_message(worker, message)` and `on_exit(worker)` are called from its own green thread.

    `arguments` are added to the command line of the program `module` (see inference/worker/main.py); its arena has `slots`
    slots of `slot_bytes`.
    """

    def __init__(
        self,
        name: str,
        arguments: list[str],
        on_message: Callable[[WorkerProcess, wire.Message], None],
        on_exit: Callable[[WorkerProcess], None],
        *,
        module: str = "inference.worker.main",
        slots: int = wire.SLOTS,
        slot_bytes: int = wire.SLOT_BYTES,
    ) -> None:
        self.name = name
        self.free_slots = list(range(slots))
        self._slot_bytes = slot_bytes
        self._on_message, self._on_exit = on_message, on_exit
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        memory = os.memfd_create("imageserver-arena")
        try:
            os.ftruncate(memory, slots * slot_bytes)
            self._view = memoryview(mmap.mmap(memory, slots * slot_bytes))
            self._process = subprocess.Popen(
                bootstrap.command(module, "--control", str(theirs.fileno()), "--arena", str(memory), *arguments),
                pass_fds=(theirs.fileno(), memory),
                stdin=subprocess.DEVNULL,
                stdout=sys.stderr.fileno(),  # what a model prints must not mix with --results -
            )
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
            os.close(memory)
        self.pid = self._process.pid
        self._socket = hub.green(ours)
        self._reader = hub.spawn(self._read)

    def write(self, slot: int, at: int, picture: Picture) -> None:
        """Copy `picture` into `slot` at byte `at`; gives the loop turns when it is large. ValueError: no room."""
        size = len(picture)
        if at + size > self._slot_bytes:
            raise ValueError(f"{size} bytes at {at} exceed a slot of {self._slot_bytes}")
        start = slot * self._slot_bytes + at
        if size <= COPY_CHUNK:
            self._view[start : start + size] = picture
            return
        source = memoryview(picture)
        for done in range(0, size, COPY_CHUNK):
            piece = source[done : done + COPY_CHUNK]
            self._view[start + done : start + done + len(piece)] = piece
            hub.sleep(0)

    def read(self, slot: int, at: int, size: int) -> bytes:
        """What the worker put into `slot` at byte `at`."""
        start = slot * wire.SLOT_BYTES + at
        return bytes(self._view[start : start + size])

    def send(self, message: wire.Message) -> None:
        """Send a message. A worker that is gone is no error here: its end is reported by `on_exit`."""
        try:
            self._socket.sendall(wire.pack(message))
        except OSError:
            return

    def kill(self) -> None:
        """SIGKILL; `on_exit` follows. Harmless when it has ended."""
        self._process.kill()

    def wait(self, timeout: float) -> bool:
        """Wait for its end, at most `timeout` seconds; returns whether it has ended."""
        waited = 0.0
        while self._process.poll() is None:
            if waited >= timeout:
                return False
            hub.sleep(0.01)
            waited += 0.01
        return True

    @property
    def exit_text(self) -> str:
        """How it ended, for the log: 'signal SIGKILL' or 'exit code 1'."""
        code = self._process.poll()
        if code is None:
            return "still running"
        return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"

    def _read(self) -> None:
        unpacker = wire.Unpacker()
        try:
            while data := self._socket.recv(65536):
                for message in unpacker.feed(data):
                    self._on_message(self, message)
        except OSError:
            pass  # a killed worker may reset its socket: the same end as end-of-file
        except ValueError as error:
            sys.stderr.write(f"{self.name} is replaced: it sent an unreadable message ({error})\n")
        # End of file comes a moment before the process can be reaped; one that closed its socket alone is of no use.
        if not self.wait(0.5):
            self.kill()
            self.wait(5.0)
        self._socket.close()
        self._on_exit(self)
