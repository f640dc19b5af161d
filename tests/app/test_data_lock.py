"""The lock of the data folder: who holds it, by which name, and what becomes of it."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import Mock

import pytest
from tests.running import PATIENCE, ROOT

from imageserver import files
from imageserver.app.data_lock import NAME, DataLock
from imageserver.errors import DataInUse

Log = list[str]


_made: list[DataLock] = []


@pytest.fixture
def log() -> Iterator[Log]:
    yield []
    while _made:
        for descriptor in _made.pop()._held.values():
            os.close(descriptor)


def lock(folder: Path, log: Log) -> DataLock:
    found = DataLock(folder, log.append)
    _made.append(found)
    found.take("http://127.0.0.1:0")
    return found


def test_the_second_is_told_of_the_first(tmp_path: Path, log: Log) -> None:
    first = lock(tmp_path / "new" / "data", log)
    first.listens("http://127.0.0.1:8123")
    with pytest.raises(
        DataInUse,
        match=rf"^the data folder {tmp_path}/new/data is in use by another server \(process {os.getpid()} on \S+, "
        r"http://127\.0\.0\.1:8123, since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d\): stop that one, or give this one",
    ):
        lock(tmp_path / "new" / "data", log)
    assert log == []


def test_what_it_makes_is_for_its_owner_alone(tmp_path: Path, log: Log) -> None:
    """Whoever may read the file can lock it, and nobody else starts."""
    lock(tmp_path / "new", log)
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "new" / NAME).stat().st_mode & 0o777 == 0o600


def test_it_is_the_same_folder_by_a_link(tmp_path: Path, log: Log) -> None:
    lock(tmp_path / "data", log)
    (tmp_path / "link").symlink_to("data")
    with pytest.raises(DataInUse):
        lock(tmp_path / "link", log)


@pytest.mark.parametrize(
    "left", [b"process 1 on elsewhere, http://1.2.3.4:80, since long ago\n", b"", b"\0\xff" * 5000]
)
def test_what_a_crash_left_is_in_nobodys_way(tmp_path: Path, log: Log, left: bytes) -> None:
    (tmp_path / NAME).write_bytes(left)
    assert lock(tmp_path, log)
    assert (tmp_path / NAME).read_text().startswith(f"process {os.getpid()} on ")


@pytest.mark.parametrize("readable", [True, False])
def test_a_file_of_another_user_gives_way_to_ours(
    tmp_path: Path, log: Log, monkeypatch: pytest.MonkeyPatch, readable: bool
) -> None:
    """As when root has tried the server out: what stands in it would be told of this one."""
    (tmp_path / NAME).write_text("process 1 on elsewhere, since long ago\n")
    os.link(tmp_path / NAME, tmp_path / "theirs")  # so that no other file gets its number
    opened, theirs = os.open, (tmp_path / NAME).stat().st_ino

    def not_to_be_written(path: Path, flags: int, mode: int = 0o777) -> int:
        forbidden = flags & os.O_RDWR or not readable
        if forbidden and os.path.exists(path) and os.stat(path).st_ino == theirs:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return opened(path, flags, mode)

    monkeypatch.setattr(os, "open", not_to_be_written)
    first = lock(tmp_path, log)
    with pytest.raises(DataInUse, match="in use by another server: stop that one"):
        lock(tmp_path, log)
    first.look()
    with pytest.raises(DataInUse, match=f"process {os.getpid()} on"):
        lock(tmp_path, log)
    assert log == []


def test_nothing_that_stands_in_the_file_steers_a_terminal(tmp_path: Path, log: Log) -> None:
    lock(tmp_path, log)
    (tmp_path / NAME).write_bytes(b"\x1b[31m\n\xff" * 1000)
    with pytest.raises(DataInUse) as raised:
        lock(tmp_path, log)
    assert str(raised.value).isprintable() and len(str(raised.value)) < 1500


def test_removing_the_file_opens_the_folder_to_nobody(tmp_path: Path, log: Log) -> None:
    first = lock(tmp_path, log)
    (tmp_path / NAME).unlink()
    with pytest.raises(DataInUse, match="in use by another server: stop that one"):
        lock(tmp_path, log)
    first.look()
    with pytest.raises(DataInUse, match=f"process {os.getpid()} on"):
        lock(tmp_path, log)
    assert log == []


def test_another_folder_of_that_name_is_locked_too(tmp_path: Path, log: Log) -> None:
    first = lock(tmp_path / "data", log)
    (tmp_path / "data").rename(tmp_path / "before")
    first.look()  # there is none
    (tmp_path / "data").mkdir()
    first.look()
    for folder in ("data", "data"):
        with pytest.raises(DataInUse):
            lock(tmp_path / folder, log)
    assert log == [] and lock(tmp_path / "before", log)


def test_nothing_is_written_where_the_disk_was_mounted(
    tmp_path: Path, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(files, "mount_of", lambda folder: folder)
        first = lock(tmp_path / "data", log)
    (tmp_path / "data").rename(tmp_path / "disk")
    (tmp_path / "data").mkdir()
    first.look()
    assert not list((tmp_path / "data").iterdir()) and log == []


def test_a_disk_that_is_mounted_after_the_start_is_locked(
    tmp_path: Path, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = lock(tmp_path / "data", log)
    (tmp_path / "data").rename(tmp_path / "hidden")
    (tmp_path / "data").mkdir()
    monkeypatch.setattr(files, "mount_of", lambda folder: folder)
    first.look()
    with pytest.raises(DataInUse):
        lock(tmp_path / "data", log)
    assert log == []


def test_a_folder_that_another_has_taken_meanwhile_is_told_once(tmp_path: Path, log: Log) -> None:
    first = lock(tmp_path / "data", log)
    (tmp_path / "data").rename(tmp_path / "before")
    lock(tmp_path / "data", log)
    for _look in range(3):
        first.look()
    assert len(log) == 1 and "is not the one of before" in log[0] and f"process {os.getpid()} on" in log[0]


@pytest.mark.parametrize("reason", [errno.ENOLCK, errno.EOPNOTSUPP, errno.EBADF, errno.EINVAL])
def test_a_file_system_without_locks_is_told(
    tmp_path: Path, log: Log, monkeypatch: pytest.MonkeyPatch, reason: int
) -> None:
    def without(_descriptor: int, _how: int) -> None:
        raise OSError(reason, os.strerror(reason))

    monkeypatch.setattr(fcntl, "flock", without)
    found = lock(tmp_path, log)
    found.look()
    assert log == [
        f"the data folder {tmp_path} cannot be locked ({os.strerror(reason)}): see to it that no second server uses it"
    ]
    opened = [os.path.realpath(f"/proc/self/fd/{link}") for link in os.listdir("/proc/self/fd")]
    assert not [path for path in opened if path.startswith(str(tmp_path))]


def test_another_folder_that_cannot_be_locked_is_told(
    tmp_path: Path, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = lock(tmp_path / "data", log)
    (tmp_path / "data").rename(tmp_path / "before")
    (tmp_path / "data").mkdir()
    with monkeypatch.context() as patch:
        patch.setattr(os, "open", Mock(side_effect=OSError(errno.EACCES, "Permission denied")))
        for _look in range(3):
            first.look()
    assert log == [
        f"the data folder {tmp_path}/data cannot be locked (Permission denied): see to it that no second server uses it"
    ]


@pytest.mark.parametrize("there", [os.mkfifo, os.mkdir, lambda path: os.symlink("/dev/null", path)])
def test_something_else_of_that_name_is_left_alone(tmp_path: Path, log: Log, there: object) -> None:
    there(tmp_path / NAME)  # type: ignore[operator]
    lock(tmp_path, log)
    with pytest.raises(DataInUse):
        lock(tmp_path, log)
    assert log == []


READ_ONLY = """
mount --bind "$1" "$1" && mount -o remount,ro,bind "$1" && exec "$2" -c '
import sys
sys.path.insert(0, sys.argv[1])
import bootstrap
bootstrap.provide_package()
from pathlib import Path
from imageserver import files
from imageserver.app.data_lock import DataLock
from imageserver.errors import DataInUse
try:
    DataLock(Path(sys.argv[2]), print).take("http://127.0.0.1:0")
    print("taken")
except DataInUse as error:
    print("refused", error)
' "$3" "$1"
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts")
@pytest.mark.parametrize("file", [True, False])
def test_a_folder_that_is_read_only_is_locked_as_well(tmp_path: Path, log: Log, file: bool) -> None:
    def beside() -> str:
        command = ["unshare", "--mount", "sh", "-c", READ_ONLY, "sh", tmp_path, sys.executable, ROOT / "src"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    if file:
        (tmp_path / NAME).touch()
    assert beside() == "taken\n"
    lock(tmp_path, log)
    assert beside().startswith(f"refused the data folder {tmp_path} is in use by another server (process {os.getpid()}")
    assert log == []
