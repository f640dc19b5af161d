"""Conversions of models that workers ask for: each in a process of its own, one at a time, for whoever wants it.

A network's architecture is somebody's code as well, so the process writes into an empty folder and not into the cache;
what it has made is put there from here, under no other model's name.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from imageserver import files, metrics
from imageserver.inference.server.child_process import ChildProcess
from imageserver.inference.server.jails.rights import Jails
from imageserver.inference.shared import conversion_cache
from imageserver.jail import scratch
from imageserver.transport import hub


class _Conversion:
    """One that waits, runs or has ended; `error` is a sentence when it failed."""

    def __init__(self) -> None:
        self.ended = hub.Event()
        self.error = ""


class Conversions:
    """`convert` may be called from many green threads; `stop` ends what runs.

    Args:
        jails: for the processes.
        log: told of what takes too long.
        limit: seconds that one may take.
    """

    def __init__(self, jails: Jails, log: Callable[[str], None], limit: float = conversion_cache.LIMIT) -> None:
        self._jails, self._log, self._limit = jails, log, limit
        self._conversions: dict[Path, _Conversion] = {}
        self._process: ChildProcess | None = None
        self._stopping = False

    def convert(self, folder: Path) -> str:
        """Wait until the model in `folder` is converted; returns a sentence when it could not be, else ""."""
        conversion = self._conversions.get(folder)
        if conversion is None:
            others = list(self._conversions.values())
            conversion = self._conversions[folder] = _Conversion()
            # Each takes as much memory as TensorFlow does, and all processors.
            for other in others:
                other.ended.wait()
            try:
                self._run(folder, conversion)
            finally:
                del self._conversions[folder]
                conversion.ended.set()
        conversion.ended.wait()
        return conversion.error

    def answer(self, process: ChildProcess, folder: Path) -> None:
        """Convert for a worker that asks for it, and tell it."""
        process.send({"op": "converted", "error": self.convert(folder)})

    def stop(self) -> None:
        """End the one that runs, and begin none."""
        self._stopping = True
        if self._process is not None:
            self._process.kill()

    def _run(self, folder: Path, conversion: _Conversion) -> None:
        if self._stopping:
            conversion.error = "the server is stopping"
            return
        killed = self._run_once(folder, conversion)
        if killed and not self._stopping:
            self._run_once(folder, conversion)

    def _run_once(self, folder: Path, conversion: _Conversion) -> bool:
        """Convert; whether somebody else killed the process, who would not do so again."""
        killed = False
        try:
            with files.making(self._jails.cache, ".converting-") as room:
                conversion.error, killed = self._run_in(folder, room)
                if not conversion.error:
                    hub.in_thread(conversion_cache.take_over, room, self._jails.cache, folder.name)
                hub.in_thread(scratch.remove, room)
        except OSError as error:
            conversion.error = f"the cache of converted models cannot be written: {error.strerror}"
        return killed

    def _run_in(self, folder: Path, room: Path) -> tuple[str, bool]:
        """A sentence when it failed, and whether it did so as somebody else killed it."""
        said: list[str] = []
        ended = hub.Event()
        try:
            process = self._process = ChildProcess(
                f"conversion of {folder.name}",
                "inference.convert.process",
                ["--models-cache", str(room), "--folder", str(folder)],
                lambda message: said.append(message["error"]),
                ended.set,
                jail=self._jails.conversion(folder, room),
            )
        except OSError as error:
            return f"no process can be started to convert it now ({error.strerror}); try again later", False
        if not ended.wait(self._limit):
            metrics.LIMITS_HIT.inc("conversion-limit")
            self._log(f"{process.name} is killed: it took longer than {self._limit:g} s")
            said.append(f"converting took longer than {self._limit:g} s")
            process.kill()
            ended.wait()
        self._process = None
        if said:
            return said[0][:1000], False
        failed = process.exit_text != "exit code 0"
        return f"the conversion ended by {process.exit_text}" if failed else "", process.was_killed
