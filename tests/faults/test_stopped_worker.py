"""Processes of the server are stopped (SIGSTOP) and never go on by themselves: they are noticed and replaced."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests
from tests import screens
from tests.faults.load import Cameras, Figures
from tests.faults.test_killed import WORKERS, trainer
from tests.inference.server.test_costly import png
from tests.protocols.session_client import Client
from tests.running import PATIENCE, Server, alive, children, processes, until

ROW = "SIGSTOP of a worker for 30 s"
PROMISE = "noticed within 10 s, replaced; other models unaffected; nothing is left"
NOTICED = 10.0
"""Seconds: a stopped process is seen at five looks, one a second, and its successor starts."""
STOPPED_FOR = 30.0
FLOOR = 200.0
"""Milliseconds below which the longest of a hundred ages says nothing on a machine that others use as well."""
Tell = Callable[[str], None]


@contextmanager
def stopped(pid: int) -> Iterator[float]:
    """The process is stopped; SIGCONT comes afterwards, to whatever is left of it. The moment, in monotonic seconds."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield time.monotonic()
    finally:
        if alive(pid):
            os.kill(pid, signal.SIGCONT)


def nothing_left(server: Server, pid: int) -> None:
    """No process of that number, stopped or a zombie, and no memory that it shared."""
    assert not os.path.exists(f"/proc/{pid}")
    children = [each for each in Path("/proc").iterdir() if each.name.isdigit()]
    states = {each.name: state_of(each) for each in children if parent_of(each) == server.process.pid}
    assert not [name for name, state in states.items() if state in "TZ"], states
    until(lambda: len(arenas(server)) <= len(states), "the end of the memory that was shared", 5)


def arenas(server: Server) -> list[str]:
    """The memory that a server shares with its processes."""
    lines = Path(f"/proc/{server.process.pid}/maps").read_text().splitlines()
    return [line for line in lines if "imageserver-arena" in line]


def stat_of(process: Path) -> list[str]:
    try:
        return (process / "stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return ["", "0"]


def state_of(process: Path) -> str:
    return stat_of(process)[0]


def parent_of(process: Path) -> int:
    return int(stat_of(process)[1])


def unaffected(quiet: Figures, during: Figures) -> None:
    """The ages stay under twice what they were, as far as a busy machine lets that be seen."""
    assert during.age(0.99) < max(2 * quiet.age(0.99), FLOOR), (str(quiet), str(during))
    assert not during.lost and not during.errors


@pytest.mark.fault(ROW, PROMISE)
@pytest.mark.parametrize(
    ("seconds", "count"),
    [pytest.param(0.0, 2, id="quick"), pytest.param(STOPPED_FOR, 4, id="30 s", marks=pytest.mark.long)],
)
def test_a_worker(tmp_path: Path, tell: Tell, seconds: float, count: int) -> None:
    """One of two, amid frames: what was under way on it is lost and the stream goes on, the other worker serves all."""
    with Server("--workers", "2", data=tmp_path) as server:
        with Cameras(server.ready().port, count=count) as cameras:
            quiet = cameras.settle().during(max(1.0, seconds / 3))
            pid = processes(server, WORKERS)[0]
            with stopped(pid) as begun:
                until(lambda: not os.path.exists(f"/proc/{pid}"), "its end")
                noticed = time.monotonic() - begun
                until(lambda: len(processes(server, WORKERS)) == 2, "another")
                replaced = time.monotonic() - begun
                cameras.figures() if seconds else None
                time.sleep(max(0.0, seconds - replaced))
            figures = cameras.figures()
        server.wait_for(rf"\(process {pid}\) ended by signal SIGKILL after it was stopped by a signal")
        nothing_left(server, pid)
    tell(f"ended after {noticed:.1f} s, replaced after {replaced:.1f} s, longest silence {figures.silence:.1f} s")
    tell(f"ages p99 {quiet.age(0.99):.0f} ms before, {figures.age(0.99):.0f} ms in all")
    assert replaced < NOTICED
    assert not figures.lost and not figures.errors
    if seconds:
        unaffected(quiet, figures)


@pytest.mark.long
@pytest.mark.fault(ROW, PROMISE)
def test_a_worker_that_only_starts_or_loads(tmp_path: Path, tell: Tell) -> None:
    """Nobody's batch runs on it, so no limit of a batch ends it; all the same the models come back."""
    with Server("--workers", "1", data=tmp_path) as server, Cameras(server.ready().port) as cameras:
        cameras.settle()
        (first,) = processes(server, WORKERS)
        os.kill(first, signal.SIGKILL)
        (second,) = until(lambda: [pid for pid in processes(server, WORKERS) if pid != first], "another")
        with stopped(second) as begun:
            until(lambda: not os.path.exists(f"/proc/{second}"), "its end")
            cameras.figures()
            until(lambda: cameras.look().answered >= 8, "answers")
            back = time.monotonic() - begun
        assert not cameras.figures().lost
        nothing_left(server, second)
    tell(f"one that starts: back after {back:.1f} s")
    assert back < NOTICED


@pytest.mark.long
@pytest.mark.fault(ROW, PROMISE)
def test_a_sessions_worker(tmp_path: Path, tell: Tell) -> None:
    """The frame is told, the session goes on with a fresh model, and streams notice nothing."""
    options = ("--session-models", "sleeper", "--preload", "sleeper", "--merge-deadline", "20s")
    with Server(*options, data=tmp_path) as server, Cameras(server.ready().port) as cameras, Client(server) as client:
        quiet = cameras.settle().during(5)
        client.start()
        client.frame(1, 1)
        client.wait(1)
        (pid,) = processes(server, "inference.worker.sessions")
        cameras.figures()
        with stopped(pid) as begun:
            client.frame(2, 2)
            told = client.wait(2)[1]
            client.frame(3, 3)
            assert client.wait(3)[2]["sleeper_number"] == 3
            back = time.monotonic() - begun
        during = cameras.figures()
        nothing_left(server, pid)
    tell(f"of a session: told {told['errors']['sleeper']!r}, back after {back:.1f} s; cameras: {during}")
    assert back < NOTICED
    unaffected(quiet, during)


@pytest.mark.long
@pytest.mark.fault(ROW, PROMISE)
def test_the_display(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tell: Tell) -> None:
    with screens.screen() as name:
        monkeypatch.setenv("DISPLAY", name)
        monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
        with Server("-d", data=tmp_path) as server, Cameras(server.ready().port) as cameras:
            until(lambda: len(screens.titles()) == 4, "the windows")
            quiet = cameras.settle().during(5)
            (pid,) = processes(server, "display.process")
            with stopped(pid) as begun:
                server.wait_for("windows are shown again")
                until(lambda: len(screens.titles()) == 4, "the windows again")
                back = time.monotonic() - begun
            during = cameras.figures()
            nothing_left(server, pid)
    tell(f"of the display: windows back after {back:.1f} s; cameras: {during}")
    assert back < NOTICED
    unaffected(quiet, during)


@pytest.mark.long
@pytest.mark.fault(ROW, PROMISE)
def test_the_screen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tell: Tell) -> None:
    """The display process itself runs, and waits for a screen that does not answer: frames flow on."""
    with screens.screen() as name:
        monkeypatch.setenv("DISPLAY", name)
        monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
        with Server("-d", data=tmp_path) as server, Cameras(server.ready().port) as cameras:
            until(lambda: len(screens.titles()) == 4, "the windows")
            quiet = cameras.settle().during(5)
            (pid,) = processes(server, "display.process")
            (screen,) = [
                each for each in children(os.getpid()) if b"Xvfb" in Path(f"/proc/{each}/cmdline").read_bytes()
            ]
            with stopped(screen) as begun:
                until(lambda: not os.path.exists(f"/proc/{pid}"), "the end of the display process")
                noticed = time.monotonic() - begun
            until(lambda: len(screens.titles()) == 4, "the windows again")
            during = cameras.figures()
            server.wait_for("the display process showed nothing for 10 s")
    tell(f"of the screen: given up after {noticed:.1f} s, and windows are back once it goes on; cameras: {during}")
    assert noticed < 2 * NOTICED
    unaffected(quiet, during)


