"""One connection of the legacy TCP port: reads what its conversation wants, where it wants it, and does what it says.

Its life is the conversation's `step` (machine.py).
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable
from typing import Protocol

from imageserver import metrics
from imageserver.errors import TimedOut
from imageserver.limits import hit
from imageserver.protocols.legacy_tcp.codes import NONCE_BYTES
from imageserver.protocols.legacy_tcp.intake import ProtocolTimes
from imageserver.protocols.legacy_tcp.machine import (
    Action,
    CheckSignature,
    Close,
    Conversation,
    Predict,
    Reply,
    Step,
)
from imageserver.transport import hub
from imageserver.transport.budget import Account, Budget
from imageserver.transport.fairness import SharedTurn, Turn

PIECE = 64 * 2**10
"""Bytes read at once: a turn of the loop costs a fraction of a millisecond, hash included."""
LOW_WATER = 32 * 2**10
"""Bytes of a file that the kernel gathers before it wakes us, so small pieces cost little more than large ones."""
LOOK_AGAIN = 1.0
"""Seconds after which a file that arrives more slowly than that is read all the same, to see that it still comes."""
LINGER = 1.0
"""Seconds for a client to read the last reply: closing a socket with unread bytes would take it back."""


class Port(Protocol):
    """What a connection needs of the port."""

    clock: Callable[[], float]
    random_bytes: Callable[[int], bytes]
    times: ProtocolTimes
    authenticates: bool
    shared_turn: SharedTurn
    budget: Budget

    def find_model(self, code: str) -> str | None: ...

    def accept_file(self, size: int, owner: str) -> bool: ...

    def add_buffered(self, count: int, owner: str) -> bool: ...

    def predict(self, question: Predict, account: Account) -> bytes: ...

    def check(self, question: CheckSignature, host: str) -> bool: ...


class LegacyConnection:
    """One client."""

    def __init__(self, port: Port, sock: hub.Socket, host: str) -> None:
        self.host = host
        self._port, self._sock = port, sock
        # Whoever may speak here at all, by the port's own rules, is no stranger.
        self._memory = port.budget.account(host, admitted=True)
        self._charge = self._memory.charge("files")
        self._buffered = 0
        self._low_water = 1
        self._turn = Turn(port.clock, port.shared_turn)
        self._conversation = Conversation(
            find_model=port.find_model,
            accept_file=lambda size: port.accept_file(size, self._memory.owner) and self._memory.fits(size),
            make_nonce=lambda: port.random_bytes(NONCE_BYTES),
            authenticated=not port.authenticates,
            times=port.times,
        )

    @property
    def idle(self) -> bool:
        """Whether no model runs for it, and no signature is checked."""
        return self._conversation.step not in (Step.PREDICTING, Step.CHECKING)

    def cut(self) -> None:
        """End it at once."""
        hub.shut(self._sock)

    def run(self) -> None:
        """Talk until one side ends it."""
        reason = "error"
        try:
            self._sock.setblocking(False)
            self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            reason = self._talk()
            if reason == "no login":
                hit("login_time", self._memory.owner)
            if reason != "left":
                self._linger()
        except (OSError, TimedOut) as error:
            reason = "deaf" if isinstance(error, TimedOut) else "left"
        finally:
            metrics.TCP_CLOSED.inc(reason)
            self._conversation.forget()
            del self._conversation  # which refers to this in turn: neither waits for the garbage collector
            self._memory.close()
            self._port.add_buffered(-self._buffered, self._memory.owner)
            self._sock.close()

    def _talk(self) -> str:
        """Talk until the conversation ends; returns why.

        Raises:
            OSError: The connection broke.
            TimedOut: The client does not read its replies.
        """
        conversation, clock = self._conversation, self._port.clock
        reason = self._perform(conversation.begin(clock()))
        while reason is None:
            count = hub.receive_nowait(self._sock, conversation.intake.room()[:PIECE])
            if count is None:
                actions = self._wait()
            elif count == 0:
                actions = conversation.ended(clock())
            else:
                actions = conversation.received(count, clock())
                if not self._account():
                    return "no room"
                self._turn.share()  # a client that sends without pause would otherwise never give it back
            if actions:
                reason = self._perform(actions)
        return reason

    def _wait(self) -> list[Action]:
        """Wait for bytes, at most until the conversation's deadline; its actions if that has passed."""
        conversation = self._conversation
        seconds = conversation.intake.deadline - self._port.clock()
        if seconds <= 0:
            return conversation.timed_out(self._port.clock())
        low_water = 1
        if conversation.step is Step.FILE:
            low_water = min(conversation.intake.missing, LOW_WATER)
            seconds = min(seconds, LOOK_AGAIN)
        if low_water != self._low_water:
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, low_water)
            self._low_water = low_water
        # What came meanwhile, if anything, is read before the conversation is told of the time.
        with contextlib.suppress(TimedOut):
            hub.wait_readable(self._sock, seconds)
            self._port.shared_turn.take()
        self._turn.begin()
        return []

    def _account(self) -> bool:
        """Tell the port how much more is buffered; False when that is too much."""
        buffered = self._conversation.buffered
        if buffered == self._buffered:
            return True
        more, self._buffered = buffered - self._buffered, buffered
        return self._port.add_buffered(more, self._memory.owner) and self._charge.set(buffered)

    def _perform(self, actions: list[Action]) -> str | None:
        """Do what the conversation says; the reason why it ends, if it does."""
        conversation, port = self._conversation, self._port
        replies = b""
        while actions:
            action, *actions = actions
            if isinstance(action, Reply):
                replies += action.data
                continue
            self._send(replies)
            replies = b""
            if isinstance(action, Close):
                return action.reason
            if isinstance(action, Predict):
                actions += conversation.predicted(port.predict(action, self._memory), port.clock())
            else:
                actions += conversation.checked(port.check(action, self.host), port.clock())
        self._send(replies)
        return None

    def _send(self, data: bytes) -> None:
        while data:
            sent = hub.send_nowait(self._sock, data)
            data = data[sent:]
            if data:
                hub.wait_writable(self._sock, self._port.times.silence)

    def _linger(self) -> None:
        """Say that nothing follows, and read what still comes until the client has closed too, for a moment."""
        hub.shut(self._sock, reading=False)
        end = self._port.clock() + LINGER
        scratch = memoryview(bytearray(4096))
        if self._low_water != 1:
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1)
        while (seconds := end - self._port.clock()) > 0:
            count = hub.receive_nowait(self._sock, scratch)
            if count == 0:
                return
            if count is not None:
                self._turn.share()
                continue
            try:
                hub.wait_readable(self._sock, seconds)
            except TimedOut:
                return
