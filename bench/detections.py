"""What reading a detector's outputs costs: decoding, the strongest, suppression, mapping; 8,400 candidates, 80 classes.

    python bench/detections.py [--rounds 30] [--check]

Prints milliseconds of a processor per picture: of scenes as cameras have them, of one in which all is found, and of
suppression alone, by OpenCV and by numpy. The network itself is left out: it gives what is there already.
"""

from __future__ import annotations

import argparse
import functools
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "src"), str(ROOT)]
import bootstrap

bootstrap.provide_package()

import cv2
import numpy as np
from tests.inference.worker.outputs.making import manifest

from imageserver.inference.worker.outputs import boxes, lists

MOST = 1.0
"""Mark: milliseconds for a picture of a usual scene."""

SIDE, CELLS, CLASSES = 640, 8400, 80
THINGS, EACH = 20, 12
"""Things in a usual scene, and cells that see each."""


def milliseconds(work: Callable[[], Any], rounds: int) -> float:
    """Of processor time, the median."""
    work()
    taken = []
    for _round in range(rounds):
        began = time.process_time()
        work()
        taken.append(time.process_time() - began)
    return statistics.median(taken) * 1000


def scene(things: int, each: int) -> np.ndarray:
    """(cells, 5 + classes): centre, size, objectness, classes; all but `things` x `each` cells are nearly nothing."""
    random = np.random.default_rng(3)
    rows = random.uniform(0.0, 0.02, (CELLS, 5 + CLASSES)).astype(np.float32)
    rows[:, :2], rows[:, 2:4] = random.uniform(0, SIDE, (CELLS, 2)), 8
    chosen = random.choice(CELLS, min(CELLS, things * each), replace=False)
    middles = random.uniform(40, SIDE - 40, (things, 2)).repeat(each, axis=0)[: len(chosen)]
    rows[chosen, :2] = middles + random.normal(0, 3, middles.shape)
    rows[chosen, 2:4] = random.uniform(40, 60, (len(chosen), 2))
    rows[chosen, 4] = random.uniform(0.5, 1.0, len(chosen))
    rows[chosen, 5 + random.integers(0, CLASSES, things).repeat(each)[: len(chosen)]] = 0.9
    return rows


def outputs(rows: np.ndarray, batch: int) -> dict[str, tuple[list[np.ndarray], dict[str, Any]]]:
    """What networks of each layout would give for the same scene, and the manifest's settings."""
    channels = np.concatenate((rows[:, :4], rows[:, 4:5] * rows[:, 5:]), axis=1).T
    raw = rows.copy()
    raw[:, :4] = 0.5
    spread = np.concatenate((rows[:, 4:5] * rows[:, 5:], np.zeros((CELLS, 32), np.float32)), axis=1)
    queries = np.sort(channels[4:].max(axis=0))[::-1][:300, None] * np.ones((300, CLASSES), np.float32) * 8 - 9
    given: dict[str, tuple[list[np.ndarray], dict[str, Any]]] = {
        "yolov8": ([channels], {"format": "yolov8"}),
        "yolox decoded": ([rows], {"format": "yolox", "decoded": True}),
        "yolox raw": ([raw], {"format": "yolox"}),
        "nanodet": ([spread], {"format": "nanodet"}),
        "detr, 300 queries": ([rows[:300, :4] / SIDE, queries], {"format": "detr", "activation": "sigmoid"}),
    }
    return {
        name: ([np.repeat(np.ascontiguousarray(part)[None], batch, axis=0) for part in parts], settings)
        for name, (parts, settings) in given.items()
    }


def reading(parts: list[np.ndarray], settings: dict[str, Any], batch: int) -> Callable[[], Any]:
    found = manifest(SIDE, SIDE, CLASSES, **settings)
    detection = found.output.detection
    assert detection is not None
    layout = lists.make(found, ("boxes", "logits") if len(parts) == 2 else ("output",))

    def read() -> Any:
        pictures = boxes.split(layout.read(parts), batch, detection, layout.suppress)
        whole = (0.0, 0.0, 1920.0, 1920.0)
        return [boxes.results(each, found.output, whole, (SIDE, SIDE), (1920, 1080)) for each in pictures]

    return read


def greedy(sides: np.ndarray, iou: float, most: int) -> list[int]:
    """Suppression by numpy, for comparison: boxes best first."""
    left, top = sides[:, 0], sides[:, 1]
    right, bottom, areas = left + sides[:, 2], top + sides[:, 3], sides[:, 2] * sides[:, 3]
    waiting, kept = np.arange(len(sides)), []
    while len(waiting) and len(kept) < most:
        best, waiting = waiting[0], waiting[1:]
        kept.append(int(best))
        across = np.minimum(right[best], right[waiting]) - np.maximum(left[best], left[waiting])
        down = np.minimum(bottom[best], bottom[waiting]) - np.maximum(top[best], top[waiting])
        common = np.maximum(across, 0) * np.maximum(down, 0)
        waiting = waiting[common <= iou * (areas[best] + areas[waiting] - common)]
    return kept


def suppression(rounds: int) -> None:
    print("suppression alone: candidates, things, by OpenCV, by numpy")
    random = np.random.default_rng(5)
    for count, things in ((30, 3), (200, 20), (1000, 100), (1000, 1000)):
        middles = random.uniform(0, 2000, (things, 2)).repeat(count // things, axis=0)
        sides = np.concatenate((middles + random.normal(0, 2, middles.shape), np.full((count, 2), 40.0)), axis=1)
        scores = np.linspace(0.9, 0.3, count).astype(np.float32)
        numbers = random.integers(0, 3, things).repeat(count // things).astype(np.int32)
        by_opencv: Any = cv2.dnn.NMSBoxesBatched
        first = milliseconds(functools.partial(by_opencv, sides, scores, numbers, 0.0, 0.45), rounds)
        apart = sides + numbers[:, None] * [1e4, 0.0, 0.0, 0.0]
        second = milliseconds(functools.partial(greedy, apart, 0.45, 100), rounds)
        print(f"  {count:5} {things:5} {first:8.3f} {second:8.3f} ms")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--check", action="store_true", help="exit code 1 over the mark")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    worst = 0.0
    for title, things, each in (("usual scene", THINGS, EACH), ("all cells find something", 700, 12)):
        for batch in (1, 4):
            print(f"{title}, {batch} at once: ms for a picture")
            for name, (parts, settings) in outputs(scene(things, each), batch).items():
                taken = milliseconds(reading(parts, settings, batch), options.rounds) / batch
                print(f"  {name:20} {taken:8.3f}")
                worst = max(worst, taken) if things == THINGS else worst
    suppression(options.rounds)
    return 1 if options.check and worst > MOST else 0


if __name__ == "__main__":
    sys.exit(main())
