"""How well `lenet` reads photographed digits: encoded file, decoding, preprocessing, model.

Prints a row for each difficulty.

    python bench/digits.py --data mnist.npz [--count 300] [--weights models/lenet/weights.npz]

Digits come from the test part of --data, from scikit-learn's digits where it is installed (other writers, in
another country: flagged ones, crossed sevens), and from training/lenet/strokes.py. Without --data only the
latter two are measured.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "bench")]
import bootstrap

bootstrap.provide_package()

import cv2
import numpy as np
from digit_scenes import SCENES, cropped, pen, tidy

from imageserver.inference.worker.decode import PictureLimits, decode
from imageserver.inference.worker.preprocessing.digit import PREPROCESSING, digit
from imageserver.training.lenet.strokes import draw
from imageserver.training.lenet.training import predict


def door(data: bytes) -> np.ndarray:
    """From a file's bytes to what the model sees, as the worker does it."""
    return digit(decode(data, channels=1, least=PREPROCESSING.least, limits=PictureLimits()).pixels)


def sources(given: argparse.Namespace, rng: np.random.Generator) -> dict[str, list[tuple[np.ndarray, int]]]:
    """Ink and label by where they come from."""
    found: dict[str, list[tuple[np.ndarray, int]]] = {}
    if given.data:
        with np.load(given.data) as file:
            x, y = file["x_test"], file["y_test"]
        chosen = rng.permutation(len(y))[: given.count]
        found["MNIST"] = [(tidy(x[i]), int(y[i])) for i in chosen]
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        print("scikit-learn is not installed: its digits are left out")
    else:
        other = load_digits()
        chosen = rng.permutation(len(other.target))[: given.count]
        found["sklearn"] = [(tidy(np.pad(other.images[i], 1)), int(other.target[i])) for i in chosen]
    for name, width in {"drawn": None, "fine pen": 0.018, "broad pen": 0.15}.items():
        found[name] = [(cropped(draw(i % 10, 168, rng, width=width)), i % 10) for i in range(given.count)]
    # The two that American writers do not know: a 1 with a long flag, a crossed 7.
    found["1 and 7"] = [
        (
            cropped(draw((1, 7)[i % 2], 168, rng, variant=2 + i // 2 % 3 if i % 2 == 0 else 3 + i // 2 % 4)),
            (1, 7)[i % 2],
        )
        for i in range(given.count)
    ]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description="How well lenet reads photographed digits.")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--weights", type=Path, default=ROOT / "models/lenet/weights.npz")
    parser.add_argument("--failures", type=Path, help="a folder for the pictures that were read wrongly")
    parser.add_argument("--only", nargs="*", help="rows to measure")
    given = parser.parse_args()
    with np.load(given.weights) as file:
        weights = [file[name] for name in file.files]
    cv2.setNumThreads(1)
    rng = np.random.default_rng(7)
    found = sources(given, rng)
    if given.data:
        with np.load(given.data) as file:
            x, y = file["x_test"], file["y_test"]
        for name, pictures in {
            "28x28, light on dark": x,
            "28x28, dark on light": 255 - x,
            "100x100 dark on light, cubic": [
                255 - cv2.resize(each, (100, 100), interpolation=cv2.INTER_CUBIC) for each in x
            ],
            "100x100 dark on light, linear": [
                255 - cv2.resize(each, (100, 100), interpolation=cv2.INTER_LINEAR) for each in x
            ],
            "100x100 dark on light, nearest": [
                255 - cv2.resize(each, (100, 100), interpolation=cv2.INTER_NEAREST) for each in x
            ],
            "100x100 dark on light, JPEG 75": [
                255 - cv2.resize(each, (100, 100), interpolation=cv2.INTER_CUBIC) for each in x
            ],
        }.items():
            coding = (".jpg", [cv2.IMWRITE_JPEG_QUALITY, 75]) if "JPEG" in name else (".png", [])
            seen = np.stack([door(cv2.imencode(coding[0], each, coding[1])[1].tobytes()) for each in pictures])
            print(f"{name:32} {(predict(weights, seen).argmax(1) == y).mean():8.2%}  of {len(y)}")
    names = list(found)
    print(f"\n{'':20}" + "".join(f"{name:>10}" for name in names))
    sums = dict.fromkeys(names, 0.0)
    rows = dict(SCENES)
    for thick in (-0.06, -0.03, 0.04, 0.08):
        rows[f"pen {thick:+.0%}"] = lambda i, r, thick=thick: SCENES["uneven light"](pen(i, r, thick), r)
    rows = {row: make for row, make in rows.items() if not given.only or row in given.only}
    start = time.perf_counter()
    for row, make in rows.items():
        line = f"{row:20}"
        for name in names:
            files = [
                cv2.imencode(".jpg", make(ink, rng), [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(60, 96))])[1].tobytes()
                for ink, _ in found[name]
            ]
            seen = np.stack([door(each) for each in files])
            labels = np.array([label for _, label in found[name]])
            read = predict(weights, seen).argmax(1)
            sums[name] += float((read == labels).mean())
            line += f"{(read == labels).mean():10.1%}"
            if given.failures:
                given.failures.mkdir(parents=True, exist_ok=True)
                for i in np.flatnonzero(read != labels)[:20]:
                    stem = f"{row.replace(' ', '_').replace(',', '')}-{name}-{labels[i]}-as-{read[i]}-{i}"
                    (given.failures / f"{stem}.jpg").write_bytes(files[i])
                    cv2.imwrite(str(given.failures / f"{stem}.png"), seen[i])
        print(line, flush=True)
    print(
        f"{'mean':20}"
        + "".join(f"{sums[name] / len(rows):10.1%}" for name in names)
        + f"   {time.perf_counter() - start:.0f} s"
    )


if __name__ == "__main__":
    main()
