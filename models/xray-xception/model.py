"""Xception's manner: space and channels apart (depthwise, then pointwise convolution), with residuals around.

After Chollet, "Xception: Deep Learning with Depthwise Separable Convolutions", 2017.
"""

from keras import Model, layers

from imageserver.inference.toolkit.xray import layers as xray_layers
from imageserver.inference.toolkit.xray.layers import Tensor, convolution, plain


def separable(x: Tensor, filters: int) -> Tensor:
    x = layers.SeparableConv2D(filters, 3, padding="same", use_bias=False)(layers.ReLU()(x))
    return layers.BatchNormalization(momentum=0.9)(x)


def block(x: Tensor, filters: int) -> Tensor:
    """Halves width and height."""
    inner = layers.MaxPooling2D(3, strides=2, padding="same")(separable(separable(x, filters), filters))
    shortcut = layers.BatchNormalization(momentum=0.9)(plain(layers.AveragePooling2D(2)(x), filters, 1))
    return layers.Add()([inner, shortcut])


def body(x: Tensor) -> Tensor:
    x = convolution(convolution(x, 16), 24)
    x = block(block(x, 36), 96)
    for _ in range(2):
        x = layers.Add()([separable(separable(x, 96), 96), x])
    return layers.ReLU()(separable(x, 128))


def network() -> Model:
    """One network, as it is trained."""
    return xray_layers.network("xray_xception", body)


def build() -> Model:
    """The committee, as it serves."""
    return xray_layers.committee("xray_xception", body)
