"""What each part takes: a real Redis, a real front end, and messages that others would have said.

Processor time is what is counted, so other work on the machine makes it longer by what it takes of caches alone.
"""

from __future__ import annotations

import datetime
import functools
import itertools
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench.simulation.parts import MessageTimes, RelayTimes
from bench.simulation.relay.broker import HARD, SOFT, SOFT_SECONDS
from bench.simulation.relay.real import ROOM, TEXT, RealFrontEnd, pid_of, processor_time, rows
from bench.simulation.relay.threads import BRISK, DROWSY
from tests import redis_server
from tests.redis_server import RedisServer
from tests.running import until

from imageserver.commands.plan import main as plan
from imageserver.peers import front_ends, messages
from imageserver.peers.messages import ALL, MOST_ROWS

Published = tuple[str, str]
"""A channel, and what is said on it."""
HEARERS = (5, 25)
OTHERS, THEIRS = 10, 350
"""Front ends that a real one hears, and cameras of each."""
TOLD = 10_000
"""Cameras of a front end that tells: a list takes ten seconds."""
MANY, FEW = 1 / BRISK, 1 / DROWSY
"""Messages a second; of few each comes after a pause."""
SETTLE = 0.5
HEARER = """
import socket, sys
with socket.create_connection((sys.argv[1], int(sys.argv[2]))) as sock:
    sock.sendall(sys.argv[3].encode())
    while sock.recv(65536):
        pass
"""


def run_of(number: int) -> str:
    """Of one that is none."""
    return f"{number:016x}"


def word(number: int) -> Published:
    return ALL, messages.encode("alive", f"o{number}", run_of(number), new=False)


def text(number: int) -> Published:
    said = {"text": TEXT, "camera": "camera 1", "only": []}
    return f"{messages.ROOM}{ROOM}", messages.encode("text", f"o{number}", run_of(number), **said)


def lists(number: int, cycle: int, cameras: int, first: int = 0) -> list[Published]:
    """A whole list."""
    told = rows(f"o{number}", first + cameras)[first:]
    pieces = [told[start : start + MOST_ROWS] for start in range(0, cameras, MOST_ROWS)]
    found = []
    for piece, part in enumerate(pieces, 1):
        of_list = {"cycle": cycle, "piece": piece, "pieces": piece if piece == len(pieces) else 0}
        found.append((ALL, messages.encode("rows", f"o{number}", run_of(number), rows=part, **of_list)))
    return found


def command(said: Published) -> bytes:
    """As Redis takes it."""
    words = [b"PUBLISH", said[0].encode(), said[1].encode()]
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(each), each) for each in words)


def size(said: Published) -> int:
    """Bytes of it to each that hears it; `message` has as many letters as `PUBLISH`."""
    return len(command(said))


# ---- Redis --------------------------------------------------------------------------------------------------------


@contextmanager
def hearers(redis: RedisServer, number: int) -> Iterator[None]:
    """Processes that hear all and throw it away; each sleeps meanwhile, as front ends do."""
    said = f'AUTH "{redis_server.PASSWORD}"\r\nSUBSCRIBE {ALL} {messages.ROOM}{ROOM}\r\n'
    command = [sys.executable, "-S", "-c", HEARER, redis.host, str(redis.port), said]
    processes = [subprocess.Popen(command, stdin=subprocess.DEVNULL) for _one in range(number)]
    try:
        with redis.client() as client:
            until(lambda: client.pubsub_numsub(ALL)[0][1] == number, "those that hear")
        time.sleep(SETTLE)
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def logged_in(redis: RedisServer) -> socket.socket:
    sock = socket.create_connection((redis.host, redis.port), 30)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.sendall(f'AUTH "{redis_server.PASSWORD}"\r\n'.encode())
    assert sock.recv(100) == b"+OK\r\n"
    return sock


