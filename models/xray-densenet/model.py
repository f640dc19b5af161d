"""DenseNet's manner: every layer is given the features of all layers before it, concatenated.

After Huang, Liu, van der Maaten and Weinberger, "Densely Connected Convolutional Networks", 2017.
"""

from keras import Model, layers

from imageserver.inference.toolkit.xray import layers as xray_layers
from imageserver.inference.toolkit.xray.layers import Tensor, convolution, normalised, plain

GROWTH = 14


def dense(x: Tensor, count: int) -> Tensor:
    for _ in range(count):
        x = layers.Concatenate()([x, plain(normalised(x), GROWTH, 3)])
    return x


def transition(x: Tensor) -> Tensor:
    return layers.AveragePooling2D(2)(plain(normalised(x), x.shape[-1] * 2 // 3, 1))


def body(x: Tensor) -> Tensor:
    x = layers.MaxPooling2D()(convolution(convolution(x, 16, 3), 28, 3))
    x = transition(dense(x, 4))
    return normalised(dense(x, 6))


def network() -> Model:
    """One network, as it is trained."""
    return xray_layers.network("xray_densenet", body)


def build() -> Model:
    """The committee, as it serves."""
    return xray_layers.committee("xray_densenet", body)
