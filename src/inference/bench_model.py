"""What one model costs on this machine, without a server: `imageserver model bench faces`.

Of a model that answers pictures by themselves: milliseconds of a batch, and pictures a second, at the sizes of batches
that the server makes, one after another; decoding the picture apart, since the server does that in the same process.
Of one that keeps state: milliseconds of a frame of one session. The server's own figures are on /metrics.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import os
import resource
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from imageserver import folders
from imageserver.errors import PictureError
from imageserver.inference import alone
from imageserver.inference.alone import Pixels
from imageserver.inference.command import ended
from imageserver.inference.shared import progress
from imageserver.inference.worker.predictor import PictureJob

PICTURE = folders.CLIENTS / "samples" / "photos" / "astronaut.jpg"
LEAST_RUNS = 3
"""Of each size, however long they take."""


def main(argv: list[str] | None = None) -> int:
    """Exit code 0: it was measured; 1: a sentence on standard error says why not."""
    known = parser()
    options = known.parse_args(argv)
    alone.hush()
    return ended(known.prog, lambda: _print(bench(options)))


def _print(lines: Iterable[str]) -> None:
    for line in lines:
        print(line, flush=True)


def parser() -> argparse.ArgumentParser:
    """Of the command line; its name is what was typed."""
    parser = argparse.ArgumentParser(description="Measure what one model costs on this machine, without a server.")
    parser.add_argument("model", help=alone.HELP)
    parser.add_argument("--picture", type=Path, metavar="FILE", help="what it is given (default: a photograph)")
    parser.add_argument("--seconds", type=_seconds, default=2.0, help="for each size of batches (default: 2)")
    parser.add_argument(
        "--threads", type=_threads, default=os.cpu_count() or 1, metavar="N",
        help="processors that it may keep busy (default: all)",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="a line of JSON for each size")
    return parser


def _threads(text: str) -> int:
    threads = int(text)
    if not 1 <= threads <= 1024:
        raise argparse.ArgumentTypeError(f"{text} is not from 1 to 1024")
    return threads


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0.01 <= seconds <= 600:
        raise argparse.ArgumentTypeError(f"{text} is not from 0.01 to 600")
    return seconds


@dataclasses.dataclass(frozen=True)
class Measured:
    """What was measured at one size: milliseconds, and pictures a second.

    `batch`: pictures at a time. `median` and `slow` (one in a hundred takes longer): ms of a batch of decoded pictures.
    `processor`: ms of processor time that one picture takes, with its decoding.
    """

    model: str
    batch: int
    runs: int
    median: float
    slow: float
    pictures: float
    processor: float


@dataclasses.dataclass(frozen=True)
class _Took:
    """Of each run its seconds; of all together the seconds of processor time of one."""

    runs: list[float]
    processor: float


def bench(options: argparse.Namespace) -> list[str]:
    """Load it and measure; the lines to print. ImageServerError with a sentence."""
    manifest = alone.manifest(options.model)
    picture = options.picture or PICTURE
    if not picture.is_file():
        raise PictureError(f"there is no picture {str(picture)!r}: name one with --picture")
    began = time.perf_counter()
    with progress.shown(f"Loading {manifest.name}"):
        model = alone.load(manifest, options.threads)
    loading = time.perf_counter() - began
    measured = _stateful if isinstance(model, alone.Stateful) else _stateless
    decoding, rows = measured(manifest.name, model, picture.read_bytes(), options.seconds)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    if options.json:
        about = {"decoding": decoding, "memory": round(memory, 1)}
        return [json.dumps(dataclasses.asdict(row) | about) for row in rows]
    return [
        f"{manifest.name}: loaded in {loading:.1f} s; {memory:.0f} MB in all; "
        f"decoding {picture.name}: {decoding:.1f} ms",
        "pictures at a time   ms median   ms p99   pictures a second",
        *(f"{row.batch:18}{row.median:12.1f}{row.slow:9.1f}{row.pictures:20.1f}" for row in rows),
    ]


def _stateless(name: str, model: Any, data: bytes, seconds: float) -> tuple[float, list[Measured]]:
    """Milliseconds that decoding takes, and a row for each size."""
    serving = model.serving

    def decoded() -> PictureJob:
        job = PictureJob(memoryview(data), 0)
        serving.decode([job])
        if job.picture is None:
            raise PictureError(f"the picture cannot be used: {job.error}")
        return job

    decoding = _timed(decoded, min(seconds, 0.5))
    job = decoded()
    failed = serving.run([job])[0].get("error")
    if failed:
        raise PictureError(f"{name} has no answer to this picture: {failed}")
    most = serving.manifest.batch.max_batch
    rows = []
    for size in [*itertools.takewhile(lambda size: size < most, (2**power for power in range(9))), most]:
        took = _timed(lambda: serving.run([job] * size), seconds)  # noqa: B023 - it is called before `size` changes
        rows.append(_row(name, size, took, decoding))
    return float(np.median(decoding.runs)) * 1000, rows


def _stateful(name: str, model: Any, data: bytes, seconds: float) -> tuple[float, list[Measured]]:
    """The same of frames of one session, at 30 frames a second of its time."""
    from imageserver.inference.worker import decode

    def decoded() -> Pixels:
        return decode.decode(data, channels=3, least=2**31, limits=decode.PictureLimits()).pixels

    decoding = _timed(decoded, min(seconds, 0.5))
    frame = decoded()
    numbers = itertools.count()
    took = _timed(lambda: model.run(round(next(numbers) * 1000 / 30), frame), seconds)
    model.end(round(next(numbers) * 1000 / 30))
    return float(np.median(decoding.runs)) * 1000, [_row(name, 1, took, decoding)]


def _timed(work: Callable[[], object], seconds: float) -> _Took:
    """Run it for about as long; the first time is not counted."""
    work()
    took: list[float] = []
    end, processor = time.perf_counter() + seconds, time.process_time()
    while len(took) < LEAST_RUNS or time.perf_counter() < end:
        began = time.perf_counter()
        work()
        took.append(time.perf_counter() - began)
    return _Took(took, (time.process_time() - processor) / len(took))


def _row(name: str, size: int, took: _Took, decoding: _Took) -> Measured:
    median, slow = (float(value) * 1000 for value in np.percentile(took.runs, (50, 99)))
    pictures = size / float(np.mean(took.runs))
    processor = (took.processor / size + decoding.processor) * 1000
    return Measured(
        name, size, len(took.runs), round(median, 3), round(slow, 3), round(pictures, 1), round(processor, 4)
    )
