"""The files of models on a node: by their content, each once, and as many as the bound allows.

    files/<SHA-256>         what is in a file
    bundles/<SHA-256>/…     the folders of a model, whose files are links to those
    bundles/<SHA-256>.used  locked by each replica that runs from that bundle; its age says when one last began

A file is put in place when its digest is right, and a bundle when it is whole, by a rename: several replicas, of
several front ends, may do so at the same time. What no replica runs from gives way first, the oldest before others.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from imageserver import files
from imageserver.errors import ModelError

_DIGEST = re.compile("[0-9a-f]{64}")
_PARTS = ".part-"
_MAKING = ".making-"
_USED = ".used"

Listing = Sequence[Sequence[str | int]]
"""Path, size and digest of each file of a bundle."""


class NodeStore:
    """Of this node, and this user.

    Args:
        folder: made where it is missing.
        most: bytes of all files.
    """

    def __init__(self, folder: Path, most: int) -> None:
        self._files, self._bundles, self._most = folder / "files", folder / "bundles", most
        for each in (folder, self._files, self._bundles):
            each.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._parts: dict[str, tuple[Path, int]] = {}
        self._used: dict[str, int] = {}

    def lacking(self, listing: Listing) -> list[str]:
        """The digests of files that are not here."""
        wanted = {checked(str(digest)): int(size) for _path, size, digest in listing}
        return [digest for digest, size in wanted.items() if not self._has(digest, size)]

    def receive(self, digest: str, data: bytes, last: bool) -> None:
        """The next piece of a file; with the last one it is put in place. ModelError: it is another one. OSError."""
        if digest not in self._parts:
            name = self._files / f"{_PARTS}{checked(digest)}-{os.getpid()}"
            self._parts[digest] = name, os.open(name, os.O_CREAT | os.O_TRUNC | os.O_RDWR | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._parts[digest][1], fcntl.LOCK_EX)
        name, descriptor = self._parts[digest]
        try:
            with open(descriptor, "wb", closefd=False) as stream:
                stream.seek(0, os.SEEK_END)
                stream.write(data)
            if not last:
                return
            os.fsync(descriptor)
            with open(name, "rb") as stream:
                if hashlib.file_digest(stream, "sha256").hexdigest() != digest:
                    raise ModelError("a file of the model has changed while it was sent: it is sent anew")
            name.replace(self._files / digest)
        except BaseException:
            name.unlink(missing_ok=True)
            last = True
            raise
        finally:
            if last:
                del self._parts[digest]
                os.close(descriptor)

    def open(self, digest: str, listing: Listing) -> Path:
        """The folder of a bundle all of whose files are here; it stays while this process lives, or until `close`.

        OSError, ModelError.
        """
        folder = self._bundles / checked(digest)
        self._hold(digest)
        if not folder.is_dir():
            with files.making(self._bundles, _MAKING) as parent:
                made = parent / digest
                made.mkdir()
                for path, _size, sha256 in listing:
                    target = made / _inside(str(path))
                    target.parent.mkdir(parents=True, exist_ok=True)
                    os.link(self._files / checked(str(sha256)), target)
                with contextlib.suppress(FileExistsError):
                    (made / "converted").mkdir()
                with contextlib.suppress(OSError):  # another replica was faster
                    made.rename(folder)
            if not folder.is_dir():
                raise ModelError("the bundle of the model cannot be put in place")
        self.prune()
        return folder

    def close(self, digest: str) -> None:
        """It is not used any longer by this process."""
        if (descriptor := self._used.pop(digest, None)) is not None:
            os.close(descriptor)

    def prune(self) -> None:
        """Take away what is too much. Nothing that somebody uses."""
        files.clean(self._bundles, _MAKING)
        self._clean_parts()
        total = sum(path.stat().st_size for path in self._present())
        bundles = sorted(self._bundles.glob(f"*{_USED}"), key=lambda path: path.stat().st_mtime)
        for mark in bundles:
            if total <= self._most:
                return
            if self._remove(mark):
                total -= self._sweep()

    def _has(self, digest: str, size: int) -> bool:
        try:
            return (self._files / digest).stat().st_size == size
        except OSError:
            return False

    def _present(self) -> list[Path]:
        return [path for path in self._files.iterdir() if _DIGEST.fullmatch(path.name)]

    def _hold(self, digest: str) -> None:
        if digest not in self._used:
            mark = self._bundles / f"{digest}{_USED}"
            while True:
                descriptor = os.open(mark, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
                fcntl.flock(descriptor, fcntl.LOCK_SH)
                if os.fstat(descriptor).st_nlink:
                    break
                os.close(descriptor)  # taken away just now
            os.utime(mark)
            self._used[digest] = descriptor

    def _remove(self, mark: Path) -> bool:
        """Take a bundle away that nobody uses; whether that was so."""
        with contextlib.suppress(OSError):
            descriptor = os.open(mark, os.O_RDWR | os.O_CLOEXEC)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                folder, gone = mark.with_suffix(""), mark.with_name(f"{_MAKING}{mark.stem}")
                if folder.is_dir():
                    folder.rename(gone)  # so that half of one is never taken for one
                shutil.rmtree(gone, ignore_errors=True)
                mark.unlink()
                return True
            finally:
                os.close(descriptor)
        return False

    def _sweep(self) -> int:
        """Take files away that no bundle has; bytes. Who is about to link to one finds it gone, and is sent it anew."""
        freed = 0
        for path in self._present():
            with contextlib.suppress(OSError):
                about = path.stat()
                if about.st_nlink == 1:
                    path.unlink()
                    freed += about.st_size
        return freed

    def _clean_parts(self) -> None:
        for path in self._files.glob(f"{_PARTS}*"):
            with contextlib.suppress(OSError):
                descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    path.unlink()
                finally:
                    os.close(descriptor)


def checked(digest: str) -> str:
    """A digest. ModelError: it is none."""
    if not _DIGEST.fullmatch(digest):
        raise ModelError("a file of the model is named by no digest")
    return digest


def _inside(path: str) -> PurePosixPath:
    """A path that stays in its folder. ModelError: it does not."""
    found = PurePosixPath(path)
    if found.is_absolute() or ".." in found.parts or not found.parts or "\0" in path:
        raise ModelError("a file of the model lies outside its folder")
    return found
