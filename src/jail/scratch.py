"""Scratch folders: one for each jailed process, in one folder of the process that starts them.

They are removed when their process ends, and what a server left behind that was killed is removed by the next one:
the folder of a server that runs is locked.
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import os
import subprocess
import tempfile
import threading
from pathlib import Path

PREFIX = "imageserver-scratch-"


class Scratch:
    """The folder of this process, made when it is first needed. From any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._root: Path | None = None

    def new(self) -> Path:
        """A new empty folder, for this user alone. OSError."""
        with self._lock:
            if self._root is None:
                remove_abandoned(Path(tempfile.gettempdir()))
                self._root = _locked_folder()
                atexit.register(remove, self._root)
            return Path(tempfile.mkdtemp(dir=self._root))


def _locked_folder() -> Path:
    while True:
        root = Path(tempfile.mkdtemp(prefix=PREFIX))
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
    # Programs of their own: folders nested by the thousand exhaust the stack and the descriptors of Python's own way.
    for command in (["rm", "-rf"], ["chmod", "-R", "u+rwx"], ["rm", "-rf"]):
        with contextlib.suppress(OSError):
            subprocess.run([*command, "--", folder], stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
        if not folder.exists():
            return


SCRATCH = Scratch()
