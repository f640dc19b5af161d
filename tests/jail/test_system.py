"""A server without Landlock or without filters, which a filter plays: it says what is missing, and serves."""

from __future__ import annotations

import errno
import sys
from pathlib import Path

import pytest
from tests.running import ROOT, Server

from imageserver.jail import kernel, landlock, seccomp

pytestmark = pytest.mark.skipif(not seccomp.available(), reason="there are no filters here, so none can be played")

START = """
import os, sys
sys.path.insert(0, {root!r})
from tests import conftest
from imageserver.jail import kernel, seccomp
program = [(seccomp.LOAD, 0, 0, seccomp.AT_NUMBER)]
for number in {numbers!r}:
    program += [(seccomp.JUMP_EQUAL, 0, 1, number), (seccomp.RETURN, 0, 0, seccomp.ERRNO | {error!r})]
kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
seccomp.install([*program, (seccomp.RETURN, 0, 0, seccomp.ALLOW)])
os.execv(sys.executable, [sys.executable, {server!r}, *sys.argv[1:]])
"""
FILTERS = [] if kernel.MACHINE not in seccomp.MACHINES else [{"x86_64": 317, "aarch64": 277}[kernel.MACHINE]]
LANDLOCK = [landlock.CREATE_RULESET, landlock.ADD_RULE, landlock.RESTRICT_SELF]


@pytest.mark.parametrize(
    ("numbers", "error", "missing"),
    [
        (LANDLOCK, errno.ENOSYS, ["no Landlock"]),
        (LANDLOCK, errno.EPERM, ["no Landlock"]),
        (FILTERS, errno.ENOSYS, ["no seccomp"]),
        (FILTERS + LANDLOCK, errno.EPERM, ["no Landlock", "no seccomp"]),
    ],
    ids=["no Landlock", "Landlock forbidden", "no filters", "neither, as in a container"],
)
def test_what_is_missing_is_said_once_and_all_is_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, numbers: list[int], error: int, missing: list[str]
) -> None:
    code = START.format(root=str(ROOT), numbers=numbers, error=error, server=str(ROOT / "src" / "ImageServer.py"))
    monkeypatch.setattr(Server, "command", (sys.executable, "-P", "-c", code))
    with Server(data=tmp_path) as server:
        server.ready()
        said = [line for line in server.lines if "is not held in everything" in line]
        assert len(said) == 1, server.text
        assert [word for word in ("no Landlock", "no seccomp") if word in said[0]] == missing
        status, _body = server.get("/health/ready")
        assert status == 200


def test_where_all_is_held_nothing_is_said(tmp_path: Path) -> None:
    if not landlock.version():
        pytest.skip("there is no Landlock here")
    with Server(data=tmp_path) as server:
        server.ready()
        assert "held" not in server.text


def test_what_lies_within_reach_and_a_jail_that_is_off_are_said(tmp_path: Path) -> None:
    models = tmp_path / "models"
    models.mkdir()
    for file in (ROOT / "tests" / "models").iterdir():
        (models / file.name).symlink_to(file)
    with Server("--users", str(models / "users.db"), data=tmp_path, models=models) as server:
        server.ready()
        assert server.find(f"it can read {models}/users.db, which a folder of code or models holds")
    with Server("--no-jail", data=tmp_path) as server:
        server.ready()
        assert server.find("the code of models can do what the server can: --no-jail")
