"""VGG's manner: plain stacks of 3x3 convolutions, maximum pooling, twice the filters after each.

After Simonyan and Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition", 2015.
"""

from keras import Model, layers

from imageserver.inference.toolkit.xray import layers as xray_layers
from imageserver.inference.toolkit.xray.layers import Tensor, convolution


def body(x: Tensor) -> Tensor:
    for stage, filters in enumerate((16, 36, 72)):
        if stage:
            x = layers.MaxPooling2D()(x)
        for _ in range(2 if stage < 2 else 3):
            x = convolution(x, filters)
    return x


def network() -> Model:
    """One network, as it is trained."""
    return xray_layers.network("xray_vgg", body)


def build() -> Model:
    """The committee, as it serves."""
    return xray_layers.committee("xray_vgg", body)
