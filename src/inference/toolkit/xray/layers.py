"""What the X-ray networks share: how a picture comes in, and how a probability goes out. Keras, so below the wall.

A family's own manner is in its folder, models/xray-*/model.py: a function `body` between a front and a head from here.
`network` is what is trained; `committee` is what serves.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
from keras import layers, ops

from imageserver.inference.toolkit.xray import NETWORKS

Tensor = Any
Body = Callable[[Tensor], Tensor]

SIDE = 28


def plain(x: Tensor, filters: int, size: int, stride: int = 1) -> Tensor:
    """A convolution alone: no bias, no activation."""
    return layers.Conv2D(filters, size, strides=stride, padding="same", use_bias=False, kernel_initializer="he_normal")(
        x
    )


def normalised(x: Tensor) -> Tensor:
    """Batch normalisation and ReLU."""
    return layers.ReLU()(layers.BatchNormalization(momentum=0.9)(x))


def convolution(x: Tensor, filters: int, size: int = 3, stride: int = 1) -> Tensor:
    """Convolution, batch normalisation, ReLU."""
    return normalised(plain(x, filters, size, stride))


def standardised(x: Tensor) -> Tensor:
    """Each picture of (n, 28, 28, 1) in 0..255 to mean 0 and deviation 1; one of a single grey gives zeros.

    So a machine's exposure and contrast say nothing: in the training data they alone tell much of the diagnosis,
    and elsewhere they do not.
    """
    x = x - ops.mean(x, axis=(1, 2, 3), keepdims=True)
    return x / (ops.sqrt(ops.mean(ops.square(x), axis=(1, 2, 3), keepdims=True)) + 1.0)


def network(name: str, body: Body, dropout: float = 0.3) -> keras.Model:
    """Front and head around a family's `body`: (n, 28, 28, 1) in 0..255 to (n, 1), the logit of pneumonia."""
    picture = keras.Input((SIDE, SIDE, 1), name="picture")
    x = body(standardised(picture))
    x = layers.Dropout(dropout)(layers.GlobalAveragePooling2D()(x))
    return keras.Model(picture, layers.Dense(1, name="logit")(x), name=name)


def committee(name: str, body: Body) -> keras.Model:
    """(n, 28, 28, 1) in 0..255 to (n, 2): the calibrated probabilities of normal and of pneumonia.

    `NETWORKS` networks judge each picture as it is and mirrored, and the mean of their logits counts. The
    weights are those of the networks, one after the other; calibration is in each one's last layer.
    """
    picture = keras.Input((SIDE, SIDE, 1), name="picture")
    both = ops.concatenate([picture, ops.flip(picture, axis=2)], axis=0)
    logits = [network(f"{name}_{number}", body)(both) for number in range(NETWORKS)]
    logit = ops.mean(ops.reshape(ops.mean(ops.concatenate(logits, axis=1), axis=1), (2, -1, 1)), axis=0)
    pneumonia = ops.sigmoid(logit)
    return keras.Model(picture, ops.concatenate([1 - pneumonia, pneumonia], axis=1), name=name)
