"""What a training of LeNet needs that is over in seconds."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np


def draw_digits(path: Path) -> Path:
    """400 drawn digits in the form of mnist.npz, and 100 held out."""
    from imageserver.training.lenet.data import as_mnist
    from imageserver.training.lenet.strokes import draw

    rng = np.random.default_rng(0)
    labels = (np.arange(500) % 10).astype(np.uint8)
    pictures = np.stack([as_mnist(draw(int(label), 80, rng), rng) for label in labels])
    np.savez(path, x_train=pictures[:400], y_train=labels[:400], x_test=pictures[400:], y_test=labels[400:])
    return path


def worsen(folder: Path) -> None:
    """Make the weights in a model's folder useless, so that whatever comes out of a training is better."""
    with np.load(folder / "weights.npz") as file:
        weights = {name: np.zeros_like(file[name]) for name in file.files}
    old = hashlib.sha256((folder / "weights.npz").read_bytes()).hexdigest()
    np.savez_compressed(folder / "weights.npz", **weights)
    new = hashlib.sha256((folder / "weights.npz").read_bytes()).hexdigest()
    (folder / "model.toml").write_text((folder / "model.toml").read_text().replace(old, new))
