"""The legacy TCP commands as a state machine: bytes in, actions out, the clock passed in. No sockets, no models, no keys.

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

The machine says where the next bytes go (`space`) and never takes more than the step that it is in needs: a file
arrives in its own buffer, nothing is kept that was not asked for, and a client that sends ahead waits in the kernel.
"""

from __future__ import annotations

import hashlib
import hmac
import mmap
import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

GREETING = b"?"
DONE, MISSING, MALFORMED, NO_MODEL, MISMATCH, NO_PICTURE, REFUSED = (bytes([code]) for code in b"0123456")
PNEUMONIA, NORMAL = DONE + b"P", DONE + b"N"

COMMAND_BYTES, CODE_BYTES, SIZE_BYTES, DIGEST_BYTES = 4, 4, 10, 64
NONCE_BYTES = 32
SMALL_FILE = 16 * 2**10
"""Up to here a file's memory is taken at once; above it page by page as bytes arrive."""


@dataclass(frozen=True)
class Limits:
    """Times in seconds, sizes in bytes. The times are the protocol's; tests shorten them."""

    silence: float = 20.0
    """Without a complete command, argument or signature; without a byte of a file."""
    pause: float = 0.3
    """After which `BYE` and the model `VGG` count as complete without their fourth byte."""
    file_time: float = 20.0
    """For a file of no bytes."""
    file_rate: float = 1000.0
    """Bytes a second that a file may take beyond `file_time`."""
    signature_bytes: int = 16 * 2**10


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

    COMMAND = "command"
    SIZE = "size"
    FILE = "file"
    CODE = "model"
    DIGEST = "digest"
    SIGNATURE_SIZE = "size of a signature"
    SIGNATURE = "signature"
    BUSY = "nothing: a model runs or a signature is checked"
    CLOSED = "nothing: the connection ends"


def parse_size(text: bytes) -> int | None:
    """`48213zzzzz` as 48213: one run of decimal digits, padded with anything else. None where there is none, or two."""
    found = re.fullmatch(rb"[^0-9]*([0-9]+)[^0-9]*", text, re.DOTALL)
    return int(found[1]) if found else None


def answer(label: str) -> bytes:
    """The reply to PRED for a model's label, which the model's threshold has decided already.

    `none` is what a model answers when nothing reaches its threshold. A label that is neither is no answer to the
    question whether there is pneumonia, and saying N to it could harm: NO_MODEL.
    """
    return {"pneumonia": PNEUMONIA, "normal": NORMAL, "none": NORMAL}.get(label.strip().lower(), NO_MODEL)


def file_buffer(size: int) -> memoryview:
    """Zeroed writable memory for a file of `size` bytes that costs nothing before it is written to."""
    if size <= SMALL_FILE:
        return memoryview(bytearray(size))
    pages = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_NOHUGEPAGE"):
        pages.madvise(mmap.MADV_NOHUGEPAGE)  # else the first byte of a file could cost 2 MiB
    return memoryview(pages)


