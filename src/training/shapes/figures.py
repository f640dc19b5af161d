"""Say how good `shapes` is: `python3 src/bootstrap.py training.shapes.figures`.

Draws pictures that took no part in training, on photographs that took none either (backgrounds.UNSEEN), sends each as
JPEG through what the server runs (decoding, letterbox, network, decoder), and writes the table in the model's card.
With `--check` it only compares.

Only the least score is another one than served: precision is averaged over all recalls, so boxes of which the model is
hardly sure count as well, as in COCO's figures.
"""

from __future__ import annotations

import argparse
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from imageserver import folders
from imageserver.errors import ImageServerError, ModelError
from imageserver.inference import prepare
from imageserver.inference.shared import conversion_cache, manifest
from imageserver.inference.worker import loader
from imageserver.inference.worker.context import LoadContext
from imageserver.inference.worker.predictor import PictureJob, Serving
from imageserver.training import cards
from imageserver.training.shapes import backgrounds, pictures, scores
from imageserver.training.shapes.pictures import LABELS, MOST, DrawnScene
from imageserver.training.shapes.scores import Detections, Truth

SEED = 20_000
"""Of the pictures for judging; those of training begin with `Schedule.seed`."""

PICTURES = 500

SIZES = ((640, 480), (480, 640), (640, 360), (512, 512))
"""Width and height; one after another."""

LEAST = 0.01
"""Score from which boxes count."""

QUALITY = 90
"""Of the JPEG files."""

HIDDEN = {"nothing hidden": (0.0, 0.01), "up to 20 % hidden": (0.01, 0.2), "over 20 % hidden": (0.2, 1.0)}
NUMBERS = {"1 to 5 on a picture": (1, 5), "6 to 10": (6, 10), "11 to 20": (11, MOST)}

Counted = Callable[[DrawnScene], Any]
"""bool (n,): which shapes of a picture are judged."""


def scenes(count: int = PICTURES, seed: int = SEED) -> Iterator[DrawnScene]:
    """The pictures for judging."""
    photographs = backgrounds.photographs(backgrounds.UNSEEN)
    for number in range(count):
        yield pictures.draw(photographs, *SIZES[number % len(SIZES)], np.random.default_rng([seed, number]))


def encoded(scene: DrawnScene) -> bytes:
    """The picture as a JPEG file."""
    return bytes(cv2.imencode(".jpg", scene.pixels, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1])


def serving(folder: Path) -> Serving:
    """The model as a worker loads it, but for its least score. ManifestError, ModelError, OSError."""
    cache = conversion_cache.cache_folder()
    context = LoadContext(print, 2, cache, convert=lambda found: prepare.prepare(found, cache))
    with tempfile.TemporaryDirectory() as changed:
        copy = shutil.copytree(folder, Path(changed, folder.resolve().name))
        path = copy / manifest.FILE
        path.write_text(re.sub(r"(?m)^confidence = .*$", f"confidence = {LEAST}", path.read_text("utf-8")), "utf-8")
        return loader.load(copy, context)


def found_by(model: Serving, scene: DrawnScene) -> Detections:
    """What the model says of a picture. ModelError when it says nothing but an error."""
    [answer] = model.run([PictureJob(memoryview(encoded(scene)), 0)])
    if "boxes" not in answer:
        raise ModelError(f"the model answers without boxes: {answer.get('error', answer)}")
    return read(answer["boxes"])


def read(boxes: Sequence[Any]) -> Detections:
    """Boxes of an answer, in a client's form."""
    corners = [[box["x"], box["y"], box["x"] + box["width"], box["y"] + box["height"]] for box in boxes]
    return Detections(
        np.array(corners, np.float32).reshape(-1, 4),
        np.array([LABELS.index(box["label"]) for box in boxes], np.int64),
        np.array([box["score"] for box in boxes], np.float32),
    )


def precision(drawn: Sequence[DrawnScene], founds: Sequence[Detections], counted: Counted) -> list[float]:
    """Average precision of each class, of the shapes that count; then their mean."""
    truths = [Truth(scene.boxes, scene.labels, counted(scene)) for scene in drawn]
    each = [scores.average_precision(truths, founds, label) for label in range(len(LABELS))]
    return [*each, float(np.nanmean(each))]


def everything(scene: DrawnScene) -> Any:
    """All shapes of a picture count."""
    return np.ones(len(scene.labels), bool)


def _hidden(low: float, high: float, scene: DrawnScene) -> Any:
    """Those of which at least the share `low` and less than `high` is hidden."""
    return (scene.hidden >= low) & (scene.hidden < high)


def table(drawn: Sequence[DrawnScene], founds: Sequence[Detections]) -> str:
    """The table of the card."""
    head = ["AP50", *LABELS, "mean", "shapes"]
    lines = [f"| {' | '.join(head)} |", f"|---|{'---:|' * (len(head) - 1)}"]

    def row(title: str, chosen: Sequence[int], counted: Counted) -> None:
        some = [drawn[index] for index in chosen]
        values = precision(some, [founds[index] for index in chosen], counted)
        many = sum(int(counted(scene).sum()) for scene in some)
        lines.append(f"| {title} | {' | '.join(f'{value:.4f}' for value in values)} | {many:,} |")

    whole = range(len(drawn))
    row("**all**", whole, everything)
    for title, (low, high) in HIDDEN.items():
        row(title, whole, partial(_hidden, low, high))
    for title, (least, most) in NUMBERS.items():
        row(title, [index for index in whole if least <= len(drawn[index].labels) <= most], everything)
    return "\n".join([*lines, "", f"{len(drawn)} pictures, seed {SEED}."])


def main(arguments: list[str] | None = None) -> int:
    """The command. Exit code 1 when `--check` finds other figures, 2 when the model does not load."""
    parser = argparse.ArgumentParser(
        prog="python3 src/bootstrap.py training.shapes.figures", description="Measure the detector of shapes."
    )
    parser.add_argument("--model", type=Path, default=folders.MODELS / "shapes", help="the model's folder")
    parser.add_argument("--pictures", type=int, default=PICTURES, help=f"default {PICTURES}")
    parser.add_argument("--check", action="store_true", help="change no file; exit with 1 where the card holds others")
    given = parser.parse_args(arguments)
    try:
        model = serving(given.model)
        drawn = list(scenes(given.pictures))
        figures = table(drawn, [found_by(model, scene) for scene in drawn])
        print(figures)
        same = cards.put(given.model / "README.md", figures, given.check)
    except (ImageServerError, OSError) as error:
        print(f"shapes_figures: {error}", file=sys.stderr)
        return 2
    return 1 if given.check and not same else 0
