"""A session at a stateful model, as the server process sees it: a `Line` of calls that come in order, never two at once.

A model that wants every frame has a bounded queue for each line; otherwise a newer frame replaces the one that waits.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any, Protocol

from imageserver import metrics
from imageserver.errors import LimitExceeded
from imageserver.inference.shared.manifest import State
from imageserver.inference.shared.wire import Picture


@dataclass(slots=True)
class Call:
    """One call of a model's method."""

    op: str
    timestamp: int
    picture: Picture = b""
    rotate: int = 0
    ticket: Any = None
    """Whatever the caller needs to know the frame again."""


class Hearer(Protocol):
    """Who hears what a line's model returned. Called in the loop; must not block."""

    def outcome(self, line: Line, call: Call, output: dict[str, Any] | None, error: str) -> None:
        """For each frame, and for the end; `error` is "" or one sentence."""


class Model(Protocol):
    """What a line needs of its model's process."""

    @property
    def name(self) -> str: ...

    @property
    def state(self) -> State: ...

    def check(self) -> None:
        """ModelUnavailable when it cannot be used."""

    def wants(self, line: Line) -> None:
        """The line has a call to run."""


class Held:
    """The bytes of all pictures that wait for stateful models; one that waits for two models counts twice."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._gauge = metrics.SESSION_BYTES.child()
        self.bytes = 0

    def check(self, more: int) -> None:
        """LimitExceeded when there is no room for so many more."""
        if self.bytes + more > self.most:
            metrics.LIMITS_HIT.inc("session-bytes")
            raise LimitExceeded(
                "the frames that wait in all sessions together fill the server's memory for them: send fewer a second"
            )

    def add(self, size: int) -> None:
        self.bytes += size
        self._gauge.value = self.bytes


class Line:
    """One session at one model; made by `StatefulModels.open`."""

    def __init__(self, model: Model, sid: str, timestamp: int, hearer: Hearer, held: Held) -> None:
        self.model, self.sid, self.hearer = model, sid, hearer
        self.first_timestamp = timestamp
        self.fresh = True
        """No `start` was sent for it yet."""
        self.begun = False
        """The worker that runs now has answered its `start`."""
        self.closed = self.dropped = False
        self.queued = False
        """It waits for its turn in its lane."""
        self._held = held
        self._calls: deque[Call] = deque()

    @property
    def name(self) -> str:
        return self.model.name

    @property
    def next_op(self) -> str:
        """What waits first: "frame", "end", or "" for nothing."""
        return self._calls[0].op if self._calls else ""

    def check_room(self) -> None:
        """LimitExceeded when the model wants every frame and its queue is full."""
        state = self.model.state
        if state.every_frame and len(self._calls) >= state.queue:
            metrics.LIMITS_HIT.inc("state.queue")
            raise LimitExceeded(
                f"{len(self._calls)} frames wait for the model {self.name!r} already: send fewer a second"
            )

    def append(self, picture: Picture, timestamp: int, rotate: int, ticket: Any) -> Any:
        """Take a frame; returns the ticket of the waiting frame that it replaces, or None.

        LimitExceeded when the model wants every frame and its queue is full; ModelUnavailable when it is disabled.
        """
        self.model.check()
        self.check_room()
        replaced = self.pop().ticket if self._calls and not self.model.state.every_frame else None
        self._held.add(len(picture))
        self._calls.append(Call("frame", timestamp, picture, rotate, ticket))
        self.model.wants(self)
        return replaced

    def end(self, timestamp: int) -> None:
        """The session is over once what waits has run; `outcome` of op "end" follows."""
        if not self.closed:
            self.closed = True
            self._calls.append(Call("end", timestamp))
            self.model.wants(self)

    def drop(self) -> None:
        """Nobody waits for its frames any more: only `end` is left to call, and not even that where no `start` was sent."""
        self.dropped = True
        kept = [call for call in self._calls if call.op == "end"]
        while self._calls:
            self.pop()
        self._calls.extend(kept)
        if kept:
            self.model.wants(self)

    def pop(self) -> Call:
        """Take out what waits first."""
        call = self._calls.popleft()
        if call.op == "frame":
            self._held.add(-len(call.picture))
        return call


@dataclass(eq=False, slots=True)
class Lane:
    """A thread of the worker with a model object of its own, the lines assigned to it, and the call that runs."""

    number: int
    lines: set[Line] = field(default_factory=set)
    ready: deque[Line] = field(default_factory=deque)
    line: Line | None = None
    """The line whose call runs."""
    call: Call | None = None
    id: int = 0
    since: float = 0.0
    made: bool = False
    """Its model object exists, so what it does now counts against the model's time limit."""

    def queue(self, line: Line) -> None:
        """The line has a call to run, once its turn comes."""
        if line is not self.line and not line.queued:
            line.queued = True
            self.ready.append(line)
