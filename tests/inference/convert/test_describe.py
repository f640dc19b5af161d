"""What add_model takes from a network that is not Keras', and what it says that it does not know."""

import ast
import shutil
import zipfile

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")

from tests.inference import foreign

from imageserver.errors import ModelError
from imageserver.inference.convert import describe, network


def described(path, size=None, **constants):
    return describe.describe(network.open_network(path), size, constants)


def scaled(arrays, *nodes, **numbers):
    """The network behind further operations, of which the last gives `prepared`."""
    made = foreign.classifier(arrays)
    made.graph.node[0].input[0] = "prepared"
    for index, each in enumerate(nodes):
        made.graph.node.insert(index, each)
    made.graph.initializer.extend(
        onnx.numpy_helper.from_array(np.array(number, np.float32).reshape(-1, 1, 1), name)
        for name, number in numbers.items()
    )
    return made


def test_what_scales_in_the_network_tells_the_range(arrays, tmp_path):
    file = tmp_path / "net.onnx"
    foreign.save(scaled(arrays, foreign.node("Div", "picture by", "prepared"), by=[255]), file)
    assert (described(file).scales_itself, described(file).values) == (True, {"range": [0.0, 255.0]})
    nodes = foreign.node("Sub", "picture mean", "less"), foreign.node("Div", "less std", "prepared")
    foreign.save(scaled(arrays, *nodes, mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225]), file)
    assert described(file).values == {"range": [0.0, 1.0]}
    foreign.save(scaled(arrays, *nodes, mean=[123.7, 116.3, 103.5], std=[58.4, 57.1, 57.4]), file)
    assert described(file).values == {"range": [0.0, 255.0]}


def test_what_is_guessed_is_said(arrays, root, tmp_path):
    found = described(foreign.save(foreign.classifier(arrays), tmp_path / "net.onnx"))
    assert (found.layout, found.width, found.height, found.classes) == ("nchw", 12, 10, 3)
    assert found.values == describe.IMAGENET
    assert "by the mean and deviation of ImageNet" in found.warnings[0]
    found = described(root / "foreign/tiny.tflite")
    assert (found.layout, found.values) == ("nhwc", {"range": [0.0, 1.0]})
    shutil.copy(root / "foreign/tiny.tflite", tmp_path / "MobileNet_v2.tflite")
    assert described(tmp_path / "MobileNet_v2.tflite").values == {"range": [-1.0, 1.0]}


@pytest.mark.parametrize(("name", "values"), [("int8", [-128.0, 127.0]), ("uint8", [0.0, 255.0])])
def test_quantised_inputs_tell_what_they_were_trained_on(root, name, values):
    found = described(root / f"foreign/{name}.tflite")
    assert found.values == {"range": values}
    assert found.warnings == []
    assert any("trained on 0 to 1" in sentence for sentence in found.took)


def test_a_quantised_onnx_input(tmp_path):
    nodes = [
        foreign.node("DequantizeLinear", "picture scale zero", "real"),
        foreign.node("GlobalMaxPool", "real", "pooled"),
        foreign.node("Flatten", "pooled", "scores"),
    ]
    numbers = {"scale": np.float32(1 / 127.5), "zero": np.uint8(128)}
    made = foreign.model(
        nodes, [foreign.value("picture", ("n", 3, 10, 12), "u8")], [foreign.value("scores", ("n", 3))], numbers
    )
    found = described(foreign.save(made, tmp_path / "net.onnx"))
    assert found.values == {"range": [0.0, 255.0]}
    assert any("trained on -1 to 1" in sentence for sentence in found.took)


def test_sizes_that_are_open(arrays, tmp_path):
    file = foreign.save(foreign.classifier(arrays, shape=("n", 3, "h", "w")), tmp_path / "net.onnx")
    with pytest.raises(ModelError, match="takes pictures of any size; say which with --size WIDTHxHEIGHT"):
        described(file)
    found = described(file, (24, 20))
    assert (found.width, found.height, found.warnings[1:]) == (24, 20, [])
    with pytest.raises(ModelError, match="takes pictures of 9000x20; a side may have 8192 pixels at most"):
        described(file, (9000, 20))


def test_labels_that_a_file_holds(arrays, tmp_path):
    for names, labels in (
        ("{0: 'cat', 1: 'dog', 2: 'bird'}", ["cat", "dog", "bird"]),
        ("['a', 'b']", ["a", "b"]),
        ("{0: 'cat', 2: 'bird'}", []),
        ("__import__('os').system('true')", []),
        ("(" * 5000, []),
        ("['a\\n']", []),
    ):
        texts = {"names": names, "author": "Ultralytics"}
        found = described(foreign.save(foreign.classifier(arrays, texts=texts), tmp_path / "net.onnx"))
        assert found.labels == labels
        assert found.values == {"range": [0.0, 1.0]}


def test_labels_behind_a_tflite_file(root, tmp_path):
    for name, text in (("labelmap.txt", "cat\ndog\n\n bird \n"), ("metadata.json", '{"names": {"0": "a", "1": "b"}}')):
        file = shutil.copy(root / "foreign/ssd.tflite", tmp_path / "net.tflite")
        with zipfile.ZipFile(file, "a") as archive:
            archive.writestr(name, text)
        assert described(tmp_path / "net.tflite").labels == (["cat", "dog", "bird"] if name[0] == "l" else ["a", "b"])


