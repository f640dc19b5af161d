"""Files of lines: whole ones, whatever the disk does; never more than may wait; begun anew by size, and when moved."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from tests.running import PATIENCE, until

from imageserver import lines
from imageserver.errors import SettingError
from imageserver.lines import LinesKind, LinesWriter
from imageserver.metrics import Child


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system with 1 MiB of room."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1M", "tmpfs", disk], capture_output=True).returncode:
        pytest.skip("a small disk takes a user who may mount one")
    yield disk
    subprocess.run(["umount", "-l", disk], check=True)


def kind(**options: Any) -> LinesKind:
    return LinesKind(option="--some", remedy="give another", what="lines", **{"dropped": Child()} | options)


def written_by(writer: LinesWriter) -> Callable[[], bool]:
    """Whether everything that was added has been taken by the thread that writes."""
    return lambda: not writer._waiting


def numbers(path: Path) -> list[int]:
    """The numbers at the lines' beginnings; fails on a line that is not whole."""
    content = path.read_text()
    assert not content or content.endswith("\n")
    return [int(line.split()[0]) for line in content.splitlines()]


def test_a_full_disk_takes_whole_lines_alone_and_the_file_goes_on_when_there_is_room(small_disk: Path) -> None:
    path, ballast = small_disk / "some", small_disk / "ballast"
    ballast.write_bytes(bytes(600 * 1024))
    said: list[str] = []
    regained: list[int] = []
    dropped = Child()
    writer = LinesWriter(str(path), kind(dropped=dropped), said.append, regained.append)
    for number in range(200):
        writer.add(f"{number} {'x' * 5000}")
    until(lambda: len(path.read_text().splitlines()) + dropped.value == 200, "the writer")
    ballast.unlink()
    writer.add("1000")
    writer.close(PATIENCE)
    lost = int(dropped.value)
    assert lost
    assert numbers(path) == [*range(200 - lost), 1000]
    assert said == [
        f"--some {path} cannot be written: the disk is full",
        f"--some {path} can be written again; {lost} lines are missing in it",
    ]
    assert regained == [lost]


def test_what_waits_for_a_disk_that_hangs_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "WAITING_CHARACTERS", 10_000)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    dropped = Child()
    said: list[str] = []
    writer = LinesWriter(str(pipe), kind(dropped=dropped), said.append)
    for _ in range(500):
        writer.add("x" * 1000)
        assert writer._characters <= 10_000
    assert dropped.value > 0
    assert said == [f"--some {pipe} cannot be written: more lines wait than the disk takes"]
    os.set_blocking(reader, True)
    thread = threading.Thread(target=lambda: [None for _ in iter(lambda: os.read(reader, 65536), b"")], daemon=True)
    thread.start()
    writer.close(PATIENCE)
    assert not writer._thread.is_alive()
    os.close(writer._file._descriptor)
    thread.join(PATIENCE)
    os.close(reader)


@pytest.mark.timeout(30)
def test_lines_in_a_named_pipe_wait_for_a_reader_and_for_the_next_one(tmp_path: Path) -> None:
    """Without one the start hung, and when it ended lines were lost."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    said: list[str] = []
    writer = LinesWriter(str(pipe), kind(), said.append)
    for number in range(4):
        writer.add(str(number))
    with open(pipe) as first:
        assert [first.readline() for _ in range(4)] == ["0\n", "1\n", "2\n", "3\n"]
    writer.add("4")
    with open(pipe) as second:
        assert second.readline() == "4\n"
    writer.close(PATIENCE)
    assert said == []


@pytest.mark.timeout(30)
def test_nobody_but_its_own_thread_waits_for_a_pipe_that_is_full(tmp_path: Path) -> None:
    """The server's end waited for whoever waited here."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = LinesWriter(str(pipe), kind(), print)
    for _ in range(100):
        writer.add("x" * 1000)
    assert writer.write(["1", "2"])
    with open(pipe) as reader:
        assert [line for line in (reader.readline() for _ in range(102)) if line != "x" * 1000 + "\n"] == ["1\n", "2\n"]
    writer.close(PATIENCE)


def test_a_file_of_the_size_that_it_may_have_is_begun_anew_and_as_many_are_kept_as_were_asked_for(
    tmp_path: Path,
) -> None:
    path, rotations = tmp_path / "some", []
    bounds = kind(max_bytes=10_000, keep=3, rotated=lambda: rotations.append(1), mode=0o600)
    writer = LinesWriter(str(path), bounds, print)
    for number in range(80):
        writer.add(f"{number} {'x' * 1000}")
        until(written_by(writer), "the writer")
    writer.close(PATIENCE)
    names = ["some", "some.1", "some.2", "some.3"]
    assert sorted(entry.name for entry in tmp_path.iterdir()) == names
    kept = [number for name in reversed(names) for number in numbers(tmp_path / name)]
    assert kept == list(range(kept[0], 80))
    assert len(rotations) > 3
    for entry in tmp_path.iterdir():
        assert entry.stat().st_size < 20_000
        assert entry.stat().st_mode & 0o777 == 0o600


def test_a_gap_among_the_numbered_files_is_filled_first(tmp_path: Path) -> None:
    path = tmp_path / "some"
    path.write_text("2\n" * 10)
    (tmp_path / "some.2").write_text("1\n")
    writer = LinesWriter(str(path), kind(max_bytes=10, keep=2), print)
    writer.add("3")
    writer.close(PATIENCE)
    assert [numbers(tmp_path / name)[0] for name in ("some.2", "some.1", "some")] == [1, 2, 3]


