"""The other end of the protocol, for tests: a conversation without sockets, and what clients of the field send."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

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

MODELS = {"INCE": "inception", "VGG!": "vgg", "ENSE": "ensemble", "XCEP": "xception"}
NONCE = bytes(range(32))


def padded(size: int, padding: str = "z") -> bytes:
    return str(size).ljust(10, padding).encode()


def file(data: bytes) -> bytes:
    return b"FILE" + padded(len(data)) + data


@dataclass
class Talk:
    """A conversation with everything it says: feed it bytes, let time pass, read `said` and `closed`."""

    times: ProtocolTimes = field(default_factory=ProtocolTimes)
    authenticated: bool = True
    largest: int = 1000
    answer: Callable[[str, bytes], bytes] = lambda _model, _picture: b"0P"
    signature: bytes = b"right"
    said: bytes = b""
    closed: str = ""
    now: float = 1000.0
    predictions: list[tuple[str, bytes]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.machine = Conversation(
            find_model=MODELS.get,
            accept_file=lambda size: size <= self.largest,
            make_nonce=lambda: NONCE,
            authenticated=self.authenticated,
            times=self.times,
        )
        self._do(self.machine.begin(self.now))

    def _do(self, actions: list[Action]) -> None:
        while actions:
            action, *actions = actions
            assert not self.closed, "nothing follows a Close"
            if isinstance(action, Reply):
                assert action.data
                self.said += action.data
            elif isinstance(action, Predict):
                assert self.machine.step is Step.PREDICTING
                assert not self.machine.intake.room()
                self.predictions.append((action.model, bytes(action.picture)))
                actions += self.machine.predicted(self.answer(action.model, bytes(action.picture)), self.now)
            elif isinstance(action, CheckSignature):
                assert self.machine.step is Step.CHECKING
                actions += self.machine.checked((action.nonce, action.signature) == (NONCE, self.signature), self.now)
            else:
                assert isinstance(action, Close)
                assert self.machine.step is Step.CLOSED
                self.closed = action.reason

    def feed(self, data: bytes) -> Talk:
        """Bytes arrive, all at this moment; what comes after the end is lost."""
        while data and not self.closed:
            space = self.machine.intake.room()
            assert len(space) == self.machine.intake.missing > 0
            count = min(len(space), len(data))
            space[:count] = data[:count]
            data = data[count:]
            self._do(self.machine.received(count, self.now))
        return self

    def pieces(self, parts: Iterable[bytes]) -> Talk:
        for part in parts:
            self.feed(part)
        return self

    def wait(self, seconds: float) -> Talk:
        """Time passes without a byte."""
        end = self.now + seconds
        while not self.closed and self.machine.intake.deadline <= end:
            self.now = max(self.now, self.machine.intake.deadline)
            self._do(self.machine.timed_out(self.now))
        self.now = end
        return self

    def end(self) -> Talk:
        """The client sends no more."""
        if not self.closed:
            self._do(self.machine.ended(self.now))
        return self

    def replies(self) -> bytes:
        """What was said since the last call."""
        said, self.said = self.said, b""
        return said
