"""A program that the server starts, and talks to with the messages of wire.py: workers, training jobs, the windows.

It is started as a program of its own, never forked from the server's loop, and it cannot outlive the server: the
kernel kills it when its parent dies (PR_SET_PDEATHSIG, set by the program itself), and its socket reads end-of-file.

It has a jail, into which it goes by itself before it does anything else (jail/entry.py), and a scratch folder, which
is removed when it has ended. What it takes of memory and of that folder is looked at from here meanwhile.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from imageserver import bootstrap, limits, metrics
from imageserver.errors import describe
from imageserver.inference.server.arena import Arena
from imageserver.inference.shared import wire
from imageserver.jail import environment, scratch, usage
from imageserver.jail.rules import Jail
from imageserver.transport import hub

END_WITHIN = 0.5
"""Seconds that a process has to end by itself once it was told to, or has closed its socket."""

START_AGAIN_AFTER = 1.0
"""Seconds before one that could not be started, or died without ever speaking, is started again."""

LOOK_EVERY = 1.0
"""Seconds between two looks at what a process has taken, and whether it runs at all."""

STOPPED_LOOKS = 5
"""Looks in a row at which a process was stopped (SIGSTOP) until it is killed: whoever needs it waits meanwhile."""

_LOG = logging.getLogger("imageserver")

P = TypeVar("P")


class Starts:
    """Starts processes, and tries again where the system has no descriptor, process or memory for one.

    Args:
        warn: takes a sentence for the log: once for each that is missing, and once when it is there.
    """

    def __init__(self, warn: Callable[[str], None]) -> None:
        self._warn = warn
        self._missing: set[str] = set()
        self._pending: set[str] = set()
        """What is tried again within a second: who asks for it meanwhile gets that one."""

    def attempt(self, name: str, start: Callable[[], P], again: Callable[[], object]) -> P | None:
        """What `start` returns; None where it raised OSError: then `again` is called in a second.

        None as well while that second lasts, for whoever asks for the same meanwhile.
        """
        if name in self._pending:
            return None
        try:
            started = start()
        except OSError as error:
            if name not in self._missing:
                self._missing.add(name)
                self._warn(f"{name} cannot be started ({error.strerror}); it is tried again every second")
            self._pending.add(name)
            hub.spawn_later(START_AGAIN_AFTER, self._again, name, again)
            return None
        if name in self._missing:
            self._missing.remove(name)
            self._warn(f"{name} can be started again")
        return started

    def _again(self, name: str, again: Callable[[], object]) -> None:
        self._pending.remove(name)
        again()


class ChildProcess:
    """Starts on construction; what it says and its end are told in a green thread of its own.

    Args:
        name: what the log calls it.
        module: the program, a module of the package with a `main`; its command line begins with `--control FD`.
        arguments: the rest of its command line.
        on_message: called with each of its messages. One that is unreadable, or that `on_message` can make nothing of
            (LookupError, TypeError, ValueError), costs the process its life.
        on_exit: called once, when it has ended and its last message was told.
        jail: what it may do, for which its command line goes on with `--jail TEXT`; one that takes more is killed.
        arena: memory shared with it; its command line goes on with `--arena FD`.
        python: the interpreter.
        quiet: what it prints is thrown away; else it goes to standard error.

    Raises:
        OSError: it cannot be started now: no descriptor, no process or no memory is left.
    """

    def __init__(
        self,
        name: str,
        module: str,
        arguments: Sequence[str],
        on_message: Callable[[wire.Message], None],
        on_exit: Callable[[], None],
        *,
        jail: Jail,
        arena: Arena | None = None,
        python: str = sys.executable,
        quiet: bool = False,
    ) -> None:
        self.name = name
        self._on_message, self._on_exit = on_message, on_exit
        self._fault = ""
        self._was_stopped = False
        self._jail = jail
        self._shared = arena.size if arena is not None else 0
        with contextlib.ExitStack() as theirs:
            if arena is not None:
                theirs.callback(os.close, arena.descriptor)
            ours, control = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
            theirs.callback(control.close)
            descriptors = {bootstrap.CONTROL: control.fileno()}
            if arena is not None:
                descriptors["--arena"] = arena.descriptor
            given = [word for option, descriptor in descriptors.items() for word in (option, str(descriptor))]
            try:
                self._jail = replace(jail, scratch=str(scratch.SCRATCH.new()))
                given += ["--jail", self._jail.to_text()]
                self._process = subprocess.Popen(
                    bootstrap.command(module, *given, *arguments, python=python),
                    pass_fds=descriptors.values(),
                    env=environment.scrubbed(os.environ, jail.variables),
                    # Programs that it starts end with it; Ctrl-C is not for them.
                    process_group=0 if jail.processes else None,
                    stdin=subprocess.DEVNULL,
                    # What a model prints must not mix with --results -
                    stdout=subprocess.DEVNULL if quiet else sys.stderr.fileno(),
                    stderr=subprocess.DEVNULL if quiet else None,
                )
            except BaseException:
                ours.close()
                self._remove_scratch()
                raise
        self.pid = self._process.pid
        self._socket = hub.green(ours)
        hub.spawn(self._read)
        hub.spawn(self._watch)

    def send(self, message: wire.Message) -> None:
        """Send a message. A process that is gone is no error here: its end is told by `on_exit`."""
        with contextlib.suppress(OSError):
            self._socket.sendall(wire.pack(message))

    def kill(self) -> None:
        """SIGKILL; `on_exit` follows. Harmless when it has ended."""
        self._process.kill()

    def end(self) -> None:
        """Ask it to stop, kill it when it does not within `END_WITHIN` seconds; returns when it has ended."""
        self.send({"op": "stop"})
        self._reap()

    @property
    def exit_text(self) -> str:
        """How it ended, for the log: "signal SIGKILL" or "exit code 1", and why where it was its own fault."""
        code = self._process.poll()
        if code is None:
            return "still running"
        return (f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}") + self._fault

    @property
    def was_killed(self) -> bool:
        """Whether it ended by no doing of its own: by `kill`, by somebody else's, or as somebody had stopped it."""
        return self._process.poll() == -signal.SIGKILL and (self._was_stopped or not self._fault)

    def _read(self) -> None:
        try:
            for message in self._messages():
                self._on_message(message)
        except (LookupError, TypeError, ValueError) as error:
            self._fault = f" after a message that cannot be understood ({type(error).__name__}: {error})"
            self.kill()
            # By the log's thread: what a process says must not have the loop wait for who reads standard error.
            _LOG.warning("%s is ended: %s", self.name, describe(error))
        finally:
            # End of file comes a moment before a process can be reaped; one that closed its socket alone is of no use.
            self._reap()
            self._socket.close()
            if self._jail.processes:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(self.pid, signal.SIGKILL)  # what it has started
            hub.spawn(hub.in_thread, self._remove_scratch)
            on_exit = self._on_exit
            # Whoever started it refers to it, too: memory that they shared would stay until the next full collection.
            self._on_message, self._on_exit = _ignore, lambda: None
            on_exit()

    def _remove_scratch(self) -> None:
        if self._jail.scratch:
            scratch.remove(Path(self._jail.scratch))

    def _watch(self) -> None:
        stopped = 0
        while self._process.returncode is None:
            hub.sleep(LOOK_EVERY)
            taken, limit = hub.in_thread(usage.excess, self.pid, self._jail, self._shared)
            stopped = stopped + 1 if limit == usage.STOPPED else 0
            if 0 < stopped < STOPPED_LOOKS:
                continue  # it may go on: the terminal's Ctrl-Z stops server and processes, and both go on together
            if taken and self._process.returncode is None:
                if limit in limits.TABLE:
                    taken = limits.note(taken, limit)
                else:
                    metrics.LIMITS_HIT.inc(limit)
                self._fault, self._was_stopped = f" after it {taken}", bool(stopped)
                self.kill()
                return

    def _messages(self) -> Iterator[wire.Message]:
        unpacker = wire.Unpacker()
        with contextlib.suppress(OSError):  # a killed process may reset its socket: the same end as end-of-file
            while data := self._socket.recv(65536):
                yield from unpacker.feed(data)

    def _reap(self) -> None:
        if not self._wait(END_WITHIN):
            self.kill()
            self._wait(5.0)

    def _wait(self, timeout: float) -> bool:
        """Wait for its end, at most `timeout` seconds; returns whether it has ended."""
        waited = 0.0
        while self._process.poll() is None and waited < timeout:
            hub.sleep(0.01)
            waited += 0.01
        return self._process.returncode is not None


def _ignore(_message: wire.Message) -> None:
    """What a process says that has ended."""
