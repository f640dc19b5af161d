"""Inception's manner: kernels of several sizes look at the same features in parallel.

After Szegedy et al., "Going Deeper with Convolutions", 2015, with the factorised large kernels of
"Rethinking the Inception Architecture for Computer Vision", 2016.
"""

from keras import Model, layers

from imageserver.inference.toolkit.xray import layers as xray_layers
from imageserver.inference.toolkit.xray.layers import Tensor, convolution


def module(x: Tensor, filters: int) -> Tensor:
    """Four branches of `filters` each: 1x1, 3x3, 5x5 as two 3x3, and pooling."""
    point = convolution(x, filters, 1)
    small = convolution(convolution(x, filters, 1), filters, 3)
    large = convolution(convolution(convolution(x, filters // 2, 1), filters, 3), filters, 3)
    pooled = convolution(layers.AveragePooling2D(3, strides=1, padding="same")(x), filters, 1)
    return layers.Concatenate()([point, small, large, pooled])


def body(x: Tensor) -> Tensor:
    x = convolution(convolution(x, 16, 5), 24, 3)
    x = module(layers.MaxPooling2D()(x), 14)
    x = module(x, 18)
    x = module(layers.MaxPooling2D()(x), 28)
    return module(x, 36)


def network() -> Model:
    """One network, as it is trained."""
    return xray_layers.network("xray_inception", body)


def build() -> Model:
    """The committee, as it serves."""
    return xray_layers.committee("xray_inception", body)
