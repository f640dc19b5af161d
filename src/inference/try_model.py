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
import os
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
from numpy.typing import NDArray

from imageserver.errors import ImageServerError, ModelError, PictureError
from imageserver.inference import prepare
from imageserver.inference.shared import conversion_cache, progress
from imageserver.inference.shared import manifest as manifests
from imageserver.inference.shared.manifest import Manifest
from imageserver.inference.worker import results

Pixels = NDArray[np.uint8]
Frames = Iterator[tuple[int, Pixels]]

SESSION = "try"
PICTURES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")


def main(argv: list[str] | None = None) -> int:
    """Exit code 0: every frame was run; 1: a sentence on standard error says why not."""
    known = parser()
    options = known.parse_args(argv)
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        try_model(options)
    except (ImageServerError, OSError) as error:
        print(f"{known.prog}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def parser() -> argparse.ArgumentParser:
    """Of the command line; its name is what was typed."""
    parser = argparse.ArgumentParser(description="Run one model on pictures or a video, without a server.")
    parser.add_argument("model", type=Path, help="the model's folder, with its model.toml")
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
    manifest = manifests.read(options.model.resolve())
    source = itertools.islice(frames(options.source, options.fps), options.limit)
    with progress.shown(f"Loading {manifest.name}"):  # and converting it, where that was not done
        model = _Stateless(manifest) if manifest.state is None else _Stateful(manifest, manifest.state.frame == "pil")
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


def _answers(model: _Stateless | _Stateful, source: Frames, costs: list[float]) -> Iterator[dict[str, Any]]:
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


class _Stateless:
    """A model that answers each picture by itself, as a worker serves it."""

    def __init__(self, manifest: Manifest) -> None:
        from imageserver.inference.worker import loader
        from imageserver.inference.worker.context import LoadContext

        note = lambda text: print(text, file=sys.stderr)  # noqa: E731
        cache = conversion_cache.cache_folder()
        convert = lambda found: prepare.prepare(found, cache)  # noqa: E731
        context = LoadContext(note, os.cpu_count() or 1, cache, convert=convert)
        self._serving = loader.load(manifest.folder, context)

    def run(self, timestamp: int, frame: Pixels) -> dict[str, Any] | None:
        import cv2

        from imageserver.inference.worker.predictor import PictureJob

        _, data = cv2.imencode(".png", frame[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 1])
        return dict(self._serving.run([PictureJob(memoryview(data.tobytes()), 0)])[0])

    def end(self, timestamp: int) -> None:
        """It has nothing more to say."""


class _Stateful:
    """A model that keeps state, in one session; the frames are Pillow images where `pillow` is true."""

    def __init__(self, manifest: Manifest, pillow: bool) -> None:
        from PIL import Image

        from imageserver.inference.worker import loader

        self._model = loader.stateful(manifest)
        self._picture = Image.fromarray if pillow else np.asarray
        self._started = False

    def run(self, timestamp: int, frame: Pixels) -> dict[str, Any] | None:
        if not self._started:
            self._started = True
            self._model.start(SESSION, timestamp)
        return _checked(self._model.forward_single_frame(SESSION, self._picture(frame), timestamp))

    def end(self, timestamp: int) -> dict[str, Any] | None:
        return _checked(self._model.end(SESSION, timestamp)) if self._started else None


def _checked(found: Any) -> dict[str, Any] | None:
    """What a session would send. ModelError where it could not."""
    if found is None:
        return None
    if not isinstance(found, dict):
        raise ModelError(
            f"the model returned {type(found).__name__}; it must return a dictionary, or None for nothing to say"
        )
    try:
        plain: dict[str, Any] = results.plain(found)
    except TypeError as error:
        raise ModelError(f"the model's result cannot become JSON: {error}") from error
    return plain


if __name__ == "__main__":
    sys.exit(main())
