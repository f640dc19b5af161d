"""ResNet's manner: each block adds what it has learnt to what it was given.

After He, Zhang, Ren and Sun, "Identity Mappings in Deep Residual Networks", 2016 (activation before convolution).
"""

from keras import Model, layers

from imageserver.inference.toolkit.xray import layers as xray_layers
from imageserver.inference.toolkit.xray.layers import Tensor, normalised, plain


def block(x: Tensor, filters: int, stride: int) -> Tensor:
    before = normalised(x)
    shortcut = x
    if stride > 1 or x.shape[-1] != filters:
        shortcut = plain(layers.AveragePooling2D(stride)(before) if stride > 1 else before, filters, 1)
    inner = plain(before, filters, 3, stride)
    return layers.Add()([plain(normalised(inner), filters, 3), shortcut])


def body(x: Tensor) -> Tensor:
    x = plain(x, 16, 3)
    for filters, stride in ((16, 1), (40, 2), (72, 2), (72, 1)):
        x = block(x, filters, stride)
    return normalised(x)


def network() -> Model:
    """One network, as it is trained."""
    return xray_layers.network("xray_resnet", body)


def build() -> Model:
    """The committee, as it serves."""
    return xray_layers.committee("xray_resnet", body)
