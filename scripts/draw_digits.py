#!/usr/bin/env python3
"""Draw the ten sample digits, clients/samples/digits/0.png to 9.png: pen on paper, 116 to 150 pixels high.

    .venv/bin/python scripts/draw_digits.py [--out FOLDER] [--seed N]

They come from the strokes that are also mixed into the training of `lenet`, each with a pen, an ink and a light of its
own; the 1 has a long flag and the 7 is crossed. The same seed draws the same pictures.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import cv2
import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "src"))
import bootstrap

bootstrap.provide_package()

from imageserver.training.lenet.strokes import draw

VARIANT = {0: 0, 1: 3, 2: 2, 3: 0, 4: 1, 5: 0, 6: 0, 7: 3, 8: 0, 9: 1}
INKS = ((45, 40, 38), (120, 52, 28), (52, 44, 46), (38, 36, 120))
"""BGR: black, blue, dark grey, dark red."""


def picture(label: int, rng: np.random.Generator) -> np.ndarray:
    """A colour picture of `label`, uint8 (height, width, 3), BGR."""
    side = int(rng.integers(116, 150))
    ink = draw(label, 4 * side, rng, variant=VARIANT[label], wobble=0.8, width=float(rng.uniform(0.045, 0.095)))
    ink = cv2.GaussianBlur(cv2.resize(ink, (side, side), interpolation=cv2.INTER_AREA), (0, 0), 0.6)
    down, across = np.mgrid[0:side, 0:side] / side - 0.5
    angle = rng.uniform(0, 2 * np.pi)
    light = 1 - rng.uniform(0.05, 0.2) * (across * np.cos(angle) + down * np.sin(angle) + 0.5)
    paper = np.array((226, 238, 242)) + rng.normal(0, 3, 3)
    fibres = cv2.resize(rng.normal(0, 1.2, (side // 4, side // 4)), (side, side), interpolation=cv2.INTER_CUBIC)
    # Ink is uneven along the stroke, as a ball pen's is.
    cover = ink * np.clip(
        0.9 + 0.06 * cv2.resize(rng.normal(0, 1, (12, 12)), (side, side), interpolation=cv2.INTER_CUBIC), 0.6, 1
    )
    colour = np.array(INKS[label % len(INKS)])
    mixed = ((paper + fibres[..., None]) * (1 - cover[..., None]) + colour * cover[..., None]) * light[..., None]
    return np.clip(np.round(mixed), 0, 255).astype(np.uint8)


def main() -> None:
    parser = argparse.ArgumentParser(description="Draw the ten sample digits.")
    parser.add_argument("--out", type=Path, default=ROOT / "clients" / "samples" / "digits")
    parser.add_argument("--seed", type=int, default=12)
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    for label in range(10):
        cv2.imwrite(
            str(given.out / f"{label}.png"),
            picture(label, np.random.default_rng([given.seed, label])),
            [cv2.IMWRITE_PNG_COMPRESSION, 9],
        )


if __name__ == "__main__":
    main()
