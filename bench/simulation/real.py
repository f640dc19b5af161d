"""Real servers and real cameras on this machine: what the simulation is fed with, and compared to."""

from __future__ import annotations

import os
import re
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import cv2
from bench.simulation.parts import FrontEndTimes
from tests.inference.worker.worker_process import WorkerProcess
from tests.running import children

from imageserver.commands.plan import measuring, pictures
from imageserver.commands.plan.cameras import Filming, Seen
from imageserver.inference.shared import conversion_cache
from imageserver.jail.rules import Jail

ROOT = Path(__file__).resolve().parents[2]
MODELS = {"pause": ROOT / "bench" / "simulation" / "models", "lenet": ROOT / "models"}
"""The folders of those that are measured."""
MOST = {"pause": 8, "lenet": 16}
"""Of a batch, as their manifests have it."""
SIZE = 40 * 1024
"""Bytes of a frame."""
WARM = 1.0
PROCESSORS = sorted(os.sched_getaffinity(0))
PINNED: list[int] = []
"""The processor of workers, once `share_processor` has been called."""


def photograph(folder: Path) -> Path:
    """A JPEG of 640x480 with `SIZE` bytes, as a phone sends it."""
    pixels = cv2.imread(str(ROOT / "clients" / "samples" / "photos" / "astronaut.jpg"))
    assert pixels is not None
    smaller = cv2.resize(pixels, (640, 480), interpolation=cv2.INTER_AREA)
    data = bytes(cv2.imencode(".jpg", smaller, [cv2.IMWRITE_JPEG_QUALITY, 60])[1])
    assert len(data) <= SIZE, f"the photograph has {len(data)} bytes"
    path = folder / "photograph.jpg"
    path.write_bytes(pictures.padded(data, SIZE))
    return path


@dataclass(frozen=True)
class Server:
    """A server with one worker and one model, and the picture that its cameras send."""

    pid: int
    port: int
    picture: Path

    def stream(self, cameras: int, hz: float, seconds: float, seed: int = 0) -> tuple[Seen, float]:
        """Let cameras stream: what they saw, and the seconds of processor time of the front end meanwhile."""
        task = Filming(self.port, cameras, hz, SIZE, WARM, seconds, str(self.picture), seed)
        with measuring.measured(task, self.pid) as (seen, processor):
            return seen, processor

    def batches(self) -> tuple[float, float]:
        """Batches so far, and pictures in them."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=30) as answer:
            text = answer.read().decode()
        found = [re.search(rf"(?m)^imageserver_batch_size_{word}{{[^}}]*}} (\S+)", text) for word in ("count", "sum")]
        return tuple(float(each[1]) if each else 0.0 for each in found)  # type: ignore[return-value]


@contextmanager
def server(model: str, picture: Path, **settings: object) -> Iterator[Server]:
    """One that runs."""
    with measuring.server(model, models=str(MODELS[model]), workers=1, **settings) as (pid, port):
        for worker in children(pid):
            give_processor(worker)
        yield Server(pid, port, picture)


def share_processor() -> None:
    """Keep this process, and those that it starts, to the first of two processors: the other is for a worker alone."""
    PINNED.append(PROCESSORS[-1])
    os.sched_setaffinity(0, {PROCESSORS[0]})


def give_processor(worker: int) -> None:
    """The other processor, to all threads of a worker, where one is for workers alone."""
    if not PINNED:
        return
    for thread in Path(f"/proc/{worker}/task").iterdir():
        os.sched_setaffinity(int(thread.name), set(PINNED))


def front_end(picture: Path, seconds: float) -> FrontEndTimes:
    """What a front end takes for a frame, a batch, an answer and a camera that connects.

    Frames that no worker has room for cost `receive`; a camera alone that sends its next when one is answered costs all
    three for each; of many that do so, several share a batch.
    """
    with server("lenet", picture, hz=0.001) as replaced:
        began = measuring.processor_time(replaced.pid)
        time.sleep(seconds)
        idle = (measuring.processor_time(replaced.pid) - began) / seconds
        before = measuring.processor_time(replaced.pid)
        with measuring.measured(Filming(replaced.port, 300, -1, 1000, 0.1, 0.1)):
            connect = (measuring.processor_time(replaced.pid) - before) / 300
        seen, took = replaced.stream(64, 25, seconds)
        receive = (took - idle * seen.took) / seen.sent
    with server("lenet", picture) as answered:
        alone, took = answered.stream(1, 0, seconds)
        one = (took - idle * alone.took) / alone.answered
        counted = answered.batches()
        many, took = answered.stream(32, 0, seconds)
        after = answered.batches()
        each = (after[1] - counted[1]) / (after[0] - counted[0])
        full = (took - idle * many.took) / many.answered
    batch = max(0.0, (one - full) / (1 - 1 / each)) if each > 1 else 0.0
    return FrontEndTimes(receive, batch, max(5e-6, one - receive - batch), connect)


def batches(name: str, picture: Path, seconds: float) -> dict[int, list[float]]:
    """Seconds that a worker takes for a batch, by its size, for so many seconds of each."""
    folder, data = MODELS[name] / name, picture.read_bytes()
    cache = conversion_cache.cache_folder()
    jail = Jail(read=(str(MODELS[name]), str(cache)))
    found: dict[int, list[float]] = {}
    with WorkerProcess(cache, "--threads", "2", jail=jail) as worker:
        loaded = worker.load(folder)
        assert loaded["op"] == "loaded", loaded
        give_processor(worker.process.pid)
        for size in [size for size in (1, 2, 4, 8, 16) if size <= MOST[name]]:
            took = found[size] = []
            worker.run(name, [data] * size)
            end = time.perf_counter() + seconds
            while time.perf_counter() < end or len(took) < 10:
                began = time.perf_counter()
                worker.run(name, [data] * size)
                took.append(time.perf_counter() - began)
    return found
