"""Files of whole lines, added by a thread: whoever has a line never waits for the disk.

What waits is bounded. What a full disk does not take is dropped line by line and counted: the file never holds half a
line, and goes on when there is room; what a kill left half is removed when the next line is written. At a size it is
renamed, and begun anew. A named pipe may be read from the start or later, and by one program after the other: its
lines wait for a reader.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import stat
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from imageserver import files, metrics
from imageserver.errors import SettingError
from imageserver.metrics import Child

MOST_WAITING = 10_000
"""Lines that may wait for the disk."""

WAITING_CHARACTERS = 16 * 2**20
"""Characters that all of them may have together."""

BATCH = 256
"""Lines that are written at once, where so many wait."""

_MOST_HALF = 2**20
"""Bytes of half a line that are removed; what is longer was no line of ours."""

_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str) -> str:
    """`text` with escapes for what would begin another line or steer a terminal; linear in its length."""
    return _UNPRINTABLE.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


@dataclass(frozen=True, kw_only=True)
class LinesKind:
    """What a file of lines is for, and how long it may become.

    Attributes:
        option: with which it was asked for, `--results`.
        remedy: what to give in place of a path that cannot be used.
        what: the word for its lines, in the plural.
        dropped: counts those that were not written.
        max_bytes: size at which it is renamed to `<path>.1`, and what has that name to `<path>.2`; 0 is no limit.
        keep: of how many such files the oldest gives way.
        rotated: called when it is begun anew, in the thread.
        mode: rights of a new file, as `os.open` takes them; one that is there keeps its own, also when begun anew.
        sync_every: seconds of lines that a loss of power may cost.
    """

    option: str
    remedy: str
    what: str
    dropped: Child
    max_bytes: int = 0
    keep: int = 1
    rotated: Callable[[], None] = field(default=lambda: None)
    mode: int = 0o666
    sync_every: float = 5.0


class LinesWriter:
    """Adds lines to a file, or ('-') to standard output. Every method may be called in any thread.

    Args:
        path: the file, or '-'.
        kind: what it is for.
        log: takes a line about what the operator can mend; called in any thread.
        regained: called with how many lines were lost, when one is written again; in the writer's thread.

    Raises:
        SettingError: it cannot be opened for appending, or not be renamed where it may have to be.
    """

    def __init__(
        self,
        path: str,
        kind: LinesKind,
        log: Callable[[str], None],
        regained: Callable[[int], None] = lambda _lost: None,
    ) -> None:
        self._kind, self._name, self._log, self._regained = kind, f"{kind.option} {path}", log, regained
        try:
            self._file = _LinesFile(path, kind)
        except OSError as error:
            raise SettingError(f"{self._name}: {error.strerror}; {kind.remedy}") from error
        self._changed = threading.Condition()  # guards what waits, and what was lost
        self._waiting: deque[str] = deque()
        self._characters = 0
        self._lost = 0  # lines since one was written
        self._closing = False
        self._writing = threading.Lock()  # guards the file
        self._thread = threading.Thread(target=self._write, name=kind.option[2:], daemon=True)
        self._thread.start()

    def add(self, line: str) -> bool:
        """Have a line written, soon; False when too much waits already: it is dropped and counted."""
        with self._changed:
            fits = len(self._waiting) < MOST_WAITING and self._characters + len(line) <= WAITING_CHARACTERS
            if fits:
                self._waiting.append(line)
                self._characters += len(line)
                if len(self._waiting) == 1:
                    self._changed.notify()
        if not fits:
            self._lose(1, "more lines wait than the disk takes")
        return fits

    def write(self, lines: list[str]) -> bool:
        """Write lines here and now; whether the disk holds all of them, which is nobody's loss if not. Blocks.

        A pipe may not be read for ever, and holds nothing that counts: there they wait like others.
        """
        if self._file.pipe:
            added = [self.add(line) for line in lines]
            return all(added)
        with self._writing:
            try:
                return self._file.append(lines) == len(lines) and self._file.sync()
            except OSError:
                return False

    def close(self, timeout: float) -> None:
        """Write what waits, for at most `timeout` seconds. Blocks: call it in a thread."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(timeout)

    def _write(self) -> None:
        sync_at = math.inf
        while True:
            lines = self._next(sync_at)
            if lines:
                self._append(lines)
                sync_at = min(sync_at, time.monotonic() + self._kind.sync_every)
            ended = self._closing and not self._waiting
            if ended or time.monotonic() >= sync_at:
                with self._writing:
                    self._file.sync()
                sync_at = math.inf
            if ended:
                return

    def _next(self, until: float) -> list[str]:
        """Wait for lines, at most until a time: a batch of them, which may be empty."""
        with self._changed:
            timeout = None if until == math.inf else max(0.0, until - time.monotonic())
            self._changed.wait_for(lambda: self._waiting or self._closing, timeout)
            lines = [self._waiting.popleft() for _ in range(min(BATCH, len(self._waiting)))]
            self._characters -= sum(map(len, lines))
        return lines

    def _append(self, lines: list[str]) -> None:
        """Write lines. The first one that is lost is told, and how many were when the next one is not."""
        try:
            with self._writing:
                written = self._file.append(lines)
        except OSError as error:
            self._lose(len(lines), error.strerror)
            return
        if written < len(lines):
            self._lose(len(lines) - written, "the disk is full")
            return
        with self._changed:
            lost, self._lost = self._lost, 0
        if lost:
            metrics.DISK_FAILING.child(self._kind.option[2:]).value = 0
            self._log(f"{self._name} can be written again; {lost} {self._kind.what} are missing in it")
            self._regained(lost)

    def _lose(self, count: int, reason: str | None) -> None:
        with self._changed:
            self._kind.dropped.inc(count)
            first = not self._lost
            self._lost += count
        if first:
            metrics.DISK_FAILING.child(self._kind.option[2:]).value = 1
            self._log(f"{self._name} cannot be written: {reason}")


