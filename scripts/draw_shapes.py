#!/usr/bin/env python3
"""Draw the sample pictures of shapes, clients/samples/shapes/1.jpg to 3.jpg, and what is on them, shapes.json.

    .venv/bin/python scripts/draw_shapes.py [--out FOLDER]

They are drawn as those that `shapes` learns from, on photographs that it has not seen. The same versions of NumPy and
OpenCV draw the same pictures.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import cv2
import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "src"))
import bootstrap

bootstrap.provide_package()

from imageserver.training.shapes import backgrounds, pictures

WIDTH, HEIGHT = 480, 360
SEEDS = {"coffee": 52, "rocket": 21, "camera": 7}
"""By the photograph: for pictures with few, some and many shapes."""


def main() -> None:
    parser = argparse.ArgumentParser(description="Draw the sample pictures of shapes.")
    parser.add_argument("--out", type=Path, default=ROOT / "clients" / "samples" / "shapes")
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    told = {}
    for number, (photograph, seed) in enumerate(SEEDS.items(), 1):
        scene = pictures.draw(backgrounds.photographs((photograph,)), WIDTH, HEIGHT, np.random.default_rng(seed))
        cv2.imwrite(str(out / f"{number}.jpg"), scene.pixels, [cv2.IMWRITE_JPEG_QUALITY, 85])
        told[f"{number}.jpg"] = [
            {
                "label": pictures.LABELS[label],
                **dict(zip(("x", "y", "width", "height"), map(int, (*box[:2], *(box[2:] - box[:2]))), strict=True)),
            }
            for label, box in zip(scene.labels, scene.boxes, strict=True)
        ]
    lines = [
        f"  {json.dumps(name)}: [\n    " + ",\n    ".join(map(json.dumps, shapes)) + "\n  ]"
        for name, shapes in told.items()
    ]
    (out / "shapes.json").write_text("{\n" + ",\n".join(lines) + "\n}\n", "utf-8")


if __name__ == "__main__":
    main()
