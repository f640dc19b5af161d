"""What systemd hears: readiness, the watchdog, the end. A datagram socket stands in for systemd."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.running import FrontDoor, Server, until

from imageserver.app import systemd as sd_notify
from imageserver.app.systemd import Notifier, Service


class Systemd:
    """The socket that NOTIFY_SOCKET names."""

    def __init__(self, address: str) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self.sock.bind(address.replace("@", "\0", 1))
        self.heard: list[str] = []

    def lines(self) -> list[str]:
        """All lines so far."""
        while True:
            try:
                self.heard += self.sock.recv(4096).decode().split("\n")
            except BlockingIOError:
                return self.heard

    def take(self) -> list[str]:
        found, self.heard = self.lines(), []
        return found


@pytest.fixture(params=["path", "abstract"])
def systemd(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, Systemd]]:
    address = str(tmp_path / "notify") if request.param == "path" else f"@imageserver-test-{os.getpid()}"
    found = Systemd(address)
    yield address, found
    found.sock.close()


class Imagined:
    """What the service sees of a server, to be set by hand."""

    def __init__(self, address: str, watchdog: float = 0.0) -> None:
        self.now, self.problem, self.coming, self.alive = 0.0, "the default model 'echo' is loading", True, True
        self.service = Service(
            Notifier(address, watchdog),
            problem=lambda: self.problem or None,
            coming=lambda: self.coming,
            alive=lambda: self.alive,
            clock=lambda: self.now,
        )


def test_readiness_comes_with_the_model_and_once(systemd: tuple[str, Systemd]) -> None:
    address, manager = systemd
    server = Imagined(address)
    server.service.look()
    assert manager.take() == ["EXTEND_TIMEOUT_USEC=30000000", "STATUS=the default model 'echo' is loading"]
    server.service.look()
    assert manager.take() == ["EXTEND_TIMEOUT_USEC=30000000"]
    server.problem = ""
    server.service.look()
    assert manager.take() == ["READY=1", "STATUS=ready", "WATCHDOG=1"]
    server.service.look()
    assert manager.take() == ["WATCHDOG=1"]
    server.service.stopping(0)
    assert manager.take() == ["STOPPING=1", "STATUS=stopping"]


def test_clients_that_leave_first_take_more_time_than_a_stop(systemd: tuple[str, Systemd]) -> None:
    address, manager = systemd
    Imagined(address).service.stopping(20)
    assert manager.take() == ["STOPPING=1", "STATUS=stopping", "EXTEND_TIMEOUT_USEC=30000000"]


def test_a_reload_is_told_once_it_is_ready(systemd: tuple[str, Systemd]) -> None:
    address, manager = systemd
    server = Imagined(address)
    with server.service.reloading():
        assert manager.take() == []
    assert manager.take() == []
    server.problem = ""
    server.service.look()
    manager.take()
    with server.service.reloading():
        word, since = manager.take()
        assert word == "RELOADING=1" and 0 < int(since.removeprefix("MONOTONIC_USEC=")) <= time.monotonic_ns() // 1000
    assert manager.take() == ["READY=1"]
    with server.service.reloading():
        server.service.stopping(0)
        manager.take()
    with server.service.reloading():
        pass
    assert manager.take() == [], "a server that stops is not ready any more"


def test_a_model_that_fails_at_the_start_gets_no_more_time(systemd: tuple[str, Systemd]) -> None:
    address, manager = systemd
    server = Imagined(address)
    server.problem, server.coming = "the default model 'echo' is failed", False
    server.service.look()
    server.service.look()
    assert manager.take() == ["STATUS=the default model 'echo' is failed"]


def test_the_watchdog_hears_nothing_while_the_model_is_out_of_order_for_long_or_nobody_listens(
    systemd: tuple[str, Systemd],
) -> None:
    address, manager = systemd
    server = Imagined(address, watchdog=30)
    server.problem = ""
    server.service.look()
    server.problem = "the default model 'echo' is disabled"
    server.now = sd_notify.PATIENCE
    manager.take()
    server.service.look()
    assert manager.take() == ["STATUS=the default model 'echo' is disabled", "WATCHDOG=1"], (
        "a reload is no reason to restart"
    )
    server.now += 1
    server.service.look()
    assert manager.take() == []
    server.problem = ""
    server.service.look()
    assert manager.take() == ["STATUS=ready", "WATCHDOG=1"]
    server.alive = False
    server.service.look()
    assert manager.take() == []


@pytest.mark.parametrize(("watchdog", "pause"), [(0, 5), (30, 5), (9, 3), (0.3, 0.1)])
def test_it_looks_three_times_in_the_watchdogs_time(watchdog: float, pause: float) -> None:
    server = Imagined("", watchdog)
    assert server.service.pause == sd_notify.LOOK_EVERY
    server.problem = ""
    server.service.look()
    assert server.service.pause == pytest.approx(pause)


@pytest.mark.parametrize(
    ("environment", "address", "watchdog"),
    [
        ({}, "", 0),
        ({"NOTIFY_SOCKET": "/run/x", "WATCHDOG_USEC": "1500000", "WATCHDOG_PID": str(os.getpid())}, "/run/x", 1.5),
        ({"NOTIFY_SOCKET": "@x", "WATCHDOG_USEC": "1500000"}, "@x", 1.5),
        ({"NOTIFY_SOCKET": "vsock:2:1", "WATCHDOG_USEC": "x"}, "", 0),
        ({"NOTIFY_SOCKET": "/run/x", "WATCHDOG_USEC": "1500000", "WATCHDOG_PID": "1"}, "/run/x", 0),
    ],
)
def test_the_environment_is_read_and_not_passed_on(environment: dict[str, str], address: str, watchdog: float) -> None:
    left = {**environment, "HOME": "/"}
    found = Notifier.from_environment(left)
    assert (found.address, found.watchdog, left) == (address, watchdog, {"HOME": "/"})


def test_nobody_listens(tmp_path: Path) -> None:
    Notifier(str(tmp_path / "nobody")).send("READY=1")
    Notifier().send("READY=1")


def test_a_real_server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, systemd: tuple[str, Systemd]) -> None:
    address, manager = systemd
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    monkeypatch.setenv("WATCHDOG_USEC", "300000")
    with FrontDoor(data=tmp_path) as server:
        until(lambda: "READY=1" in manager.lines(), "readiness")
        assert server.get("/health/ready")[0] == 200
        until(lambda: manager.lines().count("WATCHDOG=1") > 3, "the watchdog's messages")
        for pid in server.workers():
            assert b"NOTIFY_SOCKET" not in Path(f"/proc/{pid}/environ").read_bytes()
        until(lambda: server.get("/health/ready")[0] == 200, "readiness still")
    assert "STOPPING=1" in manager.lines()


def test_a_real_server_whose_model_does_not_load(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, systemd: tuple[str, Systemd]
) -> None:
    address, manager = systemd
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    with Server(data=tmp_path, model="chest-broken") as server:
        server.wait_for("models ready: none")
        until(lambda: any("chest-broken' is failed" in line for line in manager.lines()), "the status")
        assert "READY=1" not in manager.lines()
        assert server.get("/health/ready")[0] == 503
