"""Train LeNet: `python3 src/bootstrap.py training.lenet.training --data mnist.npz --out models/lenet`.

Teachers are trained first; the LeNet that is kept then learns from the labels and from their average opinion on
every bent picture (Hinton, Vinyals and Dean, "Distilling the Knowledge in a Neural Network", 2015; a network
taught by its equal: Furlanello et al., "Born-Again Neural Networks", 2018). Its weights are averaged along the
last part of the way. The same data, options and library versions give the same weights to the bit.

The network in training has batch normalisation and dropout; `fold` turns it into the plain one of
models/lenet/model.py.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from imageserver import files
from imageserver.errors import TrainingCancelled, TrainingError
from imageserver.inference.shared import progress
from imageserver.training import weights as stored
from imageserver.training.lenet import data as lenet_data
from imageserver.training.lenet.data import Data, Floats, Labels, Mix, Pictures

RECORD = "training.json"
BATCH = 128
LEAST = 16
"""Pictures that the last batch of an epoch must have: batch normalisation learns nothing from one or two."""

REPORT = 50
"""Steps between two reports."""


@dataclass(frozen=True)
class Options:
    """How to train. `samples` is what the kept network sees in all, each teacher `teacher_samples`."""

    seed: int = 1998
    samples: int = 450_000
    teachers: int = 1
    teacher_samples: int = 250_000
    rate: float = 2e-3
    decay: float = 2e-2
    smoothing: float = 0.06
    trust: float = 0.6  # of the target that comes from the teachers
    dropout: float = 0.4
    average: float = 0.998  # of the averaged weights that remains after a step
    threads: int = 2
    mix: Mix = field(default_factory=Mix)


@dataclass(frozen=True)
class Progress:
    """Where a training stands. `epoch` of `epochs` counts all phases together, `part` of this one is done (0 to 1);
    `loss` and `accuracy` (0 to 1) are those on the epoch's bent pictures so far, which are harder than real ones;
    `seconds_left` is an estimate from the time spent so far."""

    phase: str
    epoch: int
    epochs: int
    part: float
    loss: float
    accuracy: float
    seconds_left: float


@dataclass(frozen=True)
class Trained:
    """A finished training. `weights`: float16 arrays in the order of `build().weights`; `accuracy` on `x_test`, 0 to 1,
    of these very weights; `seconds` it took."""

    weights: list[np.ndarray[Any, np.dtype[np.float16]]]
    accuracy: float
    seconds: float


def train(
    data: Data,
    options: Options | None = None,
    progress: Callable[[Progress], None] = lambda _: None,
    cancelled: Callable[[], bool] = lambda: False,
    clock: Callable[[], float] = time.monotonic,
) -> Trained:
    """Train from scratch. Sets TensorFlow's threads, so it wants a process of its own.

    `progress` is called every `REPORT` steps and after every epoch; `cancelled` is asked before every step, and
    `TrainingCancelled` raised when it says so.
    """
    import keras
    import tensorflow as tf

    options = options or Options()
    tf.config.threading.set_intra_op_parallelism_threads(options.threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    tf.config.experimental.enable_op_determinism()
    start = clock()
    size = len(data.y_train)
    plan = [
        (f"teacher {number + 1} of {options.teachers}", options.teacher_samples) for number in range(options.teachers)
    ]
    plan.append(("LeNet", options.samples))
    epochs = [max(1, round(samples / size)) for _, samples in plan]
    # A teacher's opinion costs a third of a step; the estimate of the time left has to know.
    cost = [1.0] * options.teachers + [1.0 + options.teachers / 3]
    total = sum(count * each for count, each in zip(epochs, cost, strict=True))
    done, number = 0.0, 0
    teachers: list[Any] = []
    for index, (phase, _) in enumerate(plan):
        keras.utils.set_random_seed(options.seed + index)
        rng = np.random.default_rng([options.seed, index])
        student = _Learner(options, teachers if index == options.teachers else [], epochs[index] * -(-size // BATCH))
        for pictures, labels in _epochs(data, rng, options.mix, epochs[index]):
            number += 1
            for part, loss, accuracy in student.learn(pictures, labels, cancelled):
                spent = done + cost[index] * part
                left = (clock() - start) * (total - spent) / spent
                progress(Progress(phase, number, sum(epochs), part, loss, accuracy, left))
            done += cost[index]
        teachers.append(student.averaged())
    weights = fold(teachers[-1])
    accuracy = evaluate(weights, data.x_test, data.y_test)
    return Trained(weights, accuracy, clock() - start)


def _epochs(data: Data, rng: np.random.Generator, mix: Mix, count: int) -> Iterator[tuple[Pictures, Labels]]:
    """`count` epochs' pictures, each made while the one before is learnt."""
    with ThreadPoolExecutor(1) as maker:
        coming = maker.submit(lenet_data.epoch, data.x_train, data.y_train, rng, mix)
        for left in range(count, 0, -1):
            ready = coming.result()
            if left > 1:
                coming = maker.submit(lenet_data.epoch, data.x_train, data.y_train, rng, mix)
            yield ready


