"""The shared folder: where each picture's file is. Several servers write there, and nothing is locked.

    snippets/incoming/           what is being written, under names that nobody else takes
    snippets/07/263/             the pictures of number 263, in one of 256 folders
    snippets/07/263/1763820000   a picture (record.py); a higher number is a newer one

A number's folder comes with its first picture, by one rename that fails where another server's is there before. A
further picture is linked under the next number, which fails where another server took it. So whoever has looked who put
the newest one knows that no other came between. A folder that is empty may be removed, or taken, by anybody. One that
has no picture, but something that is none of ours (`.nfs…`, `@eaDir`), can be neither: there the first picture is
linked, too, by everybody under the same number.

Where the disk hangs, whoever put a picture is told so after a while, and puts it again. So nothing is given a name, nor
removed, once that was told: it would come behind what others put since.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from imageserver import files
from imageserver.transport import threads

SHARDS = 256
"""Folders that the numbers are divided over."""

ABANDONED = 600.0
"""Seconds for which something is seen in `incoming` until it counts as left by a server that was killed. By this
server's clock alone: no two clocks, and no lock, are compared over a network."""

MOST_SEEN = 10_000
"""Names in `incoming` that are watched at a time."""

GONE = (errno.ENOENT, errno.ESTALE)
"""Of a file: another server has removed it."""

FIRST = 2**62
"""The number of the first picture beside what is none of ours: higher than any that a time gave."""

_DIGITS = len(str(2**63 - 1))


class PictureFile(NamedTuple):
    """A picture's file: its time (ns since 1970, by the clock of whoever has the disk), its bytes on the disk."""

    time: int
    disk: int
    identity: int
    number: int


class SharedFolder:
    """What of `folder` holds the pictures.

    Args:
        folder: of --shared; it is there.
        clock: seconds, which nobody sets.
        overdue: whether who asked for what this thread does was told that it failed.
    """

    def __init__(
        self,
        folder: Path,
        clock: Callable[[], float] = time.monotonic,
        overdue: Callable[[], bool] = threads.overdue,
    ) -> None:
        self._folder, self._clock, self._overdue = folder, clock, overdue
        self.root = folder / "snippets"
        self.incoming = self.root / "incoming"
        self._opened: tuple[int, int] | None = None
        self._mount: Path | None = None
        self._seen: dict[str, float] = {}

    def check(self) -> None:
        """See whether it is the folder of before; begin in another one that has come. OSError: it is not there."""
        if self._opened is not None and _identity(self.root) == self._opened:
            return
        if self._mount is None:
            os.stat(self._folder)  # it is nobody's to make: where a disk is missing everybody would make their own
        else:
            files.check_there(self._folder, self._mount)
        for made in (self.root, self.incoming):
            made.mkdir(mode=0o700, exist_ok=True)
        self._mount, self._opened = files.mount_of(self.root), _identity(self.root)

    def of(self, identity: int) -> Path:
        """The folder of a number's pictures."""
        return self.root / f"{identity % SHARDS:02x}" / str(identity)

    def path(self, identity: int, number: int) -> Path:
        """The file of a picture."""
        return self.of(identity) / str(number)

    def ids(self) -> Iterator[int]:
        """The numbers that have a folder, in any order."""
        for shard in range(SHARDS):
            yield from _numbers(self.root / f"{shard:02x}")

    def numbers(self, identity: int) -> list[int]:
        """What the pictures of an id are called, the newest first."""
        return sorted(_numbers(self.of(identity)), reverse=True)

    def all(self) -> Iterator[PictureFile]:
        """All pictures, in any order; folders without one are removed on the way."""
        for identity in self.ids():
            empty = True
            for number in _numbers(self.of(identity)):
                empty = False
                with _gone():
                    status = os.stat(self.path(identity, number), follow_symlinks=False)
                    yield PictureFile(status.st_mtime_ns, blocks(status), identity, number)
            if empty:
                self.drop(identity)

    def drop(self, identity: int) -> None:
        """Remove the folder of an id, if there is nothing in it."""
        with contextlib.suppress(OSError):
            self.of(identity).rmdir()

    def in_time(self) -> None:
        """Before each step that changes something. OSError: who asked for it was told that it failed."""
        if self._overdue():
            raise OSError(errno.ETIMEDOUT, "it came too late")

    @contextlib.contextmanager
    def opened(self, identity: int) -> Iterator[int | None]:
        """The descriptor of an id's folder, for `link`; None where there is none."""
        folder: int | None = None
        with _gone():
            folder = os.open(self.of(identity), os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            yield folder
        finally:
            if folder is not None:
                os.close(folder)

    def link(self, made: Path, folder: int, number: int) -> None:
        """Give a file this name as well, in a folder that was opened before anybody looked into it.

        By its descriptor: where another takes the place of the folder meanwhile, nothing is linked into that one.
        FileExistsError: another has the name; OSError.
        """
        self.in_time()
        os.link(made, str(number), dst_dir_fd=folder)
        files.sync(folder)

    def link_first(self, made: Path, identity: int) -> None:
        """The same in a folder that has no picture, under the number `FIRST`. FileExistsError: it has one; OSError."""
        with self.opened(identity) as folder:
            if folder is None:
                raise FileNotFoundError(errno.ENOENT, "another removed it", str(self.of(identity)))
            if any(True for _number in _numbers(folder)):
                raise FileExistsError(errno.EEXIST, "another put the first picture", str(self.of(identity)))
            self.link(made, folder, FIRST)

    def begin(self, made: Path, identity: int, number: int) -> None:
        """Make a folder with this file in it. FileExistsError: there is one that is not empty; OSError."""
        folder, making = self.of(identity), made.with_name(f"{made.name}.d")
        making.mkdir(mode=0o700)
        try:
            os.link(made, making / str(number))
            files.sync(making)
            if not folder.parent.is_dir():
                folder.parent.mkdir(mode=0o700, exist_ok=True)
                files.sync(self.root)
            self.in_time()
            making.rename(folder)
        except OSError as error:
            shutil.rmtree(making, ignore_errors=True)
            if error.errno == errno.ENOTEMPTY:
                raise FileExistsError(errno.EEXIST, "there is something in it", str(folder)) from error
            raise
        files.sync(folder.parent)

    def clear(self) -> int:
        """Remove what was left in `incoming`; returns how many of it there were."""
        now, count = self._clock(), 0
        with os.scandir(self.incoming) as entries:
            names = [entry.name for entry in itertools.islice(entries, MOST_SEEN)]
        self._seen = {name: self._seen.get(name, now) for name in names}
        for name in [name for name, since in self._seen.items() if now - since >= ABANDONED]:
            left = self.incoming / name
            if left.is_dir() and not left.is_symlink():
                shutil.rmtree(left, ignore_errors=True)
            else:
                left.unlink(missing_ok=True)
            del self._seen[name]
            count += 1
        return count


def blocks(status: os.stat_result) -> int:
    """What a file takes on the disk: st_blocks counts 512 bytes, whatever the blocks of the file system are."""
    return status.st_blocks * 512


def _numbers(folder: Path | int) -> Iterator[int]:
    """What in a folder, or the one of a descriptor, is called by a number; nothing where there is none."""
    with _gone(), os.scandir(folder) as entries:
        for entry in entries:
            name = entry.name
            if name.isascii() and name.isdecimal() and len(name) <= _DIGITS:
                yield int(name)


@contextlib.contextmanager
def _gone() -> Iterator[None]:
    """Around what another server may have removed."""
    try:
        yield
    except OSError as error:
        if error.errno not in GONE:
            raise


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino
