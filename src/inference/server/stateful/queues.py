"""A session at a stateful model, as the server process sees it: calls that come in order, never two at once.

A model that wants every frame has a bounded queue for each session; otherwise a newer frame replaces the one that
waits.

What the model knows of the session:

    NEW ───▶ STARTING ───▶ BEGUN ───▶ ENDING ───▶ ENDED
    ▲ │      │ ▲    │        │                      ▲
    │ │      │ │    │        │ the worker ended     │
    └─┼──────┘ │    ▼        ▼                      │
      └─────▶ FORGOTTEN ◀────┘                      │
                   └────────────────────────────────┘

`start` was sent (STARTING) and answered (BEGUN), then `end`. A STARTING session whose worker died of something else is
NEW again; one that the model could not start, or was too slow to, is FORGOTTEN. It is STARTING again with its next
frame. When it is over while it is FORGOTTEN no model has to be told, and that is what `drop` makes of a NEW one.
A model that is disabled ends its sessions whatever their state.
"""

from __future__ import annotations

import enum
from collections import deque
from dataclasses import dataclass
from typing import Any, Protocol

from imageserver import limits, metrics
from imageserver.errors import LimitExceeded
from imageserver.inference.shared.manifest import State
from imageserver.inference.shared.wire import Picture


class QueueState(enum.Enum):
    """What the model knows of a session."""

    NEW = enum.auto()
    """no `start` was sent yet"""
    STARTING = enum.auto()
    BEGUN = enum.auto()
    FORGOTTEN = enum.auto()
    """no worker knows of it any more: it begins anew with its next frame"""
    ENDING = enum.auto()
    ENDED = enum.auto()


@dataclass(slots=True)
class Call:
    """One call of a model's method."""

    op: str
    timestamp: int
    picture: Picture = b""
    rotate: int = 0
    ticket: Any = None
    """Whatever the caller needs to know the frame again."""


class QueueSubscriber(Protocol):
    """Who is told what a session's model returned. Called in the loop; must not block."""

    def outcome(self, queue: ModelQueue, call: Call, output: dict[str, Any] | None, error: str) -> None:
        """For each frame, and for the end; `error` is "" or one sentence."""


class QueueOwner(Protocol):
    """What a queue needs of its model's worker."""

    @property
    def name(self) -> str: ...

    @property
    def settings(self) -> State: ...

    def check(self, owner: str = "", picture: Picture = b"") -> None:
        """ModelUnavailable when it cannot be used, or not by this owner or for this picture."""

    def wants(self, queue: ModelQueue) -> None:
        """The queue has a call to run."""


class FrameBudget:
    """The bytes of all pictures that wait for stateful models; one that waits for two models counts twice."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._gauge = metrics.SESSION_BYTES.child()
        self.bytes = 0

    def check(self, more: int, who: str = "") -> None:
        """LimitExceeded when there is no room for so many more of `who`, as `limits.hit` has it."""
        if self.bytes + more > self.most:
            limits.hit("session_bytes", who)
            raise LimitExceeded(
                "the frames that wait in all sessions together fill the server's memory for them: send fewer a second"
            )

    def add(self, size: int) -> None:
        self.bytes += size
        self._gauge.value = self.bytes


class ModelQueue:
    """One session at one model; made by `StatefulModels.open`."""

    def __init__(
        self,
        model: QueueOwner,
        sid: str,
        timestamp: int,
        subscriber: QueueSubscriber,
        budget: FrameBudget,
        owner: str = "",
    ) -> None:
        self.model, self.sid, self.subscriber, self.owner = model, sid, subscriber, owner
        self.first_timestamp = timestamp
        self.state = QueueState.NEW
        """Changed by `change` alone."""
        self._budget = budget
        self._calls: deque[Call] = deque()

    @property
    def name(self) -> str:
        return self.model.name

    @property
    def next_op(self) -> str:
        """What waits first: "frame", "end", or "" for nothing."""
        return self._calls[0].op if self._calls else ""

    @property
    def closed(self) -> bool:
        """Whether it takes no more frames."""
        if self._calls and self._calls[-1].op == "end":
            return True
        return self.state in (QueueState.ENDING, QueueState.ENDED)

    def change(self, state: QueueState) -> None:
        """Enter a state; `Lanes` does, as the worker's answers come."""
        self.state = state

    def check_room(self) -> None:
        """LimitExceeded when the model wants every frame and its queue is full."""
        settings = self.model.settings
        if settings.every_frame and len(self._calls) >= settings.queue:
            metrics.LIMITS_HIT.inc("state.queue")
            raise LimitExceeded(
                f"{len(self._calls)} frames wait for the model {self.name!r} already: send fewer a second"
            )

    def append(self, picture: Picture, timestamp: int, rotate: int, ticket: Any) -> Any:
        """Take a frame; returns the ticket of the waiting frame that it replaces, or None.

        LimitExceeded when the model wants every frame and its queue is full; ModelUnavailable when it is disabled.
        """
        self.model.check(self.owner, picture)
        self.check_room()
        replaced = self.pop().ticket if self._calls and not self.model.settings.every_frame else None
        self._budget.add(len(picture))
        self._calls.append(Call("frame", timestamp, picture, rotate, ticket))
        self.model.wants(self)
        return replaced

    def end(self, timestamp: int) -> None:
        """The session is over once what waits has run; `outcome` of op "end" follows."""
        if not self.closed:
            self._calls.append(Call("end", timestamp))
            self.model.wants(self)

    def drop(self) -> None:
        """Nobody waits for its frames any more: only `end` is left to call, and not even that where it never began."""
        while self.next_op == "frame":
            self.pop()
        if self.state is QueueState.NEW:
            self.change(QueueState.FORGOTTEN)
        if self._calls:
            self.model.wants(self)

    def pop(self) -> Call:
        """Take out what waits first."""
        call = self._calls.popleft()
        if call.op == "frame":
            self._budget.add(-len(call.picture))
        return call