def network(dropout: float) -> Any:
    """LeNet in training: as models/lenet/model.py with batch normalisation and dropout; gives logits (n, 10)."""
    import keras
    from keras import layers

    return keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            layers.Conv2D(75, 5, use_bias=False),
            layers.BatchNormalization(momentum=0.9),
            layers.ReLU(),
            layers.MaxPooling2D(),
            layers.Conv2D(100, 5, use_bias=False),
            layers.BatchNormalization(momentum=0.9),
            layers.ReLU(),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dropout(dropout / 2),
            layers.Dense(500, use_bias=False),
            layers.BatchNormalization(momentum=0.9),
            layers.ReLU(),
            layers.Dropout(dropout),
            layers.Dense(10),
        ]
    )


class _Learner:
    """One network on its way: weights, their running average, and the compiled step."""

    def __init__(self, options: Options, teachers: list[Any], steps: int) -> None:
        import keras
        import tensorflow as tf

        self._tf, self._options, self._teachers = tf, options, teachers
        self._net = network(options.dropout)
        warm = max(1, min(200, steps // 10))
        rate = keras.optimizers.schedules.CosineDecay(
            options.rate / 20, steps - warm, 1e-3, "cosine", options.rate, warm
        )
        self._optimizer = keras.optimizers.AdamW(rate, weight_decay=options.decay, beta_2=0.99)
        self._optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
        self._optimizer.build(self._net.trainable_variables)
        self._averages = [tf.Variable(tf.identity(each.value)) for each in self._net.weights]
        self._count = tf.Variable(0.0)
        self._step = tf.function(self._learn, reduce_retracing=True)

    def _learn(self, pictures: Any, labels: Any) -> tuple[Any, Any]:
        tf, options = self._tf, self._options
        x = tf.cast(pictures, tf.float32)[..., None] / 255.0
        wanted = tf.one_hot(labels, 10) * (1 - options.smoothing) + options.smoothing / 10
        if self._teachers:
            opinion = sum(tf.nn.softmax(teacher(x, training=False)) for teacher in self._teachers) / len(self._teachers)
            # A drawing bent beyond recognition teaches best what the teachers think of it; the label keeps them honest.
            wanted = wanted * (1 - options.trust) + opinion * options.trust
        with tf.GradientTape() as tape:
            logits = self._net(x, training=True)
            loss = tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(wanted, logits))
        self._optimizer.apply(tape.gradient(loss, self._net.trainable_variables), self._net.trainable_variables)
        self._count.assign_add(1.0)
        keep = tf.minimum(options.average, self._count / (self._count + 10.0))
        for average, weight in zip(self._averages, self._net.weights, strict=True):
            if average.dtype.is_floating:
                average.assign(keep * average + (1 - keep) * weight.value)
        return loss, tf.reduce_mean(tf.cast(tf.equal(tf.argmax(logits, 1), labels), tf.float32))

    def learn(
        self, pictures: Pictures, labels: Labels, cancelled: Callable[[], bool]
    ) -> Iterator[tuple[float, float, float]]:
        """One epoch; every REPORT steps and at its end: part that is done, mean loss and accuracy so far in it."""
        figures: list[tuple[float, float]] = []
        starts = [at for at in range(0, len(labels), BATCH) if at == 0 or len(labels) - at >= LEAST]
        for step, at in enumerate(starts, 1):
            if cancelled():
                raise TrainingCancelled("the training was cancelled")
            loss, accuracy = self._step(pictures[at : at + BATCH], labels[at : at + BATCH])
            figures.append((float(loss), float(accuracy)))
            if step % REPORT == 0 or step == len(starts):
                yield step / len(starts), *_means(figures)

    def averaged(self) -> Any:
        """The network with its averaged weights."""
        for average, weight in zip(self._averages, self._net.weights, strict=True):
            if average.dtype.is_floating:
                weight.assign(average)
        return self._net


def _means(figures: list[tuple[float, float]]) -> tuple[float, float]:
    loss, accuracy = np.mean(figures, axis=0)
    return float(loss), float(accuracy)


def fold(net: Any) -> list[np.ndarray[Any, np.dtype[np.float16]]]:
    """The weights of `network` with batch normalisation folded in: float16, in the order of `build()`."""
    from keras import layers

    folded: list[Floats] = []
    for layer in net.layers:
        if isinstance(layer, layers.BatchNormalization):
            gamma, beta, mean, variance = (np.asarray(each) for each in layer.get_weights())
            factor = gamma / np.sqrt(variance + layer.epsilon)
            folded[-1] = folded[-1] * factor
            folded.append(beta - mean * factor)
        else:
            folded.extend(np.asarray(each) for each in layer.get_weights())
    return [each.astype(np.float16) for each in folded]


def evaluate(weights: list[Any], pictures: Pictures, labels: Labels) -> float:
    """Share of `pictures`, uint8 (n, 28, 28), whose label the folded `weights` name."""
    return float((predict(weights, pictures).argmax(axis=1) == labels).mean())


def predict(weights: list[Any], pictures: Pictures) -> Floats:
    """Logits float32 (n, 10) of the folded `weights` for `pictures`, uint8 (n, 28, 28)."""
    import tensorflow as tf

    kernel1, bias1, kernel2, bias2, dense1, bias3, dense2, bias4 = (
        tf.constant(each.astype(np.float32)) for each in weights
    )

    @tf.function(reduce_retracing=True)  # type: ignore[untyped-decorator]
    def run(x: Any) -> Any:
        x = tf.cast(x, tf.float32)[..., None] / 255.0
        x = tf.nn.max_pool2d(tf.nn.relu(tf.nn.conv2d(x, kernel1, 1, "VALID") + bias1), 2, 2, "VALID")
        x = tf.nn.max_pool2d(tf.nn.relu(tf.nn.conv2d(x, kernel2, 1, "VALID") + bias2), 2, 2, "VALID")
        x = tf.reshape(x, (-1, dense1.shape[0]))
        return tf.nn.relu(x @ dense1 + bias3) @ dense2 + bias4

    return np.concatenate([run(pictures[at : at + 500]).numpy() for at in range(0, len(pictures), 500)])


def save(trained: Trained, folder: Path) -> str:
    """Write the weights into `folder` and their SHA-256 into its manifest; returns the hash.

    `training.json` beside them says how accurate they are and since when, for whoever asks the server.
    """
    folder.mkdir(parents=True, exist_ok=True)
    digest = stored.save(folder, trained.weights)
    record = {"accuracy": f"{trained.accuracy * 100:.2f}", "datetime": time.strftime("%Y-%m-%d %H:%M:%S")}
    files.replace(folder / RECORD, (json.dumps(record) + "\n").encode())
    return digest


def main(arguments: list[str] | None = None) -> int:
    """The command. Exit code 0, or 2 with a sentence when the data cannot be used."""
    parser = argparse.ArgumentParser(
        prog="python3 src/bootstrap.py training.lenet.training", description="Train LeNet on handwritten digits."
    )
    parser.add_argument(
        "--data", type=Path, required=True, help="an .npz with x_train, y_train, x_test, y_test, as Keras's mnist.npz"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of the model; weights.npz is written there")
    parser.add_argument("--seed", type=int, default=Options.seed, help=f"default {Options.seed}")
    parser.add_argument(
        "--samples",
        type=int,
        default=Options.samples,
        help=f"pictures seen by the network kept; default {Options.samples}",
    )
    parser.add_argument(
        "--teachers", type=int, default=Options.teachers, help=f"0 for none; default {Options.teachers}"
    )
    parser.add_argument(
        "--teacher-samples", type=int, default=Options.teacher_samples, help=f"default {Options.teacher_samples}"
    )
    parser.add_argument("--threads", type=int, default=Options.threads, help=f"default {Options.threads}")
    given = parser.parse_args(arguments)
    options = Options(given.seed, given.samples, given.teachers, given.teacher_samples, threads=given.threads)

    def report(state: Progress) -> None:
        left = f"{state.seconds_left / 60:.1f} min left"
        step((state.epoch - 1 + state.part) / state.epochs, f"{state.phase}, {left}")
        if state.part == 1:
            figures = f"loss {state.loss:.4f}, accuracy {state.accuracy:.4f}"
            print(f"{state.phase}: epoch {state.epoch}/{state.epochs}, {figures}, {left}", flush=True)

    try:
        with progress.shown("Training lenet") as step:
            trained = train(lenet_data.load(given.data), options, report)
    except TrainingError as error:
        print(error, file=sys.stderr)
        return 2
    digest = save(trained, given.out)
    print(f"accuracy {trained.accuracy:.4f} on the test part; {trained.seconds:.0f} s; SHA-256 {digest}")
    return 0
