"""Run one model without a server, for whoever writes it: `python3 src/inference/try_model.py models/pulse video.mp4`.

The frames come from a video, a folder of pictures in the order of their names, a picture, or a camera (its
number). Each result is a line of JSON with the frame's `timestamp`; a model that keeps state gets start, the
frames and end, as in a session. What the model raises is shown whole, with its traceback: here it is the author
who reads it.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SOURCE = Path(__file__).resolve().parent.parent
if not __package__:
    # Run as a file: its own folder must not be where imports look first, src/ must.
    sys.path[0] = str(SOURCE)
    import bootstrap

    bootstrap.start(("cv2", "numpy"))

import numpy as np

from imageserver.errors import PictureError
from imageserver.inference import alone
from imageserver.inference.alone import Pixels
from imageserver.inference.command import ended
from imageserver.inference.shared import progress

Frames = Iterator[tuple[int, Pixels]]

PICTURES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")


def main(argv: list[str] | None = None) -> int:
    """Exit code 0: every frame was run; 1: a sentence on standard error says why not."""
    known = parser()
    options = known.parse_args(argv)
    alone.hush()
    return ended(known.prog, lambda: try_model(options))


def parser() -> argparse.ArgumentParser:
    """Of the command line; its name is what was typed."""
    parser = argparse.ArgumentParser(description="Run one model on pictures or a video, without a server.")
    parser.add_argument("model", help=alone.HELP)
    parser.add_argument("source", help="a video, a folder of pictures, a picture, or a camera's number")
    parser.add_argument(
        "--fps",
        type=_rate,
        help="frames a second: of pictures (default: 10), or instead of what a video says of itself",
    )
    parser.add_argument("--limit", type=int, help="stop after this many frames")
    parser.add_argument("--quiet", action="store_true", help="print the last result only")
    return parser


def _rate(text: str) -> float:
    rate = float(text)
    if not 0.01 <= rate <= 1000:
        raise argparse.ArgumentTypeError(f"{text} is not from 0.01 to 1000")
    return rate


def try_model(options: argparse.Namespace) -> None:
    """Load the model, run it on every frame, print what it says and what it costs. ImageServerError with a sentence."""
    manifest = alone.manifest(options.model)
    source = itertools.islice(frames(options.source, options.fps), options.limit)
    with progress.shown(f"Loading {manifest.name}"):  # and converting it, where that was not done
        model = alone.load(manifest)
    costs: list[float] = []
    last: dict[str, Any] | None = None
    for last in _answers(model, source, costs):
        if not options.quiet:
            print(json.dumps(last), flush=True)
    if options.quiet and last is not None:
        print(json.dumps(last))
    if not costs:
        raise PictureError(f"there are no frames in {options.source!r}")
    first, middle, slowest = (value * 1000 for value in (costs[0], float(np.median(costs)), max(costs)))
    print(
        f"{len(costs)} frames; ms a frame: {middle:.1f} median, {slowest:.1f} slowest, {first:.1f} the first",
        file=sys.stderr,
    )


def _answers(model: alone.Model, source: Frames, costs: list[float]) -> Iterator[dict[str, Any]]:
    """What the model says, with the frame's timestamp; the seconds that each frame took go into `costs`."""
    timestamp = 0
    for timestamp, frame in source:
        began = time.perf_counter()
        found = model.run(timestamp, frame)
        costs.append(time.perf_counter() - began)
        if found is not None:
            yield {"timestamp": timestamp, **found}
    found = model.end(timestamp)
    if found is not None:
        yield {"timestamp": timestamp, **found}


def frames(source: str, rate: float | None = None) -> Frames:
    """(timestamp in ms, uint8 RGB (height, width, 3)) of each frame; upright. PictureError: a sentence.

    `rate` replaces a video's own.
    """
    path = Path(source)
    if path.is_dir():
        files = sorted(entry for entry in path.iterdir() if entry.suffix.lower() in PICTURES)
        yield from _pictures(files, rate or 10.0)
    elif path.suffix.lower() in PICTURES and path.is_file():
        yield from _pictures([path], rate or 10.0)
    elif path.is_file() or source.isdecimal():
        yield from _video(source, rate)
    else:
        raise PictureError(f"there is no file or folder {source!r}; a camera is given by its number, 0 for the first")


def _pictures(files: list[Path], rate: float) -> Frames:
    from imageserver.inference.worker import decode

    for number, file in enumerate(files):
        picture = decode.decode(file.read_bytes(), channels=3, least=2**31, limits=decode.PictureLimits())
        yield round(number * 1000 / rate), picture.pixels


def _video(source: str, rate: float | None) -> Frames:
    import cv2

    camera = source.isdecimal() and not Path(source).exists()
    capture = cv2.VideoCapture(int(source) if camera else source)
    if not capture.isOpened():
        raise PictureError(
            f"{source!r} cannot be opened: "
            + ("there is no such camera" if camera else "it is no video that OpenCV can read")
        )
    began = time.monotonic()
    try:
        for number in itertools.count():
            good, frame = capture.read()
            if not good:
                return
            now = (time.monotonic() - began) * 1000 if camera else capture.get(cv2.CAP_PROP_POS_MSEC)
            yield round(number * 1000 / rate if rate else now), np.ascontiguousarray(frame[..., ::-1])
    finally:
        capture.release()


if __name__ == "__main__":
    sys.exit(main())
