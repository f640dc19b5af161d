"""The legacy TCP commands as a state machine: bytes in, actions out, the clock passed in; no sockets, models or keys.

    client                         server
                                   ?         on accept
    FILE                           0
    size, 10 bytes                 0         2: no digits, or too large
    the file                       (none)
    MODE                           0
    INCE                           0         3: no such model
    PRED                           0P, 0N    1: before model and file; 3: the model cannot answer; 5: no picture
    HASH                           0         1: before any file
    SHA-256, 64 hex digits         0         4: mismatch
    AUTH                           0, then a nonce of 32 bytes
    size, 10 bytes; signature      0         6, and the connection closes
    BYE!                           0         and the connection closes

Commands and names of models in either case. Every other command gets 6 before AUTH where a server asks for it. How
the rules read in full: docs/legacy-tcp.md.

A connection's life is `Step`, and `Conversation._enter` alone changes it:

    ACCEPTED ──▶ COMMAND ──MODE──▶ CODE ─────────────────────────────────▶ COMMAND, or AFTER_VGG
                    │ ───FILE────▶ SIZE ──▶ FILE ────────────────────────▶ COMMAND
                    │ ───HASH────▶ DIGEST ───────────────────────────────▶ COMMAND
                    │ ───PRED────▶ PREDICTING ───────────────────────────▶ COMMAND
                    │ ───AUTH────▶ SIGNATURE_SIZE ─▶ SIGNATURE ─▶ CHECKING ─▶ COMMAND
                    └────BYE!, or no command at all──▶ CLOSED
    AFTER_VGG ──its first byte──▶ COMMAND
    any, but PREDICTING and CHECKING ──too late, or the client has left──▶ CLOSED
    CHECKING and its two before ──refused──▶ CLOSED
    any that reads, before AUTH ──no login in time──▶ CLOSED
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from imageserver.accounts import doors
from imageserver.accounts.doors import Login
from imageserver.protocols.legacy_tcp import codes
from imageserver.protocols.legacy_tcp.intake import FileIntake, Intake, ProtocolTimes


@dataclass(frozen=True, slots=True)
class Reply:
    """Send these bytes."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Predict:
    """Ask `model` about `picture` and call `predicted`."""

    model: str
    picture: memoryview


@dataclass(frozen=True, slots=True)
class CheckSignature:
    """Check the SSH signature over `nonce` and call `checked`."""

    nonce: bytes
    signature: bytes


@dataclass(frozen=True, slots=True)
class Close:
    """End the connection; `reason` is a label of the metric that counts them. Nothing follows."""

    reason: str


Action = Reply | Predict | CheckSignature | Close


class Step(Enum):
    """What the bytes that come next are."""

    ACCEPTED = "nothing yet: the greeting is due"
    COMMAND = "command"
    AFTER_VGG = "command, before which one byte that is no letter is dropped: the mark that `VGG` lacked"
    CODE = "model"
    SIZE = "size"
    FILE = "file"
    DIGEST = "digest"
    SIGNATURE_SIZE = "size of a signature"
    SIGNATURE = "signature"
    PREDICTING = "nothing: a model runs"
    CHECKING = "nothing: a signature is checked"
    CLOSED = "nothing: the connection ends"


_BYTES = {
    Step.COMMAND: codes.COMMAND_BYTES,
    Step.AFTER_VGG: codes.COMMAND_BYTES,
    Step.CODE: codes.CODE_BYTES,
    Step.SIZE: codes.SIZE_BYTES,
    Step.DIGEST: codes.DIGEST_BYTES,
    Step.SIGNATURE_SIZE: codes.SIZE_BYTES,
}
COMMANDS = ("FILE", "MODE", "PRED", "HASH", "AUTH", "BYE!")
_ASKS_FOR_KEY = {name.encode(): doors.TABLE.command(name).login is Login.KEY for name in COMMANDS}
"""Whether a command counts only behind AUTH, where keys are asked for."""

_SHORT = {Step.COMMAND: b"BYE", Step.AFTER_VGG: b"BYE", Step.CODE: b"VGG"}
_NOTHING = Intake(memoryview(b""), 0.0, math.inf)
"""The intake of steps that read nothing; the clock of the protocol does not run meanwhile."""


