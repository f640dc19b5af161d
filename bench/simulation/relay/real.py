"""Real front ends as far as they tell each other: src/peers/ itself, in a process each, with the process beside it.

Their cameras are streams that send nothing, and nobody looks at them. Each prints what it knows, a line of JSON
whenever that changes, and each second.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

ROOT = Path(__file__).resolve().parents[3]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]
import bootstrap

bootstrap.provide_package()

from tests.redis_server import RedisServer
from tests.running import children

from imageserver.config import database
from imageserver.config.table import Settings
from imageserver.peers import messages
from imageserver.peers.rooms import FarText, RoomListener
from imageserver.peers.sharing import Sharing
from imageserver.streams.far import FarStreams
from imageserver.streams.overview import Overview
from imageserver.streams.stream import Streams, StreamSubscriber
from imageserver.transport import hub
from imageserver.transport.budget import Account, Budget

ROOM, TEXT = "room", "somebody says something to everybody"
LOOK_EVERY, TELL_EVERY = 0.05, 1.0


@dataclass(frozen=True)
class Line:
    """What one knows at a time: whether Redis answers, how many streams of others; texts so far."""

    at: float
    up: bool
    known: int
    texts_said: int
    texts_heard: int


class Listener(RoomListener):
    """Counts."""

    texts = 0

    def heard(self, room: str, said: FarText) -> None:
        self.texts += 1


def cameras(name: str, number: int, settings: Settings) -> tuple[Streams, Any, Overview]:
    """Streams of a front end, no sessions, and the lists of both."""
    engine: Any = None
    streams = Streams(engine, settings)
    sessions: Any = SimpleNamespace(open_sessions={}, watch=lambda _watcher: None)
    budget = Budget(settings, log=_quiet)
    account = Account(budget, "front ends", True)
    for one in range(number):
        stream = streams.open(
            f"{name}.{one:020}", "camera", f"camera {one}", "10.0.0.1", protocol="camstream", model="lenet", hz=0.0,
            rotate=0, subscriber=StreamSubscriber(), account=account,
        )  # fmt: skip
        stream.last_prediction = {"age_ms": 12.3, "size": [640, 480]}
    far = FarStreams(settings.redis_streams, settings.redis_watched)
    far.account = partial(Account, budget, "front ends", True)
    return streams, sessions, Overview(streams, sessions, far=far, front_end=name)


def rows(name: str, number: int) -> list[messages.Said]:
    """What a front end of that name tells of so many cameras."""
    overview = cameras(name, number, Settings())[2]
    return [messages.row(overview.described(one), name, one.counts_as, "stream", {}) for one in overview.incoming()]


def _quiet(_line: str) -> None:
    """What it would write into its log."""


def be_one(wishes: dict[str, Any]) -> None:
    """Be a front end, until killed."""
    settings = Settings(
        redis=database.redis(wishes["redis"]), redis_password=Path(wishes["password"]), front_end=wishes["name"],
        **wishes["limits"],
    )  # fmt: skip
    streams, sessions, overview = cameras(wishes["name"], wishes["cameras"], settings)
    sharing = Sharing(settings, streams, sessions, overview, log=_quiet, warn=_quiet)
    listener = sharing.rooms.listener = Listener()
    sharing.rooms.join(ROOM)
    sharing.run()
    said = 0

    def say() -> None:
        nonlocal said
        while True:
            hub.sleep(1 / wishes["texts"])
            said += 1
            sharing.rooms.say(ROOM, FarText(TEXT, "camera 1", ()))

    if wishes["texts"]:
        hub.spawn(say)
    told: tuple[Any, ...] = ()
    at = 0.0
    while True:
        seen = (not sharing.problem, len(overview.far.open))
        if seen != told or time.time() - at >= TELL_EVERY:
            told, at = seen, time.time()
            print(json.dumps(asdict(Line(at, *seen, said, listener.texts))), flush=True)
        hub.sleep(LOOK_EVERY)


class RealFrontEnd:
    """One as a process; a context, at whose end it is killed, and the process beside it with it.

    Args:
        name: its name.
        redis: which one.
        password: the file with the password.
        streams: how many cameras it has.
        texts: how many texts a second it says.
        limits: settings of it.
    """

    def __init__(
        self, name: str, redis: RedisServer, password: Path, streams: int = 0, texts: float = 0.0, **limits: Any
    ) -> None:
        wishes = {
            "name": name, "redis": redis.address, "password": str(password), "cameras": streams, "texts": texts,
            "limits": limits,
        }  # fmt: skip
        command = [sys.executable, "-m", "bench.simulation.relay.real", json.dumps(wishes)]
        self._process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        self.lines: list[Line] = []
        threading.Thread(target=self._read, daemon=True).start()

    def __enter__(self) -> RealFrontEnd:
        return self

    def __exit__(self, *_exception: object) -> None:
        self._process.kill()
        self._process.wait()

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as said:
            for line in said:
                self.lines.append(Line(**json.loads(line)))

    @property
    def last(self) -> Line:
        """What it knows now."""
        return self.lines[-1] if self.lines else Line(0.0, False, 0, 0, 0)

    def first(self, since: float, condition: Callable[[Line], bool]) -> float:
        """When that was so first, in seconds since then."""
        return next(line.at for line in self.lines if line.at >= since and condition(line)) - since

    def worked(self) -> tuple[float, float]:
        """Seconds of a processor that it has taken so far, and that the process beside it has."""
        (beside,) = children(self._process.pid)
        return processor_time(self._process.pid), processor_time(beside)


def processor_time(pid: int) -> float:
    """Seconds that all threads of a process have taken, to a nanosecond (clock_getcpuclockid(3))."""
    return time.clock_gettime(~pid << 3 | 2)


def pid_of(redis: RedisServer) -> int:
    """Of Redis' process."""
    with redis.client() as client:
        return int(client.info("server")["process_id"])


if __name__ == "__main__":
    be_one(json.loads(sys.argv[1]))
