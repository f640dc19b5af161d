"""Real file systems for the faults of disks: small ones, and such as stop in the midst of everything.

What is mounted here is unmounted at the end, lazily: a server that still runs keeps what it has open.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

_SHUTDOWN = 0x8004587D
"""EXT4_IOC_SHUTDOWN: _IOR('X', 125, __u32), linux/fs/ext4/ext4.h."""
_NO_LOG_FLUSH = 2
_FREEZE, _THAW = 0xC0045877, 0xC0045878
"""FIFREEZE and FITHAW, linux/fs.h."""


@contextlib.contextmanager
def tmpfs(folder: Path, options: str = "size=4M") -> Iterator[Path]:
    """A file system in memory, mounted at `folder`."""
    folder.mkdir(exist_ok=True)
    _run("mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder))
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


class Ext4:
    """A file system in a file, which can be mounted at `folder` again and again."""

    def __init__(self, folder: Path, mib: int = 16) -> None:
        self.folder, self._image = folder, folder.with_name(f"{folder.name}.img")
        folder.mkdir()
        with self._image.open("wb") as image:
            image.truncate(mib * 2**20)
        _run("mkfs.ext4", "-q", str(self._image))

    def mount(self) -> None:
        _run("mount", "-o", "loop,errors=remount-ro", str(self._image), str(self.folder))

    def unmount(self) -> None:
        """Take it away, though it is used: who has something open there keeps it."""
        subprocess.run(["umount", "-l", self.folder], check=True)

    def replace(self) -> None:
        """Mount a copy of it in its place, as one restores a disk that has failed; what was on it then is there."""
        os.sync()
        shutil.copyfile(self._image, copy := self._image.with_suffix(".copy"))
        self._image = copy
        self.mount()

    def refuse_writes(self) -> None:
        """Become read-only, as at an error of the disk: what is open can be read."""
        _run("mount", "-o", "remount,abort", str(self.folder))

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """Have whoever writes to it wait, for as long as this lasts, as for a server that does not answer."""
        descriptor = os.open(self.folder, os.O_RDONLY)
        try:
            fcntl.ioctl(descriptor, _FREEZE, 0)
            try:
                yield
            finally:
                fcntl.ioctl(descriptor, _THAW, 0)
        finally:
            os.close(descriptor)

    def break_down(self) -> None:
        """Answer everything with an error of input and output, from now on."""
        descriptor = os.open(self.folder, os.O_RDONLY)
        try:
            fcntl.ioctl(descriptor, _SHUTDOWN, _NO_LOG_FLUSH.to_bytes(4, "little"))
        finally:
            os.close(descriptor)


@contextlib.contextmanager
def ext4(folder: Path, mib: int = 16) -> Iterator[Ext4]:
    """An `Ext4` that is mounted."""
    disk = Ext4(folder, mib)
    disk.mount()
    try:
        yield disk
    finally:
        if os.path.ismount(folder):
            disk.unmount()


def fill(folder: Path) -> Path:
    """Take all the room of a file system; returns the file that takes it."""
    ballast = folder / "ballast"
    with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
        while file.write(bytes(4096)):
            pass
    return ballast


def use_up(disk: Path) -> Path:
    """Take all inodes; returns the folder that has them."""
    folder = disk / "many"
    with contextlib.suppress(OSError):
        folder.mkdir()
        for number in range(10_000):
            (folder / str(number)).touch()
    return folder


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"{command[0]} takes a user who may mount file systems: {done.stderr.strip()}")
