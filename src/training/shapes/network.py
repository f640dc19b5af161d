"""The network of `shapes`: a small convolutional detector whose outputs are laid out as YOLOX's.

Three grids with strides of 8, 16 and 32 pixels; each cell gives the middle and size of one box, whether there is one,
and of what class (Ge et al., "YOLOX: Exceeding YOLO Series in 2021", arXiv:2107.08430). The head's weights are shared
by the grids, since a shape looks the same in each.

`lay` is the network; what it is laid with makes of it a Keras model (here) or an ONNX file (export.py).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from imageserver.training.shapes.pictures import LABELS

STRIDES = (8, 16, 32)
SIDE = 160
"""Pixels a side of the input in training: BGR, 0..255, the picture in the upper left and 114 around it."""

SERVED = 224
"""The same of the file. A detector that has seen its things small finds more where they are larger (Touvron et al.,
"Fixing the train-test resolution discrepancy", arXiv:1906.06423); what is trained at 160 pixels costs half as much."""

SCALE = 1 / 64
"""What pixels are multiplied by; the exported model has it in its first kernel."""

OUTPUTS = 5 + len(LABELS)
"""Of each cell: x and y in strides from the cell's corner, log of width and height in strides, object, classes."""

EPSILON = 1e-3
"""Of batch normalisation."""

_RARE = -4.6
"""Logit of an object that cells begin with: one in a hundred holds a shape."""

Tensor = Any


class Layers(Protocol):
    """What the network is laid with."""

    def unit(self, x: Tensor, width: int, name: str, kernel: int = 3, stride: int = 1) -> Tensor:
        """Convolution, padded alike on all sides, normalisation, ReLU."""

    def add(self, first: Tensor, second: Tensor) -> Tensor:
        """The sum."""

    def beside(self, coarse: Tensor, fine: Tensor) -> Tensor:
        """The channels of a coarse grid, each cell four times, before those of a fine one."""

    def tower(self, x: Tensor, width: int, name: str) -> Tensor:
        """Convolution 3x3 and ReLU; those of one name share their weights."""

    def last(self, x: Tensor, width: int, name: str, start: float = 0.0) -> Tensor:
        """Convolution 1x1, its bias beginning with `start`; those of one name share their weights."""

    def cells(self, box: Tensor, thing: Tensor, kind: Tensor) -> Tensor:
        """A grid's answers, a row for each cell."""

    def joined(self, grids: list[Tensor]) -> Tensor:
        """The rows of all grids."""


def lay(layers: Layers, picture: Tensor) -> Tensor:
    """From pictures (n, side, side, 3), already scaled, to (n, cells, OUTPUTS), the finest grid first, row by row."""

    def residual(x: Tensor, width: int, name: str) -> Tensor:
        return layers.add(x, layers.unit(x, width, name))

    x = layers.unit(picture, 16, "stem", stride=2)
    x = residual(layers.unit(x, 24, "quarter", stride=2), 24, "quarter_a")
    x = residual(layers.unit(x, 40, "eighth", stride=2), 40, "eighth_a")
    eighth = residual(x, 40, "eighth_b")
    sixteenth = residual(layers.unit(eighth, 64, "sixteenth", stride=2), 64, "sixteenth_a")
    x = residual(layers.unit(sixteenth, 64, "thirtysecond", stride=2), 64, "thirtysecond_a")
    large = layers.unit(x, 40, "large", kernel=1)
    middle = layers.unit(layers.beside(large, sixteenth), 40, "middle")
    small = layers.unit(layers.beside(middle, eighth), 40, "small")
    grids = []
    for grid in (small, middle, large):
        box, kind = layers.tower(grid, 40, "boxes_tower"), layers.tower(grid, 40, "classes_tower")
        thing = layers.last(box, 1, "object", _RARE)
        grids.append(layers.cells(layers.last(box, 4, "boxes"), thing, layers.last(kind, len(LABELS), "classes", -1.0)))
    return layers.joined(grids)


class KerasLayers:
    """Lays the network as a Keras model for training."""

    def __init__(self) -> None:
        self._named: dict[str, Any] = {}

    def unit(self, x: Tensor, width: int, name: str, kernel: int = 3, stride: int = 1) -> Tensor:
        from keras import layers

        if kernel > 1:
            x = layers.ZeroPadding2D(kernel // 2, name=f"{name}_pad")(x)
        x = layers.Conv2D(width, kernel, stride, use_bias=False, name=name)(x)
        x = layers.BatchNormalization(momentum=0.97, epsilon=EPSILON, name=f"{name}_norm")(x)
        return layers.ReLU(name=f"{name}_relu")(x)

    def add(self, first: Tensor, second: Tensor) -> Tensor:
        from keras import layers

        return layers.Add()([first, second])

    def beside(self, coarse: Tensor, fine: Tensor) -> Tensor:
        from keras import layers

        return layers.Concatenate()([layers.UpSampling2D(2)(coarse), fine])

    def tower(self, x: Tensor, width: int, name: str) -> Tensor:
        from keras import layers

        return self._shared(name, lambda: layers.Conv2D(width, 3, padding="same", activation="relu", name=name))(x)

    def last(self, x: Tensor, width: int, name: str, start: float = 0.0) -> Tensor:
        from keras import initializers, layers

        bias = initializers.Constant(start)
        return self._shared(name, lambda: layers.Conv2D(width, 1, bias_initializer=bias, name=name))(x)

    def _shared(self, name: str, make: Callable[[], Any]) -> Any:
        if name not in self._named:
            self._named[name] = make()
        return self._named[name]

    def cells(self, box: Tensor, thing: Tensor, kind: Tensor) -> Tensor:
        from keras import layers

        return layers.Reshape((-1, OUTPUTS))(layers.Concatenate()([box, thing, kind]))

    def joined(self, grids: list[Tensor]) -> Tensor:
        from keras import layers

        return layers.Concatenate(axis=1)(grids)


def cells(side: int) -> int:
    """How many there are on the grids over a square of `side` pixels, which 32 divides."""
    return sum((side // stride) ** 2 for stride in STRIDES)


def network(side: int) -> Any:
    """For training: BGR float32 (n, side, side, 3), 0..255, to float32 (n, cells, OUTPUTS), without exp or sigmoid."""
    import keras

    picture = keras.Input((side, side, 3), name="images")
    return keras.Model(picture, lay(KerasLayers(), keras.layers.Rescaling(SCALE)(picture)))
