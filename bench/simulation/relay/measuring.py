"""What each part takes: a real Redis, a real front end, and messages that others would have said.

Processor time is what is counted, so other work on the machine makes it longer by what it takes of caches alone.
"""

from __future__ import annotations

import datetime
import itertools
import selectors
import socket
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from bench.simulation.parts import MessageTimes, RelayTimes
from bench.simulation.relay.real import ROOM, TEXT, RealFrontEnd, pid_of, processor_time, rows
from tests import redis_server
from tests.redis_server import RedisServer
from tests.running import until

from imageserver.commands.plan import main as plan
from imageserver.peers import front_ends, messages
from imageserver.peers.messages import ALL, MOST_ROWS

Published = tuple[str, str]
"""A channel, and what is said on it."""
HEARERS = (10, 60)
OTHERS, THEIRS = 10, 350
"""Front ends that a real one hears, and cameras of each."""
TOLD = 10_000
"""Cameras of a front end that tells: a list takes ten seconds."""
RATES = {"word": 500.0, "text": 500.0, "rows": 200.0}
"""Messages a second."""
SETTLE = 0.5


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


class Hearers:
    """Connections that hear all, and throw it away."""

    def __init__(self, redis: RedisServer, number: int) -> None:
        self._ending, self._selector = False, selectors.DefaultSelector()
        for _one in range(number):
            sock = logged_in(redis)
            sock.sendall(f"SUBSCRIBE {ALL} {messages.ROOM}{ROOM}\r\n".encode())
            self._selector.register(sock, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def close(self) -> None:
        self._ending = True
        self._thread.join()
        for key in list(self._selector.get_map().values()):
            key.fileobj.close()  # type: ignore[union-attr]
        self._selector.close()

    def _read(self) -> None:
        room = bytearray(2**20)
        while not self._ending:
            for key, _events in self._selector.select(0.1):
                key.fileobj.recv_into(room)  # type: ignore[union-attr]


def logged_in(redis: RedisServer) -> socket.socket:
    sock = socket.create_connection((redis.host, redis.port), 30)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.sendall(f'AUTH "{redis_server.PASSWORD}"\r\n'.encode())
    assert sock.recv(100) == b"+OK\r\n"
    return sock


def of_redis(redis: RedisServer, said: Published, rate: float, seconds: float) -> tuple[float, float]:
    """Processor time of Redis for such a message, and for each that hears it, where they come one by one."""
    pid, sent, took = pid_of(redis), command(said), []
    for number in HEARERS:
        hearers, speaker = Hearers(redis, number), logged_in(redis)
        time.sleep(SETTLE)
        began, before, count = time.monotonic(), processor_time(pid), 0
        while (late := time.monotonic() - began) < seconds:
            speaker.sendall(sent)
            assert speaker.recv(100) == b":%d\r\n" % number
            count += 1
            time.sleep(max(0.0, count / rate - late))
        took.append((processor_time(pid) - before) / count)
        hearers.close()
        speaker.close()
    each = (took[1] - took[0]) / (HEARERS[1] - HEARERS[0])
    return took[0] - each * HEARERS[0], each


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
            found[kind] = said_to(one, redis, said, RATES[kind], seconds, rest)
        found["new"] = said_to(one, redis, new, RATES["rows"], len(new) / RATES["rows"] - 0.01, rest)
        publish(redis, [word(number) for number in range(front_ends.MOST)], 1000, front_ends.MOST / 1000)
        found["many"] = said_to(one, redis, many, RATES["rows"], seconds, rest)
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
        ofs = {kind: of_redis(redis, one, RATES[kind], seconds) for kind, one in said.items()}
        heard = of_hearing(redis, password, seconds)
        tell_loop, tell_process = of_telling(redis, password, 2 * seconds)
    kinds = {
        kind: MessageTimes(size(one), *ofs[kind], process=heard[kind][1], loop=heard[kind][0])
        for kind, one in said.items()
    }
    return RelayTimes(
        **kinds, new=heard["new"][0], many=heard["many"][0], tell_process=tell_process, tell_loop=tell_loop,
        rest_process=heard["rest"][1], rest_loop=heard["rest"][0], measured="",
    )  # fmt: skip


def medians(found: Sequence[RelayTimes]) -> RelayTimes:
    """Figure by figure."""
    values = {
        name: statistics.median(getattr(each, name) for each in found)
        for name, kind in RelayTimes.__annotations__.items()
        if kind == "float"
    }
    kinds = {
        kind: MessageTimes(
            **{
                name: statistics.median(getattr(getattr(each, kind), name) for each in found)
                for name in MessageTimes.__annotations__
            }
        )
        for kind in ("word", "text", "rows")
    }
    return replace(found[0], **kinds, **values)


def measure(seconds: float, rounds: int) -> RelayTimes:
    """All parts: the medians of rounds, one after the other."""
    found = []
    for number in range(rounds):
        found.append(once(seconds))
        print(f"round {number + 1}: parts measured", flush=True)
    today = datetime.date.today().isoformat()  # noqa: DTZ011
    return replace(medians(found), measured=f"{today} on {plan.machine_name()}")
