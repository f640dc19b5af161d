"""Names and numbers that all X-ray commands share. Nothing is imported here that takes time."""

from __future__ import annotations

from dataclasses import dataclass

MEMBERS = ("xray-inception", "xray-densenet", "xray-mycn", "xray-vgg", "xray-xception", "xray-resnet")
ENSEMBLE = "xray-ensemble"
FOLDS = 5
SEED = 20
"""Of the folds and of all that is drawn. The network of fold k of member m is trained with SEED + 100 m + k."""

FEATURES = {
    "xray-inception": ("Relu_809", "Concat_1174"),
    "xray-densenet": ("Relu_617",),
    "xray-mycn": ("Relu_217", "Relu_251", "Relu_293"),
    "xray-vgg": ("Relu_234", "Relu_269", "Relu_304"),
    "xray-xception": ("Relu_452", "Relu_515"),
    "xray-resnet": ("Relu_294", "Relu_351", "Relu_390"),
}
"""By what a member tells chest X-rays from other pictures: layers of its first network, by their names in graph.zip.

An early one for textures and a late one for what they make up; of DenseNet the last, which holds the earlier ones.
Elsewhere the last alone does not do: it has learned what tells the two classes apart, and little else.
"""


@dataclass(frozen=True)
class Recipe:
    """How a network is trained. The same for all families."""

    epochs: int = 10
    batch: int = 64
    rate: float = 3e-3  # the highest learning rate
    decay: float = 0.02  # of the weights, decoupled
    smoothing: float = 0.05  # of the labels
    average: float = 0.99  # of the former average that a step keeps
