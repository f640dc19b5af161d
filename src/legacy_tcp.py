"""Legacy TCP commands: chest X-rays on a port of their own (docs/legacy-tcp.md).

The sockets around `legacy_tcp_machine.Conversation`: a green thread for each connection, which reads what the
conversation wants, where it wants it, and does what it says.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import legacy_tcp_machine as codes
import metrics
from errors import ImageServerError, LimitExceeded, NotAllowed
from legacy_tcp_machine import NONCE_BYTES, Action, CheckSignature, Close, Conversation, Limits, Predict, Reply, Step
from transport import hub

PROTOCOL = "legacy_tcp"
NAMESPACE = "imageserver"
"""Of the SSH signatures."""

PIECE = 64 * 2**10
"""Bytes read at once: a turn of the loop costs a fraction of a millisecond, hash included."""
LOW_WATER = 32 * 2**10
"""Bytes of a file that the kernel gathers before it wakes us, so small pieces cost little more than large ones."""
LOOK_AGAIN = 1.0
"""Seconds after which a file that arrives more slowly than that is read all the same, to see that it still comes."""
STEPS_A_TURN = 16
"""Reads without waiting after which others have their turn."""
PREDICTIONS_AT_ONCE = 24
"""Questions to one model at the same time, so that this port leaves room in the engine to others; further ones wait."""
ASK_AGAIN = 0.25
"""Seconds until the next try when the engine has no room."""
LINGER = 1.0
"""Seconds for a client to read the last reply: closing a socket with unread bytes would take it back."""


@dataclass(frozen=True, kw_only=True)
class PortLimits:
    """Sizes in bytes, times in seconds; 0 connections a host is no limit."""

    file_bytes: int = 16 * 2**20
    total_bytes: int = 512 * 2**20  # all pictures together
    connections: int = 4096
    connections_per_host: int = 16
    answer_time: float = 15.0  # of a model
    protocol: Limits = field(default_factory=Limits)


class _Engine(Protocol):
    @property
    def models(self) -> Mapping[str, Any]: ...

    def prepare(self, name: str) -> Any: ...


class Hall(Protocol):
    """What this port needs of `streams.Hall`."""

    @property
    def max_frame_bytes(self) -> int: ...

    @property
    def engine(self) -> _Engine: ...

    def ask(self, model: str, data: memoryview, *, protocol: str, deadline: float) -> Mapping[str, Any]: ...


class Keys(Protocol):
    """What this port needs of `ssh_signatures.AuthorizedKeys`."""

    def check(self, nonce: bytes, signature: bytes) -> None: ...


class LegacyTcp:
    """Serves the protocol on `listener`. `serve` blocks until `stop`.

    With `keys` every connection has to authenticate. `log` takes one line at a time.
    """

    def __init__(
        self,
        hall: Hall,
        listener: hub.Socket,
        limits: PortLimits | None = None,
        *,
        keys: Keys | None = None,
        log: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
        random_bytes: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self.limits = limits or PortLimits()
        self.hall, self.keys, self.log, self.clock, self.random_bytes = hall, keys, log, clock, random_bytes
        self.buffered = 0  # bytes of pictures
        self._listener = listener
        self._stopping = False
        self._connections: set[_Connection] = set()
        self._by_host: dict[str, int] = {}
        self._turns: dict[str, hub.Semaphore] = {}
        self._checks = hub.Semaphore(2)
        self._gauge = metrics.CONNECTIONS.child(PROTOCOL)

    # ---- life -------------------------------------------------------------------------------------------------

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens."""
        host, port = self._listener.getsockname()[:2]
        return host, port

    def serve(self) -> None:
        """Accept until `stop`. Blocks; run it in a green thread of its own."""
        accepted = 0
        while not self._stopping:
            try:
                sock, address = self._listener.accept()
            except OSError as error:
                if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                    self.log(f"legacy TCP: cannot accept a connection: {error.strerror}; raise the limit of open files")
                    hub.sleep(0.1)  # those waiting stay in the kernel's queue
                continue
            self._admit(sock, address[0].removeprefix("::ffff:"))
            accepted += 1
            if accepted % STEPS_A_TURN == 0:
                hub.sleep(0)

    def stop(self, grace: float) -> None:
        """Accept no more, cut off whoever waits for nothing, give running models `grace` seconds, then cut the rest off."""
        self._stopping = True
        hub.shut(self._listener)
        self._listener.close()
        for connection in list(self._connections):
            if not connection.busy:
                connection.cut()
        end = self.clock() + grace
        while self._connections and self.clock() < end:
            hub.sleep(0.02)
        for connection in list(self._connections):
            connection.cut()

    def _admit(self, sock: hub.Socket, host: str) -> None:
        limits, count = self.limits, self._by_host.get(host, 0)
        if len(self._connections) >= limits.connections:
            metrics.LIMITS_HIT.inc("tcp-max-connections")
            sock.close()
            return
        if limits.connections_per_host and count >= limits.connections_per_host:
            metrics.LIMITS_HIT.inc("tcp-max-per-host")
            sock.close()
            return
        self._by_host[host] = count + 1
        self._gauge.value += 1
        connection = _Connection(self, sock, host)
        self._connections.add(connection)
        hub.spawn(self._run, connection)

    def _run(self, connection: _Connection) -> None:
        try:
            connection.run()
        finally:
            self._connections.discard(connection)
            self._gauge.value -= 1
            self._by_host[connection.host] -= 1
            if not self._by_host[connection.host]:
                del self._by_host[connection.host]

    # ---- what the conversations ask ---------------------------------------------------------------------------

    def find_model(self, code: str) -> str | None:
        """The name of the model with this code of four letters, if it can be asked; it begins to load if it has not."""
        models = self.hall.engine.models
        name = min((name for name, model in models.items() if model.manifest.tcp_code == code), default=None)
        if name is None:
            return None
        serving = models[name].state not in ("failed", "disabled")
        try:
            self.hall.engine.prepare(name)  # one that failed some time ago is tried again, for whoever asks next
        except ImageServerError:
            return None
        return name if serving else None

    def accept_file(self, size: int) -> bool:
        """Whether there is room for a file of `size` bytes."""
        if size > min(self.limits.file_bytes, self.hall.max_frame_bytes):
            metrics.LIMITS_HIT.inc("tcp-max-bytes")
            return False
        if self.buffered + size > self.limits.total_bytes:
            metrics.LIMITS_HIT.inc("tcp-max-total-bytes")
            return False
        return True

    def hold(self, count: int) -> bool:
        """Count bytes that a connection holds more (or less); False when all together are too many."""
        self.buffered += count
        metrics.TCP_BUFFERED.child().value = self.buffered
        if count > 0 and self.buffered > self.limits.total_bytes:
            metrics.LIMITS_HIT.inc("tcp-max-total-bytes")
            return False
        return True

    def predict(self, question: Predict) -> bytes:
        """The reply to PRED. Waits green for at most the time that a model has to answer."""
        end = self.clock() + self.limits.answer_time
        turn = self._turns.setdefault(question.model, hub.Semaphore(PREDICTIONS_AT_ONCE))
        try:
            with hub.Timeout(self.limits.answer_time):
                turn.acquire()
        except hub.TimedOut:
            return codes.NO_MODEL
        try:
            return self._ask(question, end)
        finally:
            turn.release()

    def _ask(self, question: Predict, end: float) -> bytes:
        while True:
            try:
                result = self.hall.ask(question.model, question.picture, protocol=PROTOCOL, deadline=max(0.0, end - self.clock()))
            except LimitExceeded:  # others fill the engine: not this client's fault
                if self.clock() + ASK_AGAIN >= end:
                    return codes.NO_MODEL
                hub.sleep(ASK_AGAIN)
            except ImageServerError:
                return codes.NO_MODEL
            else:
                if "error" in result:
                    return codes.NO_PICTURE if result.get("reason") == "picture" else codes.NO_MODEL
                return codes.answer(str(result.get("label", "")))

    def check(self, question: CheckSignature, host: str) -> bool:
        """Whether a listed key made the signature. Waits green."""
        if self.keys is None:
            reason = "no key is listed, for the server has no --tcp-authorized-keys"
        else:
            try:
                with self._checks:
                    hub.in_thread(self.keys.check, question.nonce, question.signature)
                metrics.TCP_AUTHENTICATIONS.inc("accepted")
                return True
            except NotAllowed as error:
                reason = str(error)
        metrics.TCP_AUTHENTICATIONS.inc("refused")
        self.log(f"legacy TCP: {host} is refused: {reason}")
        return False


