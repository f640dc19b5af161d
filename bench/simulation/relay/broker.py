"""The simulated Redis: one thread hands each message to all who hear it, over one network; it keeps nothing.

What somebody has not read yet waits in its memory; who is too far behind is thrown out, as redis.conf says it
(`client-output-buffer-limit pubsub 32mb 8mb 60`, the default). What the kernels hold on both sides counts as waiting,
so a real one throws out a little later.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from bench.simulation.events import Events
from bench.simulation.parts import MessageTimes
from bench.simulation.relay.threads import Thread

HARD, SOFT, SOFT_SECONDS = 32 * 2**20, 8 * 2**20, 60.0
"""Bytes with which one is thrown out at once; with which after so many seconds."""


@dataclass(frozen=True, slots=True, eq=False)
class Message:
    """What a front end says. `op`: as in src/peers/messages.py; `rows`: how many; `piece`: the number of a list's."""

    op: str
    sender: int
    times: MessageTimes
    new: bool = False
    rows: int = 0
    piece: int = 0


class Hearer(Protocol):
    """Who hears.

    Attributes:
        number: Which one it is.
        connection: The number of its connection.
        behind: Bytes that it has not read yet.
    """

    number: int
    connection: int
    behind: float

    def come(self, message: Message, connection: int) -> None:
        """A message has come over the network."""

    def lose(self) -> None:
        """Its connection is gone."""


class Redis:
    """One. `network`: bytes a second out of it; `wake`: what its thread takes longer after a pause."""

    def __init__(self, events: Events, network: float, wake: float = 0.0) -> None:
        self._events, self._bandwidth = events, network
        self.thread, self.network = Thread(events, wake), Thread(events)
        self.up, self.thrown_out, self.bytes = True, 0, 0.0
        self._hearers: dict[int, Hearer] = {}
        self._behind_since: dict[int, float] = {}
        self._life = 0

    def join(self, hearer: Hearer) -> None:
        """One hears from now on."""
        self._hearers[hearer.number] = hearer

    def leave(self, hearer: Hearer) -> None:
        """It hears no more. Harmless when it did not."""
        self._hearers.pop(hearer.number, None)
        self._behind_since.pop(hearer.number, None)

    def fail(self) -> None:
        """It is killed."""
        self.up = False
        self._life += 1
        self.thread.clear()
        self.network.clear()
        for hearer in list(self._hearers.values()):
            hearer.lose()

    def come_back(self) -> None:
        """It is started again."""
        self.up = True

    def publish(self, message: Message, answered: Callable[[], None]) -> None:
        """Somebody says something, and is answered when it is handed out."""
        took = message.times.redis + message.times.each * len(self._hearers)
        self.thread.do(took, self._hand_out, message, self._life, answered)

    def ping(self, seconds: float) -> None:
        """Somebody asks whether it is there, which takes its thread so long."""
        self.thread.do(seconds, lambda: None)

    def _hand_out(self, message: Message, life: int, answered: Callable[[], None]) -> None:
        if life != self._life:
            return
        answered()
        size = message.times.size
        for hearer in list(self._hearers.values()):
            hearer.behind += size
            if self._too_far_behind(hearer):
                self.thrown_out += 1
                hearer.lose()
        hearers = [(hearer, hearer.connection) for hearer in self._hearers.values()]
        self.bytes += size * len(hearers)
        self.network.do(size * len(hearers) / self._bandwidth, self._arrive, message, hearers, life)

    def _too_far_behind(self, hearer: Hearer) -> bool:
        if hearer.behind < SOFT:
            self._behind_since.pop(hearer.number, None)
            return False
        since = self._behind_since.setdefault(hearer.number, self._events.now)
        return hearer.behind > HARD or self._events.now - since > SOFT_SECONDS

    def _arrive(self, message: Message, hearers: list[tuple[Hearer, int]], life: int) -> None:
        if life == self._life:
            for hearer, connection in hearers:
                hearer.come(message, connection)
