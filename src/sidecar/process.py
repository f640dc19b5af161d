"""A process beside the server, as the server sees it: started, asked, and started again when it has ended.

Whoever asks waits green, for a bounded time; how many wait is bounded, too. What cannot be answered is SidecarLost.
"""

from __future__ import annotations

import enum
import itertools
import json
import random
import time
from collections.abc import Callable
from typing import Any

from imageserver import errors
from imageserver.errors import LimitExceeded, SettingError, SidecarLost
from imageserver.inference.server.arena import Arena
from imageserver.inference.server.child_process import ChildProcess, Starts
from imageserver.inference.shared import wire
from imageserver.jail.rules import Jail
from imageserver.limits import hit
from imageserver.transport import hub

PAUSES = (1.0, 16.0)
"""Seconds before one that has ended is started again: at first, and at most; twice as long each time."""
SETTLED = 30.0
"""Seconds after which one counts as well again, and the next pause is the first."""
SILENT = 15.0
"""Seconds in which one that was asked has said nothing until it is killed."""
UNREAD = 1.0
"""Seconds more for one with slots: after a pause of the whole machine its answer has come, and was not read yet."""


class SidecarState(enum.Enum):
    """What becomes of it."""

    RUNNING = "running"
    PAUSING = "pausing"
    """It has ended, and is started again in a moment."""
    FAILED = "failed"
    """It cannot work here, and said why."""
    STOPPED = "stopped"


class _Question:
    """One that waits for its answer."""

    __slots__ = ("error", "event", "value")

    def __init__(self) -> None:
        self.event = hub.Event()
        self.value: Any = None
        self.error: dict[str, Any] | None = None

    def answered(self, message: wire.Message) -> bool:
        """Take (a part of) the answer; whether it is complete."""
        self.error = message.get("error")
        if self.error is None and isinstance(message["value"], list) and isinstance(self.value, list):
            self.value += message["value"]
        elif self.error is None:
            self.value = message["value"]
        return not message.get("more")


