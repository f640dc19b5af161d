"""The project's own CNN: the picture beside its local contrast, wide kernels first, weighed channels.

Local contrast is the picture less its surroundings, over their deviation: infiltrates are a matter of texture, and this
says it whatever the exposure. Channels are weighed by what the whole picture shows: squeeze-and-excitation (Hu, Shen
and Sun, 2018).
"""

from keras import Model, layers, ops

from imageserver.inference.toolkit.xray import layers as xray_layers
from imageserver.inference.toolkit.xray.layers import Tensor, convolution


def local_contrast(x: Tensor) -> Tensor:
    """(n, 28, 28, 1) to the same: minus the mean of 7x7 neighbours, over their deviation."""
    near = layers.AveragePooling2D(7, strides=1, padding="same")
    difference = x - near(x)
    return difference / ops.sqrt(near(ops.square(difference)) + 0.02)


def weighed(x: Tensor) -> Tensor:
    channels = x.shape[-1]
    whole = layers.GlobalAveragePooling2D(keepdims=True)(x)
    whole = layers.Conv2D(channels // 4, 1, activation="relu")(whole)
    return layers.Multiply()([x, layers.Conv2D(channels, 1, activation="sigmoid")(whole)])


def body(x: Tensor) -> Tensor:
    x = layers.Concatenate()([x, local_contrast(x)])
    x = convolution(convolution(x, 20, 5), 32, 3, stride=2)
    x = weighed(convolution(x, 40, 3))
    x = convolution(x, 72, 3, stride=2)
    return weighed(convolution(x, 88, 3))


def network() -> Model:
    """One network, as it is trained."""
    return xray_layers.network("xray_mycn", body)


def build() -> Model:
    """The committee, as it serves."""
    return xray_layers.committee("xray_mycn", body)
