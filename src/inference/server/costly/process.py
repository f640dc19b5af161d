"""A process beside the workers, to which one picture after the other is given: it may end of one, and nobody else."""

from __future__ import annotations

from imageserver.inference.server.arena import Arena
from imageserver.inference.server.child_process import ChildProcess
from imageserver.inference.shared import wire
from imageserver.inference.shared.wire import Picture
from imageserver.jail.rules import Jail
from imageserver.transport import hub

START_TIME = 30.0
"""Seconds in which it has to have started."""


class PictureProcess:
    """One process and its memory; `ask` is one question at a time. OSError: it cannot be started now.

    Args:
        name: what the log calls it.
        module: the program.
        arguments: for its command line, as a worker's.
        jail: what it may do.
    """

    def __init__(self, name: str, module: str, arguments: list[str], jail: Jail) -> None:
        self._arena = Arena(1, wire.SLOT_BYTES)
        self._answered = hub.Event()
        self._answer: wire.Message | None = None
        self.ended = self.reads = self.overdue = False
        self.process = ChildProcess(
            name, module, arguments, self._on_message, self._on_exit, jail=jail, arena=self._arena
        )

    def ask(self, op: str, picture: Picture, about: wire.Message, timeout: float) -> wire.Message | None:
        """Its answer; None when it ended, or was killed as that took longer than `timeout` seconds."""
        self._answer = None
        self._answered.clear()
        self._arena.write(0, 0, picture)
        self.process.send({"op": op, "id": 0, "size": len(picture), **about})
        if not self.ended and not self._answered.wait(timeout):
            self.overdue = True
            self.process.kill()
            self._answered.wait()
        return self._answer

    @property
    def was_killed(self) -> bool:
        """Whether it ended by no doing of the picture: from outside, or as the machine had no memory left."""
        return self.process.was_killed and not self.overdue

    def result(self, size: int) -> bytes:
        """What it made of the picture, of the size that its answer says."""
        return self._arena.read(0, 0, size)

    def _on_message(self, message: wire.Message) -> None:
        if message["op"] in ("decoded", "drawn"):
            self._answer = message
            self._answered.set()
        else:
            self.reads = True

    def _on_exit(self) -> None:
        self.ended = True
        self._answered.set()