class _Connection:
    """One client."""

    def __init__(self, port: LegacyTcp, sock: hub.Socket, host: str) -> None:
        self.host = host
        self._port, self._sock = port, sock
        self._held = 0
        self._low_water = 1
        self._read = self._reads = 0  # bytes and times since others had their turn
        self._conversation = Conversation(
            find_model=port.find_model,
            accept_file=port.accept_file,
            make_nonce=lambda: port.random_bytes(NONCE_BYTES),
            authenticated=port.keys is None,
            limits=port.limits.protocol,
        )

    @property
    def busy(self) -> bool:
        """Whether a model runs for it."""
        return self._conversation.step is Step.BUSY

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
            if reason != "left":
                self._linger()
        except (OSError, hub.TimedOut) as error:
            reason = "deaf" if isinstance(error, hub.TimedOut) else "left"
        finally:
            metrics.TCP_CLOSED.inc(reason)
            self._port.hold(-self._held)
            self._sock.close()

    def _talk(self) -> str:
        """Returns why it ended. OSError for a broken connection, TimedOut for a client that does not read its replies."""
        conversation, clock = self._conversation, self._port.clock
        reason = self._perform(conversation.begin(clock()))
        while reason is None:
            count = hub.receive_nowait(self._sock, conversation.space()[:PIECE])
            if count is None:
                actions = self._wait()
            elif count == 0:
                actions = conversation.ended(clock())
            else:
                actions = conversation.received(count, clock())
                if not self._account():
                    return "no room"
                self._share(count)
            if actions:
                reason = self._perform(actions)
        return reason

    def _wait(self) -> list[Action]:
        """Wait for bytes, at most until the conversation's deadline; its actions if that has passed."""
        conversation = self._conversation
        seconds = conversation.deadline - self._port.clock()
        if seconds <= 0:
            return conversation.timed_out(self._port.clock())
        low_water = 1
        if conversation.step is Step.FILE:
            low_water = min(conversation.missing, LOW_WATER)
            seconds = min(seconds, LOOK_AGAIN)
        if low_water != self._low_water:
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, low_water)
            self._low_water = low_water
        self._read = self._reads = 0
        with contextlib.suppress(hub.TimedOut):  # what came meanwhile, if anything, is read before the conversation hears of it
            hub.wait_readable(self._sock, seconds)
        return []

    def _account(self) -> bool:
        held = self._conversation.held
        if held == self._held:
            return True
        more, self._held = held - self._held, held
        return self._port.hold(more)

    def _share(self, count: int) -> None:
        """Let others have their turn: a client that sends without pause would otherwise never give it back."""
        self._read += count
        self._reads += 1
        if self._read >= PIECE or self._reads >= STEPS_A_TURN:
            self._read = self._reads = 0
            hub.sleep(0)

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
                actions += conversation.predicted(port.predict(action), port.clock())
            else:
                actions += conversation.checked(port.check(action, self.host), port.clock())
        self._send(replies)
        return None

    def _send(self, data: bytes) -> None:
        while data:
            sent = hub.send_nowait(self._sock, data)
            data = data[sent:]
            if data:
                hub.wait_writable(self._sock, self._port.limits.protocol.silence)

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
                self._share(count)
                continue
            try:
                hub.wait_readable(self._sock, seconds)
            except hub.TimedOut:
                return
