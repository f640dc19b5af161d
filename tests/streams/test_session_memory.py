"""Sessions started and dropped in every way, by the thousand: nothing of them may stay, in the server or its worker."""

from __future__ import annotations

import json
import random
import socket
import struct
import sys
import threading
from pathlib import Path
from typing import Any

import psutil
import pytest
import websocket
from tests.conformance.peer import Peer
from tests.protocols.session_client import Client, models_folder, write_model
from tests.running import ROOT, Server, picture, until
from tests.transport.sio import Sio

HOARDER = """
class Model:
    def __init__(self, folder, manifest):
        self.hoard = {}

    def start(self, sid, timestamp):
        self.hoard[sid] = b"x" * 200_000

    def forward_single_frame(self, sid, frame, timestamp):
        return {"hoarder": len(self.hoard[sid])}

    def end(self, sid, timestamp):
        del self.hoard[sid]
        return {"hoarder_left": len(self.hoard)}
"""
LANES = 4
FRAME = picture(40, suffix=".png")


class CountingServer(Server):
    command = (sys.executable, ROOT / "tests" / "counting_server.py")

    def state(self) -> dict[str, Any]:
        state: dict[str, Any] = json.loads(self.get("/state")[1])
        return state

    def settled(self) -> dict[str, Any]:
        """What it holds once no session is left."""
        found: dict[str, Any] = {}

        def empty() -> bool:
            found.update(self.state())
            return not any(found["left"].values())

        until(empty, "the end of all sessions", every=0.5)
        return found


class Many(Sio):
    """One connection with sessions one after the other, dropped in some way or other."""

    def ask_session(self, event: str, data: bytes = b"") -> bool:
        self.emit(event, number=7, data=struct.pack("<Q", 5) + data)
        while not (answer := self.recv()).startswith("437"):
            pass  # a prediction
        return bool(json.loads(json.loads(answer[3:])[0])["success"])

    def leave(self, dice: random.Random) -> None:
        """With a word, without one, or by a reset."""
        way = dice.randrange(3)
        if way == 0:
            self.ws.close(timeout=5)
        elif way == 1:
            self.ws.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.ws.shutdown()


def drop_sessions(server: Server, count: int, seed: int) -> int:
    """Start that many sessions, and end or drop each; how many were started."""
    dice, started = random.Random(seed), 0
    while started < count:
        one = Many(Peer(server.port), dice.choice((3, 4)))
        for _ in range(dice.randrange(1, 12)):
            if not one.ask_session("session_start"):
                break  # those before it are still ending
            started += 1
            for _ in range(dice.randrange(3)):
                one.ask_session("frame", FRAME)
            if dice.random() < 0.15 or not one.ask_session("session_end"):
                break  # the connection vanishes in mid-session
        one.leave(dice)
    return started


def drop_many(server: Server, count: int) -> int:
    """The same by four clients at a time."""
    counts: list[int] = []
    errors: list[BaseException] = []

    def run(seed: int) -> None:
        try:
            counts.append(drop_sessions(server, count // 4, seed))
        except (AssertionError, OSError, ValueError, websocket.WebSocketException) as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors, errors
    return sum(counts)


@pytest.mark.no_loop_probe("asked for what it holds, its server looks at every object, which takes 50 ms")
@pytest.mark.long
@pytest.mark.parametrize("count", [160, pytest.param(10_000, marks=[pytest.mark.timeout(1800)])])
def test_nothing_stays_of_sessions_that_were_started_and_dropped(tmp_path: Path, count: int) -> None:
    models = models_folder(tmp_path)
    write_model(models, "hoarder", HOARDER, f"every_frame = true\nparallel = {LANES}\n")
    with CountingServer("--session-models", "hoarder", "--ping-interval", "4s", models=models, data=tmp_path) as server:
        workers = set(server.ready().workers())
        drop_many(server, 160)
        warm = server.settled()
        (worker,) = (psutil.Process(pid) for pid in set(server.workers()) - workers)
        hoard = worker.memory_info().rss

        assert drop_many(server, count) >= count
        after = server.settled()
        # Timers that were cancelled go with their time, so this may take half a minute.
        until(
            lambda: server.state()["objects"] - warm["objects"] < count / 10,
            "an end of objects: not even one of each tenth session",
            every=0.5,  # the server looks at every object
        )
        assert after["resident"] < warm["resident"] * 1.1
        assert after["descriptors"] <= warm["descriptors"] + 2
        assert worker.memory_info().rss < hoard * 1.1, "each session that stayed would hold 200 KB"

        clients = [Client(server) for _ in range(LANES)]
        try:
            for client in clients:  # one in each lane
                client.start()
            for client in clients:
                client.end()
            assert [client.last_word()["hoarder_left"] for client in clients] == [0] * LANES
        finally:
            for client in clients:
                client.__exit__()
