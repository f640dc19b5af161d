"""What the network is trained by: which cells a shape is given, and how far they are from it. TensorFlow.

Cells are given to shapes as in YOLOX (SimOTA): of the cells in a shape's middle those whose answers cost least, as many
as their overlaps with it add up to; a cell that several shapes want goes to the one it costs least.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from imageserver.training.shapes.network import SIDE, STRIDES

Tensor = Any

CANDIDATES = 10
"""Overlaps that are added up to the number of a shape's cells."""

REACH = 1.5
"""How far from a shape's middle, in strides, its cells may lie."""

_FAR = 1e6


def cells() -> tuple[Any, Any]:
    """float32 (cells, 2) corners of the cells, x and y in strides; float32 (cells, 1) the strides in pixels."""
    corners, strides = [], []
    for stride in STRIDES:
        rows, columns = np.mgrid[0 : SIDE // stride, 0 : SIDE // stride]
        corners.append(np.stack([columns.ravel(), rows.ravel()], axis=1))
        strides.append(np.full((rows.size, 1), stride))
    return np.concatenate(corners).astype(np.float32), np.concatenate(strides).astype(np.float32)


CORNERS, PIXELS = cells()


def decoded(out: Tensor) -> Tensor:
    """(n, cells, 4) left, top, right, bottom in pixels of the input, of what the network gave."""
    middle = (out[..., :2] + CORNERS) * PIXELS
    half = tf.exp(tf.minimum(out[..., 2:4], 5.0)) * PIXELS / 2
    return tf.concat([middle - half, middle + half], axis=-1)


def overlap(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Intersection over union of boxes (..., 4), and GIoU (Rezatofighi et al., 2019)."""
    size = tf.maximum(tf.minimum(first[..., 2:], second[..., 2:]) - tf.maximum(first[..., :2], second[..., :2]), 0.0)
    hull = tf.maximum(first[..., 2:], second[..., 2:]) - tf.minimum(first[..., :2], second[..., :2])
    both = size[..., 0] * size[..., 1]
    either = _area(first) + _area(second) - both
    around = hull[..., 0] * hull[..., 1]
    iou = both / (either + 1e-6)
    return iou, iou - (around - either) / (around + 1e-6)


def _area(boxes: Tensor) -> Tensor:
    size = boxes[..., 2:] - boxes[..., :2]
    return size[..., 0] * size[..., 1]


def assign(out: Tensor, boxes: Tensor, labels: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
    """Which shape each cell is given: bool (n, cells) whether one, and int32 (n, cells) which row of `boxes`.

    Args:
        out: what the network gave, (n, cells, OUTPUTS).
        boxes: (n, shapes, 4) left, top, right, bottom in pixels of the input.
        labels: int (n, shapes).
        real: bool (n, shapes): false for rows that only fill up.
    """
    out = tf.stop_gradient(out)
    iou, _ = overlap(boxes[:, :, None], decoded(out)[:, None])  # (n, shapes, cells)
    sure = tf.sigmoid(out[:, None, :, 5:]) * tf.sigmoid(out[:, None, :, 4:5])
    right = tf.one_hot(labels, out.shape[-1] - 5)[:, :, None]
    probability = tf.clip_by_value(tf.sqrt(sure), 1e-6, 1 - 1e-6)
    kind = -tf.reduce_sum(right * tf.math.log(probability) + (1 - right) * tf.math.log(1 - probability), axis=-1)
    points = (CORNERS + 0.5) * PIXELS
    middle = (boxes[..., :2] + boxes[..., 2:]) / 2
    near = tf.reduce_max(tf.abs(points[None, None] - middle[:, :, None]), axis=-1) < REACH * PIXELS[:, 0]
    within = tf.reduce_all((points[None, None] > boxes[:, :, None, :2]) & (points < boxes[:, :, None, 2:]), axis=-1)
    allowed = near & real[..., None]
    cost = kind - 3.0 * tf.math.log(iou + 1e-8) + tf.where(within, 0.0, 100.0) + tf.where(allowed, 0.0, _FAR)
    best = tf.reduce_sum(tf.math.top_k(tf.where(allowed, iou, 0.0), CANDIDATES).values, axis=-1)
    many = tf.clip_by_value(tf.cast(best, tf.int32), 1, CANDIDATES)
    cheapest = -tf.math.top_k(-cost, CANDIDATES).values  # (n, shapes, CANDIDATES), ascending
    limit = tf.gather(cheapest, many - 1, batch_dims=2)[..., None]
    wanted = allowed & (cost <= limit)
    price = tf.where(wanted, cost, 2 * _FAR)
    return tf.reduce_any(wanted, axis=1), tf.argmin(price, axis=1, output_type=tf.int32)


def loss(out: Tensor, boxes: Tensor, labels: Tensor, real: Tensor) -> Tensor:
    """A number for a batch: boxes (GIoU, five times), object and class (cross-entropy), for each cell that is given.

    Args as `assign`'s.
    """
    given, row = assign(out, boxes, labels, real)
    count = tf.maximum(tf.reduce_sum(tf.cast(given, tf.float32)), 1.0)
    objects = tf.nn.sigmoid_cross_entropy_with_logits(tf.cast(given, tf.float32), out[..., 4])
    where = tf.where(given)
    chosen = tf.gather_nd(out, where)
    index = tf.stack([where[:, 0], tf.cast(tf.gather_nd(row, where), tf.int64)], axis=1)
    iou, giou = overlap(tf.gather_nd(boxes, index), tf.gather_nd(decoded(out), where))
    right = tf.one_hot(tf.gather_nd(labels, index), out.shape[-1] - 5) * tf.stop_gradient(0.5 + 0.5 * iou)[:, None]
    kinds = tf.nn.sigmoid_cross_entropy_with_logits(right, chosen[:, 5:])
    return (5.0 * tf.reduce_sum(1.0 - giou) + tf.reduce_sum(objects) + tf.reduce_sum(kinds)) / count
