"""One of several front ends is killed, or all are restarted: cameras come back through nginx and HAProxy themselves."""

from __future__ import annotations

import contextlib
import json
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import requests
from tests.deploy.front_ends import PROXIES, Proxy, behind, leave
from tests.faults import clients
from tests.faults.load import Cameras
from tests.running import PATIENCE, Server, alive, children, picture, until

pytestmark = [pytest.mark.long, pytest.mark.skipif(not PROXIES, reason="needs nginx or HAProxy")]
WITHIN = 5.0
"""Seconds after which a camera whose front end was killed is answered by another one."""
Tell = Callable[[str], None]


@pytest.fixture(params=PROXIES)
def kind(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


@pytest.mark.fault("kill -9 of a front end behind a proxy", "its cameras are answered by the others within 5 s")
def test_a_killed_front_ends_cameras_are_answered_by_the_others(kind: str, tmp_path: Path, tell: Tell) -> None:
    with contextlib.ExitStack() as closing:
        ends, proxy = closing.enter_context(behind(kind, tmp_path))
        file = tmp_path / "picture.jpg"
        file.write_bytes(picture())
        polling = [
            clients.Program(name, *line)
            for name, line in clients.commands(proxy.port, file)
            if "polling" in name and clients.is_here(line)
        ]
        for program in polling:
            closing.callback(program.end)
            until(lambda program=program: program.up_after(0.0) is not None, f"{program.name}: {program.lines}")
        cameras = closing.enter_context(Cameras(proxy.port, count=12, hz=5, reconnect=True)).settle()
        victim = ends.servers["b"]
        workers = children(victim.process.pid)
        victim.process.kill()
        killed = time.monotonic()
        victim.process.wait(PATIENCE)
        until(lambda: cameras.look().lost > 0, "cameras to have lost it")
        until(lambda: cameras.look().connected == 12, "all cameras to be connected again")
        answered = cameras.look().answered
        until(lambda: cameras.look().answered > answered + 24, "answers to all")
        figures = cameras.figures()
        lost = [program for program in polling if any("down" in line and at > killed for at, line in program.lines)]
        for program in lost:
            until(lambda program=program: program.up_after(killed), f"{program.name} to come back")
        until(lambda: not any(map(alive, workers)), "the end of its workers")
    tell(f"{kind}: {figures.lost} of 12 cameras lost theirs; longest silence {figures.silence:.1f} s")
    assert figures.silence < WITHIN
    assert figures.most_lost == 1


@pytest.mark.fault("restart of all front ends behind a proxy", "every real client comes back; who looks is not refused")
def test_every_real_client_comes_back_from_one_that_leaves(kind: str, tmp_path: Path, tell: Tell) -> None:
    with contextlib.ExitStack() as closing:
        ends, proxy = closing.enter_context(behind(kind, tmp_path, "--leave-time", "4"))
        file = tmp_path / "picture.jpg"
        file.write_bytes(picture())
        programs = [
            clients.Program(name, *line) for name, line in clients.commands(proxy.port, file) if clients.is_here(line)
        ]
        for program in programs:
            closing.callback(program.end)
        for program in programs:
            until(lambda program=program: program.up_after(0.0) is not None, f"{program.name}: {program.lines}")
        for name in "bca":
            looks = looked_while_it_leaves(ends.servers[name], proxy)
            assert set(looks) == {200}
            assert len(looks) > 3
            ends.start(name).ready()
        back = time.monotonic()
        for program in programs:
            until(lambda program=program: program.lines[-1][1] != "down", f"{program.name} to come back")
        lost = [program.name for program in programs if any(line == "down" for _at, line in program.lines)]
    tell(f"{kind}: {len(programs)} real clients, all back {time.monotonic() - back:.1f} s after the last one is up")
    assert len(lost) > 5, "all but those that say nothing of it"


def looked_while_it_leaves(server: Server, proxy: Proxy) -> list[int]:
    """Statuses of those who come to look meanwhile: an EventSource that is told 503 never asks again."""
    server.process.send_signal(signal.SIGTERM)
    found = []
    while server.process.poll() is None:
        for user in ("anna", "bert", "carla", "dora"):
            asked = requests.get(proxy.url + "/streams/events", auth=(user, "secret"), stream=True, timeout=PATIENCE)
            found.append(asked.status_code)
            asked.close()
        time.sleep(0.2)
    return found


@pytest.mark.fault("restart of all front ends behind a proxy", "95 % goodput; no camera reconnects twice")
@pytest.mark.parametrize("generation", [3, 4])
def test_all_are_restarted_one_after_the_other(kind: str, generation: int, tmp_path: Path, tell: Tell) -> None:
    """With one that is empty at first: who leaves goes there, where nobody has to leave any more."""
    count, hz = 60, 2
    with contextlib.ExitStack() as closing:
        ends, proxy = closing.enter_context(behind(kind, tmp_path, "--leave-time", "12", first="ab"))
        cameras = Cameras(proxy.port, count=count, hz=hz, reconnect=True, generation=generation)
        closing.enter_context(cameras).settle()
        for spare, name in ("ca", "ab"):
            ends.start(spare).ready()
            until(lambda spare=spare: all(serves(proxy, spare) for _ in range(3)), "the proxy to have seen it")
            leave(ends.servers[name])
        until(lambda: cameras.look().connected == count, "all cameras")
        figures = cameras.figures()
    goodput = figures.answered / (figures.seconds * count * hz)
    tell(f"{kind}, generation {generation}: {goodput:.1%} goodput over {figures.seconds:.0f} s; {figures}")
    assert figures.lost == count
    assert figures.most_lost == 1
    assert goodput >= 0.95


def serves(proxy: Proxy, name: str) -> bool:
    """Whether a newcomer may be given to that front end: the one with the fewest clients."""
    opened = requests.get(proxy.url + "/socket.io/?EIO=4&transport=polling", timeout=PATIENCE).text
    sid = json.loads(opened[1:])["sid"]
    requests.post(f"{proxy.url}/socket.io/?EIO=4&transport=polling&sid={sid}", "1", timeout=PATIENCE)
    return str(sid).startswith(name)