class Sidecar:
    """Construct, then `start`, or `begin`.

    Args:
        name: What the log calls it.
        module: The program, a module of the package.
        jail: What it may do.
        opening: What it is told first.
        told: Called with what it says unasked, and with ("gone", None) when it has ended by itself. Must not
            block.
        most: Questions that may wait for an answer, a limit; its name is `limit`.
        limit: The name of a field of `Limits`.
        warn: Takes a sentence for the log.
        slots: Of memory that it shares with the server, `wire.SLOT_BYTES` each: for what is too large for messages.
            One that has not answered in time is killed, as it may read or write them later: what the next question
            has to do with them would be mixed up with it.
    """

    def __init__(
        self,
        name: str,
        module: str,
        jail: Jail,
        opening: wire.Message,
        *,
        told: Callable[[str, Any], None],
        most: int,
        limit: str,
        warn: Callable[[str], None],
        slots: int = 0,
    ) -> None:
        self.name, self.state, self.failure = name, SidecarState.STOPPED, ""
        self._module, self._jail, self._opening = module, jail, opening
        self._told, self._most, self._limit, self._warn = told, most, limit, warn
        self._starts, self._slots = Starts(warn), slots
        self.arena: Arena | None = None
        """That of the process that runs now; each has one of its own."""
        self._process: ChildProcess | None = None
        self._numbers = itertools.count(1)
        self._questions: dict[int, _Question] = {}
        self._pause, self._started, self._heard = PAUSES[0], 0.0, 0.0

    def start(self) -> None:
        """Start it."""
        self._process = self._starts.attempt(self.name, self._new, self.start)
        self.state = SidecarState.RUNNING if self._process else SidecarState.PAUSING

    def begin(self, decided: hub.Event, seconds: float) -> bool:
        """Start it, and wait until `decided` is set, at most `seconds`; whether it is. SettingError: it cannot work."""
        self.start()
        decided.wait(seconds)
        if self.state is SidecarState.FAILED:
            raise SettingError(self.failure)
        return decided.is_set()

    def stop(self) -> None:
        """End it; whoever waits is told. Returns when it has ended."""
        self.state = SidecarState.STOPPED
        if self._process is not None:
            self._process.end()

    def ask(self, what: str, *values: Any, seconds: float) -> Any:
        """What it answers; waits green.

        Args:
            what: The question.
            values: What belongs to it, for JSON.
            seconds: For which it is waited at most.

        Raises:
            SidecarLost: There is no answer: it is not there, has ended, or takes too long.
            LimitExceeded: Too many wait.
            ImageServerError: What the program raised (errors.py).
        """
        if self.state is not SidecarState.RUNNING or self._process is None:
            raise SidecarLost(self.failure or f"{self.name} is not there at this moment")
        if len(self._questions) >= self._most:
            hit(self._limit)
            raise LimitExceeded(f"too many wait for {self.name} at this moment; try again in a few seconds")
        number, question = next(self._numbers), _Question()
        if not self._questions:
            self._heard = time.monotonic()
        self._questions[number] = question
        try:
            self._process.send({"op": "ask", "id": number, "what": what, "with": json.dumps(values)})
            if not (question.event.wait(seconds) or (self._slots and question.event.wait(UNREAD))):
                self._look(seconds)
                raise SidecarLost(f"{self.name} takes longer than {seconds:g} s")
        finally:
            self._questions.pop(number, None)
        if question.error is not None:
            raise _error_of(question.error)
        return question.value

    # ---- within -------------------------------------------------------------------------------------------------

    def _new(self) -> ChildProcess:
        arena = Arena(self._slots, wire.SLOT_BYTES) if self._slots else None
        started = ChildProcess(
            self.name, self._module, [], self._on_message, self._on_exit, jail=self._jail, arena=arena
        )
        self.arena = arena
        self._started = self._heard = time.monotonic()
        hub.spawn(started.send, self._opening)
        return started

    def _on_message(self, message: wire.Message) -> None:
        self._heard = time.monotonic()
        match message["op"]:
            case "answer":
                question = self._questions.get(message["id"])  # None: nobody waits any longer
                if question is not None and question.answered(message):
                    question.event.set()
            case "told":
                self._told(message["what"], message["with"])
            case "failed":
                self.state, self.failure = SidecarState.FAILED, message["error"]
                self._told("failed", message["error"])

    def _on_exit(self) -> None:
        process, self._process = self._process, None
        waiting, self._questions = self._questions, {}
        for question in waiting.values():
            question.error = {"kind": "SidecarLost", "sentence": f"{self.name} has ended"}
            question.event.set()
        if self.state is SidecarState.STOPPED:
            return
        self._told("gone", None)
        if self.state is not SidecarState.RUNNING:
            return
        self.state = SidecarState.PAUSING
        self._pause = PAUSES[0] if time.monotonic() - self._started > SETTLED else min(self._pause * 2, PAUSES[1])
        how = process.exit_text if process else "before it was there"
        self._warn(f"{self.name} ended by {how}; it is started again in {self._pause:.0f} s")
        hub.spawn_later(self._pause * random.uniform(0.8, 1.2), self._again)

    def _again(self) -> None:
        if self.state is SidecarState.PAUSING:
            self.start()

    def _look(self, asked: float) -> None:
        """Kill one that says nothing any more, or with slots of which nobody knows what it does to them."""
        if self._process is not None and (self._slots or time.monotonic() - self._heard > SILENT):
            self._warn(f"{self.name} has not answered for {asked if self._slots else SILENT:.0f} s and is killed")
            self._process.kill()


def _error_of(said: dict[str, Any]) -> Exception:
    """The exception that the program raised; one that errors.py does not know is SidecarLost."""
    kind, sentence = getattr(errors, str(said["kind"]), None), str(said["sentence"])
    if kind is errors.LoginPaused:
        return errors.LoginPaused(float(said["seconds"]))
    if kind is LimitExceeded:
        return LimitExceeded(sentence, str(said["limit"]))
    if isinstance(kind, type) and issubclass(kind, errors.ImageServerError):
        return kind(sentence)
    return SidecarLost(sentence)
