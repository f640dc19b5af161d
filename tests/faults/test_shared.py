"""The folder that two servers share is full, gone or hangs, and they are killed amid writes, or tidy up at once."""

from __future__ import annotations

import contextlib
import itertools
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests
from tests.faults import disks
from tests.faults.load import Cameras
from tests.running import PATIENCE, Server, picture, until

from imageserver.protocols.snap.pictures import LAST
from imageserver.protocols.snap.shared import record

pytestmark = pytest.mark.long
KILLED = pytest.mark.fault(
    "kill -9 of two servers amid 200 writes to --shared",
    "every acknowledged picture is there afterwards, none is half there",
)
LIMITS = pytest.mark.fault(
    "two servers over the limits of --shared at once", "the oldest give way, once; nothing acknowledged last is lost"
)
FAULTY = pytest.mark.fault(
    "--shared full, read-only, gone, hanging",
    "a clear error within its time, cameras stream on, recovers by itself at both servers",
)
Tell = Callable[[str], None]
COLOURS = 200


@contextlib.contextmanager
def two(tmp_path: Path, shared: Path, *options: str) -> Iterator[tuple[Server, Server]]:
    """Two servers that share a folder."""
    for name in ("a", "b"):
        (tmp_path / name).mkdir(exist_ok=True)
    given = ("--shared", str(shared), *options)
    with Server(*given, data=tmp_path / "a") as a, Server(*given, data=tmp_path / "b") as b:
        yield a.ready(), b.ready()


def put(server: Server, number: int, grey: int = 80, more: bytes = b"") -> requests.Response:
    return requests.put(f"{server.url}/snippets/{number}/", data=picture(grey) + more, timeout=PATIENCE)


def listed(server: Server) -> set[int]:
    """The numbers of all pictures that a server has."""
    found, url = set(), f"{server.url}/snippets/"
    while url:
        page = requests.get(url, timeout=PATIENCE)
        assert page.status_code == 200, page.text
        found |= {snippet["id"] for snippet in page.json()["snippets"]}
        url = requests.compat.urljoin(url, page.links["next"]["url"]) if "next" in page.links else ""
    return found


def files(shared: Path) -> list[Path]:
    """The pictures' files, each of which is whole."""
    found = list((shared / "snippets").glob("??/*/*"))
    for path in found:
        content = path.read_bytes()
        assert len(content) == record.parse(content).end, path
    return found


class Writers:
    """Clients that put pictures to servers until they are gone; numbers below 10 are everybody's."""

    def __init__(self, *servers: Server, prefix: int) -> None:
        self.acknowledged: dict[int, int] = {}
        """Grey values by number, of those numbers that one client alone puts."""
        self.common: set[int] = set()
        self.count = 0
        self._ended = False
        self._threads = [
            threading.Thread(target=self._run, args=(server, prefix + 10_000 * client))
            for client, server in enumerate([*servers, *servers])
        ]

    def __enter__(self) -> Writers:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._ended = True
        for thread in self._threads:
            thread.join()

    def _run(self, server: Server, first: int) -> None:
        for step in itertools.count():
            number, grey = (step % 10, 80) if step % 4 == 0 else (first + step, 20 + step % COLOURS)
            try:
                answer = put(server, number, grey)
            except requests.RequestException:
                return
            if self._ended:
                return
            assert answer.status_code == 200, answer.text
            self.count += 1
            if number < 10:
                self.common.add(number)
            else:
                self.acknowledged[number] = grey