def test_a_file_that_was_moved_or_removed_is_begun_anew(tmp_path: Path) -> None:
    path, moved = tmp_path / "some", tmp_path / "some-20260101"
    writer = LinesWriter(str(path), kind(), print)
    writer.add("1")
    until(path.read_text, "the line")
    path.rename(moved)
    writer.add("2")
    until(path.exists, "another file")
    until(path.read_text, "the line")
    path.unlink()
    writer.add("3")
    writer.close(PATIENCE)
    assert numbers(moved) == [1]
    assert numbers(path) == [3]


@pytest.mark.parametrize(
    ("left", "kept"),
    [
        ('{"a": 1}\n{"b": "ha', '{"a": 1}\n'),
        ('{"b"', ""),
        ('{"a": 1}\n\0\0\0\0', '{"a": 1}\n'),
        ('{"a": 1}\n{"b": 2}', '{"a": 1}\n{"b": 2}\n'),
        ('{"a": 1}\n' + "[" * 100_000, '{"a": 1}\n'),
        ("x" * 3_000_000, "x" * 3_000_000 + "\n"),
        ("", ""),
        ("\n", "\n"),
    ],
)
def test_what_a_kill_left_half_is_removed_and_nothing_else(tmp_path: Path, left: str, kept: str) -> None:
    """Somebody's own last line without its end is a whole one; what is too long to be a line of ours stays."""
    path = tmp_path / "some"
    path.write_text(left)
    writer = LinesWriter(str(path), kind(), print)
    writer.add("3")
    writer.close(PATIENCE)
    assert path.read_text() == kept + "3\n"


def test_a_link_to_another_disk_is_begun_anew_where_the_link_was(tmp_path: Path, small_disk: Path) -> None:
    path = tmp_path / "some"
    path.symlink_to(small_disk / "some")
    writer = LinesWriter(str(path), kind(max_bytes=5), print)
    assert writer.write(["123456"])
    assert writer.write(["7"])
    writer.close(PATIENCE)
    assert numbers(tmp_path / "some.1") == numbers(small_disk / "some") == [123456]
    assert numbers(path) == [7]


def test_half_a_line_on_standard_output_is_ended_before_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "-").write_text("a file of that name")
    reader, writing = os.pipe()
    with open(reader) as shown, open(writing, "w") as pipe:
        monkeypatch.setattr(sys, "stdout", pipe)
        file = lines._LinesFile("-", kind())
        written = os.write(writing, b"123")
        with monkeypatch.context() as patch:
            patch.setattr(os, "write", Mock(side_effect=[written, OSError(28, "No space left on device")]))
            assert file.append(["1234"]) == 0
        assert file.append(["5"]) == 1
        assert os.read(shown.fileno(), 100) == b"123\n5\n"


def test_lines_are_written_at_once_or_it_is_said_that_they_were_not(tmp_path: Path) -> None:
    path, dropped = tmp_path / "some", Child()
    writer = LinesWriter(str(path), kind(), print)
    assert writer.write(["1", "2"])
    assert numbers(path) == [1, 2]
    writer.close(PATIENCE)
    full = LinesWriter("/dev/full", kind(dropped=dropped), print)
    assert not full.write(["1"])
    assert dropped.value == 0
    full.close(PATIENCE)


def test_what_cannot_be_opened_is_said(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="--some .*: Is a directory; give another"):
        LinesWriter(str(tmp_path), kind(), print)


def test_a_folder_in_which_nothing_can_be_renamed_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda _path, _mode: False)  # root may write everywhere
    with pytest.raises(SettingError, match="it could not be renamed at its largest size, since its folder cannot"):
        LinesWriter(str(tmp_path / "some"), kind(max_bytes=1), print)
    LinesWriter(str(tmp_path / "some"), kind(), print).close(PATIENCE)


@pytest.mark.parametrize(
    ("text", "safe"),
    [("Bärbel 猫", "Bärbel 猫"), ("a\nb\x1b[2J", "a\\nb\\x1b[2J"), ("\u202e\udc80", "\\u202e\\udc80")],
)
def test_what_would_steer_a_terminal_is_escaped(text: str, safe: str) -> None:
    assert lines.printable(text) == safe


def test_a_file_that_could_not_be_begun_anew_is_as_soon_as_it_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has been renamed by then, and no other may give way for that."""
    path = tmp_path / "some"
    path.write_text("2\n" * 10)
    (tmp_path / "some.1").write_text("1\n")
    rotations: list[int] = []
    writer = LinesWriter(str(path), kind(max_bytes=10, keep=2, rotated=lambda: rotations.append(1)), print)

    def full(*_arguments: object, **_options: object) -> int:
        raise OSError(24, os.strerror(24))

    with monkeypatch.context() as patched:
        patched.setattr("imageserver.lines.os.open", full)
        assert not writer.write(["3"])
        assert not writer.write(["4"])
    assert writer.write(["5"])
    writer.close(PATIENCE)
    assert [numbers(tmp_path / name)[0] for name in ("some.2", "some.1", "some")] == [1, 2, 5]
    assert len(rotations) == 1
