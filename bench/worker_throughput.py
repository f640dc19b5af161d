"""What a picture costs in a worker: 40 KB JPEG of 640x480 in, LeNet's answer out, in batches.

Reference: decoding it in full.

    python bench/worker_throughput.py [--model lenet] [--rounds 5] [--check]

Prints processor time per picture of a real worker process by batch size, and of each step by itself.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "src"), str(ROOT)]
import bootstrap

bootstrap.provide_package()

import cv2
import numpy as np
import psutil
from skimage import data
from tests.inference.worker.worker_process import MODELS, WorkerProcess

from imageserver.inference.shared import conversion_cache
from imageserver.inference.worker import decode as images
from imageserver.inference.worker import loader
from imageserver.inference.worker.context import LoadContext
from imageserver.inference.worker.preprocessing import base

MOST = 1.6
"""Mark: processor time of a picture in a batch of 8, over that of decoding the picture in full and in colour."""

PICTURES = 400


def picture() -> bytes:
    """A photograph as a phone sends it: 640x480, about 40 KB."""
    pixels = cv2.resize(cv2.cvtColor(data.astronaut(), cv2.COLOR_RGB2BGR), (640, 480), interpolation=cv2.INTER_AREA)
    return bytes(cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, 72])[1])


def cost(function: Callable[[], object], times: int) -> float:
    """Milliseconds of processor time for one call."""
    function()
    start = time.process_time()
    for _time in range(times):
        function()
    return (time.process_time() - start) / times * 1e3


def in_worker(worker: WorkerProcess, model: str, jpeg: bytes, batch: int) -> float:
    """Milliseconds of the worker's processor time for a picture."""
    process = psutil.Process(worker.process.pid)
    worker.run(model, [jpeg] * batch)
    before = process.cpu_times()
    for _batch in range(PICTURES // batch):
        worker.run(model, [jpeg] * batch)
    after = process.cpu_times()
    return (after.user + after.system - before.user - before.system) / (PICTURES // batch * batch) * 1e3


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="lenet")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--check", action="store_true", help="exit code 1 when the mark is missed")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    jpeg = picture()
    encoded = np.frombuffer(jpeg, np.uint8)
    ratios, costs = [], []
    with WorkerProcess(conversion_cache.cache_folder(), "--threads", "1") as worker:
        loaded = worker.load(MODELS / options.model)
        if loaded["op"] != "loaded":
            sys.exit(f"{options.model}: {loaded['error']}")
        for batch in (1, 2, 4):
            print(
                f"batch of {batch}: {in_worker(worker, options.model, jpeg, batch):.2f} ms of processor time a picture"
            )
        for _round in range(options.rounds):
            # In turn, so that both meet the same neighbours on this machine.
            costs.append(in_worker(worker, options.model, jpeg, 8))
            ratios.append(costs[-1] / cost(lambda: cv2.imdecode(encoded, cv2.IMREAD_COLOR), 100))
    ratio = statistics.median(ratios)
    print(f"batch of 8: {statistics.median(costs):.2f} ms ({loaded['runtime']}, {len(jpeg)} bytes)")
    print(f"ratio to decoding it in full: {ratio:.2f} (mark: {MOST})")
    steps(options.model, jpeg)
    return int(options.check and ratio > MOST)


def steps(model: str, jpeg: bytes) -> None:
    """Print what each step costs by itself, in this process."""
    serving = loader.load(MODELS / model, LoadContext(print))
    wanted = serving.manifest.input
    prepared = base.find(wanted.preprocessing)
    view = memoryview(bytearray(jpeg))
    least = max(prepared.least, wanted.width, wanted.height)
    limits = images.PictureLimits()
    decode = lambda: images.decode(view, channels=wanted.channels, least=least, limits=limits)  # noqa: E731
    pixels = decode().pixels
    print(f"decode: {cost(decode, 300):.3f} ms, to {pixels.shape[1]}x{pixels.shape[0]}")
    print(f"{wanted.preprocessing}: {cost(lambda: prepared.function(pixels, wanted), 300):.3f} ms")
    array = prepared.function(pixels, wanted)
    print(f"network and answer, of 8: {cost(lambda: serving._infer([array] * 8), 50) / 8:.3f} ms")


if __name__ == "__main__":
    sys.exit(main())
