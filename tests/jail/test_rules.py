"""A jail's rights on a command line, its environment, its scratch folder, and what is looked at from outside."""

from __future__ import annotations

import fcntl
import os
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest

from imageserver.jail import environment, scratch, system, usage
from imageserver.jail.rules import MIB, Jail


def test_a_jail_comes_back_from_a_command_line() -> None:
    jail = Jail(scratch="/tmp/a b", read=("/models", "/with 'quotes' and ü"), network=True, memory=5, variables=("A*",))
    assert Jail.from_text(jail.to_text()) == jail
    assert Jail.from_text(Jail().to_text()) == Jail()


def test_settings_and_secrets_do_not_pass() -> None:
    given = {
        "PATH": "/bin",
        "LC_ALL": "C",
        "OMP_NUM_THREADS": "2",
        "TF_CPP_MIN_LOG_LEVEL": "2",
        "CUDA_VISIBLE_DEVICES": "0",
        "IMAGESERVER_SESSION_KEY": "secret",
        "IMAGESERVER_USER": "me:secret",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "TF_VAR_password": "secret",
        "NVIDIA_API_KEY": "secret",
        "SSH_AUTH_SOCK": "/tmp/agent",
        "https_proxy": "http://me:secret@proxy",
        "DISPLAY": ":0",
        "NOTIFY_SOCKET": "/run/systemd/notify",
    }
    passed = environment.scrubbed(given)
    assert set(passed) == {"PATH", "LC_ALL", "OMP_NUM_THREADS", "TF_CPP_MIN_LOG_LEVEL", "CUDA_VISIBLE_DEVICES"}
    assert set(environment.scrubbed(given, ("DISPLAY", "http*"))) - set(passed) == {"DISPLAY", "https_proxy"}


@pytest.mark.slow
def test_scratch_folders_are_apart_and_for_their_user_alone() -> None:
    made = scratch.Scratch()
    one, other = made.new(), made.new()
    assert one != other
    assert one.parent == other.parent
    assert (one.stat().st_mode & 0o777, one.parent.stat().st_mode & 0o777) == (0o700, 0o700)
    scratch.remove(one.parent)
    assert not one.parent.exists()


@pytest.mark.slow
def test_scratch_folders_are_made_elsewhere_while_the_usual_disk_takes_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual, further = tmp_path / "usual", tmp_path / "further"
    usual.mkdir()
    further.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(usual))
    monkeypatch.setattr(scratch, "FURTHER", (tmp_path / "none", further))
    made = scratch.Scratch()
    assert made.new().is_relative_to(usual)
    usual.rename(tmp_path / "away")
    assert made.new().is_relative_to(further)
    (tmp_path / "away").rename(usual)
    assert made.new().is_relative_to(usual)
    for root in usual.iterdir():
        scratch.remove(root)
    assert made.new().is_relative_to(usual), "somebody has cleared away all temporary files"
    usual.rename(tmp_path / "away")
    monkeypatch.setattr(scratch, "FURTHER", ())
    with pytest.raises(FileNotFoundError):
        made.new()


@pytest.mark.slow
def test_what_a_killed_server_left_is_removed_and_what_one_uses_is_not(tmp_path: Path) -> None:
    left, used, foreign = (tmp_path / name for name in (scratch.PREFIX + "left", scratch.PREFIX + "used", "other"))
    for folder in (left, used, foreign):
        (folder / "worker").mkdir(parents=True)
    descriptor = os.open(used, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    scratch.remove_abandoned(tmp_path)
    os.close(descriptor)
    assert not left.exists()
    assert (used / "worker").is_dir()
    assert (foreign / "worker").is_dir()


@pytest.mark.slow
def test_a_folder_nested_by_the_thousand_is_removed(tmp_path: Path) -> None:
    folder = tmp_path / "scratch"
    folder.mkdir()
    here = os.open(folder, os.O_RDONLY)
    for _ in range(3000):
        os.mkdir("a" * 50, dir_fd=here)
        inner = os.open("a" * 50, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = inner
    os.mkdir("locked", 0o000, dir_fd=here)
    os.close(here)
    assert (
        "cannot be looked through" in usage.excess(os.getpid(), Jail(scratch=str(folder)), 0).text or os.geteuid() == 0
    )
    scratch.remove(folder)
    assert not folder.exists()


def test_what_is_within_its_bounds_is_not_told(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(bytes(MIB))
    jail = Jail(scratch=str(tmp_path), memory=2**40)
    assert usage.excess(os.getpid(), jail, 0) == usage.NOTHING
    assert usage.excess(2**22 + 1, jail, 0) == usage.NOTHING, "a process that has ended"
    assert usage.excess(os.getpid(), replace(jail, scratch=str(tmp_path / "gone")), 0) == usage.NOTHING


def test_too_much_memory_is_told_and_what_is_shared_with_the_server_does_not_count(tmp_path: Path) -> None:
    jail = Jail(scratch=str(tmp_path), memory=MIB)
    assert usage.excess(os.getpid(), jail, 0).limit == "worker_memory"
    assert usage.excess(os.getpid(), jail, 2**40) == usage.NOTHING


def test_too_much_in_the_scratch_folder_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jail = Jail(scratch=str(tmp_path))
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "a").write_bytes(bytes(2 * MIB))
    monkeypatch.setattr(usage, "MOST_SCRATCH", MIB)
    assert usage.excess(os.getpid(), jail, 0).text == "put more than 1 MiB into its scratch folder"
    monkeypatch.setattr(usage, "MOST_FILES", 1)
    assert usage.excess(os.getpid(), jail, 0).text == "put more than 1 files into its scratch folder"


def test_a_secret_beside_the_models_is_told(tmp_path: Path) -> None:
    models, elsewhere = tmp_path / "models", tmp_path / "data"
    jail = Jail(scratch=str(tmp_path / "scratch"), read=(str(models),))
    assert system.exposed(jail, [models / "users.db", elsewhere / "users.db"]) == [models / "users.db"]
