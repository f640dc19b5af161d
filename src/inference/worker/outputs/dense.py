"""Layouts with a candidate in each cell of a grid, of which most are nothing and neighbours mean the same thing.

Each takes what a network gives for a batch and returns the strongest candidates. Only these are decoded: what a cell
holds is read when its score is known to count.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

from imageserver.errors import ModelError
from imageserver.inference.shared.manifest import Manifest
from imageserver.inference.shared.outputs import grids
from imageserver.inference.shared.outputs.recognition import BINS
from imageserver.inference.worker import results
from imageserver.inference.worker.outputs.candidates import Array, Candidates, from_centres, strongest


class Dense:
    """What all of them share.

    Args:
        manifest: With `output.detection`.
    """

    suppress = True
    """Boxes that overlap a stronger one are left out afterwards."""
    coordinates = "pixels"
    """What its boxes are in, where the manifest does not say."""

    def __init__(self, manifest: Manifest) -> None:
        assert manifest.output.detection is not None
        self._settings, self._output = manifest.output.detection, manifest.output
        self._width, self._height = manifest.input.width, manifest.input.height
        self._labels = len(manifest.output.labels)
        self._fractions = (self._settings.coordinates or self.coordinates) == "fractions"

    def read(self, outputs: list[Array]) -> Candidates:
        """The strongest candidates of a batch. ModelError when the outputs are not of this layout."""
        raise NotImplementedError

    def _activate(self, scores: Array) -> Array:
        if self._output.activation == "none":
            return scores
        return results.activate(scores, self._output.activation)

    def _sized(self, boxes: Array) -> Array:
        """Boxes in pixels of the array, where they are fractions of its sides."""
        if self._fractions:
            boxes = boxes * np.array([self._width, self._height] * 2, np.float32)
        return boxes

    def _check_classes(self, classes: int) -> None:
        if classes < 1:
            raise ModelError(f"its outputs leave {classes} classes; is output.format {self._settings.format!r} right?")
        if self._labels and self._labels != classes:
            raise ModelError(f"the network tells {classes} classes apart, the manifest has {self._labels} labels")

    def _wrong(self, outputs: list[Array], wanted: str) -> ModelError:
        shapes = ", ".join(str(output.shape) for output in outputs)
        return ModelError(f"output.format {self._settings.format!r} needs {wanted}; the network gives {shapes}")


class Channels(Dense):
    """YOLOv8, 11 and 12: (n, 4 + classes + keypoints, candidates), or with the last two sides exchanged.

    Centre, width and height in pixels; scores as they are. Source: Ultralytics, `Detect` and `Pose`.
    """

    def read(self, outputs: list[Array]) -> Candidates:
        if len(outputs) != 1 or outputs[0].ndim != 3:
            raise self._wrong(outputs, "one output (n, 4 + classes, candidates)")
        [cells] = outputs
        each, values = self._settings.keypoints, self._settings.keypoint_values
        if cells.shape[1] > cells.shape[2] and cells.shape[1] != 4 + self._labels + each * values:
            cells = cells.transpose(0, 2, 1)
        last = cells.shape[1] - each * values
        self._check_classes(last - 4)
        scores = self._activate(cells[:, 4:last])
        pictures, places = strongest(scores.max(axis=1), self._settings.confidence)
        of_each = scores[pictures, :, places]
        classes = of_each.argmax(axis=1)
        boxes = from_centres(self._sized(cells[pictures, :4, places]))
        points = None
        if each:
            points = cells[pictures, last:, places].reshape(-1, each, values)
            if self._fractions:
                points[..., :2] *= (self._width, self._height)
        return Candidates(pictures, boxes, np.take_along_axis(of_each, classes[:, None], 1)[:, 0], classes, points)


class Rows(Dense):
    """YOLOv5 (and v7): (n, candidates, 5 + classes), decoded; the score is objectness times the best class's.

    Centre, width and height in pixels. Source: Ultralytics yolov5, `Detect` with `export`.
    """

    def read(self, outputs: list[Array]) -> Candidates:
        cells = self._cells(outputs)
        self._check_classes(cells.shape[2] - 5)
        pictures, places, scores, classes = self._scored(cells)
        boxes = self._boxes(cells[pictures, places, :4], places, cells.shape[1])
        return Candidates(pictures, boxes, scores, classes)

    def _cells(self, outputs: list[Array]) -> Array:
        if len(outputs) != 1 or outputs[0].ndim != 3:
            raise self._wrong(outputs, "one output (n, candidates, 5 + classes)")
        return outputs[0]

    def _boxes(self, boxes: Array, places: Array, count: int) -> Array:
        return from_centres(self._sized(boxes))

    def _scored(self, cells: Array) -> tuple[Array, Array, Array, Array]:
        """Pictures, candidates, scores and classes of those that count. Few of them: no class has more than 1."""
        objectness = self._activate(cells[..., 4])
        pictures, places = np.nonzero(objectness >= self._settings.confidence)
        if len(pictures) * 4 > objectness.size:  # nearly all: faster in one piece
            best = objectness * best_class(self._activate(cells[..., 5:]))
        else:
            best = np.zeros_like(objectness)
            best[pictures, places] = (
                self._activate(cells[pictures, places, 5:]).max(axis=1) * objectness[pictures, places]
            )
        pictures, places = strongest(best, self._settings.confidence)
        return pictures, places, best[pictures, places], cells[pictures, places, 5:].argmax(axis=1)


class Grids(Rows):
    """YOLOX: (n, cells, 5 + classes), or a tensor (n, 5 + classes, rows, columns) for each stride.

    The cells of the finest stride come first, row by row. Raw (`decoded = false`), the first four numbers are the
    centre's distance from the cell's upper left corner in cells, and the logarithms of width and height in cells;
    objectness and classes have their sigmoid. Source: Megvii, `YOLOXHead` and `demo_postprocess`.
    """

    _corners: Array = np.zeros((0, 2), np.float32)
    _strides: Array = np.zeros((0, 1), np.float32)

    def _cells(self, outputs: list[Array]) -> Array:
        if len(outputs) > 1 and all(output.ndim == 4 for output in outputs):
            levels = sorted(outputs, key=lambda output: -output.shape[2] * output.shape[3])
            outputs = [np.concatenate([_flat(level) for level in levels], axis=1)]
        return super()._cells(outputs)

    def _boxes(self, boxes: Array, places: Array, count: int) -> Array:
        if not self._settings.decoded:
            if len(self._corners) != count:
                self._corners, self._strides = cells_of(self._width, self._height, count)
            stride = self._strides[places]
            with np.errstate(over="ignore"):  # becomes infinity, and no box
                boxes = np.concatenate(
                    ((boxes[:, :2] + self._corners[places]) * stride, np.exp(boxes[:, 2:]) * stride), axis=1
                )
        return super()._boxes(boxes, places, count)


class Distances(Dense):
    """NanoDet: (n, cells, classes + 4 x bins), or scores and distances in a tensor each for every stride.

    The four distances from a cell's point to the box's sides, in strides, are the means of distributions given as
    logits. In NanoDet-Plus, whose last stride is 64, the point is the cell's upper left corner, in the older NanoDet
    its middle. Source: RangiLyu, `NanoDetPlusHead` and `GFLHead`; X. Li et al., Generalized Focal Loss, 2020.
    """

    _points: Array = np.zeros((0, 2), np.float32)
    _strides: Array = np.zeros((0, 1), np.float32)

    def read(self, outputs: list[Array]) -> Candidates:
        scores, distances = self._parts(outputs)
        count = scores.shape[1]
        if len(self._points) != count:
            corners, self._strides = cells_of(self._width, self._height, count)
            middle = 0.0 if self._strides[-1, 0] == 64 else 0.5
            self._points = (corners + np.float32(middle)) * self._strides
        scores = self._activate(scores)
        pictures, places = strongest(best_class(scores), self._settings.confidence)
        of_each = scores[pictures, places]
        classes = of_each.argmax(axis=1)
        bins = distances.shape[2] // 4
        shares = results.activate(distances[pictures, places].reshape(-1, bins), "softmax")
        means = (shares * np.arange(bins, dtype=np.float32)).sum(axis=1)
        reach = means.reshape(-1, 4) * self._strides[places]
        points = self._points[places]
        boxes = np.concatenate((points - reach[:, :2], points + reach[:, 2:]), axis=1)
        np.clip(boxes, 0, (self._width, self._height) * 2, out=boxes)
        return Candidates(pictures, boxes, np.take_along_axis(of_each, classes[:, None], 1)[:, 0], classes)

    def _parts(self, outputs: list[Array]) -> tuple[Array, Array]:
        """Scores (n, cells, classes) and distances (n, cells, 4 x bins)."""
        if len(outputs) == 1 and outputs[0].ndim == 3:
            inner = outputs[0].shape[2]
            classes = self._labels or inner - 4 * BINS
            self._check_classes(classes)
            if (inner - classes) % 4 or inner - classes < 8:
                raise self._wrong(outputs, f"{classes} scores and four distributions for each cell")
            return outputs[0][..., :classes], outputs[0][..., classes:]
        roles = self._settings.tensors
        if len(roles) != len(outputs) or set(roles) != {"scores", "distances"}:
            raise self._wrong(outputs, "one output, or output.tensors that says which are scores and distances")
        parts = []
        for role in ("scores", "distances"):
            levels = [output for output, own in zip(outputs, roles, strict=True) if own == role]
            parts.append(np.concatenate(sorted(levels, key=lambda level: -level.shape[1]), axis=1))
        self._check_classes(parts[0].shape[2])
        return parts[0], parts[1]


def best_class(scores: Array) -> Array:
    """The highest score of each cell: float32 (n, cells, classes) to (n, cells).

    By OpenCV, which takes a tenth of numpy's time for rows as short as these.
    """
    if not scores.size:
        return np.zeros(scores.shape[:2], np.float32)
    rows = [cv2.reduce(each, 1, cv2.REDUCE_MAX)[:, 0] for each in scores.astype(np.float32, copy=False)]
    return np.stack(rows)


def cells_of(width: int, height: int, count: int) -> tuple[Array, Array]:
    """Upper left corners (count, 2) in cells, and strides (count, 1) in pixels. ModelError when no grids fit."""
    levels = grids.find(width, height, count)
    if not levels:
        raise ModelError(
            f"no grids of known strides have {count} cells over {width}x{height} pixels; are input.width and height "
            "right, and output.format?"
        )
    corners = [np.indices((grid.down, grid.across), np.float32)[::-1].reshape(2, -1).T for grid in levels]
    strides = [np.full((grid.down * grid.across, 1), grid.stride, np.float32) for grid in levels]
    return np.concatenate(corners), np.concatenate(strides)


def _flat(level: Array) -> Any:
    """(n, numbers, rows, columns) to (n, cells, numbers)."""
    return level.reshape(*level.shape[:2], -1).transpose(0, 2, 1)
