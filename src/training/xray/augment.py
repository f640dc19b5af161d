"""X-rays as another machine, another operator or another child would have given them. TensorFlow, on whole batches.

A stronger version, which interpolated every picture and added noise and blur in proportion to the range of grey
values, was worse on pictures that look alike held out together (`data.wards`): the network then never sees a
sharp picture, and infiltrates in a pale one are fainter than such noise. So half of the pictures move by whole
pixels only, and noise and fields are in proportion to a picture's own deviation. Contrast and brightness are
not varied: the network takes them out itself.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

Tensor = Any


def _draw(x: Tensor, random: Tensor, low: float, high: float) -> Tensor:
    """One number for each picture, (n, 1, 1, 1)."""
    return random.uniform((tf.shape(x)[0], 1, 1, 1), low, high)


def _some(x: Tensor, random: Tensor, share: float) -> Tensor:
    """(n, 1, 1, 1) bool, true for that share of the pictures."""
    return _draw(x, random, 0.0, 1.0) < share


def _deviation(x: Tensor) -> Tensor:
    return tf.math.reduce_std(x, axis=(1, 2, 3), keepdims=True)


def _warp(x: Tensor, matrix: list[Tensor], interpolation: str) -> Tensor:
    """`matrix`: a, b, right, c, d, below, each (n,): pixel (x, y) comes from (a x + b y + right, c x + d y + below)."""
    zero = tf.zeros_like(matrix[0])
    transforms = tf.stack([*matrix, zero, zero], axis=1)
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=x,
        transforms=transforms,
        output_shape=x.shape[1:3],
        fill_value=0.0,
        interpolation=interpolation,
        fill_mode="REFLECT",
    )


def moved(x: Tensor, random: Tensor) -> Tensor:
    """(n, 28, 28, 1) shifted by up to two whole pixels and mirrored half the time: every pixel keeps its value."""
    x = tf.where(_some(x, random, 0.5), x, x[:, :, ::-1])
    right, below = (tf.round(random.uniform((tf.shape(x)[0],), -2.49, 2.49)) for _ in range(2))
    zero, one = tf.zeros_like(right), tf.ones_like(right)
    return _warp(x, [one, zero, right, zero, one, below], "NEAREST")


def placed(x: Tensor, random: Tensor, strength: float = 1.0) -> Tensor:
    """(n, 28, 28, 1) as placed otherwise.

    ±6 degrees, zoom 0.9..1.11 and ±5 % of aspect, ±5 % shift, mirrored half the time.
    """
    count, side = tf.shape(x)[0], x.shape[1]

    def draw(limit: float) -> Tensor:
        return random.uniform((count,), -limit * strength, limit * strength)

    angle, zoom, aspect = draw(0.105), draw(0.11), draw(0.05)
    across, down = tf.exp(zoom + aspect), tf.exp(zoom - aspect)
    across *= tf.where(random.uniform((count,)) < 0.5, 1.0, -1.0)
    a, b, c, d = across * tf.cos(angle), -down * tf.sin(angle), across * tf.sin(angle), down * tf.cos(angle)
    middle = (side - 1) / 2
    right, below = middle + draw(0.05) * side, middle + draw(0.05) * side
    return _warp(x, [a, b, right - middle * (a + b), c, d, below - middle * (c + d)], "BILINEAR")


def exposed(x: Tensor, random: Tensor, strength: float = 1.0) -> Tensor:
    """(n, 28, 28, 1) in 0..1 with another gamma, 0.74..1.35, and an uneven field of up to ±25 % of its deviation."""
    deviation = _deviation(x)
    x = tf.clip_by_value(x, 1e-4, 1.0) ** tf.exp(_draw(x, random, -0.3, 0.3) * strength)
    field = random.uniform((tf.shape(x)[0], 3, 3, 1), -0.25 * strength, 0.25 * strength)
    return x + tf.image.resize(field, x.shape[1:3], "bicubic") * deviation


def detected(x: Tensor, random: Tensor) -> Tensor:
    """(n, 28, 28, 1) by another detector: some sharpened or blurred, some with noise, some with a patch of one grey."""
    side = x.shape[1]
    soft = tf.nn.avg_pool2d(tf.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), "SYMMETRIC"), 3, 1, "VALID")
    x = tf.where(_some(x, random, 0.3), x + (soft - x) * _draw(x, random, -0.5, 0.4), x)
    noise = random.normal(tf.shape(x)) * _draw(x, random, 0.0, 0.06) * _deviation(x)
    x = tf.where(_some(x, random, 0.2), x + noise, x)
    places = tf.reshape(tf.range(side, dtype=tf.float32), (1, side, 1, 1))
    half = _draw(x, random, 2.0, 5.0) * tf.cast(_some(x, random, 0.3), tf.float32)
    inside = tf.abs(places - _draw(x, random, 0.0, side)) < half
    inside &= tf.abs(tf.transpose(places, (0, 2, 1, 3)) - _draw(x, random, 0.0, side)) < half
    return tf.where(inside, tf.reduce_mean(x, axis=(1, 2, 3), keepdims=True), x)


def machine(x: Tensor, random: Tensor) -> Tensor:
    """Pictures for training: `x` (n, 28, 28, 1) in 0..1 to the same, somewhat beyond it.

    `random`: a tf.random.Generator.
    """
    x = tf.where(_some(x, random, 0.5), placed(x, random), moved(x, random))
    x = tf.where(_some(x, random, 0.5), exposed(x, random), x)
    return detected(x, random)


def elsewhere(x: Tensor, random: Tensor) -> Tensor:
    """Pictures for judging: all of `x` placed and exposed otherwise, more than in training, and cut to 0..1.

    Contrast 0.67..1.5 and brightness ±0.12 come to it, so that here and there dark and light parts are lost.
    """
    x = exposed(placed(x, random, 1.6), random, 1.6)
    mean = tf.reduce_mean(x, axis=(1, 2, 3), keepdims=True)
    x = (x - mean) * tf.exp(_draw(x, random, -0.4, 0.4)) + mean + _draw(x, random, -0.12, 0.12)
    return tf.clip_by_value(x, 0.0, 1.0)