def of_redis(redis: RedisServer, said: Published, seconds: float) -> tuple[float, float, float]:
    """Processor time of Redis for such a message, for each that hears it, and how much longer after a pause."""
    few, many = HEARERS
    drowsy, brisk, crowd = (
        _of_message(redis, said, *each, seconds) for each in ((few, FEW), (few, MANY), (many, MANY))
    )
    each = (crowd - brisk) / (many - few)
    return brisk - each * few, each, drowsy - brisk


def _of_message(redis: RedisServer, said: Published, number: int, rate: float, seconds: float) -> float:
    """Of Redis, beside what it takes at rest."""
    pid, sent, count = pid_of(redis), command(said), 0
    with hearers(redis, number), logged_in(redis) as speaker:
        before, began = processor_time(pid), time.monotonic()
        while (late := time.monotonic() - began) < seconds:
            speaker.sendall(sent)
            assert speaker.recv(100) == b":%d\r\n" % number
            count += 1
            time.sleep(max(0.0, count / rate - late))
        took = processor_time(pid) - before - of_resting(redis) * (time.monotonic() - began)
    return took / count


def throws_out(redis: RedisServer) -> None:
    """AssertionError unless its bound for who reads too slowly is the one that is simulated."""
    with redis.client() as client:
        said = client.config_get("client-output-buffer-limit")["client-output-buffer-limit"]
    assert said.endswith(f"pubsub {HARD} {SOFT} {SOFT_SECONDS:.0f}"), said


@functools.cache
def of_resting(redis: RedisServer) -> float:
    """Of Redis, a second."""
    pid = pid_of(redis)
    before = processor_time(pid)
    time.sleep(2.0)
    return (processor_time(pid) - before) / 2.0


# ---- a front end ---------------------------------------------------------------------------------------------------


@dataclass
class Worked:
    """Processor time of a loop and of the process beside it, in a block."""

    loop: float = 0.0
    process: float = 0.0
    seconds: float = 0.0


@contextmanager
def watched(one: RealFrontEnd, rest: Worked | None = None) -> Iterator[Worked]:
    """What it took in the block, beside what it takes at rest."""
    found, began, before = Worked(), time.monotonic(), one.worked()
    yield found
    after = one.worked()
    found.seconds = time.monotonic() - began
    found.loop, found.process = after[0] - before[0], after[1] - before[1]
    if rest is not None:
        found.loop -= rest.loop / rest.seconds * found.seconds
        found.process -= rest.process / rest.seconds * found.seconds


def publish(redis: RedisServer, said: Sequence[Published], rate: float, seconds: float) -> int:
    """Say these in turn; how many were said."""
    with redis.client() as client:
        began, number = time.monotonic(), 0
        for one in itertools.cycle(said):
            client.publish(*one)
            number += 1
            late = time.monotonic() - began
            if late >= seconds:
                break
            time.sleep(max(0.0, number / rate - late))
    time.sleep(SETTLE)
    return number


def of_hearing(redis: RedisServer, password: Path, seconds: float) -> dict[str, tuple[float, float]]:
    """Of a front end for a message of each kind: its loop, and the process beside it."""
    kinds = {
        "word": [word(number) for number in range(OTHERS)],
        "text": [text(number) for number in range(OTHERS)],
        "rows": [one for cycle in (1, 2) for number in range(OTHERS) for one in lists(number, cycle, THEIRS)],
    }
    new = [one for number in range(OTHERS) for one in lists(number, 0, 10 * THEIRS, first=THEIRS)]
    many = [one for cycle in (1, 2) for one in lists(front_ends.MOST, cycle, THEIRS)]
    found = {}
    with RealFrontEnd("real", redis, password, redis_silence=3600.0, redis_streams=1_000_000) as one:
        until(lambda: one.last.up, "a front end")
        time.sleep(1.0)
        with watched(one) as rest:
            time.sleep(2 * seconds)
        found["rest"] = rest.loop / rest.seconds, rest.process / rest.seconds
        publish(redis, kinds["word"] + kinds["rows"], 1000, 0.3)
        for kind, said in kinds.items():
            found[kind] = said_to(one, redis, said, MANY, seconds, rest)
            found[f"few {kind}"] = said_to(one, redis, said, FEW, seconds, rest)
        found["new"] = said_to(one, redis, new, MANY, len(new) / MANY - 0.01, rest)
        publish(redis, [word(number) for number in range(front_ends.MOST)], 1000, front_ends.MOST / 1000)
        found["many"] = said_to(one, redis, many, MANY, seconds, rest)
    return found


