"""Names and numbers that all X-ray commands share. Nothing is imported here that takes time."""

from __future__ import annotations

from dataclasses import dataclass

MEMBERS = ("xray-inception", "xray-densenet", "xray-mycn", "xray-vgg", "xray-xception", "xray-resnet")
ENSEMBLE = "xray-ensemble"
FOLDS = 5
SEED = 20
"""Of the folds and of all that is drawn. The network of fold k of member m is trained with SEED + 100 m + k."""


@dataclass(frozen=True)
class Recipe:
    """How a network is trained. The same for all families."""

    epochs: int = 10
    batch: int = 64
    rate: float = 3e-3  # the highest learning rate
    decay: float = 0.02  # of the weights, decoupled
    smoothing: float = 0.05  # of the labels
    average: float = 0.99  # of the former average that a step keeps