@pytest.mark.long
@pytest.mark.fault(ROW, PROMISE)
def test_a_training(tmp_path: Path, tell: Tell) -> None:
    options, models = trainer(tmp_path)
    data = tmp_path / "data"
    data.mkdir()
    with (
        Server(*options, data=data, models=models) as server,
        Cameras(server.ready().port) as cameras,
        requests.Session() as session,
    ):
        session.auth = ("nn", "a password")
        cameras.settle()
        assert session.post(server.url + "/lenet/train", timeout=PATIENCE).status_code == 200
        (pid,) = processes(server, "training.job")
        with stopped(pid) as begun:
            with session.get(server.url + "/lenet/train/events", stream=True, timeout=PATIENCE) as events:
                lines = [line for line in events.iter_lines(chunk_size=1) if line.startswith(b"data: ")]
            told = json.loads(lines[-1][6:])
            noticed = time.monotonic() - begun
        nothing_left(server, pid)
        assert not list((data / "models" / ".versions" / "lenet").glob("*")), "nothing half"
        assert session.post(server.url + "/lenet/train", timeout=PATIENCE).status_code == 200, "the next one starts"
        figures = cameras.figures()
    tell(f"of a training: told {told['text'].partition(' ended ')[2]!r} after {noticed:.1f} s")
    assert told["state"] == "failed"
    assert noticed < NOTICED
    assert not figures.lost and not figures.errors


@pytest.mark.long
@pytest.mark.fault(ROW, PROMISE)
def test_the_process_of_costly_pictures(tmp_path: Path, tell: Tell) -> None:
    with Server("--costly-bytes", "1MiB", data=tmp_path) as server, Cameras(server.ready().port) as cameras:

        def ask(number: int) -> requests.Response:
            body, headers = png(1200, 1200, number), {"Content-Type": "image/png"}
            return requests.post(server.url + "/echo/classify", body, headers=headers, timeout=PATIENCE)

        assert ask(1).status_code == 200
        quiet = cameras.settle().during(5)
        (pid,) = processes(server, "inference.worker.costly")
        with stopped(pid) as begun:
            told = ask(2)
            noticed = time.monotonic() - begun
        assert ask(3).status_code == 200
        during = cameras.figures()
        nothing_left(server, pid)
    tell(f"of costly pictures: answered by another after {noticed:.1f} s; cameras: {during}")
    assert told.status_code == 200
    assert noticed < NOTICED
    unaffected(quiet, during)
