"""Each layout of a detector's outputs against a reference written slowly: boxes within a pixel, scores within 1e-4."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tests.inference.worker.outputs import reference
from tests.inference.worker.outputs.making import manifest

from imageserver.errors import ModelError
from imageserver.inference.worker.outputs import boxes, lists

WIDTH, HEIGHT, CLASSES, CONFIDENCE = 128, 96, 5, 0.3
STRIDES = (8, 16, 32)
CELLS = sum((WIDTH // stride) * (HEIGHT // stride) for stride in STRIDES)
COUNT = 3
"""Pictures in a batch."""


def random() -> np.random.Generator:
    return np.random.default_rng(11)


def some_boxes(count: int) -> np.ndarray:
    """Centres and sides in pixels: (pictures, count, 4); clusters, so that there is something to suppress."""
    middles = random().uniform(10, 90, (COUNT, max(1, count // 6), 2)).repeat(6, axis=1)[:, :count]
    middles = np.resize(middles, (COUNT, count, 2)) + random().normal(0, 2, (COUNT, count, 2))
    return np.concatenate((middles, random().uniform(8, 40, (COUNT, count, 2))), axis=2)


def some_scores(*shape: int) -> np.ndarray:
    return random().beta(0.4, 2.0, shape)


def found_in(outputs: list[np.ndarray], names: tuple[str, ...] = ("output",), **settings: Any) -> list[list[Any]]:
    """What counts in each picture, as the reference tells it."""
    found = manifest(WIDTH, HEIGHT, CLASSES, **{"confidence": CONFIDENCE, "max_boxes": 1000, **settings})
    layout = lists.make(found, names)
    assert found.output.detection is not None
    typed = [output if output.dtype.kind == "i" else output.astype(np.float32) for output in outputs]
    parts = boxes.split(layout.read(typed), COUNT, found.output.detection, layout.suppress)
    return [
        [(*box, score, place) for box, score, place in zip(
            part.boxes.tolist(), part.scores.tolist(), part.classes.tolist(), strict=True
        )]
        for part in parts
    ]  # fmt: skip


def check(found: list[list[Any]], wanted: list[list[reference.Found]]) -> None:
    assert any(wanted)
    for ours, theirs in zip(found, wanted, strict=True):
        theirs = sorted(theirs, key=lambda box: -box[4])
        assert [box[5] for box in ours] == [box[5] for box in theirs]
        for one, other in zip(ours, theirs, strict=True):
            assert one[:4] == pytest.approx(other[:4], abs=0.01)
            assert one[4] == pytest.approx(other[4], abs=1e-4)


@pytest.mark.parametrize("agnostic", [False, True])
def test_yolov5(agnostic: bool) -> None:
    rows = np.concatenate(
        (some_boxes(300), some_scores(COUNT, 300, 1) ** 0.3, some_scores(COUNT, 300, CLASSES)), axis=2
    )
    wanted = [reference.suppressed(reference.yolov5(each, CONFIDENCE), 0.45, agnostic) for each in rows]
    check(found_in([rows], format="yolov5", class_agnostic=agnostic), wanted)


@pytest.mark.parametrize("channels_first", [True, False])
@pytest.mark.parametrize("iou", [0.1, 0.45, 1.0])
def test_yolov8(channels_first: bool, iou: float) -> None:
    channels = np.concatenate((some_boxes(300), some_scores(COUNT, 300, CLASSES)), axis=2).transpose(0, 2, 1)
    wanted = [reference.suppressed(reference.yolov8(each, CONFIDENCE, CLASSES), iou) for each in channels]
    given = channels if channels_first else channels.transpose(0, 2, 1)
    check(found_in([given], format="yolov8", iou=iou), wanted)


def test_yolov8_in_fractions_as_tflite_has_it() -> None:
    channels = np.concatenate((some_boxes(300), some_scores(COUNT, 300, CLASSES)), axis=2).transpose(0, 2, 1)
    wanted = [reference.suppressed(reference.yolov8(each, CONFIDENCE, CLASSES), 0.45) for each in channels]
    channels = channels.copy()
    channels[:, :4] /= np.array([WIDTH, HEIGHT, WIDTH, HEIGHT])[:, None]
    check(found_in([channels], format="yolov8", coordinates="fractions"), wanted)


def raw_grid() -> np.ndarray:
    return np.concatenate(
        (
            random().normal(0.5, 0.5, (COUNT, CELLS, 2)),
            random().normal(0.5, 0.5, (COUNT, CELLS, 2)),
            some_scores(COUNT, CELLS, 1) ** 0.2,
            some_scores(COUNT, CELLS, CLASSES),
        ),
        axis=2,
    )


def test_yolox_raw() -> None:
    rows = raw_grid()
    found = [reference.yolox(each, CONFIDENCE, WIDTH, HEIGHT, STRIDES) for each in rows]
    check(found_in([rows], format="yolox"), [reference.suppressed(each, 0.45) for each in found])


def test_yolox_in_levels_of_any_order() -> None:
    rows = raw_grid()
    found = [reference.yolox(each, CONFIDENCE, WIDTH, HEIGHT, STRIDES) for each in rows]
    levels, start = [], 0
    for stride in STRIDES:
        across, down = WIDTH // stride, HEIGHT // stride
        level = rows[:, start : start + across * down].transpose(0, 2, 1)
        levels.append(level.reshape(COUNT, -1, down, across))
        start += across * down
    wanted = [reference.suppressed(each, 0.45) for each in found]
    check(found_in(levels[::-1], ("c", "b", "a"), format="yolox"), wanted)


def test_yolox_decoded() -> None:
    rows = np.concatenate((some_boxes(CELLS), some_scores(COUNT, CELLS, 1), some_scores(COUNT, CELLS, CLASSES)), axis=2)
    wanted = [reference.suppressed(reference.yolov5(each, CONFIDENCE), 0.45) for each in rows]
    check(found_in([rows], format="yolox", decoded=True), wanted)


@pytest.mark.parametrize(("strides", "middle"), [((8, 16, 32), 0.5), ((8, 16, 32, 64), 0.0)])
def test_nanodet(strides: tuple[int, ...], middle: float) -> None:
    cells = sum(-(-WIDTH // stride) * -(-HEIGHT // stride) for stride in strides)
    rows = np.concatenate((some_scores(COUNT, cells, CLASSES), random().normal(0, 2, (COUNT, cells, 32))), axis=2)
    wanted = [
        reference.suppressed(reference.nanodet(each, CONFIDENCE, WIDTH, HEIGHT, strides, CLASSES, middle), 0.6)
        for each in rows
    ]
    check(found_in([rows], format="nanodet", iou=0.6), wanted)
    ends = np.cumsum([-(-WIDTH // stride) * -(-HEIGHT // stride) for stride in strides])[:-1]
    parts = [(part[..., :CLASSES], part[..., CLASSES:]) for part in np.split(rows, ends, axis=1)]
    outputs = [output for pair in parts for output in pair]
    names = tuple(f"{kind}_pred_stride_{stride}" for stride in strides for kind in ("cls", "dis"))
    roles = ("scores", "distances") * len(strides)
    check(found_in(outputs, names, format="nanodet", iou=0.6, tensors=roles), wanted)


def corners(count: int) -> np.ndarray:
    return np.array([[reference.around(*box) for box in each] for each in some_boxes(count).tolist()])


def test_yolov10() -> None:
    places, scores = corners(50), some_scores(COUNT, 50)
    classes = random().integers(0, CLASSES, (COUNT, 50))
    rows = np.concatenate((places, scores[..., None], classes[..., None]), axis=2)
    wanted = [reference.listed(*each, CONFIDENCE) for each in zip(places, scores, classes, strict=True)]
    check(found_in([rows], format="yolov10"), wanted)


def test_ssd_of_tflite() -> None:
    places, scores = corners(40), some_scores(COUNT, 40) ** 0.5
    classes = random().integers(0, CLASSES, (COUNT, 40))
    scale = (WIDTH, HEIGHT, WIDTH, HEIGHT)
    counts = np.array([40, 7, 0])
    wanted = [
        reference.listed(places[index][:count], scores[index][:count], classes[index][:count], CONFIDENCE)
        for index, count in enumerate(counts)
    ]
    top_first = (places / scale)[..., [1, 0, 3, 2]]
    outputs = [top_first, classes.astype(np.float32), scores, counts.astype(np.float32)]
    names = ("detection_boxes", "detection_classes", "detection_scores", "num_detections")
    check(found_in(outputs, names, format="ssd"), wanted)


def test_rt_detr_and_d_fine() -> None:
    places, scores = corners(60), some_scores(COUNT, 60)
    classes = random().integers(0, CLASSES, (COUNT, 60))
    wanted = [reference.listed(*each, CONFIDENCE) for each in zip(places, scores, classes, strict=True)]
    check(found_in([classes, places, scores], ("labels", "boxes", "scores"), format="detr"), wanted)


@pytest.mark.parametrize("softmax", [False, True])
def test_rf_detr_and_detr(softmax: bool) -> None:
    fractions = some_boxes(30) / (WIDTH, HEIGHT, WIDTH, HEIGHT)
    logits = random().normal(-1.0, 2.0, (COUNT, 30, CLASSES + softmax))
    wanted = [reference.detr(*each, CONFIDENCE, WIDTH, HEIGHT, softmax) for each in zip(fractions, logits, strict=True)]
    activation = "softmax" if softmax else "sigmoid"
    check(found_in([fractions, logits], ("dets", "labels"), format="detr", activation=activation), wanted)


def test_boxes_of_one_picture_without_a_side_for_the_batch() -> None:
    places, scores = corners(20)[:1], some_scores(1, 20)
    classes = random().integers(0, CLASSES, (1, 20))
    wanted = [reference.listed(places[0], scores[0], classes[0], CONFIDENCE), [], []]
    check(found_in([places[0], classes[0], scores[0]], ("boxes", "labels", "scores"), format="boxes"), wanted)
    joined = np.concatenate((places, scores[..., None]), axis=2)
    check(found_in([joined, classes], ("dets", "labels"), format="boxes"), wanted)


def test_boxes_of_openvino() -> None:
    places, scores = corners(20), some_scores(COUNT, 20)
    classes = random().integers(0, CLASSES, (COUNT, 20))
    wanted = [reference.listed(*each, CONFIDENCE) for each in zip(places, scores, classes, strict=True)]
    numbers = np.broadcast_to(np.arange(COUNT)[:, None], (COUNT, 20))
    scale = (WIDTH, HEIGHT, WIDTH, HEIGHT)
    rows = np.concatenate((np.stack((numbers, classes, scores), axis=2), places / scale), axis=2).reshape(1, 1, -1, 7)
    end = np.full((1, 1, 4, 7), 0.9)
    end[..., 0, 0] = -1
    check(found_in([np.concatenate((rows, end), axis=2)], format="boxes", coordinates="fractions"), wanted)


@pytest.mark.parametrize("values", [2, 3])
def test_keypoints(values: int) -> None:
    points = random().uniform(0, 90, (COUNT, 300, 4, values))
    channels = np.concatenate((some_boxes(300), some_scores(COUNT, 300, 1), points.reshape(COUNT, 300, -1)), axis=2)
    wanted = [reference.suppressed(reference.yolov8(each.T, CONFIDENCE, 1), 0.45) for each in channels]
    found = manifest(
        WIDTH, HEIGHT, 1, kind="keypoints", format="yolov8", keypoints=4, keypoint_values=values,
        confidence=CONFIDENCE, max_boxes=1000,
    )  # fmt: skip
    assert found.output.detection is not None
    layout = lists.make(found, ["output0"])
    parts = boxes.split(
        layout.read([channels.transpose(0, 2, 1).astype(np.float32)]), COUNT, found.output.detection, layout.suppress
    )
    for part, theirs, each in zip(parts, wanted, channels, strict=True):
        assert part.points is not None
        assert len(part.points) == len(theirs)
        for own, box in zip(part.points, theirs, strict=True):
            middle = ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)
            row = min(each, key=lambda row: abs(row[0] - middle[0]) + abs(row[1] - middle[1]))
            assert own.ravel() == pytest.approx(row[5:], abs=0.01)


@pytest.mark.parametrize(("settings", "shapes", "names", "sentence"), [
    ({"format": "yolov8"}, [(1, 10, 8400)], ["o"], "6 classes apart, the manifest has 5 labels"),
    ({"format": "yolov8"}, [(1, 4, 8400)], ["o"], "its outputs leave 0 classes; is output.format 'yolov8' right"),
    ({"format": "yolov8"}, [(1, 2, 0)], ["o"], "its outputs leave"),
    ({"format": "yolov5"}, [(1, 84)], ["o"], r"needs one output \(n, candidates, 5 \+ classes\); .* \(1, 84\)"),
    ({"format": "yolox"}, [(1, 77, 10)], ["o"], "no grids of known strides have 77 cells over 128x96 pixels"),
    ({"format": "detr"}, [(1, 5, 4), (1, 5, 6)], ["boxes", "logits"], "6 classes apart, the manifest has 5 labels"),
    ({"format": "boxes"}, [(1, 5, 4), (1, 5)], ["a", "b"], "needs boxes, scores and labels, not other, other"),
    ({"format": "nanodet"}, [(1, 252, 12)], ["o"], "5 scores and four distributions"),
    ({"format": "yolov10"}, [(1, 300, 7)], ["o"], r"needs one output \(n, boxes, 6\)"),
])  # fmt: skip
def test_what_does_not_fit_is_a_sentence(
    settings: dict[str, Any], shapes: list[tuple[int, ...]], names: list[str], sentence: str
) -> None:
    outputs = [np.full(shape, 0.5, np.float32) for shape in shapes]
    with pytest.raises(ModelError, match=sentence):
        found_in(outputs, tuple(names), **settings)