def said_to(
    one: RealFrontEnd, redis: RedisServer, said: Sequence[Published], rate: float, seconds: float, rest: Worked
) -> tuple[float, float]:
    """Of its loop and of the process beside it, for each of these."""
    with watched(one, rest) as worked:
        number = publish(redis, said, rate, seconds)
    return worked.loop / number, worked.process / number


def of_telling(redis: RedisServer, password: Path, seconds: float) -> tuple[float, float]:
    """Of a front end that tells somebody `MOST_ROWS` rows: its loop, and the process beside it."""
    with (
        RealFrontEnd("real", redis, password, streams=TOLD, redis_silence=3600.0) as one,
        redis.client() as client,
        client.pubsub(ignore_subscribe_messages=True) as heard,
    ):
        until(lambda: one.last.up, "a front end")
        time.sleep(1.0)
        with watched(one) as rest:
            time.sleep(seconds)
        heard.subscribe(ALL)
        publish(redis, [word(0)], 1.0, 0.0)
        with watched(one, rest) as worked:
            number, end = 0, time.monotonic() + 2 * seconds
            while time.monotonic() < end:
                found = heard.get_message(timeout=0.1)
                number += found is not None and b'"op":"rows"' in found["data"]
    return worked.loop / number, worked.process / number


# ---- all of it -----------------------------------------------------------------------------------------------------


def once(seconds: float) -> RelayTimes:
    """All parts, once."""
    said = {"word": word(1), "text": text(1), "rows": lists(1, 1, MOST_ROWS)[0]}
    with redis_server.running() as redis, tempfile.TemporaryDirectory() as folder:
        password = Path(folder) / "password"
        password.write_text(redis_server.PASSWORD + "\n")
        throws_out(redis)
        rest_redis = of_resting(redis)
        ofs = {kind: of_redis(redis, one, seconds) for kind, one in said.items()}
        heard = of_hearing(redis, password, seconds)
        tell_loop, tell_process = of_telling(redis, password, 2 * seconds)
    kinds = {
        kind: MessageTimes(size(one), *ofs[kind][:2], process=heard[kind][1], loop=heard[kind][0])
        for kind, one in said.items()
    }
    wake_loop, wake_process = (
        statistics.fmean(heard[f"few {kind}"][which] - heard[kind][which] for kind in kinds) for which in (0, 1)
    )
    return RelayTimes(
        **kinds, new=heard["new"][0], many=heard["many"][0],
        tell_process=tell_process - wake_process, tell_loop=tell_loop - wake_loop,  # measured each after a pause
        rest_process=heard["rest"][1], rest_loop=heard["rest"][0], rest_redis=rest_redis,
        wake_process=wake_process, wake_loop=wake_loop,
        wake_redis=statistics.fmean(longer for _message, _each, longer in ofs.values()), measured="",
    )  # fmt: skip


def together(found: Sequence[RelayTimes]) -> RelayTimes:
    """Of several rounds the medians, figure by figure."""
    values: dict[str, Any] = {}
    for name in RelayTimes.__annotations__:
        each = [getattr(one, name) for one in found]
        if isinstance(each[0], float):
            values[name] = statistics.median(each)
        elif isinstance(each[0], MessageTimes):
            figures = zip(*(asdict(one).values() for one in each), strict=True)
            values[name] = MessageTimes(*map(statistics.median, figures))
    today = datetime.date.today().isoformat()  # noqa: DTZ011
    return RelayTimes(**values, measured=f"{today} on {plan.machine_name()}")
