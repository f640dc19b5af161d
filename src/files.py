"""Files read within bounds, and written so that a crash at any moment leaves the old one or the new one.

What is new is written beside its place, its bytes are on the disk before its name is, and one rename puts it there:
with another name, or in exchange for what was there before. Blocks: call it in a thread where a loop runs.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import glob
import os
import secrets
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

_AT_FDCWD, _RENAME_EXCHANGE = -100, 2  # linux/fcntl.h, linux/fs.h


def read(path: Path, most: int) -> bytes:
    """All of a regular file of at most `most` bytes.

    Raises:
        OSError: as usual, and where it is larger, or no regular file: opening a FIFO would wait for a writer.
    """
    content = start(path, most + 1)
    if len(content) > most:
        raise OSError(errno.EFBIG, f"it is larger than {most} bytes")
    return content


def start(path: Path, most: int) -> bytes:
    """The first bytes of a regular file, at most `most`. OSError, as `read`."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "it is no regular file")
        with open(descriptor, "rb", closefd=False) as stream:
            return stream.read(most)
    finally:
        os.close(descriptor)


def replace(path: Path, content: bytes, mode: int = 0o666) -> None:
    """Write a file at once or not at all. OSError."""
    for left in path.parent.glob(f".{glob.escape(path.name)}.[0-9]*"):
        if not left.suffix[1:].isdecimal():
            continue  # somebody else's
        with contextlib.suppress(OSError), _abandoned(left, os.O_NONBLOCK):
            left.unlink()
    new, descriptor = _new_file(path, mode)
    try:
        with open(descriptor, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(descriptor)
            new.replace(path)  # while it is held, or another process might take it for left behind
    finally:
        new.unlink(missing_ok=True)
    sync(path.parent)


def _new_file(path: Path, mode: int) -> tuple[Path, int]:
    """An empty file beside `path`, held by this process: its path and descriptor. OSError."""
    while True:
        new = path.with_name(f".{path.name}.{secrets.randbelow(10**9)}")
        descriptor = os.open(new, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, mode)
        if _hold(descriptor, new):
            return new, descriptor
        os.close(descriptor)


def link(path: Path, target: Path) -> None:
    """Make `path` a symbolic link to `target`, in place of a link or file that is there. OSError."""
    new = path.with_name(f".{path.name}.link")
    new.unlink(missing_ok=True)
    new.symlink_to(target)
    new.replace(path)
    sync(path.parent)


@contextlib.contextmanager
def making(parent: Path, prefix: str) -> Iterator[Path]:
    """A folder in `parent` for what is being made, gone afterwards, and after a crash with the next of this prefix.

    Args:
        prefix: hidden names begin with a dot; each use has one of its own.

    Raises:
        OSError: `parent` cannot be written.
    """
    clean(parent, prefix)
    made, held = _new_folder(parent, prefix)
    try:
        yield made
    finally:
        os.close(held)
        shutil.rmtree(made, ignore_errors=True)


def clean(parent: Path, prefix: str) -> None:
    """Remove folders of `making` whose process was killed."""
    for folder in parent.glob(f"{prefix}*"):
        with contextlib.suppress(OSError), _abandoned(folder, os.O_DIRECTORY):
            shutil.rmtree(folder, ignore_errors=True)


def _new_folder(parent: Path, prefix: str) -> tuple[Path, int]:
    """An empty folder, held by this process: its path and descriptor. OSError."""
    while True:
        made = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
        with contextlib.suppress(FileNotFoundError):  # taken for left behind before it was held
            held = os.open(made, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            if _hold(held, made):
                return made, held
            os.close(held)


def _hold(descriptor: int, path: Path) -> bool:
    """Hold a new file or folder as long as its descriptor is open; False: somebody took it away before it was held."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    except OSError:  # not every network's file system has locks, and then nothing is taken away
        return True
    return os.fstat(descriptor).st_nlink > 0 and os.path.lexists(path)


@contextlib.contextmanager
def _abandoned(path: Path, flag: int) -> Iterator[None]:
    """Around the removal of what nobody holds, so that nobody begins to. By its age one could not tell: clocks jump.

    OSError: somebody does, or nobody can tell.
    """
    held = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | flag)
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(held)


def publish(made: Path, target: Path) -> None:
    """Give a folder of `making` its name. What had the name before is in `made` then, and goes with it.

    Raises:
        OSError: it is not done, and `target` is what it was.
    """
    sync_all(made)
    if os.path.lexists(target):
        _exchange(made, target)
    else:
        made.rename(target)
    sync(target.parent)


def _exchange(made: Path, target: Path) -> None:
    library = ctypes.CDLL(None, use_errno=True)
    if library.renameat2(_AT_FDCWD, os.fsencode(made), _AT_FDCWD, os.fsencode(target), _RENAME_EXCHANGE) == 0:
        return
    if ctypes.get_errno() not in (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(target))
    # A file system without it, such as NFS: for a moment there is none of that name.
    former = made.with_name(f"{made.name}.former")
    target.rename(former)
    try:
        made.rename(target)
    except OSError:
        former.rename(target)
        raise


def mount_of(path: Path) -> Path:
    """Where the file system is mounted that holds `path`, or would."""
    found = Path(os.path.realpath(path))
    while not os.path.ismount(found):
        found = found.parent
    return found


def check_there(folder: Path, mount: Path) -> None:
    """Whether a running server may begin something anew in a folder whose file system was mounted at `mount`.

    A disk that was mounted over it since is as good as the one before.

    OSError: it is gone; or its disk is, and what would be written to the mount point would be hidden by the disk.
    """
    if not folder.is_dir():
        raise OSError(errno.ENOENT, "the folder is gone: put it back, or make an empty one to begin anew", str(folder))
    if not os.path.ismount(mount):
        raise OSError(errno.ENODEV, "its disk is not mounted", str(folder))


def sync_all(folder: Path) -> None:
    """Have the disk hold a folder with everything in it. OSError."""
    for parent, _folders, names in os.walk(folder, topdown=False):
        for name in names:
            if not os.path.islink(os.path.join(parent, name)):
                sync(Path(parent, name))
        sync(Path(parent))


def sync(path: Path | int) -> None:
    """Have the disk hold a file, or a folder's names, by path or descriptor. OSError."""
    if isinstance(path, int):
        os.fsync(path)
        return
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
