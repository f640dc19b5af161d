"""The folder of the pictures goes away under the store, comes back, is another one, or cannot be written."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from imageserver.protocols.snap.local import folder
from imageserver.protocols.snap.local.records import Records
from imageserver.protocols.snap.local.store import SnapStore
from imageserver.protocols.snap.pictures import Row, Sender

LOST = (OSError, sqlite3.Error)


@pytest.fixture(autouse=True)
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """What came back may be opened at once."""
    monkeypatch.setattr(folder, "SETTLED", 0.0)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


def store(data: Path) -> SnapStore:
    return SnapStore(data / "snippets", history=3, max_bytes=2**20, max_files=100)


def put(pictures: SnapStore, identity: int, sender: Sender | None = None) -> None:
    pictures.put(identity, "png", b"x", "t", {"label": str(identity)}, sender or Sender())


def ids(pictures: SnapStore) -> list[int]:
    return [row.id for row in pictures.newest(most=100).rows]


def test_what_is_written_to_a_folder_that_was_moved_away_is_not_acknowledged(data: Path) -> None:
    away = data.with_name("away")
    with closing(store(data)) as pictures:
        put(pictures, 1)
        data.rename(away)
        for _ in range(3):
            with pytest.raises(OSError, match="the folder is gone"):
                put(pictures, 2)
            with pytest.raises(OSError, match="the folder is gone"):
                ids(pictures)
        assert not data.exists(), "nobody asked for an empty one"
        away.rename(data)
        put(pictures, 3)
        assert ids(pictures) == [1, 3]
    with closing(store(data)) as pictures:
        assert ids(pictures) == [1, 3]
        assert len(list((data / "snippets" / "pictures").iterdir())) == 2


def test_a_folder_that_is_moved_in_the_midst_of_a_write(data: Path) -> None:
    away = data.with_name("away")

    def move(_newest: Row | None) -> None:
        data.rename(away)
        shutil.copytree(away, data)

    with closing(store(data)) as pictures:
        put(pictures, 1)
        with pytest.raises(OSError, match="moved, removed or replaced"):
            put(pictures, 2, Sender(check=move))
        assert ids(pictures) == [1]
        put(pictures, 3)
        assert ids(pictures) == [1, 3]


def test_in_an_empty_data_folder_the_pictures_begin_anew(data: Path) -> None:
    with closing(store(data)) as pictures:
        put(pictures, 1)
        shutil.rmtree(data)
        with pytest.raises(LOST):
            put(pictures, 2)
        data.mkdir()
        put(pictures, 3)
        assert ids(pictures) == [3]


def test_another_copy_in_its_place_is_taken_up_once_it_is_whole(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(store(data)) as pictures:
        put(pictures, 1)
    backup = shutil.copytree(data, data.with_name("backup"))
    os.utime(backup / "snippets" / "snippets.db")
    with closing(store(data)) as pictures:
        put(pictures, 2)
        data.rename(data.with_name("broken"))
        backup.rename(data)
        monkeypatch.setattr(folder, "SETTLED", 3600.0)
        with pytest.raises(OSError, match="somebody writes to it"):
            ids(pictures)
        monkeypatch.setattr(folder, "SETTLED", 0.0)
        put(pictures, 3)
        assert ids(pictures) == [1, 3]


@pytest.mark.parametrize(("doing", "arguments"), [("delete", (1, 2)), ("tidy", (1,))])
def test_numbers_of_one_folder_are_not_removed_from_another(
    data: Path, monkeypatch: pytest.MonkeyPatch, doing: str, arguments: tuple[int, ...]
) -> None:
    other = data.with_name("other")
    other.mkdir()
    with closing(store(other)) as pictures:
        for identity in (1, 2, 3):
            put(pictures, identity)
    with closing(SnapStore(data / "snippets", history=1, max_bytes=2**20, max_files=100)) as pictures:
        put(pictures, 1)

        def found(*_query: object) -> list[tuple[int, str]]:
            data.rename(data.with_name("before"))
            other.rename(data)
            return [(1, "a.png"), (2, "b.png")]

        monkeypatch.setattr(Records, "of", found)
        monkeypatch.setattr(Records, "old", found)
        with pytest.raises(OSError, match="it was moved, removed or replaced"):
            getattr(pictures, doing)(*arguments)
        assert ids(pictures) == [1, 2, 3]


@pytest.mark.parametrize("name", ["snippets.db-wal", "pictures"])
def test_a_part_that_was_removed(data: Path, name: str) -> None:
    gone = data / "snippets" / name
    with closing(store(data)) as pictures:
        put(pictures, 1)
        subprocess.run(["rm", "-r", gone], check=True)
        put(pictures, 2)
        assert ids(pictures) == [1, 2], "what was acknowledged is there, whatever became of the log"
    with closing(store(data)) as pictures:
        assert ids(pictures) == [1, 2]


def test_the_mount_point_of_a_disk_that_is_missing_is_no_folder_to_begin_in(small_disk: Path, data: Path) -> None:
    subprocess.run(["mount", "--bind", small_disk, data], check=True)
    with closing(store(data)) as pictures:
        put(pictures, 1)
        subprocess.run(["umount", "-l", data], check=True)
        with pytest.raises(OSError, match="its disk is not mounted"):
            put(pictures, 2)
        assert not list(data.iterdir())
        subprocess.run(["mount", "--bind", small_disk, data], check=True)
        try:
            put(pictures, 3)
            assert ids(pictures) == [1, 3]
            subprocess.run(["mount", "-t", "tmpfs", "tmpfs", data], check=True)
            put(pictures, 4)
            assert ids(pictures) == [4], "a new disk in the place of the old one"
        finally:
            subprocess.run(["umount", "-l", data], check=True)
    subprocess.run(["umount", "-l", data], check=True)


def test_folders_that_it_makes_are_for_their_owner_alone(tmp_path: Path) -> None:
    with closing(store(tmp_path / "new")):
        for made in (tmp_path / "new", tmp_path / "new" / "snippets"):
            assert made.stat().st_mode & 0o777 == 0o700


def test_a_disk_that_is_mounted_after_the_start_is_begun_in(small_disk: Path, data: Path) -> None:
    with closing(store(data)) as pictures:
        put(pictures, 1)
        subprocess.run(["mount", "--bind", small_disk, data], check=True)
        try:
            put(pictures, 2)
            assert ids(pictures) == [2]
        finally:
            subprocess.run(["umount", "-l", data], check=True)


def test_what_a_full_disk_let_be_removed_by_half_is_removed_when_there_is_room(small_disk: Path) -> None:
    with closing(store(small_disk)) as pictures:
        put(pictures, 1)
        put(pictures, 2)
        ballast = small_disk / "ballast"
        with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
            while file.write(bytes(4096)):
                pass
        with pytest.raises(sqlite3.OperationalError, match="full"):
            pictures.delete(1, 1)
        assert ids(pictures) == [1, 2]
        ballast.unlink()
        put(pictures, 3)
        assert ids(pictures) == [2, 3]


def test_a_disk_that_cannot_be_written_is_read(small_disk: Path) -> None:
    with closing(store(small_disk)) as pictures:
        put(pictures, 1)
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    with closing(store(small_disk)) as pictures:
        assert ids(pictures) == [1]
        for _ in range(2):
            with pytest.raises(LOST):
                put(pictures, 2)
            with pytest.raises(LOST):
                pictures.delete(1, 1)
        assert ids(pictures) == [1]
        subprocess.run(["mount", "-o", "remount,rw", small_disk], check=True)
        put(pictures, 3)
        assert ids(pictures) == [1, 3]


def test_where_a_killed_server_left_writes_to_be_added_a_disk_must_be_writable(small_disk: Path) -> None:
    writing = (
        "import os, sys; sys.path.insert(0, 'src'); import bootstrap; bootstrap.start()\n"
        "from pathlib import Path\n"
        "from imageserver.protocols.snap.local.store import SnapStore\n"
        "store = SnapStore(Path(sys.argv[1]), history=3, max_bytes=2**20, max_files=100)\n"
        "store.put(1, 'png', b'x', 't', {})\n"
        "os._exit(0)\n"
    )
    subprocess.run([sys.executable, "-c", writing, small_disk / "snippets"], check=True)
    assert (small_disk / "snippets" / "snippets.db-wal").stat().st_size
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    with closing(store(small_disk)) as pictures:
        with pytest.raises(sqlite3.OperationalError, match="when its disk can be written"):
            ids(pictures)
        subprocess.run(["mount", "-o", "remount,rw", small_disk], check=True)
        assert ids(pictures) == [1]


def test_pictures_are_for_the_server_alone(tmp_path):
    """Also in a data folder that others may look into."""
    made = folder.SnapFolder(tmp_path / "snippets")
    made.prepare()
    assert made.folder.stat().st_mode & 0o777 == 0o700
