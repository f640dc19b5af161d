"""Legacy TCP commands: chest X-rays on a port of their own (docs/legacy-tcp.md).

`machine` is the protocol, `connection` a client's socket, and this file what they share: the listener, the limits, the
models and the keys. `port` builds it by the settings.
"""

from __future__ import annotations

import contextlib
import math
import os
import socket
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from imageserver import metrics
from imageserver.accounts.database import UserDB
from imageserver.accounts.login import Logins
from imageserver.errors import ImageServerError, LimitExceeded, NotAllowed, TimedOut
from imageserver.inference.shared.outputs.input_check import UNLIKE
from imageserver.limits import Limits, hit
from imageserver.protocols.legacy_tcp import codes
from imageserver.protocols.legacy_tcp.connection import LegacyConnection
from imageserver.protocols.legacy_tcp.intake import ProtocolTimes
from imageserver.protocols.legacy_tcp.machine import CheckSignature, Predict
from imageserver.transport import hub
from imageserver.transport.budget import Account, Budget
from imageserver.transport.fairness import SharedTurn
from imageserver.transport.listener import Connection, Listener

PROTOCOL = "legacy_tcp"
NAMESPACE = "imageserver"
"""Of the SSH signatures."""

DOOR = "AUTH"
"""What the audit and the guard of logins call it."""

PREDICTIONS_AT_ONCE = 24
"""Questions to one model at the same time, so that this port leaves room in the engine to others; further ones wait."""
OF_ONE_OWNER = 6
"""Of these, so that one host, or one user, with pictures that take long does not keep the others waiting."""
ASK_AGAIN = 0.25
"""Seconds until the next try when the engine has no room."""
GO_ON_AT_ONCE = 16
"""Connections that go on in one turn of the loop, for a millisecond in all, or for one read of 64 KiB each."""
UNLIKE_EVERY = 60.0
"""Seconds between lines of the log on pictures that are unlike those of the training."""
SEND_BUFFER, RECEIVE_BUFFER = 16 * 2**10, 256 * 2**10
"""Bytes a connection may keep in the kernel. Left to itself that grows to megabytes for a client that floods."""


class _Own:
    """The questions of one owner to one model: the turns that they take, and how many there are."""

    def __init__(self) -> None:
        self.turn = hub.Semaphore(OF_ONE_OWNER)
        self.count = 0


class UnlikeLog:
    """Tells the log of letters that say nothing, since the picture was none of the kind that the model knows.

    Clients in the field can be told in no other way: to them whatever is not P is normal.
    """

    def __init__(self, log: Callable[[str], None], clock: Callable[[], float]) -> None:
        self._log, self._clock = log, clock
        self._next, self._untold = -math.inf, 0

    def tell(self, owner: str, model: str, reply: bytes) -> None:
        """`reply` went out for such a picture; a line now and then, with the number of those not told."""
        if self._clock() < self._next:
            self._untold += 1
            return
        more = f", as did {self._untold} more in the minutes before" if self._untold else ""
        answer = {codes.PNEUMONIA: "P", codes.NORMAL: "N"}.get(reply, "no letter")
        self._log(f"legacy TCP: {owner} got {answer} from {model} for a picture unlike its training pictures{more}")
        self._next, self._untold = self._clock() + UNLIKE_EVERY, 0


class _Engine(Protocol):
    @property
    def models(self) -> Mapping[str, Any]: ...

    def prepare(self, name: str) -> Any: ...


class Asker(Protocol):
    """What this port needs of `streams.Streams`."""

    @property
    def max_frame_bytes(self) -> int: ...

    @property
    def engine(self) -> _Engine: ...

    def ask(
        self, model: str, data: memoryview, *, protocol: str, account: Account, deadline: float
    ) -> Mapping[str, Any]: ...


class Keys(Protocol):
    """What this port needs of `ssh_signatures.AuthorizedKeys`."""

    def check(self, nonce: bytes, signature: bytes) -> None: ...


