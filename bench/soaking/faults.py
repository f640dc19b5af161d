"""What is done to the server of a soak every minute: a fault, and how long it takes until all is well again."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sqlite3
import struct
import time
from collections.abc import Callable

from bench.hostile.target import Target
from bench.soaking.world import ADMIN, World, certificate
from tests.running import alive

PATIENCE = 60.0
LOCKED = 3.0
"""Seconds for which the database of users is out of order."""
CROWD = 1000
ABORT = struct.pack("ii", 1, 0)
"""SO_LINGER by which close() sends a reset."""


def back(world: World, *, within: float = PATIENCE) -> float:
    """Seconds until a picture is answered again, by a login that was not looked up before."""
    begun = time.monotonic()
    picture = world.picture.read_bytes()
    while time.monotonic() < begun + within:
        with contextlib.suppress(OSError):
            if Target(world.server.port, 0, guarded=True).ask("/faces/classify", picture)[0] == 200:
                return time.monotonic() - begun
        time.sleep(0.05)
    raise TimeoutError(f"no picture was answered within {within:g} s")


def gone(pid: int, within: float = PATIENCE) -> float:
    """Seconds until a process has gone."""
    begun = time.monotonic()
    while alive(pid):
        if time.monotonic() > begun + within:
            raise TimeoutError(f"process {pid} was there after {within:g} s")
        time.sleep(0.02)
    return time.monotonic() - begun


def kill_one(world: World, module: str, number: int) -> str:
    """kill -9 of the first process that runs `module`, and whether there is another one in its place."""
    before = world.processes(module)
    if not before:
        return "none was there"
    os.kill(before[0], number)
    begun = time.monotonic()
    while len(set(world.processes(module)) - {before[0]}) < len(before):
        if time.monotonic() > begun + PATIENCE:
            raise TimeoutError(f"{module} was not replaced within {PATIENCE:g} s")
        time.sleep(0.02)
    return f"replaced after {time.monotonic() - begun:.1f} s, a picture answered after {back(world):.1f} s more"


def worker_killed(world: World) -> str:
    return kill_one(world, "inference.worker.main", signal.SIGKILL)


def session_worker_killed(world: World) -> str:
    return kill_one(world, "inference.worker.sessions", signal.SIGKILL)


def worker_stopped(world: World) -> str:
    return kill_one(world, "inference.worker.main", signal.SIGSTOP)


def training_killed(world: World) -> str:
    target = Target(world.server.port, 0, guarded=True)
    target.ask("/lenet/train", b"", ADMIN)
    begun = time.monotonic()
    while not (jobs := world.processes("training.job")):
        if time.monotonic() > begun + 10:
            return "none began"
        time.sleep(0.02)
    os.kill(jobs[0], signal.SIGKILL)
    gone(jobs[0])
    while target.ask("/lenet/train/status", user=ADMIN)[0] == 406:
        if time.monotonic() > begun + PATIENCE:
            raise TimeoutError("the training did not end")
        time.sleep(0.05)
    return f"told {time.monotonic() - begun:.1f} s after its begin"


def users_locked(world: World) -> str:
    database = sqlite3.connect(world.data / "users.db", isolation_level=None, timeout=10)
    try:
        database.execute("BEGIN EXCLUSIVE")
        time.sleep(LOCKED)
        database.execute("ROLLBACK")
    finally:
        database.close()
    return f"locked for {LOCKED:g} s, a picture answered after {back(world):.1f} s more"


def users_gone(world: World) -> str:
    path = world.data / "users.db"
    aside = path.with_suffix(".aside")
    path.rename(aside)
    time.sleep(LOCKED)
    aside.rename(path)
    return f"gone for {LOCKED:g} s, a picture answered after {back(world):.1f} s more"


def certificate_replaced(world: World) -> str:
    certificate(world.certificate[0].parent)
    world.server.process.send_signal(signal.SIGHUP)
    return f"a picture answered after {back(world):.1f} s"


def crowd(world: World) -> str:
    """1,000 connections that begin and are reset, from many addresses."""
    begun = time.monotonic()
    refused = 0
    for number in range(CROWD):
        with socket.socket() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, ABORT)
            sock.bind((f"127.0.7.{number % 250 + 1}", 0))
            try:
                sock.connect(("127.0.0.1", world.server.port))
                sock.sendall(b"GET /health/live HTTP/1.1\r\n")
            except OSError:
                refused += 1
    seconds = time.monotonic() - begun
    return f"{CROWD} within {seconds:.1f} s, {refused} refused, a picture answered after {back(world):.1f} s"


def idle(world: World) -> str:
    """Connections that say nothing, and vanish all at once."""
    socks = []
    for number in range(300):
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, ABORT)
        sock.bind((f"127.0.8.{number % 250 + 1}", 0))
        sock.connect(("127.0.0.1", (world.server.port, world.tcp_port, world.tls_port)[number % 3]))
        socks.append(sock)
    time.sleep(5)
    answered = back(world)
    for sock in socks:
        sock.close()
    return f"300 for 5 s, a picture answered after {answered:.1f} s meanwhile"


FAULTS: dict[str, Callable[[World], str]] = {
    "kill -9 of a worker": worker_killed,
    "users.db locked": users_locked,
    "SIGSTOP of a worker": worker_stopped,
    "a burst of connects": crowd,
    "kill -9 of a session's worker": session_worker_killed,
    "certificate replaced, SIGHUP": certificate_replaced,
    "kill -9 of a training": training_killed,
    "users.db gone": users_gone,
    "idle connections on three ports": idle,
}
"""In the order in which they are done."""