@KILLED
def test_every_acknowledged_picture_is_there(tmp_path: Path, tell: Tell) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    kept: dict[int, int] = {}
    common: set[int] = set()
    total = 0
    for turn in range(1, 4):
        with two(tmp_path, shared) as servers, Writers(*servers, prefix=turn * 100_000) as writers:
            until(lambda writers=writers: writers.count >= 200, "200 acknowledged pictures")
            for server in servers:
                server.process.kill()
            for server in servers:
                server.process.wait()
            writers._ended = True
        kept, common, total = kept | writers.acknowledged, common | writers.common, total + writers.count
        assert {int(path.parent.name) for path in files(shared)} >= kept.keys() | common
        with two(tmp_path, shared) as servers:
            for server in servers:
                assert listed(server) >= kept.keys() | common
            for number, grey in list(kept.items())[:: max(1, len(kept) // 40)]:
                image = requests.get(f"{servers[turn % 2].url}/snippets/{number}/image", timeout=PATIENCE)
                assert image.content == picture(grey)
    tell(f"3 kills of both amid {total} acknowledged pictures: none lost, none half there")


@LIMITS
def test_both_tidy_up_at_once(tmp_path: Path, tell: Tell) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    with two(tmp_path, shared) as (a, b):
        for number in range(1, 121):
            assert put((a, b)[number % 2], number).status_code == 200
    with two(tmp_path, shared, "--snippet-files", "40") as (a, b):
        until(lambda: listed(a) == listed(b) == set(range(81, 121)), "both to have tidied up")
        assert len(files(shared)) == 40
        for number in range(121, 151):
            assert put((a, b)[number % 2], number).status_code == 200
        found = listed(a)
        assert found == listed(b) and found >= set(range(121, 151)), "nothing new has gone"
        assert len(found) <= 40 + 15, "more by what the other has put since it was counted"
        until(lambda: listed(a) == listed(b) == set(range(111, 151)), "both to have counted")
    tell(f"120 pictures, 40 allowed: the 40 newest stayed; {len(found)} behind 30 more, and 40 at the next count")


@FAULTY
def test_full_read_only_and_not_mounted(tmp_path: Path, tell: Tell) -> None:
    with disks.ext4(tmp_path / "shared") as disk, two(tmp_path, disk.folder) as (a, b), Cameras(a.port) as cameras:
        cameras.settle()
        assert put(a, 1).status_code == put(b, 2).status_code == 200
        ballast = disks.fill(disk.folder)
        for server in (a, b):
            refused = put(server, 3, more=bytes(2**14))
            assert refused.status_code == 507 and "log says why" in refused.text
            assert str(disk.folder) not in refused.text
            assert listed(server) == {1, 2}
        ballast.unlink()
        assert put(a, 3).status_code == 200
        subprocess.run(["mount", "-o", "remount,ro", disk.folder], check=True)
        for server in (a, b):
            assert put(server, 4).status_code == 503 and listed(server) == {1, 2, 3}
        subprocess.run(["mount", "-o", "remount,rw", disk.folder], check=True)
        assert put(b, 4).status_code == 200
        disk.unmount()
        for server in (a, b):
            assert put(server, 5).status_code == 503
            assert requests.get(f"{server.url}/snippets/", timeout=PATIENCE).status_code == 503
        assert not list(disk.folder.iterdir()), "nothing is written where the disk will hide it"
        disk.mount()
        assert put(a, 5).status_code == 200 and listed(b) == {1, 2, 3, 4, 5}
        assert put(b, 6).status_code == 200 and listed(a) == {1, 2, 3, 4, 5, 6}
        for server in (a, b):
            until(lambda server=server: said(server)[0] == said(server)[1], "a line that pictures are kept again")
            assert 1 <= said(server)[0] <= 3, server.text
        figures = cameras.figures()
        assert not figures.lost and not figures.errors
        tell(f"full, read-only, not mounted: {figures}")


@FAULTY
def test_a_disk_that_hangs(tmp_path: Path, tell: Tell) -> None:
    limit, jobs = 0.5, 4
    options = ("--shared-time", f"{limit}s", "--shared-jobs", str(jobs))
    with disks.ext4(tmp_path / "shared") as disk, two(tmp_path, disk.folder, *options) as (a, b):
        assert put(a, 1).status_code == 200
        with Cameras(a.port) as cameras:
            cameras.settle()
            cameras.figures()
            slowest = 0.0
            with disk.frozen():
                for _ in range(3 * jobs):
                    for server in (a, b):
                        begun = time.monotonic()
                        assert put(server, 2).status_code == 503
                        slowest = max(slowest, time.monotonic() - begun)
                hanging = [task.name for task in Path(f"/proc/{a.process.pid}/task").iterdir() if _is_ours(task)]
                figures = cameras.figures()
            assert slowest < limit + 2 and len(hanging) <= jobs
            assert not figures.lost and not figures.errors and figures.answered > 10
            until(lambda: put(a, 3).status_code == put(b, 4).status_code == 200, "pictures to be kept again")
            assert {1, 3, 4} <= listed(b) == listed(a)
            begun = time.monotonic()
    assert time.monotonic() - begun < 20
    tell(f"hanging: told within {slowest:.1f} s, {len(hanging)} threads wait; {figures}")


@FAULTY
def test_a_server_that_hangs_at_its_disk_stops_all_the_same(tmp_path: Path, tell: Tell) -> None:
    with disks.ext4(tmp_path / "shared") as disk, two(tmp_path, disk.folder, "--shared-time", "0.3s") as (a, _b):
        assert put(a, 1).status_code == 200
        with disk.frozen():
            assert put(a, 2).status_code == 503
            begun = time.monotonic()
            a.process.terminate()
            until(lambda: a.find("INFO.*stopped|stopped$"), "its last line")
            seconds = time.monotonic() - begun
        a.process.wait(PATIENCE)
        assert a.process.returncode == 0
        assert requests.get(f"{_b.url}/snippets/{LAST}/", timeout=PATIENCE).status_code == 404
        tell(f"a server whose disk hangs has stopped after {seconds:.1f} s")


def said(server: Server) -> list[int]:
    """How many lines of its log say that something began, and how many that it is over."""
    return [sum(text in line for line in server.lines) for text in ("pictures cannot be", "kept again")]


def _is_ours(task: Path) -> bool:
    """Whether a thread waits for the disk."""
    with contextlib.suppress(OSError):
        return (task / "stat").read_text().rpartition(")")[2].split()[0] == "D"
    return False
