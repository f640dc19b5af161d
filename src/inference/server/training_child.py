"""A training job's process as the server sees it: started as a program of its own, never forked from the server's loop.

It cannot outlive the server: the kernel kills it when its parent dies, and its socket reads end-of-file (training_job.py).
"""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from typing import Any

from imageserver import bootstrap
from imageserver.inference.shared import wire
from imageserver.transport import hub

CANCEL_WITHIN = 10.0
"""Seconds that a job has to end by itself when it is cancelled."""


class TrainingProcess:
    """Starts on construction. `on_message(message)` for each of its messages, then `on_exit(how)` once; both in a green thread."""

    def __init__(
        self, arguments: list[str], on_message: Callable[[dict[str, Any]], None], on_exit: Callable[[str], None]
    ) -> None:
        self._on_message, self._on_exit = on_message, on_exit
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._process = subprocess.Popen(
                bootstrap.command("training.job", "--control", str(theirs.fileno()), *arguments),
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                stdout=sys.stderr.fileno(),
            )
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        self.pid = self._process.pid
        self._socket = hub.green(ours)
        hub.spawn(self._read)

    def cancel(self) -> None:
        """Ask it to stop; it is killed when it does not within `CANCEL_WITHIN` seconds."""
        try:
            self._socket.sendall(wire.pack({"op": "cancel"}))
        except OSError:
            return  # it has just ended
        hub.call_later(CANCEL_WITHIN, self.kill)

    def kill(self) -> None:
        """SIGKILL. Harmless when it has ended."""
        self._process.kill()

    def _read(self) -> None:
        unpacker = wire.Unpacker()
        try:
            while data := self._socket.recv(65536):
                for message in unpacker.feed(data):
                    self._on_message(message)
        except OSError:
            pass  # killed: the same end as end-of-file
        waited = 0.0
        while self._process.poll() is None:
            hub.sleep(0.02)
            waited += 0.02
            if waited > CANCEL_WITHIN:
                self.kill()
        self._socket.close()
        code = self._process.returncode
        self._on_exit(f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}")