class LegacyTcp(Listener):
    """Serves the protocol. `serve` blocks until `stop`.

    Args:
        streams: Where its questions go, and whose engine has the models.
        listener: The socket to accept from.
        limits: Those that begin with `tcp_` count, and `max_frame_bytes` of `streams`.
        times: What the protocol fixes.
        budget: Of the bytes that wait, one for all ports; its own by default.
        keys: With them every connection has to authenticate.
        logins: Counts signatures that are wrong, together with all else that is; its own by default.
        log: Takes a line at a time.
        clock: Monotonic seconds.
        random_bytes: Gives as many as it is asked for, for nonces.
    """

    def __init__(
        self,
        streams: Asker,
        listener: hub.Socket,
        limits: Limits,
        *,
        times: ProtocolTimes | None = None,
        budget: Budget | None = None,
        keys: Keys | None = None,
        logins: Logins | None = None,
        log: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
        random_bytes: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self.shared_turn = SharedTurn(GO_ON_AT_ONCE)
        super().__init__(listener, PROTOCOL, limits, log=log, clock=clock, shared=self.shared_turn)
        self.times = times or ProtocolTimes(login=limits.login_time)
        self.authenticates = keys is not None
        self.budget = budget or Budget(limits, log=log)
        self.streams, self.keys, self.random_bytes = streams, keys, random_bytes
        self.buffered = 0  # bytes of pictures
        for option, count in ((socket.SO_SNDBUF, SEND_BUFFER), (socket.SO_RCVBUF, RECEIVE_BUFFER)):
            listener.setsockopt(socket.SOL_SOCKET, option, count)  # inherited by what it accepts
        self._by_host: dict[str, int] = {}
        self._unlike = UnlikeLog(log, clock)
        self._asking: dict[str, hub.Semaphore] = {}
        self._asking_of: dict[tuple[str, str], _Own] = {}
        self._logins = logins or Logins(UserDB(None), limits, required=False, log=log)
        self._checks = hub.Semaphore(2)

    def admit(self, sock: hub.Socket, host: str, _port: int) -> LegacyConnection | None:
        """A connection, unless there are too many, of this host or of all."""
        host = host.removeprefix("::ffff:")
        limits, count = self.limits, self._by_host.get(host, 0)
        full = len(self.connections) >= limits.tcp_max_connections
        if full or (limits.tcp_max_per_host and count >= limits.tcp_max_per_host):
            sentence = f"{len(self.connections)} legacy TCP connections are open"
            if not full:
                sentence = f"{count} legacy TCP connections of this host are open"
            self.refuse(sock, host, sentence, "tcp_max_connections" if full else "tcp_max_per_host")
            return None
        self._by_host[host] = count + 1
        return LegacyConnection(self, sock, host)

    def left(self, connection: Connection) -> None:
        """Count one connection less of its host."""
        assert isinstance(connection, LegacyConnection)
        self._by_host[connection.host] -= 1
        if not self._by_host[connection.host]:
            del self._by_host[connection.host]

    # ---- what the connections ask ---------------------------------------------------------------------------

    def find_model(self, code: str) -> str | None:
        """The name of the model with this code of four letters, if it can be asked; it begins to load if it has not."""
        models = self.streams.engine.models
        name = min((name for name, model in models.items() if model.manifest.tcp_code == code), default=None)
        if name is None:
            return None
        serving = not models[name].unusable
        try:
            self.streams.engine.prepare(name)  # one that failed some time ago is tried again, for whoever asks next
        except ImageServerError:
            return None
        return name if serving else None

    def load_ensembles(self) -> None:
        """Begin to load the ensembles that have a code: with all its members one needs most of `times.answer`."""
        for name, model in list(self.streams.engine.models.items()):
            if model.manifest.tcp_code and model.manifest.members:
                with contextlib.suppress(ImageServerError):  # it is disabled: whoever asks is told
                    self.streams.engine.prepare(name)

    def accept_file(self, size: int, owner: str) -> bool:
        """Whether there is room for a file of `size` bytes of `owner`."""
        if size > min(self.limits.tcp_max_bytes, self.streams.max_frame_bytes):
            hit("tcp_max_bytes", owner)
            return False
        if self.buffered + size > self.limits.tcp_max_total_bytes:
            hit("tcp_max_total_bytes", owner)
            return False
        return True

    def add_buffered(self, count: int, owner: str) -> bool:
        """Count bytes of `owner`'s pictures that have come (below 0: gone); False when all together are too many."""
        self.buffered += count
        metrics.TCP_BUFFERED.child().value = self.buffered
        if count > 0 and self.buffered > self.limits.tcp_max_total_bytes:
            hit("tcp_max_total_bytes", owner)
            return False
        return True

    def predict(self, question: Predict, account: Account) -> bytes:
        """The reply to PRED. Waits green for at most the time that a model has to answer."""
        end = self.clock() + self.times.answer
        turn = self._asking.setdefault(question.model, hub.Semaphore(PREDICTIONS_AT_ONCE))
        own = self._asking_of.setdefault((question.model, account.owner), _Own())
        own.count += 1
        try:
            with contextlib.ExitStack() as turns:
                with hub.Timeout(self.times.answer):
                    turns.enter_context(own.turn)
                    turns.enter_context(turn)
                return self._ask(question, account, end)
        except TimedOut:
            return codes.NO_MODEL
        finally:
            own.count -= 1
            if not own.count:
                del self._asking_of[question.model, account.owner]

    def _ask(self, question: Predict, account: Account, end: float) -> bytes:
        while True:
            try:
                result = self.streams.ask(
                    question.model,
                    question.picture,
                    protocol=PROTOCOL,
                    account=account,
                    deadline=max(0.0, end - self.clock()),
                )
            except LimitExceeded:  # others fill the engine: not this client's fault
                if self.clock() + ASK_AGAIN >= end:
                    return codes.NO_MODEL
                hub.sleep(ASK_AGAIN)
            except ImageServerError:
                return codes.NO_MODEL
            else:
                if "error" in result:
                    return codes.NO_PICTURE if result.get("reason") == "picture" else codes.NO_MODEL
                reply = codes.reply_for(str(result.get("label", "")))
                if result.get("input") == UNLIKE:
                    self._unlike.tell(account.owner, question.model, reply)
                return reply

    def check(self, question: CheckSignature, host: str) -> bool:
        """Whether a listed key made the signature. Waits green."""
        accepted = self.keys is not None and self._verify(self.keys, question, host)
        if self.keys is None:
            self.log(f"legacy TCP: {host} is refused: no key is listed, for the server has no --tcp-authorized-keys")
        metrics.TCP_AUTHENTICATIONS.inc("accepted" if accepted else "refused")
        return accepted

    def _verify(self, keys: Keys, question: CheckSignature, host: str) -> bool:
        """`check` by these keys, unless too many signatures from this host were wrong."""
        try:
            with self._logins.attempt(host, DOOR) as attempt:
                try:
                    with self._checks:
                        hub.in_thread(keys.check, question.nonce, question.signature)
                except NotAllowed as error:
                    attempt.failed(f"legacy TCP: {host} is refused: {error}")
                    return False
                return True
        except LimitExceeded:  # counted and logged there
            return False
