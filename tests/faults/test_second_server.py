"""A second server on the same data folder ends before it has touched anything, and names the first."""

from __future__ import annotations

import contextlib
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests
from tests.faults.load import Cameras
from tests.running import FRONT_DOOR, PATIENCE, Server, alive, children, picture, until

ROW = pytest.mark.fault(
    "a second server on the same --data", "it refuses to start and names the first; no picture of the first is lost"
)
KEPT = ("--snippet-files", "100000")


class Putting:
    """Puts picture after picture, each under a number of its own, and remembers what was acknowledged."""

    def __init__(self, server: Server) -> None:
        self.acknowledged: list[int] = []
        self._url, self._ended = server.url, False
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Putting:
        self._thread.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._ended = True
        self._thread.join()

    def _run(self) -> None:
        with requests.Session() as session:
            while not self._ended:
                number = len(self.acknowledged) + 1
                try:
                    answer = session.put(f"{self._url}/snippets/{number}/", data=picture(), timeout=PATIENCE)
                except requests.RequestException:
                    return
                assert answer.status_code == 200, answer.text
                self.acknowledged.append(number)


def kept(server: Server) -> set[int]:
    """Numbers of the pictures that a server has, whole."""
    found, url = set(), f"{server.url}/snippets/"
    while url:
        page = requests.get(url, timeout=PATIENCE)
        found |= {snippet["id"] for snippet in page.json()["snippets"]}
        url = requests.compat.urljoin(url, page.links["next"]["url"]) if "next" in page.links else ""
    return found


@contextlib.contextmanager
def started(*arguments: str, data: Path) -> Iterator[Server]:
    """A server that is expected to end by itself."""
    server = Server(*arguments, data=data)
    try:
        server.process.wait(PATIENCE)
        yield server
    finally:
        server.process.kill()
        server.__exit__()


def refused(server: Server, first: Server) -> None:
    """Whether a server has ended as it should, having named the first."""
    assert server.process.returncode == 75, server.text
    (sentence,) = server.lines
    assert f"(process {first.process.pid} on {os.uname().nodename}, {first.url}, since 20" in sentence
    assert sentence.endswith("stop that one, or give this one a folder of its own with --data")


@ROW
def test_it_is_refused_under_load_and_nothing_is_lost(tmp_path: Path, tell: Callable[[str], None]) -> None:
    link, data = tmp_path / "link", tmp_path / "data"
    data.mkdir()
    link.symlink_to(data)
    with Server(*KEPT, data=data) as first, Cameras(first.port, count=2) as cameras, Putting(first) as putting:
        cameras.settle()
        until(lambda: len(putting.acknowledged) > 20, "pictures")
        begun = time.monotonic()
        with started(data=data) as second, started("--https-port", "0", data=link) as third:
            refused(second, first)
            refused(third, first)
        seconds = time.monotonic() - begun
        answers = cameras.look().answered
        until(lambda: cameras.look().answered > answers, "answers afterwards")
        figures = cameras.figures()
        assert not figures.lost and not figures.errors
        putting.__exit__()
        lost = set(putting.acknowledged) - kept(first)
        assert not lost
        tell(
            f"refused twice with 75 within {seconds:.1f} s, {len(lost)} of {len(putting.acknowledged)} acknowledged "
            f"pictures and {figures.lost} of {figures.connected} cameras lost"
        )


@ROW
@pytest.mark.long
def test_the_lock_ends_with_a_kill_though_children_are_there(tmp_path: Path, tell: Callable[[str], None]) -> None:
    with Server("--preload", "slow", "--workers", "2", data=tmp_path) as first:
        workers = until(lambda: found if len(found := children(first.ready().process.pid)) > 1 else None, "workers")
        held = {os.path.realpath(tmp_path), os.path.realpath(tmp_path / "server.lock")}
        for pid in (first.process.pid, *workers):
            files = {os.readlink(entry) for entry in Path(f"/proc/{pid}/fd").iterdir() if os.path.islink(entry)}
            assert held & files == (held if pid == first.process.pid else set())
        first.process.kill()
        first.process.wait()
        begun = time.monotonic()
        with Server(data=tmp_path) as second:
            tell(f"after a kill -9 the next one listens within {time.monotonic() - begun:.1f} s")
            assert (tmp_path / "server.lock").read_text().startswith(f"process {second.process.pid} on ")
    until(lambda: not any(map(alive, workers)), "the end of the workers")


@ROW
@pytest.mark.long
def test_of_two_that_start_at_the_same_moment_one_goes_on(tmp_path: Path, tell: Callable[[str], None]) -> None:
    rounds = 5
    for _round in range(rounds):
        servers = [Server(data=tmp_path) for _ in range(3)]
        try:
            until(lambda many=servers: sum(server.process.poll() is not None for server in many) == 2, "two ends")
            (first,) = [server for server in servers if server.process.poll() is None]
            with first:
                first.ready()
                for server in servers:
                    if server is not first:
                        assert server.process.returncode == 75 and f"process {first.process.pid} on" in server.text
        finally:
            for server in servers:
                server.__exit__()
    tell(f"of three at the same moment one went on, {rounds} times")


CONTAINER = """
hostname camera-2 && mount --bind "$1" "$2" && cd / && shift 2 && exec unshare --pid --fork --mount-proc "$@"
"""


@ROW
@pytest.mark.long
@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes namespaces")
def test_it_is_refused_in_a_container_as_well(tmp_path: Path, tell: Callable[[str], None]) -> None:
    """By another path, with other process numbers, on a machine of another name."""
    data, mounted = tmp_path / "data", tmp_path / "mounted"
    data.mkdir()
    mounted.mkdir()
    with Server(data=data) as first:
        within = ["unshare", "--uts", "--mount", "sh", "-c", CONTAINER, "sh", data, mounted]
        options = ["--data", mounted, "-i", "127.0.0.1", "-p", "0", "--tcp-port", "off"]
        done = subprocess.run(
            [*within, *FRONT_DOOR, *options], capture_output=True, text=True, timeout=PATIENCE, check=False
        )
        assert done.returncode == 75, done.stderr
        assert f"(process {first.process.pid} on {os.uname().nodename}, {first.url}, since" in done.stderr
    tell("refused in a container")
