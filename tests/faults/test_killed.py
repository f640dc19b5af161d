"""Processes of the server are killed under load: nobody loses a connection, and all is back at once."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import requests
from tests import screens
from tests.faults.load import Cameras
from tests.faults.requests_at_doors import Requests
from tests.inference.server.test_costly import png
from tests.protocols.session_client import Client
from tests.running import PATIENCE, ROOT, TEST_MODELS, Camera, Server, picture, processes, until

PROMISE = "no connection lost; every request answered or told; back within 3 s"
BACK = 3.0
"""Seconds."""
WORKERS = "inference.worker.main"
Tell = Callable[[str], None]


def kill(*pids: int, by: signal.Signals = signal.SIGKILL) -> float:
    """End processes; returns when, in monotonic seconds."""
    for pid in pids:
        os.kill(pid, by)
    return time.monotonic()


def under_load(tmp_path: Path, tell: Tell, *options: str, fault: Callable[[Server], float], what: str) -> None:
    """Four cameras and requests at every door, while `fault` happens; it returns when it did."""
    options = ("--tcp-port", "0", "--preload", "chest", *options)
    with Server(*options, data=tmp_path) as server, Cameras(server.ready().port) as cameras:
        server.wait_for("models ready: echo, chest")
        with Requests(server) as asking:
            until(lambda: asking.every_door >= 2, "answers at every door")
            cameras.settle()
            begun = fault(server)
            cameras.figures()
            until(lambda: cameras.look().answered >= 8, "the cameras' answers")
            back = time.monotonic() - begun
            before = asking.every_door
            until(lambda: asking.every_door >= before + 3, "answers at every door")
        figures = cameras.figures()
        tell(f"{what}: back after {back:.1f} s, longest silence {figures.silence:.1f} s, {figures.lost} lost, {asking}")
        assert not figures.lost and figures.connected == 4
        assert not asking.lost, asking.sentences
        assert back < BACK and figures.silence < BACK


@pytest.mark.fault("kill -9 of a worker", PROMISE)
def test_the_only_worker(tmp_path: Path, tell: Tell) -> None:
    under_load(
        tmp_path, tell, "--workers", "1", fault=lambda server: kill(*processes(server, WORKERS)), what="one of one"
    )


@pytest.mark.fault("kill -9 of a worker", PROMISE)
def test_a_camera_that_waits_for_each_answer_has_it(tmp_path: Path, tell: Tell) -> None:
    """It sends no newer frame, so the one that was lost has another try."""
    with Server("--workers", "1", data=tmp_path, model="slow") as server, Camera(server.ready()) as camera:
        (worker,) = processes(server, WORKERS)
        os.kill(worker, signal.SIGSTOP)  # so that it is killed amid the frame
        camera.send(picture(9))
        until(lambda: b'batch_size_count{model="slow"} 1' in server.get("/metrics")[1], "the frame to be under way")
        begun = kill(worker)
        until(lambda: camera.predictions, "the answer")
        back = time.monotonic() - begun
        tell(f"a frame alone is answered after {back:.1f} s")
        # It is decoded apart now, as it may have been what ended the worker: no time is promised for that.
        assert camera.predictions[0]["label"] == "9" and camera.predictions[0]["dropped"] == 0


@pytest.mark.long
@pytest.mark.fault("kill -9 of a worker", PROMISE)
@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT], ids=lambda end: end.name)
def test_all_workers_at_once(tmp_path: Path, tell: Tell, end: signal.Signals) -> None:
    def fault(server: Server) -> float:
        found = processes(server, WORKERS)
        assert len(found) == 2
        return kill(*found, by=end)

    under_load(tmp_path, tell, "--workers", "2", fault=fault, what=f"both by {end.name}")


@pytest.mark.long
@pytest.mark.fault("kill -9 of a worker", PROMISE)
def test_again_while_it_starts(tmp_path: Path, tell: Tell) -> None:
    """Three times more, each as soon as there is a process: the last one is left."""

    def fault(server: Server) -> float:
        killed: list[int] = []
        begun = time.monotonic()
        for _ in range(4):
            (found,) = until(lambda: [pid for pid in processes(server, WORKERS) if pid not in killed], "a worker")
            begun = kill(found)
            killed.append(found)
        return begun

    under_load(tmp_path, tell, "--workers", "1", fault=fault, what="four times in a row")


@pytest.mark.long
@pytest.mark.fault("kill -9 of a worker", PROMISE)
def test_the_process_of_costly_pictures(tmp_path: Path, tell: Tell) -> None:
    """Who sent the picture is told, nobody else notices, and the next such picture is decoded."""
    with Server("--costly-bytes", "1MiB", data=tmp_path) as server, Cameras(server.ready().port) as cameras:
        with requests.Session() as session:

            def ask(number: int) -> requests.Response:
                file, headers = png(1200, 1200, number), {"Content-Type": "image/png"}
                url, login = server.url + "/echo/classify", ("a", "b")
                return session.post(url, data=file, headers=headers, auth=login, timeout=PATIENCE)

            assert ask(1).status_code == 200
            (process,) = processes(server, "inference.worker.costly")
            cameras.settle()
            begun = kill(process)
            assert ask(2).status_code == 200
            back = time.monotonic() - begun
        figures = cameras.figures()
        tell(f"the process of costly pictures: back after {back:.1f} s, {figures.lost} lost")
        assert back < BACK
        assert not figures.lost and not figures.errors


@pytest.mark.fault("kill -9 of the display", "windows come back within 3 s by themselves; frames flow on meanwhile")
@pytest.mark.parametrize(
    "times", [pytest.param(1, id="once"), pytest.param(3, id="three times", marks=pytest.mark.long)]
)
def test_the_display(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tell: Tell, times: int) -> None:
    with screens.screen() as name:
        monkeypatch.setenv("DISPLAY", name)
        monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
        with Server("-d", data=tmp_path) as server, Cameras(server.ready().port, count=2) as cameras:
            until(lambda: len(screens.titles()) == 2, "two windows")
            cameras.settle()
            backs = []
            for number in range(times):
                (process,) = processes(server, "display.process")
                begun = kill(process)
                until(lambda count=number: server.text.count("windows are shown again") > count, "it is said")
                until(lambda: len(screens.titles()) == 2, "both windows to come back")
                backs.append(time.monotonic() - begun)
            figures = cameras.figures()
            server.wait_for(r"-d: no windows are shown.* by signal SIGKILL")
        tell(f"windows back after {max(backs):.1f} s, {figures}")
        assert not figures.lost and not figures.errors
        # Pauses grow from half a second on.
        assert all(back < BACK + 0.5 * 2**index for index, back in enumerate(backs))


@pytest.mark.fault("kill -9 of a session's worker", "no connection lost; the frame is told, the session goes on in 3 s")
def test_a_sessions_worker(tmp_path: Path, tell: Tell) -> None:
    options = ("--session-models", "sleeper", "--preload", "sleeper", "--merge-deadline", "10s")
    with Server(*options, data=tmp_path) as server, Client(server) as client, Client(server) as other:
        for each in (client, other):
            assert each.start()["success"]
            each.frame(1, 1)
            each.wait(1)
        (worker,) = processes(server, "inference.worker.sessions")
        os.kill(worker, signal.SIGSTOP)  # so that it is killed amid this frame
        client.frame(2, 2)
        begun = kill(worker)
        told = client.wait(2)[1]
        client.frame(3, 3)
        other.frame(4, 4)
        assert client.wait(3)[2]["sleeper_number"] == 3
        back = time.monotonic() - begun
        assert other.wait(2)[1]["sleeper_number"] == 4
        tell(f"the frame is told {told['errors']['sleeper']!r}; back after {back:.1f} s, 0 connections lost")
        assert "started anew" in told["errors"]["sleeper"]
        assert client.client.connected and other.client.connected
        assert back < BACK
        assert client.end()["success"]
        assert client.last_word()["sleeper_frames"] == 1, "a fresh model, which has seen one frame"


def trainer(folder: Path) -> tuple[tuple[str, ...], Path]:
    """Options and models of a server that can train: 20 grey pictures of each digit are enough to begin."""
    models = folder / "models"
    models.mkdir()
    shutil.copytree(ROOT / "models" / "lenet", models / "lenet")
    (models / "echo").symlink_to(TEST_MODELS / "echo")
    labels = (np.arange(300) % 10).astype(np.uint8)
    pictures = np.zeros((300, 28, 28), np.uint8)
    file = folder / "mnist.npz"
    np.savez(file, x_train=pictures[:200], y_train=labels[:200], x_test=pictures[200:], y_test=labels[200:])
    return ("--user", "nn:a password", "--mnist", str(file)), models


@pytest.mark.fault(
    "kill -9 of a training", "followers are told in a sentence; nothing half is left; the next one starts"
)
def test_a_training(tmp_path: Path, tell: Tell) -> None:
    options, models = trainer(tmp_path)
    data = tmp_path / "data"
    data.mkdir()
    with Server(*options, data=data, models=models) as server, requests.Session() as session:
        session.auth = ("nn", "a password")
        for _ in range(2):
            begun = session.post(server.url + "/lenet/train", timeout=PATIENCE)
            assert begun.status_code == 200, begun.text
            with session.get(server.url + "/lenet/train/events", stream=True, timeout=PATIENCE) as events:
                lines = events.iter_lines(chunk_size=1)
                assert any(b'"preparing"' in line for line in lines)
                (job,) = processes(server, "training.job")
                killed = kill(job)
                told = json.loads([line for line in lines if line.startswith(b"data: ")][-1][6:])
            back = time.monotonic() - killed
            assert told["state"] == "failed"
            assert "ended by signal SIGKILL; the model from before serves" in told["text"]
            status = session.get(server.url + "/lenet/train/status", timeout=PATIENCE).json()
            assert status["note"] == told["text"]
            assert not list((data / "models" / ".versions" / "lenet").glob("*")), "nothing half"
            assert back < BACK
        tell(f"told {told['text'].partition(' ended ')[2]!r} after {back:.1f} s; the next one started")
