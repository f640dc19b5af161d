"""The clock jumps by an hour, either way: everybody goes on. And one that was wrong by months is set."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
import websocket
from tests.faults.load import Cameras
from tests.faults.wall import WallClock
from tests.protocols.legacy_tcp.old_client import OldClient
from tests.protocols.legacy_tcp.test_server import address_of, connect
from tests.protocols.session_client import Client
from tests.running import PATIENCE, ROOT, Server, picture, until

from imageserver.accounts.database import UserDB

HOUR, DAY = 3600, 86_400
JUMPS = pytest.mark.fault("clock jumps an hour either way", "no stream, session or token ends by it, ages stay right")


@pytest.fixture
def wall(tmp_path: Path) -> WallClock:
    return WallClock(tmp_path)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    users = UserDB(folder / "users.db")
    for name in ("alice", "bob"):
        users.add(name, "a password", ["camera", "viewer"])
    return folder


def token_of(data: Path, minutes: float) -> str:
    return UserDB(data / "users.db").add_token("alice", days=minutes / 1440)[1]


def login(server: Server) -> dict[str, str]:
    """The headers of a page that has logged in."""
    answer = requests.post(f"{server.url}/login", json={"user": "bob", "password": "a password"}, timeout=PATIENCE)
    assert answer.status_code == 200, answer.text
    return {"Cookie": answer.headers["Set-Cookie"].partition(";")[0]}


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def status(server: Server, headers: dict[str, str]) -> int:
    return requests.get(f"{server.url}/streams/", headers=headers, timeout=PATIENCE).status_code


def clock_of(server: Server) -> float:
    """What the server takes for the time, seconds since 1970."""
    head = requests.get(f"{server.url}/health/live", timeout=PATIENCE).headers["Date"]
    return parsedate_to_datetime(head).timestamp()


def _device(server: Server, token: str, ending: contextlib.ExitStack) -> websocket.WebSocket:
    url = f"ws://127.0.0.1:{server.port}/ws"
    device = websocket.create_connection(url, timeout=PATIENCE, header=bearer(token), suppress_origin=True)
    ending.callback(device.shutdown)
    return device


class Clients:
    """One of each kind that stays; `check` says that it is there still, by using it.

    The token ends in half an hour, and so does a page's login that is not used.
    """

    def __init__(self, server: Server, token: str, ending: contextlib.ExitStack) -> None:
        self.server, self.token = server, token
        self.cookie = login(server)
        self.camera = ending.enter_context(Client(server, auth={"token": token}))
        assert self.camera.start() == {"success": True}
        self.devices = [_device(server, token, ending) for _each in range(2)]
        self.workstation: OldClient = ending.enter_context(connect(address_of(server)))
        assert self.workstation.file(picture(200)) + self.workstation.command(b"MODE", b"INCE") == b"0000"
        self._frames = 0

    def check(self) -> float:
        """All are there; returns the age of a prediction of the session, in ms."""
        assert [status(self.server, shown) for shown in (self.cookie, bearer(self.token))] == [200, 200]
        self._frames += 1
        assert self.camera.frame(self._frames, 1000 + self._frames) == {"success": True}
        prediction: dict[str, Any] = self.camera.wait(self._frames)[-1]
        assert prediction["timestamp"] == 1000 + self._frames
        self.devices[0].send(f"text {self._frames}")
        assert self.devices[1].recv() == f"text {self._frames}"
        assert self.workstation.predict() == b"0P"
        return float(prediction["age_ms"])


@JUMPS
def test_everybody_goes_on(wall: WallClock, data: Path, tell: Callable[[str], None]) -> None:
    options = ("-a", "--tcp-port", "0", "--tcp-open", "--session-models", "echoer", "--page-idle", "30m", "--hz", "20")
    token = token_of(data, 30)
    with (
        wall.server(*options, data=data) as server,
        Cameras(server.port, count=3, hz=5, user="alice", password="a password") as cameras,
        Client(server, auth={"token": token}) as stream,
        contextlib.ExitStack() as ending,
    ):
        clients = Clients(server.ready(), token, ending)
        ages = [clients.check()]
        cameras.settle(2)
        for jump in (HOUR, -HOUR, -HOUR):
            wall.jump(jump)
            assert abs(clock_of(server) - time.time() - wall.ahead) < 30, "the server's clock did jump"
            ages.append(clients.check())
            prediction = stream.ask(picture())
            assert abs(prediction["timestamp"] / 1000 - time.time() - wall.ahead) < 30
            ages.append(float(prediction["age_ms"]))
            cameras.settle(2)
        until(lambda: cameras.look().answered >= 6, "answers after the last jump")
        ages.append(clients.check())
        # `settle` would wait in vain for a camera that was lost; these are not those that come back.
        assert cameras.look().connected == 3 and not cameras.look().errors
        assert all(0 <= age < 10_000 for age in ages), ages
        server.wait_for(r"the clock of this machine jumped by \+36\d\d s: logins follow it slowly, none ends by it")
        server.wait_for(r"the clock of this machine jumped by -36\d\d s")
    tell(f"0 of 8 connections, 1 token and 1 login of a page ended, ages at most {max(ages):.0f} ms")


@JUMPS
@pytest.mark.long
def test_a_clock_that_was_wrong_by_months_is_followed(wall: WallClock, data: Path, tell: Callable[[str], None]) -> None:
    """A machine without a clock of its own: what has ended in truth is seen to have ended once the clock is right."""
    gone, holds = token_of(data, 24 * 60), token_of(data, 300 * 24 * 60)
    wall.set(-90 * DAY)
    with wall.server("-a", data=data) as server:
        server.ready()
        assert [status(server, bearer(token)) for token in (gone, holds)] == [200, 200]
        cookie = login(server)
        with (
            Cameras(server.port, count=2, hz=5, user="bob", password="a password") as cameras,
            contextlib.ExitStack() as ending,
        ):
            device = _device(server, gone, ending)
            cameras.settle()
            wall.set(5 * DAY)
            begun = time.monotonic()
            assert device.recv() == "", "it is closed"
            ended = time.monotonic() - begun
            assert [status(server, shown) for shown in (bearer(gone), bearer(holds), cookie)] == [401, 200, 401]
            assert status(server, login(server)) == 200
            cameras.settle(2)
            assert cameras.look().connected == 2
        server.wait_for("the clock of this machine was set from .*: logins follow it")
    tell(f"set right by 95 days: what lives on a token that has ended is gone after {ended:.1f} s")
    assert ended < 3


@pytest.fixture
def models(tmp_path: Path) -> Path:
    folder = tmp_path / "models"
    folder.mkdir()
    (folder / "echo").symlink_to(ROOT / "tests" / "models" / "echo")
    (folder / "lenet").symlink_to(ROOT / "models" / "lenet")
    return folder


@pytest.fixture
def digits(tmp_path: Path) -> Path:
    """Pictures of nothing, in the form of mnist.npz: enough to train on for minutes."""
    path = tmp_path / "mnist.npz"
    pictures, labels = np.zeros((500, 28, 28), np.uint8), (np.arange(500) % 10).astype(np.uint8)
    np.savez(path, x_train=pictures[:400], y_train=labels[:400], x_test=pictures[400:], y_test=labels[400:])
    return path


@JUMPS
@pytest.mark.long
def test_who_follows_a_training_goes_on(
    wall: WallClock, data: Path, models: Path, digits: Path, tell: Callable[[str], None]
) -> None:
    options = ("--user", "eve:a password", "--mnist", str(digits), "--training-samples", "200000")
    with wall.server(*options, data=data, models=models) as server, requests.Session() as session:
        session.auth = ("eve", "a password")
        assert session.post(f"{server.url}/lenet/train", timeout=PATIENCE).status_code in (200, 202)
        with session.get(f"{server.url}/lenet/train/events", stream=True, timeout=PATIENCE) as answer:
            events = _events(answer)
            for jump in (HOUR, -HOUR, -HOUR):
                wall.jump(jump)
                state, begun = "", time.monotonic()
                while state != "training":  # one of a later moment
                    state = next(events)["state"]
                assert time.monotonic() - begun < PATIENCE
            session.post(f"{server.url}/lenet/train/cancel", timeout=PATIENCE)
            assert [event["state"] for event in events][-1] == "cancelled"
    tell("a training and who follows it went on")


def _events(answer: requests.Response) -> Iterator[dict[str, Any]]:
    for line in answer.iter_lines(chunk_size=1):
        if line.startswith(b"data: "):
            yield json.loads(line[6:])