class Conversation:
    """One connection's side of the protocol.

    Read into `intake.room()` and say how much with `received`; call `timed_out` when `intake.deadline` has passed
    without a byte, `ended` when the client will send no more. Each call returns what to do, in order; every `now` is in
    seconds of one monotonic clock. Where the room is empty nothing may be read.

    Args:
        find_model: Takes a code of four letters in upper case; gives the name of a model that can be asked, or None.
        accept_file: Says whether there is room for a file of so many bytes.
        make_nonce: Gives fresh random bytes to sign.
        authenticated: Whether commands count without AUTH.
        times: How long each step may take.
    """

    def __init__(
        self,
        *,
        find_model: Callable[[str], str | None],
        accept_file: Callable[[int], bool],
        make_nonce: Callable[[], bytes],
        authenticated: bool,
        times: ProtocolTimes,
    ) -> None:
        self.model: str | None = None
        self.file: FileIntake | None = None
        self.authenticated = authenticated
        self._find_model, self._accept_file, self._make_nonce = find_model, accept_file, make_nonce
        self._times = times
        self._nonce = b""
        self._login_end = math.inf
        self._enter(Step.ACCEPTED)

    # ---- what happens to a connection -------------------------------------------------------------------------

    def begin(self, now: float) -> list[Action]:
        """The connection is there."""
        self._login_end = now + self._times.login
        return self._expect(Step.COMMAND, now, codes.GREETING)

    @property
    def buffered(self) -> int:
        """Bytes of the file that came last, or of what has come of it."""
        return self.file.count if self.file else 0

    def received(self, count: int, now: float) -> list[Action]:
        """`count` bytes (at least one) were written to `intake.room()`."""
        intake = self.intake
        intake.received(count, now)
        if self.step is Step.AFTER_VGG:
            intake.drop_unless_letter(now)
            self._enter(Step.COMMAND, intake)
        if now > intake.end:
            return self._close("slow")
        if not self.authenticated and now > self._login_end:
            return self._close("no login", codes.REFUSED)
        return [] if intake.missing else self._complete(now)

    def timed_out(self, now: float) -> list[Action]:
        """No byte came until `intake.deadline`."""
        if now < self.intake.deadline:
            return []
        if self.intake.is_short:
            return self._complete(now)
        return self._close("slow" if self.step is Step.FILE and now >= self.intake.end else "silent")

    def ended(self, now: float) -> list[Action]:
        """The client sends no more. What it was owed it still gets."""
        actions = self._complete(now) if self.intake.is_short else []
        return actions if self.step is Step.CLOSED else [*actions, *self._close("left")]

    def predicted(self, reply: bytes, now: float) -> list[Action]:
        """The answer to `Predict`: PNEUMONIA, NORMAL, NO_MODEL or NO_PICTURE."""
        return self._expect(Step.COMMAND, now, reply)

    def checked(self, accepted: bool, now: float) -> list[Action]:
        """The answer to `CheckSignature`."""
        if not accepted:
            return self._close("refused", codes.REFUSED)
        self.authenticated = True
        return self._expect(Step.COMMAND, now, codes.DONE)

    def forget(self) -> None:
        """Close, and let go of the picture: at once, not when the garbage collector finds the time."""
        self.file = None
        self._enter(Step.CLOSED)

    # ---- steps ------------------------------------------------------------------------------------------------

    def _enter(self, step: Step, intake: Intake = _NOTHING) -> None:
        self.step, self.intake = step, intake

    def _expect(self, step: Step, now: float, reply: bytes = b"") -> list[Action]:
        """Enter a step that takes a command or an argument of a size that is known; first comes `reply`."""
        space = memoryview(bytearray(_BYTES[step]))
        self._enter(step, Intake(space, now, self._times.silence, short=_SHORT.get(step), pause=self._times.pause))
        return [Reply(reply)] if reply else []

    def _close(self, reason: str, reply: bytes = b"") -> list[Action]:
        self.forget()
        return [Reply(reply), Close(reason)] if reply else [Close(reason)]

    def _complete(self, now: float) -> list[Action]:
        """All that the step takes is there."""
        if self.step is Step.FILE:
            return self._expect(Step.COMMAND, now)
        text = self.intake.text
        match self.step:
            case Step.CODE:
                return self._take_code(text, now)
            case Step.SIZE:
                return self._take_size(text, now)
            case Step.DIGEST:
                same = self.file is not None and self.file.has_digest(text)
                return self._expect(Step.COMMAND, now, codes.DONE if same else codes.MISMATCH)
            case Step.SIGNATURE_SIZE:
                return self._take_signature_size(text, now)
            case Step.SIGNATURE:
                self._enter(Step.CHECKING)
                return [CheckSignature(self._nonce, text)]
        return self._take_command(text.upper(), now)

    def _take_command(self, word: bytes, now: float) -> list[Action]:
        if word[:3] == b"BYE":
            return self._close("bye", codes.DONE if self.authenticated else codes.REFUSED)
        if word not in _ASKS_FOR_KEY:
            return self._close("unknown command")
        if not self.authenticated and _ASKS_FOR_KEY[word]:
            return self._expect(Step.COMMAND, now, codes.REFUSED)
        match word:
            case b"FILE":
                return self._expect(Step.SIZE, now, codes.DONE)
            case b"MODE":
                return self._expect(Step.CODE, now, codes.DONE)
            case b"AUTH":
                self._nonce = self._make_nonce()
                return self._expect(Step.SIGNATURE_SIZE, now, codes.DONE + self._nonce)
            case b"HASH" if self.file is not None:
                return self._expect(Step.DIGEST, now, codes.DONE)
            case b"PRED" if self.file is not None and self.model is not None:
                self._enter(Step.PREDICTING)
                return [Predict(self.model, self.file.space)]
        return self._expect(Step.COMMAND, now, codes.MISSING)

    def _take_code(self, code: bytes, now: float) -> list[Action]:
        follows = Step.COMMAND if len(code) == codes.CODE_BYTES else Step.AFTER_VGG
        text = code.upper().decode("latin-1")
        name = self._find_model("VGG!" if text == "VGG" else text)
        self.model = name or self.model
        return self._expect(follows, now, codes.DONE if name else codes.NO_MODEL)

    def _take_size(self, text: bytes, now: float) -> list[Action]:
        size = codes.parse_size(text)
        if size is None or not self._accept_file(size):
            return self._expect(Step.COMMAND, now, codes.MALFORMED)
        # The one before has served; two at once would double what a connection may hold.
        self.file = FileIntake(size, now, self._times)
        if size == 0:
            return self._expect(Step.COMMAND, now, codes.DONE)
        self._enter(Step.FILE, self.file)
        return [Reply(codes.DONE)]

    def _take_signature_size(self, text: bytes, now: float) -> list[Action]:
        size = codes.parse_size(text)
        if not size or size > codes.MAX_SIGNATURE_BYTES:
            return self._close("refused", codes.REFUSED)
        self._enter(Step.SIGNATURE, Intake(memoryview(bytearray(size)), now, self._times.silence))
        return []
