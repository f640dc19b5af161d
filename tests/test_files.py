"""What is read has a limit, and what is written is there whole or not at all, whenever the process is killed."""

import errno
import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.running import ROOT

from imageserver import files


def test_files_are_read_up_to_their_limit(tmp_path):
    (tmp_path / "a").write_bytes(b"12345")
    assert files.read(tmp_path / "a", 5) == b"12345"
    with pytest.raises(OSError, match="it is larger than 4 bytes"):
        files.read(tmp_path / "a", 4)
    with pytest.raises(OSError, match="it is larger than 1000 bytes|no regular file"):
        files.read(Path("/dev/zero"), 1000)
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(OSError, match="no regular file"):
        files.read(tmp_path / "fifo", 1000)


def test_a_folder_is_there_unless_it_or_its_disk_is_gone(tmp_path):
    files.check_there(tmp_path, files.mount_of(tmp_path))
    files.check_there(Path("/proc"), Path("/"))  # a disk that was mounted since, over the folder
    with pytest.raises(OSError, match="its disk is not mounted"):
        files.check_there(tmp_path, tmp_path)
    with pytest.raises(OSError, match="the folder is gone"):
        files.check_there(tmp_path / "a", tmp_path)


def test_a_file_is_replaced_with_its_mode_and_leaves_nothing_beside_it(tmp_path):
    files.replace(tmp_path / "a", b"old", 0o600)
    files.replace(tmp_path / "a", b"new", 0o600)
    assert (tmp_path / "a").read_bytes() == b"new"
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o600
    assert os.listdir(tmp_path) == ["a"]


def test_a_file_that_cannot_be_written_leaves_the_old_one(tmp_path, monkeypatch):
    files.replace(tmp_path / "a", b"old")
    monkeypatch.setattr(os, "fsync", lambda _descriptor: (_ for _ in ()).throw(OSError(errno.ENOSPC, "full")))
    with pytest.raises(OSError, match="full"):
        files.replace(tmp_path / "a", b"new")
    assert (tmp_path / "a").read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a"]


def test_everything_is_on_the_disk_before_its_name_is(tmp_path, monkeypatch):
    done, real = [], os.fsync
    monkeypatch.setattr(os, "fsync", lambda fd: (done.append(os.readlink(f"/proc/self/fd/{fd}")), real(fd)))
    with files.making(tmp_path, ".making-") as made:
        (made / "net" / "part").mkdir(parents=True)
        (made / "net" / "part" / "a").write_text("1")
        (made / "net" / "b").write_text("2")
        files.publish(made / "net", tmp_path / "net")
    names = [os.path.relpath(path, made) for path in done]
    assert names[:2] in (["net/part/a", "net/part"], ["net/b", "net/part/a"])
    assert sorted(names[:4]) == ["net", "net/b", "net/part", "net/part/a"]
    assert names[3:] == ["net", ".."]
    assert os.listdir(tmp_path) == ["net"]


@pytest.mark.parametrize("without", [False, True], ids=["exchange", "file system without"])
def test_a_folder_takes_the_place_of_another(tmp_path, monkeypatch, without):
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "old").write_text("")
    if without:
        monkeypatch.setattr(files, "_RENAME_EXCHANGE", 64)  # which no kernel knows
    with files.making(tmp_path, ".making-") as made:
        (made / "net").mkdir()
        (made / "net" / "new").write_text("")
        files.publish(made / "net", tmp_path / "net")
    assert os.listdir(tmp_path / "net") == ["new"]
    assert os.listdir(tmp_path) == ["net"]


def test_a_link_is_turned_at_once(tmp_path):
    for name in "ab":
        files.link(tmp_path / "link", Path(name))
        assert (tmp_path / "link").readlink() == Path(name)
    assert os.listdir(tmp_path) == ["link"]


