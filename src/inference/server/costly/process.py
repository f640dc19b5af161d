"""A process beside the workers, to which one picture after the other is given: it may end of one, and nobody else."""

from __future__ import annotations

from collections.abc import Callable

from imageserver.inference.server.arena import Arena
from imageserver.inference.server.child_process import ChildProcess
from imageserver.inference.shared import wire
from imageserver.inference.shared.wire import Picture
from imageserver.jail.rules import Jail
from imageserver.limits import Limits
from imageserver.transport import hub

START_TIME = 30.0
"""Seconds in which it has to have started."""
PATIENCE = 4.0
"""So many times `--decode-time` may pass on the clock: the processor has others to serve first. Then it is killed."""


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


class PictureProcesses:
    """One such process at a time: started with the first picture, and anew after one has ended.

    Args:
        name, module, jail: as `PictureProcess` has them.
        title: what sentences call it.
        arguments: for the command line, as a worker's.
        limits: those of pictures.
        warn: takes a sentence for the log.
    """

    def __init__(
        self,
        name: str,
        module: str,
        arguments: list[str],
        limits: Limits,
        jail: Jail,
        *,
        title: str,
        warn: Callable[[str], None],
    ) -> None:
        self._name, self._module, self._jail = name, module, jail
        self._arguments = [*arguments, "--decode-time", str(limits.decode_time)]
        self._time_limit = limits.decode_time * PATIENCE + START_TIME
        self._title, self._warn = title, warn
        self._process: PictureProcess | None = None
        self._missing = False  # it could not be started; the log was told

    def ask(self, op: str, picture: Picture, about: wire.Message) -> tuple[PictureProcess, wire.Message | None]:
        """The process, and its answer; None when it ended. OSError: none can be started, as the log was told."""
        process = self.started()
        answer = process.ask(op, picture, about, self._time_limit)
        if answer is None and self._process is process:
            self._process = None
        return process, answer

    def started(self) -> PictureProcess:
        """The process that there is, or a new one. OSError."""
        if self._process is None or self._process.ended:
            try:
                self._process = PictureProcess(self._name, self._module, self._arguments, self._jail)
            except OSError as error:
                if not self._missing:
                    self._warn(f"{self._title} cannot be started ({error.strerror})")
                self._missing = True
                raise
            if self._missing:
                self._missing = False
                self._warn(f"{self._title} can be started again")
        return self._process

    def end(self) -> None:
        """End it, if there is one."""
        process, self._process = self._process, None
        if process is not None:
            process.process.end()
