"""How good a prediction is, and how sure that is: AUC, accuracies, bootstrap intervals, calibration. numpy only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Reals = NDArray[Any]
Whole = NDArray[Any]

RESAMPLES = 1000


@dataclass(frozen=True)
class Calibration:
    """The logit z of a network becomes `scale` * z + `offset`, after which a probability of 0.5 is the threshold."""

    scale: float
    offset: float

    def __str__(self) -> str:
        return f"{self.scale:.3f} z {self.offset:+.3f}"


def auc(scores: Reals, labels: Whole) -> float:
    """Area under the ROC curve: the share of pairs (pneumonia, normal) in the right order; ties count half."""
    _, index, count = np.unique(scores, return_inverse=True, return_counts=True)
    rank = (np.cumsum(count) - (count - 1) / 2)[index]
    sick = labels == 1
    pairs = int(sick.sum()) * int((~sick).sum())
    return float((rank[sick].sum() - sick.sum() * (sick.sum() + 1) / 2) / pairs)


def rates(scores: Reals, labels: Whole, threshold: float = 0.0) -> tuple[float, float]:
    """(sensitivity, specificity): of the pneumonias and of the normals, the share found."""
    called = scores > threshold
    return float(called[labels == 1].mean()), float((~called)[labels == 0].mean())


def balanced(scores: Reals, labels: Whole, threshold: float = 0.0) -> float:
    """Balanced accuracy: the mean of sensitivity and specificity."""
    return sum(rates(scores, labels, threshold)) / 2


def accuracy(scores: Reals, labels: Whole, threshold: float = 0.0) -> float:
    return float(((scores > threshold) == (labels == 1)).mean())


def summary(scores: Reals, labels: Whole) -> str:
    """One line for a person: of logits, at the threshold 0."""
    sensitivity, specificity = rates(scores, labels)
    return (
        f"AUC {auc(scores, labels):.4f}, accuracy {accuracy(scores, labels):.4f}, "
        f"balanced {balanced(scores, labels):.4f} (sensitivity {sensitivity:.4f}, specificity {specificity:.4f})"
    )


def interval(measure: Any, scores: Reals, labels: Whole, seed: int = 0) -> tuple[float, float]:
    """The 95 % interval of `measure(scores, labels)`: bootstrap over pictures, each class at its own number."""
    random = np.random.default_rng(seed)
    classes = [np.flatnonzero(labels == label) for label in (0, 1)]
    values = []
    for _ in range(RESAMPLES):
        drawn = np.concatenate([random.choice(own, len(own)) for own in classes])
        values.append(measure(scores[drawn], labels[drawn]))
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)


def calibrate(logits: Reals, labels: Whole) -> Calibration:
    """Scale and offset of least cross-entropy with both classes weighing the same (Platt, 1999), by Newton's method.

    With classes of the same weight the probability 0.5 is where balanced accuracy is best, as far as the model fits.
    """
    middle, spread = float(logits.mean()), max(float(logits.std()), 1e-9)
    x = np.stack([(logits.astype(np.float64) - middle) / spread, np.ones(len(logits))])
    weight = np.where(labels == 1, 0.5 / np.mean(labels == 1), 0.5 / np.mean(labels == 0)) / len(labels)
    sign = np.where(labels == 1, 1.0, -1.0)

    def loss(at: Reals) -> float:
        return float(weight @ np.logaddexp(0, -sign * (at @ x))) + 1e-6 * float(at @ at)

    found = np.zeros(2)
    for _ in range(50):
        p = 1 / (1 + np.exp(-np.clip(found @ x, -50, 50)))
        gradient = x @ (weight * (p - labels)) + 2e-6 * found
        step = np.linalg.solve((x * (weight * p * (1 - p))) @ x.T + 2e-6 * np.eye(2), gradient)
        while loss(found - step) > loss(found) and np.abs(step).max() > 1e-9:
            step = step / 2
        found = found - step
        if np.abs(step).max() < 1e-9:
            break
    scale = float(found[0]) / spread
    return Calibration(scale, float(found[1]) - scale * middle)
