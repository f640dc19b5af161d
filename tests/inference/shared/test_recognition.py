"""What a network is, by the names and shapes of its tensors."""

from __future__ import annotations

from typing import Any

import pytest

from imageserver.errors import ModelError
from imageserver.inference.shared.outputs import grids
from imageserver.inference.shared.outputs.detection import FORMATS, ROLES
from imageserver.inference.shared.outputs.recognition import recognise
from imageserver.inference.shared.outputs.tensor import Tensor

Shape = tuple[int, ...]
BIG: dict[str, Shape] = {"images": (1, 3, 640, 640)}

KNOWN: list[tuple[str, dict[str, Shape], dict[str, Shape], str, int, dict[str, Any]]] = [
    ("yolov5", BIG, {"output0": (1, 25200, 85)}, "detection", 80, {"format": "yolov5"}),
    ("yolov8", BIG, {"output0": (1, 84, 8400)}, "detection", 80, {"format": "yolov8"}),
    ("yolov8 of any size", {"images": (-1, 3, -1, -1)}, {"o": (-1, 84, -1)}, "detection", 80, {"format": "yolov8"}),
    ("yolov8 of one class", BIG, {"output0": (1, 5, 8400)}, "detection", 1, {"format": "yolov8"}),
    ("its pose", BIG, {"output0": (1, 56, 8400)}, "keypoints", 1, {"format": "yolov8", "keypoints": 17}),
    ("yolov10", BIG, {"output0": (1, 300, 6)}, "detection", 0, {"format": "yolov10"}),
    ("pose of 26", BIG, {"output0": (1, 300, 57)}, "keypoints", 0, {"format": "yolov10", "keypoints": 17}),
    ("yolox", BIG, {"output": (1, 8400, 85)}, "detection", 80, {"format": "yolox", "decoded": False}),
    (
        "yolox nano", {"images": (1, 3, 416, 416)}, {"output": (1, 3549, 85)},
        "detection", 80, {"format": "yolox", "decoded": False},
    ),
    (
        "yolox of one class, 256x192", {"images": (1, 3, 192, 256)}, {"output": (1, 1008, 6)},
        "detection", 1, {"format": "yolox", "decoded": False},
    ),
    (
        "yolox of three classes, channels last", {"images": (-1, 256, 256, 3)}, {"output": (-1, 1344, 8)},
        "detection", 3, {"format": "yolox", "decoded": False},
    ),
    (
        "yolox in levels", BIG, {"a": (1, 85, 80, 80), "b": (1, 85, 40, 40), "c": (1, 85, 20, 20)},
        "detection", 80, {"format": "yolox", "decoded": False},
    ),
    ("nanodet-plus", {"data": (1, 3, 416, 416)}, {"output": (1, 3598, 112)}, "detection", 80, {"format": "nanodet"}),
    (
        "nanodet in levels", {"i": (1, 3, 320, 320)},
        {f"{kind}_{s}": (1, (320 // s) ** 2, n) for s in (8, 16, 32) for kind, n in (("cls_pred", 9), ("dis", 32))},
        "detection", 9, {"format": "nanodet", "tensors": ["scores", "distances"] * 3},
    ),
    (
        "nanodet-plus in levels, whose names tell nothing", {"i": (1, 3, 416, 416)},
        {f"{s}{n}": (1, (-(-416 // s)) ** 2, n) for n in (80, 32) for s in (8, 16, 32, 64)},
        "detection", 80, {"format": "nanodet", "tensors": ["scores"] * 4 + ["distances"] * 4},
    ),
    (
        "ssd of TFLite", {"in": (1, 300, 300, 3)},
        {"P": (1, 10, 4), "P:1": (1, 10), "P:2": (1, 10), "P:3": (1,)},
        "detection", 0, {"format": "ssd", "tensors": ["boxes", "labels", "scores", "count"]},
    ),
    (
        "ssd of TFLite, by TensorFlow 2", {"in": (1, 320, 320, 3)},
        {"S:1": (1, 10), "S:3": (1, 10, 4), "S:0": (1,), "S:2": (1, 10)},
        "detection", 0, {"format": "ssd", "tensors": ["scores", "boxes", "count", "labels"]},
    ),
    (
        "ssd of TensorFlow", {"in": (1, -1, -1, 3)},
        {"detection_boxes": (1, 100, 4), "detection_classes": (1, 100), "detection_scores": (1, 100),
         "num_detections": (1,), "raw_detection_boxes": (1, 1917, 4)},
        "detection", 0, {"format": "ssd", "tensors": ["boxes", "labels", "scores", "count", "other"]},
    ),
    (
        "rt-detr", {**BIG, "orig_target_sizes": (-1, 2)},
        {"labels": (-1, 300), "boxes": (-1, 300, 4), "scores": (-1, 300)},
        "detection", 0, {"format": "detr", "tensors": ["labels", "boxes", "scores"]},
    ),
    (
        "rf-detr", BIG, {"dets": (1, 300, 4), "labels": (1, 300, 91)},
        "detection", 91, {"format": "detr", "activation": "sigmoid", "tensors": ["boxes", "logits"]},
    ),
    (
        "detr", BIG, {"logits": (1, 100, 92), "pred_boxes": (1, 100, 4)},
        "detection", 92, {"format": "detr", "activation": "sigmoid", "tensors": ["logits", "boxes"]},
    ),
    (
        "torchvision", BIG, {"boxes": (-1, 4), "labels": (-1,), "scores": (-1,)},
        "detection", 0, {"format": "boxes", "tensors": ["boxes", "labels", "scores"], "coordinates": "pixels"},
    ),
    (
        "mmdetection", BIG, {"dets": (1, 100, 5), "labels": (1, 100)},
        "detection", 0, {"format": "boxes", "tensors": ["boxes", "labels"], "coordinates": "pixels"},
    ),
    (
        "tensorrt's plug-in", BIG,
        {"num_dets": (1, 1), "det_boxes": (1, 9, 4), "det_scores": (1, 9), "det_classes": (1, 9)},
        "detection", 0, {"format": "boxes", "tensors": ["count", "boxes", "scores", "labels"], "coordinates": "pixels"},
    ),
    (
        "openvino's", BIG, {"detection_out": (1, 1, 200, 7)},
        "detection", 0, {"format": "boxes", "coordinates": "fractions"},
    ),
    ("a classifier", {"x": (1, 224, 224, 3)}, {"y": (1, 1000)}, "classification", 1000, {}),
]  # fmt: skip


def tensors(given: dict[str, Shape]) -> list[Tensor]:
    return [Tensor(name, shape) for name, shape in given.items()]


@pytest.mark.parametrize(
    ("inputs", "outputs", "kind", "classes", "output"), [case[1:] for case in KNOWN], ids=[case[0] for case in KNOWN]
)
def test_layouts_are_recognised(
    inputs: dict[str, Shape], outputs: dict[str, Shape], kind: str, classes: int, output: dict[str, Any]
) -> None:
    found = recognise(tensors(inputs), tensors(outputs))
    assert (found.kind, found.classes, found.output) == (kind, classes, output)
    assert found.output.get("format", "ssd") in FORMATS
    assert set(found.output.get("tensors", ())) <= set(ROLES)
    assert len(found.why) >= 2, "it says what it took and why"
    assert next(iter(outputs)) in " ".join(found.why)


@pytest.mark.parametrize("scores", [(1, 8400, 80), (1, 80, 8400), (-1, 80, -1)])
def test_boxes_and_scores_apart_are_no_transformers(scores: Shape) -> None:
    """PP-YOLOE's and YOLO-NAS' candidates: read as DETR's they would be somewhere, and wrong."""
    with pytest.raises(ModelError, match=r"boxes and scores of every candidate apart; export it with the step"):
        recognise(tensors(BIG), tensors({"boxes": (1, 8400, 4), "scores": scores}))


def test_how_pictures_are_prepared_is_the_formats_own() -> None:
    yolox = recognise(tensors(BIG), tensors({"output": (1, 8400, 85)})).input
    assert yolox == {
        "channels": 3, "layout": "nchw", "width": 640, "height": 640, "order": "bgr", "range": [0.0, 255.0],
        "preprocessing": "letterbox-corner",
    }  # fmt: skip
    rf_detr = recognise(tensors(BIG), tensors({"dets": (1, 300, 4), "labels": (1, 300, 91)})).input
    assert rf_detr["mean"] == [0.485, 0.456, 0.406]
    lists = {"labels": (1, 300), "boxes": (1, 300, 4), "scores": (1, 300)}
    sizes = Tensor("orig_target_sizes", (1, 2), "int64")
    d_fine = recognise([Tensor("images", (1, 3, 480, 640)), sizes], tensors(lists)).input
    assert d_fine["constants"] == {"orig_target_sizes": [640, 480]}
    whole = Tensor("in", (1, 300, 300, 3), "uint8")
    ssd = {"P": (1, 10, 4), "P:1": (1, 10), "P:2": (1, 10), "P:3": (1,)}
    assert recognise([whole], tensors(ssd)).input["range"] == [0.0, 255.0]
    assert recognise([Tensor("in", (1, 300, 300, 3))], tensors(ssd)).input["range"] == [-1.0, 1.0]


def test_labels_decide_what_shapes_cannot() -> None:
    data, output = {"data": (1, 3, 416, 416)}, {"output": (1, 3549, 112)}
    assert recognise(tensors(data), tensors(output)).output["format"] == "yolox"
    assert recognise(tensors(data), tensors(output), classes=80).output["format"] == "nanodet"
    hands = recognise(tensors(BIG), tensors({"o": (1, 4 + 2 + 21 * 3, 8400)}), classes=2)
    assert (hands.kind, hands.output["keypoints"]) == ("keypoints", 21)
    assert recognise(tensors(BIG), tensors({"o": (1, 56, 8400)}), classes=52).kind == "detection"
    short = recognise(tensors(BIG), tensors({"o": (1, 84, 8400)}), classes=77)
    assert (short.kind, short.classes) == ("detection", 80), "a list of labels that is too short is told, not believed"


def test_a_size_that_the_file_leaves_open_is_taken_from_whoever_knows_it() -> None:
    found = recognise(tensors({"images": (1, 3, -1, -1)}), tensors({"o": (1, 3549, 85)}), size=(416, 416))
    assert (found.output["format"], found.input["width"]) == ("yolox", 416)


@pytest.mark.parametrize(("inputs", "outputs", "sentence"), [
    (BIG, {"o": (1, 2, 3, 4, 5)}, r"it gives o \(1, 2, 3, 4, 5\), which is no layout that is known"),
    (BIG, {"a": (1, 116, 8400), "b": (1, 32, 160, 160)}, "boxes and masks: segmentation is not supported"),
    (BIG, {}, "it gives nothing, which is no layout"),
    ({"text": (1, 77)}, {"o": (1, 5)}, r"it takes text \(1, 77\); needed is a picture"),
    ({}, {"o": (1, 5)}, "it takes nothing; needed is a picture"),
    ({**BIG, "mask": (1, 640, 640)}, {"o": (1, 300, 6)}, r"beside the picture it takes mask \(1, 640, 640\)"),
    ({"i": (1, 3, -1, -1), "sizes": (1, 2)}, {"o": (1, 300, 6)}, "say which with --size WIDTHxHEIGHT"),
    (BIG, {"a": (1, 3, 80, 80, 85), "b": (1, 3, 40, 40, 85)}, "no layout that is known"),
    (BIG, {"o": ()}, "no layout that is known"),
])  # fmt: skip
def test_what_is_not_known_is_a_sentence(inputs: dict[str, Shape], outputs: dict[str, Shape], sentence: str) -> None:
    with pytest.raises(ModelError, match=sentence):
        recognise(tensors(inputs), tensors(outputs))


def test_no_shapes_make_it_stumble() -> None:
    """A file may say anything of its tensors."""
    sides = (-1, 0, 1, 3, 4, 5, 6, 7, 2**40)
    shapes = [
        (),
        *(
            (a, b, c, d)[:rank]
            for a in sides
            for b in sides
            for c in sides[:4]
            for d in (4, 7)
            for rank in (1, 2, 3, 4)
        ),
    ]
    picture = tensors({"images": (1, 3, 64, 64)})
    for number, shape in enumerate(dict.fromkeys(shapes)):
        for outputs in ([shape], [shape, (1, 5, 4)], [shape, (1, 10, 4), (1, 10), (1,)]):
            named = [
                Tensor(f"{['box', 'label', 'score', 'dis', 'cls'][(number + index) % 5]}{index}", each)
                for index, each in enumerate(outputs)
            ]
            try:
                recognise(picture, named)
            except ModelError:
                continue


@pytest.mark.parametrize(("width", "height", "count", "strides"), [
    (640, 640, 8400, (8, 16, 32)),
    (416, 416, 3598, (8, 16, 32, 64)),
    (640, 640, 8500, (8, 16, 32, 64)),
    (128, 96, 48, (16,)),
    (100, 100, 13 * 13 + 7 * 7 + 4 * 4, (8, 16, 32)),
    (640, 640, 8401, ()),
])  # fmt: skip
def test_grids(width: int, height: int, count: int, strides: tuple[int, ...]) -> None:
    assert tuple(grid.stride for grid in grids.find(width, height, count)) == strides
