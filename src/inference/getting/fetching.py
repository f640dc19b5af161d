"""A file of the index, brought here: gone on with where it stopped, never larger than it may be, checked, then given.

What is not yet complete lies in the cache in a folder of its own, `downloads/<SHA-256>/`: `part`, and `tag` with the
address and state that it is of. Nothing opens it before its SHA-256 is the index's.
"""

from __future__ import annotations

import contextlib
import fcntl
import http.client
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from imageserver import files
from imageserver.errors import ModelError
from imageserver.inference.getting import origins
from imageserver.inference.getting.index import IndexedFile
from imageserver.inference.getting.origins import Opened, Origin
from imageserver.inference.shared import conversion_cache, progress, weights
from imageserver.inference.shared.progress import Step

FOLDER = "downloads"
"""In the cache."""

CHUNK = 2**18
SHOWN = 200
"""Steps of the bar."""

SLOWEST, WINDOW = 1024.0, 60.0
"""Bytes a second, over so many seconds: what is slower has stopped."""

ELSEWHERE = "bring it in a folder, or name a mirror: --from FOLDER or --from ADDRESS"


@contextlib.contextmanager
def fetched(
    wanted: IndexedFile,
    origin: Origin,
    cache: Path,
    shown: Callable[[str], contextlib.AbstractContextManager[Step]] = progress.shown,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Path]:
    """The file, by its name in the index; it goes when the block ends well, and else stays for the next attempt.

    Raises:
        ModelError: it could not be fetched, or is another file; with the remedy.
    """
    conversion_cache.check_owner(cache)
    folder = cache / FOLDER / wanted.sha256
    with contextlib.ExitStack() as stack:
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            stack.enter_context(_alone(folder, wanted))
            file = folder / wanted.name
            if not (file.is_file() and weights.sha256(file) == wanted.sha256):
                with shown(f"Getting {wanted.name}") as step:
                    _Download(wanted, origin, folder / "part", step, clock).finish()
                (folder / "part").replace(file)
                files.sync_all(folder)
        except OSError as error:
            raise ModelError(
                f"{wanted.name} cannot be kept in {cache}: {error.strerror}; --models-cache names another folder"
            ) from error
        yield file
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _alone(folder: Path, wanted: IndexedFile) -> Iterator[None]:
    """ModelError: another process has this file under way."""
    held = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ModelError(f"another command is getting {wanted.name}: wait until it ends") from error
        except OSError:
            pass  # not every network's file system has locks
        yield
    finally:
        os.close(held)


class _Download:
    """Of one file into `part`, in as many attempts as it takes."""

    def __init__(self, wanted: IndexedFile, origin: Origin, part: Path, step: Step, clock: Callable[[], float]) -> None:
        self._wanted, self._origin, self._part = wanted, origin, part
        self._tag = part.with_name("tag")
        self._step, self._clock = step, clock

    def finish(self) -> None:
        """Have all of the file in `part`. ModelError, OSError: what came stays, unless it is wrong."""
        gone_on = self._attempt()
        digest = weights.sha256(self._part)
        if digest != self._wanted.sha256 and gone_on:
            # Perhaps only what was there before is of another file.
            self._part.unlink()
            self._attempt()
            digest = weights.sha256(self._part)
        if digest != self._wanted.sha256:
            self._part.unlink()
            raise ModelError(
                f"what came from {self._where()} is not {self._wanted.name}: its SHA-256 is {digest}, and the index "
                f"has {self._wanted.sha256}; nothing has opened it; {ELSEWHERE}"
            )

    def _where(self) -> str:
        return self._origin.name(self._wanted)

    def _attempt(self) -> bool:
        """Read what is missing; whether something was there already. ModelError, OSError."""
        with self._part.open("ab") as target:
            have = os.fstat(target.fileno()).st_size
            if have > self._wanted.size:
                target.truncate(0)
                have = 0
            if have == self._wanted.size:
                return True
            try:
                with self._origin.open(self._wanted, have, self._known_tag()) as opened:
                    target.truncate(opened.start)
                    self._tag.write_text(f"{self._where()}\n{opened.tag}\n", "utf-8")
                    self._copy(opened, target)
                return opened.start > 0
            except ModelError as error:
                target.flush()
                raise self._failure(error, os.fstat(target.fileno()).st_size) from error

    def _known_tag(self) -> str:
        """Of the state that `part` is of, where it came from the same place."""
        with contextlib.suppress(OSError, UnicodeDecodeError):
            lines = self._tag.read_text("utf-8").splitlines()
            if len(lines) == 2 and lines[0] == self._where():
                return lines[1]
        return ""

    def _copy(self, opened: Opened, target: IO[bytes]) -> None:
        """ModelError: it stopped, or is larger than the index says."""
        have, size = opened.start, self._wanted.size
        told, since, then = 0, self._clock(), have
        while have < size:
            chunk = self._read(opened, min(CHUNK, size - have))
            if not chunk:
                raise ModelError("the connection broke off")
            target.write(chunk)
            have += len(chunk)
            if have * SHOWN // size > told:
                told = have * SHOWN // size
                self._step(have / size, f"{megabytes(have)} of {megabytes(size)} MB")
            if self._clock() - since >= WINDOW:
                if have - then < SLOWEST * WINDOW:
                    raise ModelError(f"only {have - then:,} bytes came within {WINDOW:g} s")
                since, then = self._clock(), have
        if self._read(opened, 1):
            target.truncate(0)
            raise ModelError(f"it has more than the {size:,} bytes that the index says")

    def _read(self, opened: Opened, most: int) -> bytes:
        try:
            chunk: bytes = opened.stream.read1(most)
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise ModelError(origins.reason(error)) from error
        return chunk

    def _failure(self, error: ModelError, have: int) -> ModelError:
        remedy = ELSEWHERE
        if have:
            there = f"{megabytes(have)} of {megabytes(self._wanted.size)} MB are here"
            remedy = f"{there}, and the same command goes on from there; or {ELSEWHERE}"
        return ModelError(f"{self._wanted.name} could not be fetched from {self._where()}: {error}; {remedy}")


def megabytes(count: int) -> str:
    """As people read them: 3.7."""
    return f"{count / 1e6:.1f}"
