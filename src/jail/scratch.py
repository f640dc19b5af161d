"""Scratch folders: one for each jailed process, in one folder of the process that starts them.

They are removed when their process ends, and what a server left behind that was killed is removed by the next one:
the folder of a server that runs is locked. Where the disk of temporary files is full or cannot be written, they are
made elsewhere: a process that died has to be replaced all the same.
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import os
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

PREFIX = "imageserver-scratch-"

FURTHER = (Path("/var/tmp"), Path("/dev/shm"))
"""Where they are made when that is not possible in the usual folder; the last one is memory."""


class Scratch:
    """The folders of this process, made when they are first needed. From any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._roots: dict[Path, Path] = {}

    def new(self) -> Path:
        """A new empty folder, for this user alone. OSError: there is room nowhere."""
        failure: OSError | None = None
        with self._lock:
            folders = dict.fromkeys(_folders())
            if not self._roots:
                for folder in folders:
                    remove_abandoned(folder)
            for folder in folders:
                try:
                    return Path(tempfile.mkdtemp(dir=self._root(folder)))
                except OSError as error:
                    failure = failure or error
        raise failure or OSError("no folder for temporary files can be written")

    def _root(self, folder: Path) -> Path:
        """The folder of this process in `folder`; another one, where somebody has cleared the first away."""
        root = self._roots.get(folder)
        if root is None or not root.is_dir():
            root = self._roots[folder] = _locked_folder(folder)
            atexit.register(remove, root)
        return root


def _folders() -> Iterator[Path]:
    with contextlib.suppress(FileNotFoundError):  # none that it knows can be written
        yield Path(tempfile.gettempdir())
    yield from FURTHER


def _locked_folder(folder: Path) -> Path:
    while True:
        root = Path(tempfile.mkdtemp(prefix=PREFIX, dir=folder))
        # It stays open and so locked as long as this process lives; programs that it starts do not inherit it.
        descriptor = os.open(root, os.O_RDONLY)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        if root.is_dir():
            return root
        os.close(descriptor)  # somebody has cleared it away between the two


def remove_abandoned(folder: Path) -> None:
    """Remove what servers that were killed have left in `folder`."""
    for root in folder.glob(PREFIX + "*"):
        with contextlib.suppress(OSError):
            descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                remove(root)
            finally:
                os.close(descriptor)


def remove(folder: Path) -> None:
    """Remove a folder and all that is in it; it may be what somebody's code made as awkward as it could. Blocks."""
    with contextlib.suppress(OSError):
        folder.rmdir()  # most are empty
        return
    # Programs of their own: folders nested by the thousand exhaust the stack and the descriptors of Python's own way.
    for command in (["rm", "-rf"], ["chmod", "-R", "u+rwx"], ["rm", "-rf"]):
        with contextlib.suppress(OSError):
            subprocess.run([*command, "--", folder], stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
        if not folder.exists():
            return


SCRATCH = Scratch()