def test_what_a_killed_process_left_is_removed_and_what_is_held_is_not(tmp_path):
    """Whatever their age: a clock that jumps by an hour makes a new one old."""
    left = tmp_path / ".making-left"
    left.mkdir()
    (left / "file").write_text("")
    (tmp_path / "other").mkdir()
    with files.making(tmp_path, ".making-") as held:
        os.utime(held, (0, 0))
        files.clean(tmp_path, ".making-")
        assert sorted(os.listdir(tmp_path)) == sorted([held.name, "other"])


def test_two_may_write_the_same_file_whatever_the_clock_says(tmp_path, monkeypatch):
    """One thread, or process, stands just before its rename while another does it all."""
    (tmp_path / ".a.123").write_bytes(b"left behind")
    (tmp_path / ".a.2026-11-22").write_bytes(b"a person's copy")
    real, within = os.fsync, []

    def fsync(descriptor):
        if not within:
            within.append(os.readlink(f"/proc/self/fd/{descriptor}"))
            os.utime(within[0], (0, 0))
            files.replace(tmp_path / "a", b"2")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    files.replace(tmp_path / "a", b"1")
    assert (tmp_path / "a").read_bytes() == b"1"
    assert sorted(os.listdir(tmp_path)) == [".a.2026-11-22", "a"]


def test_what_is_taken_for_left_behind_before_it_is_held_is_made_again(tmp_path, monkeypatch):
    real, taken = fcntl.flock, []

    def flock(descriptor, operation):
        if not taken and not operation & fcntl.LOCK_NB:
            taken.append(os.readlink(f"/proc/self/fd/{descriptor}"))
            os.rmdir(taken[0]) if os.path.isdir(taken[0]) else os.unlink(taken[0])
        return real(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", flock)
    files.replace(tmp_path / "a", b"1")
    taken.clear()
    with files.making(tmp_path, ".making-") as made:
        assert made.is_dir() and str(made) != taken[0]
    assert os.listdir(tmp_path) == ["a"]


PROGRAM = """
import itertools, os, signal, sys
from pathlib import Path
import bootstrap; bootstrap.provide_package()
from imageserver import files
root = Path(sys.argv[1])
STEPS = ("open", "ctypes.dlsym", "shutil.rmtree", "tempfile.mkdtemp")

def write(number):
    with files.making(root, ".making-") as made:
        (made / "net").mkdir()
        for name in "abc":
            (made / "net" / name).write_text(str(number))
        files.publish(made / "net", root / "net")
    files.replace(root / "record", str(number).encode())
    files.link(root / "link", Path(str(number)))

def kill_before(step):
    steps = itertools.count(1)
    def hook(event, arguments):
        if (event in STEPS or event.startswith("os.")) and next(steps) == step:
            os.kill(os.getpid(), signal.SIGKILL)
    sys.addaudithook(hook)

write(0)
for step in itertools.count(1):
    child = os.fork()
    if child == 0:
        kill_before(step)
        write(step)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    found = [(root / "net" / name).read_text() for name in "abc"]
    found += [(root / "record").read_text(), (root / "link").readlink().name]
    print(step, *found, *os.listdir(root / "net"), flush=True)
    write(0)
    if status == 0:
        break
print(*sorted(os.listdir(root)))
"""


def test_killed_before_any_step_it_is_the_old_one_or_the_new_one(tmp_path):
    """A real process, killed before each of its steps in turn: no mixture, and what it leaves goes with the next."""
    program = [sys.executable, "-c", PROGRAM, str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(program, env=environment, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    *lines, last = done.stdout.splitlines()
    assert len(lines) > 25
    for line in lines:
        step, *values = line.split()
        assert sorted(values[5:]) == ["a", "b", "c"]
        assert values[0] == values[1] == values[2]
        assert set(values[:5]) <= {"0", step}
        assert values[:5] == sorted(values[:5], key=lambda value: value == "0"), "what is written first is new first"
    assert lines[-1].split()[1:6] == [lines[-1].split()[0]] * 5
    assert last == "link net record"
