"""The lock of the data folder: one server at a time, since the next one removes what looks as if a crash had left it.

The folder is locked, and a file in it, both with flock(2): a lock ends with its process, however that ends, no child
inherits it, and it is the same one by every link and mount. The folder is not removed by mistake as a file is, and can
be locked on a disk that is read-only; the file says who holds it, and is what the file systems of networks lock between
machines. Commands beside a server (userdb.py, add_model.py) take neither: what they write has locks of its own.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from imageserver import files
from imageserver.errors import DataInUse
from imageserver.lines import printable
from imageserver.transport import hub

NAME = "server.lock"

LOOK_EVERY = 5.0
"""Seconds between two looks whether the folder is still the one that is locked."""

_WRITTEN_WITHIN = 0.1
"""Seconds that a server which has just taken the lock has to write who it is."""
_MOST = 300
"""Bytes of the file that are read."""


class DataLock:
    """Held from `take` until the process ends.

    Args:
        folder: the data folder.
        log: takes a line about what the operator can mend; called in any thread.
    """

    def __init__(self, folder: Path, log: Callable[[str], None]) -> None:
        self._folder, self._file, self._log = folder, folder / NAME, log
        self._held: dict[Path, int] = {}
        self._started = time.strftime("%Y-%m-%d %H:%M:%S")
        self._address = ""
        self._mount = Path("/")
        self._told = ""

    def take(self, address: str) -> None:
        """Lock the folder, which is made where there is none; the log says so where that cannot be. Blocks.

        Args:
            address: where this server listens, for whoever finds the folder in use.

        Raises:
            DataInUse: another server has it.
        """
        self._address = address
        with contextlib.suppress(OSError):  # whoever writes into it says why that is not possible
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._mount = files.mount_of(self._folder)
        reason = ""
        for path in (self._folder, self._file):
            try:
                self._lock(path)
            except BlockingIOError:
                raise self._in_use() from None
            except OSError as error:
                reason = reason or error.strerror or str(error)
                if error.errno == errno.EACCES and self._is_held(self._folder):
                    self._give_way()
        self._write()
        lacking = f"the data folder {self._folder} cannot be locked ({reason}): see to it that no second server uses it"
        self._tell("" if self._is_held(self._folder) or self._is_held(self._file) else lacking)

    def listens(self, address: str) -> None:
        """Say where this server listens, now that it is known."""
        self._address = address
        self._write()

    def run(self) -> None:
        """Look again and again, for ever: a folder that goes away may be another one when it is back."""
        while True:
            hub.sleep(LOOK_EVERY)
            hub.in_thread(self.look)

    def look(self) -> None:
        """Lock what has the folder's name now, where that is another one than before. Blocks."""
        if self._is_held(self._folder) and self._is_held(self._file):
            return
        try:
            files.check_there(self._folder, self._mount)
        except OSError:
            return  # whoever writes into it says so
        try:
            self.take(self._address)
        except DataInUse as error:
            self._tell(f"the data folder is not the one of before, and {error}")

    def _lock(self, path: Path) -> None:
        """Lock what has this name now. BlockingIOError: another server has it; OSError: it cannot be locked."""
        if self._is_held(path):
            return
        descriptor = _opened(path, self._folder)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BaseException:
            os.close(descriptor)
            raise
        if path in self._held:
            os.close(self._held[path])
        self._held[path] = descriptor

    def _is_held(self, path: Path) -> bool:
        with contextlib.suppress(OSError):
            return path in self._held and os.path.samestat(os.stat(path), os.fstat(self._held[path]))
        return False

    def _write(self) -> None:
        """Say in the file who holds it; a full disk leaves it as it is."""
        if self._file not in self._held:
            return
        text = f"process {os.getpid()} on {socket.gethostname()}, {self._address}, since {self._started}\n".encode()
        try:
            os.pwrite(self._held[self._file], text, 0)
            os.ftruncate(self._held[self._file], len(text))
        except OSError as error:
            if error.errno == errno.EBADF:
                self._give_way()

    def _give_way(self) -> None:
        """Remove the file: it is of another user, and would name theirs. The next look makes another."""
        with contextlib.suppress(OSError):
            self._file.unlink()

    def _in_use(self) -> DataInUse:
        time.sleep(_WRITTEN_WITHIN)
        holder = b""
        with contextlib.suppress(OSError):
            descriptor = os.open(self._file, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
            try:
                holder = os.read(descriptor, _MOST)
            finally:
                os.close(descriptor)
        who = printable(holder.decode(errors="replace").strip())
        return DataInUse(
            f"the data folder {self._folder} is in use by another server{f' ({who})' if who else ''}: "
            "stop that one, or give this one a folder of its own with --data"
        )

    def _tell(self, sentence: str) -> None:
        """Log a sentence, once until there is none."""
        if sentence and not self._told:
            self._log(sentence)
        self._told = sentence


@dataclass(frozen=True)
class Holder:
    """The server that has a data folder: its process, and what it says of itself."""

    pid: int
    text: str


def holder(folder: Path) -> Holder | None:
    """The server of this machine that has the folder now, found without taking the lock, which might be in its way."""
    try:
        with (folder / NAME).open("rb") as stream:
            text = printable(stream.read(_MOST).decode(errors="replace").strip())
    except OSError:
        return None
    found = re.match(r"process (\d{1,10}) on (\S+), ", text)
    if found is None or found[2] != socket.gethostname():
        return None
    pid = int(found[1])
    try:
        locks = Path("/proc/locks").read_text()
    except OSError:
        return Holder(pid, text) if Path(f"/proc/{pid}").exists() else None
    return Holder(pid, text) if re.search(rf"\bFLOCK\s+\S+\s+WRITE\s+{pid}\b", locks) else None


def _opened(path: Path, folder: Path) -> int:
    """A descriptor of the folder, or of the file in it: made where there is none, else at least read. OSError."""
    if path == folder:
        return os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    how = os.O_NONBLOCK | os.O_NOFOLLOW
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | how, 0o600)
    except OSError:
        return os.open(path, os.O_RDONLY | how)