class Conversation:
    """One connection's side of the protocol.

    Read into `space()` and say how much with `received`; call `timed_out` when `deadline` has passed without a byte,
    `ended` when the client will send no more. Each call returns what to do, in order; every `now` is in seconds of one
    monotonic clock. While `step` is BUSY nothing may be read, and the clock of the protocol does not run.

    `find_model` takes a code of four letters in upper case and gives the name of a model that can be asked, or None.
    `accept_file` says whether there is room for a file of so many bytes; what a file takes so far is `held`.
    """

    def __init__(
        self,
        *,
        find_model: Callable[[str], str | None],
        accept_file: Callable[[int], bool],
        make_nonce: Callable[[], bytes],
        authenticated: bool,
        limits: Limits,
    ) -> None:
        self.step = Step.COMMAND
        self.deadline = 0.0
        self.picture: memoryview | None = None
        self.model: str | None = None
        self.authenticated = authenticated
        self._find_model, self._accept_file, self._make_nonce, self._limits = (
            find_model,
            accept_file,
            make_nonce,
            limits,
        )
        self._small = memoryview(bytearray(DIGEST_BYTES))  # commands and their arguments
        self._space = self._small
        self._wanted, self._have = COMMAND_BYTES, 0
        self._file = memoryview(b"")
        self._hash = hashlib.sha256()
        self._nonce = b""
        self._step_end = 0.0  # monotonic seconds at which the step must be complete, whatever arrives
        self._drop_next = False  # one byte that is no letter, after a model of three letters
        self._commands: dict[bytes, Callable[[float], list[Action]]] = {
            b"FILE": lambda now: self._argument(Step.SIZE, SIZE_BYTES, now),
            b"MODE": lambda now: self._argument(Step.CODE, CODE_BYTES, now),
            b"PRED": self._predict,
            b"HASH": self._hash_asked,
            b"AUTH": self._auth,
        }
        self._steps: dict[Step, Callable[[bytes, float], list[Action]]] = {
            Step.COMMAND: self._command,
            Step.SIZE: self._size,
            Step.CODE: self._code,
            Step.DIGEST: self._digest,
            Step.SIGNATURE_SIZE: self._signature_size,
            Step.SIGNATURE: self._signature,
        }

    # ---- what happens to a connection -------------------------------------------------------------------------

    def begin(self, now: float) -> list[Action]:
        """The connection is there."""
        return self._next_command(now, GREETING)

    def space(self) -> memoryview:
        """Where the next bytes go, as many as the step needs; empty while BUSY or CLOSED."""
        return self._space[self._have : self._wanted]

    @property
    def missing(self) -> int:
        """Bytes until the step is complete."""
        return self._wanted - self._have

    @property
    def held(self) -> int:
        """Bytes of the picture, or of the file that arrives."""
        if self.step is Step.FILE:
            return self._have
        return len(self.picture) if self.picture is not None else 0

    def received(self, count: int, now: float) -> list[Action]:
        """`count` bytes (at least one) were written to `space()`."""
        start = self._have
        self._have += count
        if self.step is Step.FILE:
            self._hash.update(self._file[start : self._have])
        elif self._drop_next:
            self._drop_byte()
        if now > self._step_end:
            return self._close("slow")
        if self._have == self._wanted:
            return self._complete(now)
        self._set_deadline(now)
        return []

    def timed_out(self, now: float) -> list[Action]:
        """No byte came until `deadline`."""
        if now < self.deadline:
            return []
        if self._three_letters():
            self._drop_next = self.step is Step.CODE
            return self._complete(now)
        return self._close("slow" if self.step is Step.FILE and now >= self._step_end else "silent")

    def ended(self, now: float) -> list[Action]:
        """The client sends no more. What it was owed it still gets."""
        if self._three_letters():
            actions = self._complete(now)
            return actions if self.step is Step.CLOSED else [*actions, *self._close("left")]
        return self._close("left")

    def predicted(self, reply: bytes, now: float) -> list[Action]:
        """The answer to `Predict`: PNEUMONIA, NORMAL, NO_MODEL or NO_PICTURE."""
        return self._next_command(now, reply)

    def checked(self, accepted: bool, now: float) -> list[Action]:
        """The answer to `CheckSignature`."""
        if not accepted:
            return self._close("refused", REFUSED)
        self.authenticated = True
        return self._next_command(now, DONE)

    def forget(self) -> None:
        """Let go of the picture, or what there is of a file: at once, not when the garbage collector finds the time."""
        self.picture, self._file, self._space = None, memoryview(b""), self._small

    # ---- steps ------------------------------------------------------------------------------------------------

    def _expect(self, step: Step, count: int, space: memoryview, now: float, seconds: float) -> None:
        self.step, self._space, self._wanted, self._have = step, space, count, 0
        self._step_end = now + seconds
        self._set_deadline(now)

    def _set_deadline(self, now: float) -> None:
        """A byte has come just now, or the step begins."""
        self.deadline = self._step_end
        if self.step is Step.FILE:
            self.deadline = min(self.deadline, now + self._limits.silence)
        elif self._three_letters():
            self.deadline = min(self.deadline, now + self._limits.pause)

    def _three_letters(self) -> bool:
        """Whether what is there so far is complete if nothing follows."""
        if self._have != 3:
            return False
        word = bytes(self._space[:3]).upper()
        return (self.step is Step.COMMAND and word == b"BYE") or (self.step is Step.CODE and word == b"VGG")

    def _drop_byte(self) -> None:
        self._drop_next = False
        if not bytes(self._small[:1]).isalpha():
            self._have -= 1
            self._small[: self._have] = bytes(self._small[1 : self._have + 1])

    def _complete(self, now: float) -> list[Action]:
        if self.step is Step.FILE:
            return self._file_complete(now)
        return self._steps[self.step](bytes(self._space[: self._have]), now)

    def _next_command(self, now: float, reply: bytes = b"") -> list[Action]:
        self._expect(Step.COMMAND, COMMAND_BYTES, self._small, now, self._limits.silence)
        return [Reply(reply)] if reply else []

    def _argument(self, step: Step, count: int, now: float, reply: bytes = DONE) -> list[Action]:
        self._expect(step, count, self._small, now, self._limits.silence)
        return [Reply(reply)]

    def _idle(self, step: Step) -> None:
        """Nothing is read until further notice."""
        self.step, self._wanted, self._have = step, 0, 0
        self.deadline = self._step_end = float("inf")

    def _close(self, reason: str, reply: bytes = b"") -> list[Action]:
        self._idle(Step.CLOSED)
        self.forget()
        return [Reply(reply), Close(reason)] if reply else [Close(reason)]

    def _command(self, word: bytes, now: float) -> list[Action]:
        word = word.upper()
        if word[:3] == b"BYE":
            return self._close("bye", DONE if self.authenticated else REFUSED)
        act = self._commands.get(word)
        if act is None:
            return self._close("unknown command")
        if not self.authenticated and word != b"AUTH":
            return self._next_command(now, REFUSED)
        return act(now)

    # ---- FILE and HASH ----------------------------------------------------------------------------------------

    def _size(self, text: bytes, now: float) -> list[Action]:
        size = parse_size(text)
        if size is None or not self._accept_file(size):
            return self._next_command(now, MALFORMED)
        self.picture = None  # the one before has served; two at once would double what a connection may hold
        self._file = file_buffer(size)
        self._hash = hashlib.sha256()
        limits = self._limits
        self._expect(Step.FILE, size, self._file, now, limits.file_time + size / limits.file_rate)
        return [Reply(DONE), *([] if size else self._file_complete(now))]

    def _file_complete(self, now: float) -> list[Action]:
        self.picture, self._file = self._file, memoryview(b"")
        return self._next_command(now)

    def _hash_asked(self, now: float) -> list[Action]:
        if self.picture is None:
            return self._next_command(now, MISSING)
        return self._argument(Step.DIGEST, DIGEST_BYTES, now)

    def _digest(self, text: bytes, now: float) -> list[Action]:
        same = hmac.compare_digest(text.lower(), self._hash.hexdigest().encode())
        return self._next_command(now, DONE if same else MISMATCH)

    # ---- MODE and PRED ----------------------------------------------------------------------------------------

    def _code(self, code: bytes, now: float) -> list[Action]:
        text = code.upper().decode("latin-1")
        name = self._find_model("VGG!" if text == "VGG" else text)
        if name is None:
            return self._next_command(now, NO_MODEL)
        self.model = name
        return self._next_command(now, DONE)

    def _predict(self, now: float) -> list[Action]:
        if self.model is None or self.picture is None:
            return self._next_command(now, MISSING)
        self._idle(Step.BUSY)
        return [Predict(self.model, self.picture)]

    # ---- AUTH -------------------------------------------------------------------------------------------------

    def _auth(self, now: float) -> list[Action]:
        self._nonce = self._make_nonce()
        return self._argument(Step.SIGNATURE_SIZE, SIZE_BYTES, now, DONE + self._nonce)

    def _signature_size(self, text: bytes, now: float) -> list[Action]:
        size = parse_size(text)
        if not size or size > self._limits.signature_bytes:
            return self._close("refused", REFUSED)
        self._expect(Step.SIGNATURE, size, memoryview(bytearray(size)), now, self._limits.silence)
        return []

    def _signature(self, signature: bytes, _now: float) -> list[Action]:
        nonce, self._nonce = self._nonce, b""
        self._space = self._small
        self._idle(Step.BUSY)
        return [CheckSignature(nonce, signature)]
