"""The cluster that this machine is part of, found by the file that Ray keeps of it, by a process in its jail."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.running import ROOT, TEST_MODELS

from imageserver.inference.server.jails import rights
from imageserver.inference.server.jails.rights import Jails
from imageserver.inference.shared import manifest as manifests
from imageserver.inference.shared import wire
from imageserver.inference.shared.elsewhere.cluster import ClusterAddress
from imageserver.jail import landlock

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not landlock.version(), reason="this kernel has no Landlock"),
]
ADDRESS = ClusterAddress("127.0.0.1", 1, auto=True)
"""Where nobody listens."""
PROGRAM = """
import bootstrap
bootstrap.provide_package()
from imageserver.inference.shared.elsewhere import cluster
from imageserver.inference.worker.cluster import main
cluster.address = lambda _text: cluster.ClusterAddress("127.0.0.1", 1, auto=True)
main.LOOK_EVERY, main.SETTLES_WITHIN = 0.05, 0.5
main.main()
"""


class Process:
    """One that looks for the cluster, in the jail that the server makes for it at this moment."""

    def __init__(self, folder: Path) -> None:
        (folder / "scratch").mkdir(exist_ok=True)
        jail = Jails([TEST_MODELS], folder / "cache", cluster=ADDRESS).own(manifests.read(TEST_MODELS / "echo"))
        self.socket, theirs = socket.socketpair()
        self.socket.settimeout(60)
        memory = os.memfd_create("arena")
        os.ftruncate(memory, wire.SLOTS * wire.SLOT_BYTES)
        given = ["--control", str(theirs.fileno()), "--arena", str(memory), "--cluster", "auto"]
        given += ["--jail", replace(jail, scratch=str(folder / "scratch")).to_text()]
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, *given, "--cluster-slots", str(wire.SLOTS)],
            pass_fds=(theirs.fileno(), memory),
            env={**os.environ, "RAY_TMPDIR": str(folder)},
            cwd=ROOT / "src",
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        theirs.close()
        os.close(memory)
        self._messages, self._unpacker = list[wire.Message](), wire.Unpacker()
        assert self.receive()["op"] == "hello"
        self.socket.sendall(wire.pack({"op": "load", "model": "echo", "folder": str(TEST_MODELS / "echo")}))

    def receive(self) -> wire.Message:
        while not self._messages:
            data = self.socket.recv(65536)
            if not data:
                raise EOFError
            self._messages += self._unpacker.feed(data)
        return self._messages.pop(0)

    def stays(self) -> bool:
        """Whether it goes on looking."""
        try:
            self.process.wait(1.5)
        except subprocess.TimeoutExpired:
            return True
        return False

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()
        self.socket.close()


@pytest.fixture
def current(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that Ray makes at its start."""
    file = tmp_path / "ray_current_cluster"
    monkeypatch.setattr(rights, "RAY_CURRENT", (str(file),))
    return file


@pytest.fixture
def process(tmp_path: Path, current: Path) -> Iterator[Process]:
    found = Process(tmp_path)
    yield found
    found.close()


def ends(process: Process) -> str:
    """Wait for that; what it has printed."""
    assert process.receive() == {"op": "unreachable", "model": "echo", "error": "the cluster does not answer"}
    with pytest.raises(EOFError):
        process.receive()
    printed = process.process.communicate(timeout=60)[1]
    assert process.process.returncode == 1
    return printed


def test_it_ends_where_the_cluster_was_started_after_it_and_the_next_one_finds_it(
    process: Process, tmp_path: Path, current: Path
) -> None:
    assert process.stays(), "there is nothing that another would find"
    current.write_text("127.6.7.8:6379")
    assert "Ray was started after this process" in ends(process)
    another = Process(tmp_path)
    try:
        assert another.stays()
        current.unlink()
        assert another.stays()
        current.write_text("127.6.7.9:6379")
        assert "ray://127.6.7.8:1 cannot be reached: Connection refused" in ends(another)
    finally:
        another.close()


def test_it_stays_where_no_jail_would_reach_the_file(process: Process, current: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root reads everything")
    current.write_text("127.6.7.8:6379")
    current.chmod(0)
    assert process.stays()
