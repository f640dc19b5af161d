"""Train `shapes`: `python3 src/bootstrap.py training.shapes.training --out shapes.onnx`.

Every picture is drawn anew. AdamW with a warm-up and a cosine; the moving average of the weights is what comes out, as
ONNX (export.py). The file is written after every epoch, so a run that is stopped leaves what it had learnt.
`training.shapes.figures` then says how good it is.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from imageserver.inference.shared import progress
from imageserver.training.shapes import batches, export

BATCH = 16


@dataclass(frozen=True)
class Schedule:
    """How long and how fast it learns: `drawn` pictures, each seen in `uses` turns, in epochs of `epoch` pictures."""

    drawn: int = 28_000
    uses: int = 4
    epoch: int = 400
    rate: float = 3e-3  # the highest learning rate
    decay: float = 0.02  # of the weights, decoupled
    average: float = 0.998  # of the former average that a step keeps
    seed: int = 314


class Learner:
    """The network on its way: weights, their running average, and the compiled step."""

    def __init__(self, schedule: Schedule) -> None:
        import keras
        import tensorflow as tf

        from imageserver.training.shapes import loss, network

        self._tf, self._loss = tf, loss.loss
        self._network = network.network(network.SIDE)
        steps = schedule.drawn * schedule.uses // BATCH
        warm = max(1, min(200, steps // 10))
        rate = keras.optimizers.schedules.CosineDecay(
            schedule.rate / 20, steps - warm, 5e-3, "cosine", schedule.rate, warm
        )
        self._optimizer = keras.optimizers.AdamW(rate, weight_decay=schedule.decay, global_clipnorm=10.0)
        self._optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
        self._optimizer.build(self._network.trainable_variables)
        self._keep, self._count = schedule.average, tf.Variable(0.0)
        self._averages = {weight.path: tf.Variable(tf.identity(weight.value)) for weight in self._network.weights}
        self._step = tf.function(self._learn, reduce_retracing=True)

    def _learn(self, images: Any, boxes: Any, labels: Any, real: Any) -> Any:
        tf, net = self._tf, self._network
        with tf.GradientTape() as tape:
            value = self._loss(net(tf.cast(images, tf.float32), training=True), boxes, labels, real)
        self._optimizer.apply(tape.gradient(value, net.trainable_variables), net.trainable_variables)
        self._count.assign_add(1.0)
        keep = tf.minimum(self._keep, self._count / (self._count + 10.0))
        for weight in net.weights:
            average = self._averages[weight.path]
            average.assign(keep * average + (1 - keep) * weight.value)
        return value

    def learn(self, epoch: batches.Batch) -> float:
        """One epoch's pictures; returns the mean loss."""
        starts = range(0, len(epoch[0]) - BATCH + 1, BATCH)
        return float(np.mean([float(self._step(*(part[at : at + BATCH] for part in epoch))) for at in starts]))

    def averaged(self) -> export.Weights:
        """The averaged weights, by the layers' names."""
        return {
            layer.name: [self._averages[weight.path].numpy() for weight in layer.weights]
            for layer in self._network.layers
        }


def train(schedule: Schedule, out: Path, threads: int) -> float:
    """Train and write the file `out`; returns the last epoch's mean loss."""
    import keras
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    keras.utils.set_random_seed(schedule.seed)
    learner = Learner(schedule)
    count, value = max(1, schedule.drawn // schedule.epoch), float("nan")
    start = time.monotonic()
    epochs = batches.epochs(count, schedule.epoch, schedule.uses, np.random.default_rng(schedule.seed))
    with progress.shown("Training shapes") as step:
        for number, epoch in enumerate(epochs, 1):
            value = learner.learn(epoch)
            export.save(out, learner.averaged())
            left = (time.monotonic() - start) / number * (count - number) / 60
            step(number / count, f"{left:.1f} min left")
            print(f"epoch {number}/{count}: loss {value:.4f}, {left:.1f} min left", flush=True)
    return value


def main(arguments: list[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(
        prog="python3 src/bootstrap.py training.shapes.training",
        description="Train the detector of circles, squares and triangles. Needs the packages of the tests as well: "
        "scikit-image for the photographs, onnx for the file.",
    )
    parser.add_argument("--out", type=Path, required=True, help="the ONNX file, written after every epoch")
    parser.add_argument("--seed", type=int, default=Schedule.seed, help=f"default {Schedule.seed}")
    parser.add_argument("--drawn", type=int, default=Schedule.drawn, help=f"pictures; default {Schedule.drawn}")
    parser.add_argument("--threads", type=int, default=2, help="default 2")
    given = parser.parse_args(arguments)
    schedule = Schedule(given.drawn, seed=given.seed, epoch=min(Schedule.epoch, given.drawn))
    value = train(schedule, given.out, given.threads)
    print(f"{given.out}: loss {value:.4f}, {given.out.stat().st_size} bytes")
    return 0
