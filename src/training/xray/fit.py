"""Fitting one X-ray network: the loop, and what it is judged by. TensorFlow, so below the wall.

AdamW with a warm-up and a cosine; class weights, because the file is 74 % pneumonia and a ward is not; label smoothing;
and the moving average of the weights is what comes out.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from imageserver.training.xray import augment
from imageserver.training.xray.data import Pictures, Reals
from imageserver.training.xray.recipe import Recipe

Tensor = Any


def use_one_core() -> None:
    """For this process, before anything else is asked of TensorFlow."""
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)


def fit(network: keras.Model, images: Pictures, targets: Reals, recipe: Recipe, seed: int) -> None:
    """Train `network` (logits) on `images` (n, 28, 28) with `targets` (n,), the probability of pneumonia, 0..1.

    It ends with the averaged weights. The same seed gives the same weights on the same machine.
    """
    random = tf.random.Generator.from_seed(seed)
    order = np.random.default_rng(seed)
    steps = max(1, len(images) // recipe.batch)
    rate = keras.optimizers.schedules.CosineDecay(
        recipe.rate / 30, max(1, (recipe.epochs - 1) * steps), alpha=0.01, warmup_target=recipe.rate, warmup_steps=steps
    )
    optimizer = keras.optimizers.AdamW(rate, weight_decay=recipe.decay)
    optimizer.build(network.trainable_variables)
    averages = [(tf.Variable(variable.value), variable) for variable in network.weights]
    pneumonia = float(np.mean(targets > 0.5))

    @tf.function  # type: ignore[untyped-decorator]
    def step(pictures: Tensor, wanted: Tensor, keep: Tensor) -> None:
        x = augment.machine(tf.cast(pictures, tf.float32)[..., None] / 255.0, random) * 255.0
        weight = 2 * tf.where(wanted > 0.5, 1 - pneumonia, pneumonia)
        wanted = wanted * (1 - recipe.smoothing) + recipe.smoothing / 2
        with tf.GradientTape() as tape:
            logit = network(x, training=True)[:, 0]
            loss = tf.reduce_mean(weight * tf.nn.sigmoid_cross_entropy_with_logits(wanted, logit))
        gradients = tape.gradient(loss, network.trainable_variables)
        optimizer.apply_gradients(zip(gradients, network.trainable_variables, strict=True))
        for average, variable in averages:
            average.assign(average * keep + variable.value * (1 - keep))

    done = 0
    for _ in range(recipe.epochs):
        shuffled = order.permutation(len(images))
        for first in range(0, steps * recipe.batch, recipe.batch):
            chosen = shuffled[first : first + recipe.batch]
            done += 1
            keep = min(recipe.average, done / (done + 10))
            step(tf.constant(images[chosen]), tf.constant(targets[chosen], tf.float32), tf.constant(keep, tf.float32))
    for average, variable in averages:
        variable.assign(average)


def logits(network: keras.Model, images: NDArray[Any]) -> Reals:
    """(n,) what `network` says of `images` (n, 28, 28) in 0..255, as they are and mirrored: the mean, as it serves."""
    run = tf.function(lambda x: network(x, training=False), reduce_retracing=True)
    total = np.zeros(len(images), np.float32)
    for view in (images, images[:, :, ::-1]):
        for first in range(0, len(images), 256):
            x = tf.constant(view[first : first + 256, ..., None], tf.float32)
            total[first : first + 256] += run(x).numpy()[:, 0] / 2
    return total


def otherwise(images: Pictures, seed: int) -> Reals:
    """The pictures as another machine would have given them, once and for all: for judging, not for training."""
    random = tf.random.Generator.from_seed(seed)
    parts = []
    for first in range(0, len(images), 512):
        x = tf.constant(images[first : first + 512, ..., None], tf.float32) / 255.0
        parts.append(augment.elsewhere(x, random).numpy()[..., 0] * 255.0)
    return np.concatenate(parts)