class _LinesFile:
    """A file of whole lines, or standard output ('-'). Raises OSError as its functions do."""

    def __init__(self, path: str, kind: LinesKind) -> None:
        self._path, self._kind = path, kind
        self._descriptor = sys.stdout.fileno() if path == "-" else self._open(kind.mode)
        kind_of_file = stat.S_IFMT(os.fstat(self._descriptor).st_mode)
        self.pipe = kind_of_file in (stat.S_IFIFO, stat.S_IFSOCK)
        self._regular = path != "-" and kind_of_file == stat.S_IFREG
        if self._regular and kind.max_bytes and not os.access(Path(path).parent, os.W_OK | os.X_OK):
            os.close(self._descriptor)
            raise OSError(0, "it could not be renamed at its largest size, since its folder cannot be written")
        self._torn = self._regular and _ends_within_a_line(path)
        self._mount = files.mount_of(Path(path).parent) if self._regular else Path("/")

    def append(self, lines: list[str]) -> int:
        """Add lines; returns how many of them there was room for. OSError when there was none at all."""
        self._take_its_place()
        if self._torn:
            self._mend()
            self._torn = False
        data = "".join(f"{line}\n" for line in lines).encode("utf-8", "replace")
        before, written = self._size(), 0
        try:
            while written < len(data):
                written += os.write(self._descriptor, data[written:])
        except OSError:
            if not written:
                raise
        whole = data.rfind(b"\n", 0, written) + 1
        if whole < written:
            if self._regular:
                os.ftruncate(self._descriptor, before + whole)
            else:
                self._torn = True  # standard output, in which others may have written since
        return data.count(b"\n", 0, whole)

    def _mend(self) -> None:
        """Remove what is half of a line, as a kill amid writing leaves it; a whole one without its end gets that.

        So does half of one on standard output, where nothing can be removed.
        """
        if not self._regular:
            os.write(self._descriptor, b"\n")
            return
        tail = _after_the_last_line(self._path)
        if tail and (len(tail) == _MOST_HALF or _is_entry(tail)):
            os.write(self._descriptor, b"\n")
        elif tail:
            os.ftruncate(self._descriptor, self._size() - len(tail))

    def sync(self) -> bool:
        """Have the disk hold it. Where that fails the next attempt to write says so."""
        if self._regular:
            try:
                os.fdatasync(self._descriptor)
            except OSError:
                return False
        return True

    def _size(self) -> int:
        """Bytes; 0 for what is no file."""
        return os.fstat(self._descriptor).st_size if self._regular else 0

    def _take_its_place(self) -> None:
        """Begin anew where the file is as large as it may be, or somebody has moved or removed it."""
        if not self._regular:
            return
        if not self._has_its_name():
            self._begin_anew()
        elif self._kind.max_bytes and self._size() > self._kind.max_bytes:
            self.sync()
            self._rename()
            self._kind.rotated()
            self._begin_anew()

    def _has_its_name(self) -> bool:
        try:
            return os.path.samestat(os.stat(self._path), os.fstat(self._descriptor))
        except FileNotFoundError:
            return False

    def _rename(self) -> None:
        """`<path>` becomes `<path>.1`, that `<path>.2`, as far as there are such, and the oldest gives way."""
        last = 1
        while last < self._kind.keep and os.path.lexists(f"{self._path}.{last}"):
            last += 1
        for number in range(last, 1, -1):
            os.rename(f"{self._path}.{number - 1}", f"{self._path}.{number}")
        os.rename(self._path, f"{self._path}.1")

    def _begin_anew(self) -> None:
        if not os.path.lexists(self._path):
            files.check_there(Path(self._path).parent, self._mount)
        mode = stat.S_IMODE(os.fstat(self._descriptor).st_mode)
        former, self._descriptor = self._descriptor, self._open(mode)
        os.close(former)
        files.sync(Path(self._path).parent)

    def _open(self, mode: int) -> int:
        # A named pipe that is opened for writing alone waits until somebody reads it, and the start with it.
        access = os.O_RDWR if Path(self._path).is_fifo() else os.O_WRONLY
        return os.open(self._path, access | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, mode)


def _ends_within_a_line(path: str) -> bool:
    return bool(_after_the_last_line(path, 1))


def _after_the_last_line(path: str, most: int = _MOST_HALF) -> bytes:
    """What follows the end of the last line, or the last `most` bytes of it; nothing where that cannot be read."""
    with contextlib.suppress(OSError), open(path, "rb") as stream:
        stream.seek(max(0, stream.seek(0, os.SEEK_END) - most))
        return stream.read(most).rpartition(b"\n")[2]
    return b""


def _is_entry(line: bytes) -> bool:
    """Whether it is an entry of JSON, which half of one never is."""
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False
