"""The disk is full, cannot be written or is gone: who asks is told, cameras stream on, all works again by itself."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from tests.faults import disks
from tests.faults.load import Cameras, Figures
from tests.running import PATIENCE, Server, picture, until

from imageserver.accounts.database import UserDB

row = pytest.mark.fault(
    "disk full, disk read-only, --data gone",
    "a clear error, serving goes on, nothing corrupted, recovers by itself",
)
Tell = Callable[[str], None]
BOSS = ("boss", "secret")
NOISE = 500.0
"""Milliseconds of an age below which shared processors, on which passwords are hashed, say nothing about the server."""


class World:
    """A server with users, its results and its audit on one disk, and cameras that stream to it meanwhile."""

    def __init__(self, data: Path, server: Server, cameras: Cameras) -> None:
        self.data, self.server, self.cameras = data, server, cameras
        self._number = 0
        self.kept: set[int] = set()
        """Pictures of which was said that they are kept."""
        self.users: set[str] = {"cam", "boss"}
        self.quiet = Figures()

    def begin(self) -> World:
        """Write and read everything, while nothing is wrong."""
        self.cameras.figures()
        for _ in range(2):
            assert set(self.writes().values()) <= {200, 201}
            assert set(self.reads().values()) == {200}
        self.quiet = self.cameras.figures()
        return self

    def ask(self, method: str, path: str, **more: Any) -> requests.Response:
        answer = requests.request(method, self.server.url + path, **{"auth": BOSS} | more, timeout=PATIENCE)
        if answer.status_code in (503, 507):
            assert str(self.data) not in answer.text and "log says why" in answer.text, answer.text
            assert answer.headers["Retry-After"]
        return answer

    def writes(self) -> dict[str, int]:
        """The status of everything that changes what is stored."""
        self._number += 1
        name = f"user {self._number}"
        found = {
            "picture": self.ask("PUT", f"/snippets/{self._number}/", data=picture(80)).status_code,
            "user": self.ask("PUT", f"/users/{name}", json={"password": "x" * 12}).status_code,
            "token": self.ask("POST", "/tokens/", json={"name": name}).status_code,
            "page": self.ask("POST", "/login", json={"user": "boss", "password": "secret"}, auth=None).status_code,
        }
        if found["picture"] == 200:
            self.kept.add(self._number)
        if found["user"] == 201:
            self.users.add(name)
        return found

    def reads(self) -> dict[str, int]:
        """The status of everything that looks at what is stored."""
        paths = ("/snippets/", "/snippets/1/", "/snippets/1/image", "/users/", "/tokens/", "/sessions/")
        return {path: self.ask("GET", path).status_code for path in paths}

    def lose_a_worker(self) -> None:
        """End a worker, and wait for the next one."""
        (former,) = self.server.workers()[:1]
        os.kill(former, signal.SIGKILL)
        until(lambda: self.server.workers() and former not in self.server.workers(), "another worker")

    def recovers(self) -> float:
        """Seconds until all is written and read again."""
        begun = time.monotonic()
        until(lambda: set(self.writes().values()) <= {200, 201}, f"all to be written again\n{self.server.text}", 30)
        assert set(self.reads().values()) == {200}
        return time.monotonic() - begun

    def figure(self, *gauges: str) -> list[float]:
        """Whether these are failing, as the metrics have it."""
        text = self.ask("GET", "/metrics").text
        return [
            float(line.split()[-1])
            for gauge in gauges
            for line in text.splitlines()
            if line.startswith(f'imageserver_disk_failing{{what="{gauge}"}}')
        ]

    def told(self, *beginnings: str) -> list[int]:
        """How many lines of the log hold each of these."""
        return [sum(beginning in line for line in self.server.lines) for beginning in beginnings]


def honest(world: World, lost_worker: bool = False) -> Figures:
    """What cameras saw since the last look: nothing of a fault of the disk."""
    figures = world.cameras.figures()
    assert figures.lost == 0 and figures.connected == 4, figures
    assert lost_worker or not figures.errors, figures.errors
    if not lost_worker:
        assert figures.age(0.99) <= max(2 * world.quiet.age(0.99), NOISE), (figures, world.quiet)
    return figures


@contextlib.contextmanager
def living(data: Path, *options: str, folder: Path | None = None) -> Iterator[World]:
    """A world on a disk; `folder`: for results and audit."""
    users = UserDB(data / "users.db")
    if not users.any():
        users.add("cam", "secret", ("camera",))
        users.add("boss", "secret", ("admin",))
    folder = folder or data
    files = ["--results", str(folder / "results"), "--audit", str(folder / "audit")]
    with Server("-a", *files, *options, data=data) as server:
        server.ready()
        with Cameras(server.port, user="cam", password="secret") as cameras:
            yield World(data, server, cameras.settle()).begin()


def whole(world: World, data: Path | None = None) -> None:
    """What lies on the disk is whole, and holds all that was acknowledged."""
    data = data or world.data
    with contextlib.closing(sqlite3.connect(data / "snippets" / "snippets.db")) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        rows = database.execute("SELECT id, file FROM pictures").fetchall()
    assert {identity for identity, _file in rows} >= world.kept
    assert {file for _identity, file in rows} <= set(os.listdir(data / "snippets" / "pictures"))
    with contextlib.closing(sqlite3.connect(data / "users.db")) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert {name for (name,) in database.execute("SELECT name FROM accounts")} >= world.users
    for line in (data / "results").read_text().splitlines():
        json.loads(line)


@row
@pytest.mark.parametrize(
    ("what", "options"),
    [("room", "size=4M"), pytest.param("inodes", "size=8M,nr_inodes=100", marks=pytest.mark.long)],
)
def test_full(tmp_path: Path, what: str, options: str, tell: Tell) -> None:
    with disks.tmpfs(tmp_path / "disk", options) as disk, living(disk) as world:
        ballast = disks.fill(disk) if what == "room" else disks.use_up(disk)
        for _ in range(2):
            assert world.writes() == {"picture": 507, "user": 503, "token": 503, "page": 503}
            assert set(world.reads().values()) == {200}
        assert world.figure("snippets", "users") == [1.0, 1.0]
        during = honest(world)
        world.lose_a_worker()
        shutil.rmtree(ballast) if ballast.is_dir() else ballast.unlink()
        back = world.recovers()
        honest(world, lost_worker=True)
        assert world.figure("snippets", "users") == [0.0, 0.0]
        assert world.told("pictures cannot be", "pictures can be kept again; 2 could not be") == [1, 1]
        assert world.told("users cannot be read or changed over HTTP", "users can be read and changed again") == [1, 1]
        world.server.__exit__()
        whole(world)
        tell(f"no {what}: {during}; all works {back:.1f} s after there is some")


@row
@pytest.mark.long
@pytest.mark.parametrize("fault", ["refuse_writes", "break_down"])
def test_the_disk_fails_and_another_one_takes_its_place(tmp_path: Path, fault: str, tell: Tell) -> None:
    with disks.ext4(tmp_path / "disk") as disk, living(disk.folder) as world:
        getattr(disk, fault)()
        for _ in range(2):
            assert set(world.writes().values()) == {503}
            assert set(world.reads().values()) == {200 if fault == "refuse_writes" else 503}
        assert world.figure("snippets") == [1.0] or fault == "break_down"  # where nobody can log in nobody can put
        during = honest(world)
        world.lose_a_worker()
        disk.unmount()
        assert not set(world.reads().values()) & {200, 201}, "what is no longer there was read"
        disk.replace()
        back = world.recovers()
        honest(world, lost_worker=True)
        assert not any(world.figure("snippets", "users"))
        assert [world.told("pictures cannot be"), world.told("pictures can be kept again")] in ([[1], [1]], [[0], [0]])
        world.server.__exit__()
        whole(world)
        how = "read-only" if fault == "refuse_writes" else "broken"
        tell(f"disk {how}: {during}; all works {back:.1f} s after a copy of it is mounted")


@row
@pytest.mark.long
def test_a_mount_is_missing_and_back(tmp_path: Path, tell: Tell) -> None:
    with disks.ext4(tmp_path / "disk") as disk, living(disk.folder) as world:
        disk.unmount()
        assert set(world.writes().values()) == set(world.reads().values()) == {503}
        until(lambda: world.told("--results") == [1], "a line about the results")
        assert not list(disk.folder.iterdir()), "nothing is written where the disk will hide it"
        during = honest(world)
        disk.mount()
        back = world.recovers()
        world.server.__exit__()
        whole(world)
        tell(f"not mounted: {during}; all works {back:.1f} s after it is")


@row
@pytest.mark.long
def test_the_data_folder_is_moved_away_and_put_back_again_and_again(tmp_path: Path, tell: Tell) -> None:
    data, away = tmp_path / "data", tmp_path / "away"
    data.mkdir()
    with living(data) as world:
        acknowledged: set[int] = set()
        statuses: set[int] = set()
        ended = threading.Event()

        def put() -> None:
            number = 1000
            while not ended.is_set():
                number += 1
                status = world.ask("PUT", f"/snippets/{number}/", data=picture(80)).status_code
                statuses.add(status)
                if status == 200:
                    acknowledged.add(number)

        thread = threading.Thread(target=put)
        thread.start()
        try:
            for _ in range(4):
                time.sleep(0.15)
                data.rename(away)
                assert set(world.reads().values()) == {503}
                assert world.ask("GET", "/snippets/", auth=None).status_code == 401, "it is open"
                assert not data.exists(), "nobody asked for another one"
                away.rename(data)
                until(lambda: world.ask("GET", "/snippets/").status_code == 200, "the pictures to be there again")
        finally:
            ended.set()
            thread.join()
        during = honest(world)
        back = world.recovers()
        assert statuses == {200, 503}
        world.kept |= acknowledged
        world.server.__exit__()
        whole(world)
        tell(f"moved away four times: {during}; {len(acknowledged)} pictures acknowledged, all there; {back:.1f} s")


@row
@pytest.mark.long
def test_the_data_folder_is_removed_and_made_anew(tmp_path: Path, tell: Tell) -> None:
    data, backup = tmp_path / "data", tmp_path / "backup"
    data.mkdir()
    with living(data) as world:
        shutil.copytree(data, backup)
        data.rename(tmp_path / "removed")
        shutil.rmtree(tmp_path / "removed")
        assert set(world.writes().values()) == set(world.reads().values()) == {503}
        data.mkdir()
        for _ in range(2):
            assert set(world.writes().values()) == set(world.reads().values()) == {503}, "no users: nobody comes in"
            assert world.ask("GET", "/snippets/", auth=None).status_code == 401
        during = honest(world)
        shutil.copy(backup / "users.db", data / "users.new")
        (data / "users.new").rename(data / "users.db")
        world.kept, world.users = set(), {"cam", "boss"}
        until(lambda: set(world.writes().values()) <= {200, 201}, "all to be written again")
        listed = {found["id"] for found in world.ask("GET", "/snippets/").json()["snippets"]}
        assert listed == world.kept, "the pictures begin anew"
        assert world.told("pictures cannot be") in ([0], [1])
        world.server.__exit__()
        whole(world)
        tell(f"--data removed: {during}; nobody came in without users; pictures begin anew")


@row
@pytest.mark.long
def test_a_server_starts_on_a_disk_that_is_read_only(tmp_path: Path, tell: Tell) -> None:
    with disks.tmpfs(tmp_path / "disk") as disk:
        with living(disk) as world:
            users, kept = world.users, world.kept
        gc.collect()  # the test's own connections
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        with Server("-a", data=disk) as server, Cameras(server.port, user="cam", password="secret") as cameras:
            server.ready()
            world = World(disk, server, cameras.settle())
            world.users, world.kept, world._number = users, kept, 10
            for _ in range(2):
                assert set(world.reads().values()) == {200}
                assert set(world.writes().values()) == {503}
            assert world.told("pictures cannot be") == [1]
            during = honest(world)
            subprocess.run(["mount", "-o", "remount,rw", disk], check=True)
            back = world.recovers()
            assert world.told("pictures can be kept again") == [1]
        whole(world)
        tell(f"read-only at the start: {during}; all works {back:.1f} s after it can be written")