@pytest.mark.parametrize(("shape", "numbers"), [("[4, 2]", 14), ("(3, 3)", 15)])
def test_keypoints_as_a_file_says(tmp_path, shape, numbers):
    texts = {"names": "{0: 'cat', 1: 'dog'}", "kpt_shape": shape, "task": "pose"}
    made = foreign.constant({"output0": np.zeros((1, numbers, CELLS))}, texts=texts)
    found = described(foreign.save(made, tmp_path / "net.onnx"))
    count, values = ast.literal_eval(shape)
    keys = {"format": "yolov8", "keypoints": count, "keypoint_values": values}
    assert (found.kind, found.classes, found.output_keys) == ("keypoints", 2, keys)


@pytest.mark.parametrize("shape", ["[9, 3]", "[0, 3]", "[4]", "['a', 3]", "[4, 5]", "7", "__import__('os')"])
def test_keypoints_that_do_not_fit_are_not_taken(tmp_path, shape):
    made = foreign.constant({"output0": np.zeros((1, 14, CELLS))}, texts={"kpt_shape": shape})
    assert described(foreign.save(made, tmp_path / "net.onnx")).kind == "detection"


def test_turned_boxes_are_refused(tmp_path):
    made = foreign.constant({"output0": np.zeros((1, 20, CELLS))}, texts={"task": "obb"})
    with pytest.raises(ModelError, match=r"^net.onnx finds turned boxes, which are not supported"):
        described(foreign.save(made, tmp_path / "net.onnx"))


def test_what_is_no_classifier(tmp_path):
    made = foreign.model(
        [foreign.node("Identity", "picture", "same")],
        [foreign.value("picture", ("n", 3, 10, 12))],
        [foreign.value("same", ("n", 3, 10, 12))],
        {},
    )
    with pytest.raises(ModelError, match=r"^net.onnx: it gives same \(\?, 3, 10, 12\)"):
        described(foreign.save(made, tmp_path / "net.onnx"))
    made.graph.input[0].CopyFrom(foreign.value("picture", ("n", 5)))
    with pytest.raises(ModelError, match=r"net.onnx takes 'picture' \(\?x5, f32\); needed is a picture"):
        described(foreign.save(made, tmp_path / "net.onnx"))


CELLS = sum((64 // stride) * (96 // stride) for stride in (8, 16, 32))


def test_detectors_are_recognised(tmp_path):
    names = {"names": "{0: 'circle', 1: 'square', 2: 'star'}"}
    file = foreign.save(foreign.constant({"output0": np.zeros((1, 7, CELLS))}, texts=names), tmp_path / "net.onnx")
    found = described(file)
    assert (found.kind, found.output_keys, found.labels) == (
        "detection",
        {"format": "yolov8"},
        ["circle", "square", "star"],
    )
    assert (found.preprocessing, found.values) == ("letterbox", {"range": [0.0, 1.0]})
    foreign.save(foreign.constant({"output": np.zeros((1, CELLS, 8))}, kind="u8"), file)
    found = described(file)
    assert found.output_keys == {"format": "yolox", "decoded": False}
    assert (found.preprocessing, found.values) == ("letterbox-corner", {"order": "bgr", "range": [0.0, 255.0]})


def test_a_detector_that_is_told_the_pictures_size(tmp_path, make, run):
    lists = {"labels": np.full((1, 5), 2), "boxes": np.full((1, 5, 4), 30), "scores": np.full((1, 5), 0.5)}
    size = foreign.value("orig_target_sizes", ("n", 2), "i64")
    file = foreign.save(foreign.constant(lists, whole=("labels",), inputs=[size]), tmp_path / "net.onnx")
    found = described(file)
    assert found.output_keys == {"format": "detr", "tensors": ["labels", "boxes", "scores"]}
    assert found.input_keys == {"name": "picture", "constants": {"orig_target_sizes": [96, 64]}}
    paddles = [foreign.value("im_shape", ("n", 2)), foreign.value("scale_factor", ("n", 2))]
    foreign.save(foreign.constant(lists, whole=("labels",), inputs=paddles), file)
    assert described(file).input_keys["constants"] == {"im_shape": [64.0, 96.0], "scale_factor": [1.0, 1.0]}
    more = 'name = "picture"\nconstants = { im_shape = [64, 96], scale_factor = 1 }'
    made = make(file, more, output='format = "boxes"', kind="detection", size=(96, 64))
    backend, labels = run(made)
    assert (backend.outputs, backend.single) == (("labels", "boxes", "scores"), False)
    assert labels.shape == (8, 5)


def test_what_no_rule_knows(tmp_path):
    file = foreign.save(foreign.constant({"maps": np.zeros((1, 2, 64, 96))}), tmp_path / "net.onnx")
    with pytest.raises(ModelError, match=r"^net.onnx: it gives maps \(\?, 2, 64, 96\), which is no layout"):
        described(file)
