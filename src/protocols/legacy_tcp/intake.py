"""The bytes that a step of the protocol takes: where they go, how many have come, and how long the rest may take.

An intake never takes more than its step needs: a file arrives in memory of its own, nothing is kept that was not
asked for, and a client that sends ahead waits in the kernel. The clock is passed in: every `now` is in seconds of one
monotonic clock.
"""

from __future__ import annotations

import hashlib
import hmac
import math
import mmap
from dataclasses import dataclass

SMALL_FILE = 16 * 2**10
"""Up to here a file's memory is taken at once; above it page by page as bytes arrive."""

WINDOW = 20_000
"""Bytes of a file in which its client must keep up with the time that a file has."""


@dataclass(frozen=True, kw_only=True)
class ProtocolTimes:
    """In seconds. The protocol fixes them, but for `login`; tests shorten them."""

    silence: float = 20.0
    """Without a complete command, argument or signature; without a byte of a file; without taking a reply."""
    pause: float = 0.3
    """After which `BYE` and the model `VGG` count as complete without their fourth byte."""
    file: float = 20.0
    """For a file of no bytes."""
    file_byte: float = 0.001
    """That each byte of a file adds to it."""
    answer: float = 15.0
    """For a model's answer."""
    login: float = math.inf
    """For AUTH, from the accept on, where it is asked for (`--login-time`)."""


class Intake:
    """Takes the bytes of one step.

    Args:
        space: Where they go. The step is complete when it is full.
        now: When the step begins.
        seconds: In which it must be complete.
        silence: Most seconds without a byte.
        short: Three letters that are complete when nothing follows them for `pause` seconds.
    """

    def __init__(
        self,
        space: memoryview,
        now: float,
        seconds: float,
        silence: float = math.inf,
        short: bytes | None = None,
        pause: float = math.inf,
    ) -> None:
        self.space, self.count, self.end = space, 0, now + seconds
        self._silence, self._short, self._pause = silence, short, pause
        self._wait_from(now)

    @property
    def missing(self) -> int:
        """Bytes until the step is complete."""
        return len(self.space) - self.count

    @property
    def text(self) -> bytes:
        """What has come."""
        return bytes(self.space[: self.count])

    @property
    def is_short(self) -> bool:
        """Whether what has come is complete if nothing follows."""
        return self.count == 3 and self.text.upper() == self._short

    def room(self) -> memoryview:
        """Where the next bytes go."""
        return self.space[self.count :]

    def received(self, count: int, now: float) -> None:
        """`count` bytes (at least one) were written to `room()`."""
        self.count += count
        self._wait_from(now)

    def drop_unless_letter(self, now: float) -> None:
        """Forget the first byte when it is no letter."""
        if not self.text[:1].isalpha():
            self.count -= 1
            self.space[: self.count] = bytes(self.space[1 : self.count + 1])
            self._wait_from(now)

    def _wait_from(self, now: float) -> None:
        """`deadline`: until when the next byte must come."""
        self.deadline = min(self.end, now + (self._pause if self.is_short else self._silence))


class FileIntake(Intake):
    """Takes a file of `size` bytes, and hashes it as it comes."""

    def __init__(self, size: int, now: float, times: ProtocolTimes) -> None:
        seconds = times.file + size * times.file_byte
        super().__init__(file_buffer(size), now, seconds, times.silence)
        self._hash = hashlib.sha256()
        self._last, self._window = now + seconds, times.file + WINDOW * times.file_byte
        self._in_window = 0
        self._begin_window(now)

    def received(self, count: int, now: float) -> None:
        """`count` bytes (at least one) were written to `room()`."""
        self._hash.update(self.space[self.count : self.count + count])
        self._in_window += count
        if self._in_window >= WINDOW and now <= self.end:
            self._begin_window(now)
        super().received(count, now)

    def _begin_window(self, now: float) -> None:
        """What came fast buys no pause: each `WINDOW` bytes have the time of a file of that size."""
        self._in_window = 0
        self.end = min(self._last, now + self._window)
        self._wait_from(now)

    def has_digest(self, text: bytes) -> bool:
        """Whether `text` is the SHA-256 of what has come, in hex digits of either case."""
        return hmac.compare_digest(text.lower(), self._hash.hexdigest().encode())


def file_buffer(size: int) -> memoryview:
    """Zeroed writable memory for a file of `size` bytes that costs nothing before it is written to."""
    if size <= SMALL_FILE:
        return memoryview(bytearray(size))
    pages = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_NOHUGEPAGE"):
        pages.madvise(mmap.MADV_NOHUGEPAGE)  # else the first byte of a file could cost 2 MiB
    return memoryview(pages)
