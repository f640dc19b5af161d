#!/usr/bin/env python3
"""Train the sample classifier, clients/samples/cats.keras: whether a picture shows the cat of the sample photographs.

    .venv/bin/python scripts/train_cats.py [--out FILE]

It learns from pieces of the four photographs, turned lighter and darker, and has seen no other cat: a file to try
add_model with, no detector of cats. Takes about a minute.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import keras
import numpy as np
from keras import layers

SAMPLES = Path(__file__).resolve().parent.parent / "clients" / "samples"
SIDE = 64
PIECES = 500
"""Of each photograph."""


def piece(photo: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A random part of a picture (height, width, 3), at least half of each side, as uint8 (SIDE, SIDE, 3)."""
    size = (np.array(photo.shape[:2]) * rng.uniform(0.5, 1.0, 2)).astype(int)
    top, left = rng.integers(0, np.array(photo.shape[:2]) - size + 1)
    part = cv2.resize(photo[top : top + size[0], left : left + size[1]], (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    light = part.astype(np.float32) * rng.uniform(0.7, 1.3) + rng.normal(0, 4, part.shape)
    return np.clip(light[:, :: rng.choice([-1, 1])], 0, 255).astype(np.uint8)


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the sample classifier of cats.")
    parser.add_argument("--out", type=Path, default=SAMPLES / "cats.keras")
    out = parser.parse_args().out
    keras.utils.set_random_seed(12)
    rng = np.random.default_rng(12)
    photos = {path.stem: cv2.imread(str(path))[..., ::-1] for path in sorted((SAMPLES / "photos").glob("*.jpg"))}
    pictures = np.stack([piece(photo, rng) for photo in photos.values() for _ in range(PIECES)])
    is_cat = np.repeat([name == "chelsea" for name in photos], PIECES).astype(np.float32)
    network = keras.Sequential([layers.Input((SIDE, SIDE, 3)), layers.Rescaling(1 / 255)])
    for filters in (8, 16, 24):
        network.add(layers.Conv2D(filters, 3, strides=2, padding="same", activation="relu"))
    for layer in (layers.GlobalAveragePooling2D(), layers.Dropout(0.2), layers.Dense(2, activation="softmax")):
        network.add(layer)
    network.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    # Three that are no cat against one that is: each counts for its share.
    network.fit(pictures, is_cat, epochs=25, batch_size=32, class_weight={0: 1.0, 1: 3.0}, verbose=2)
    keras.Model(network.inputs, network.outputs, name="cats").save(out)  # without the optimizer's state


if __name__ == "__main__":
    main()
