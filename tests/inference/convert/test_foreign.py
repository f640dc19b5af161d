"""Networks in ONNX, TFLite and OpenVINO's own form: what they give is what they gave, or a sentence says why not."""

import shutil

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")

from onnx import TensorProto
from tests.inference import foreign

from imageserver.errors import ModelError
from imageserver.inference.convert import comparing, convert, describe, fitting, network
from imageserver.inference.shared import manifest
from imageserver.inference.worker.backends.openvino import OpenVINO

MANIFEST = """
kind = "{kind}"
[input]
width = {size[0]}
height = {size[1]}
{input}
[output]
{output}
[batch]
max_batch = 4
[runtime]
weights = "{weights}"
"""
CATS = 'labels = ["cat", "dog", "bird"]'


@pytest.fixture(scope="module")
def arrays():
    """Weights of the network, as Keras has them."""
    random = np.random.default_rng(1)
    return [random.normal(size=shape).astype(np.float32) for shape in ((3, 3, 3, 4), (4,), (4, 3), (3,))]


@pytest.fixture
def make(tmp_path):
    """Writes a model's folder and returns its manifest."""

    def made(file, more="", output=CATS, kind="classification", size=(12, 10)):
        folder = tmp_path / "models" / file.stem
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, folder)
        layout = "" if file.suffix != ".onnx" else 'layout = "nchw"\n'
        text = MANIFEST.format(kind=kind, input=layout + more, output=output, weights=file.name, size=size)
        (folder / "model.toml").write_text(text)
        return manifest.read(folder)

    return made


@pytest.fixture
def run(tmp_path):
    """Converts a model and runs it on the probes; the backend, and its first output."""

    def done(found):
        entry = convert.convert(found, "0" * 64, tmp_path / "cache")
        assert entry.report.good, entry.report.reason
        backend = OpenVINO(entry.model, found.runtime.precision, 1)
        return backend, np.array(backend.run(convert.probes(found.input)))

    return done


def expected(arrays, wanted):
    """What the network gives for the probes, computed here."""
    batch = convert.probes(wanted)
    if wanted.layout == "nchw":
        batch = batch.transpose(0, 2, 3, 1)
    kernel, bias, last, last_bias = arrays
    windows = np.lib.stride_tricks.sliding_window_view(batch, (3, 3), axis=(1, 2))  # (n, 8, 10, 3, 3, 3)
    features = np.maximum(np.einsum("nhwcij,ijcf->nhwf", windows, kernel) + bias, 0).max(axis=(1, 2))
    logits = features @ last + last_bias
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("kind", ["f32", "f16", "f64", "u8", "i64"])
def test_onnx_of_any_kind_of_number(arrays, make, run, tmp_path, kind):
    file = foreign.save(foreign.classifier(arrays, kind=kind), tmp_path / "net.onnx")
    # Whole numbers are rounded: the probes are such ones.
    found = make(file, "range = [0, 255]" if kind in ("u8", "i64") else "range = [0, 1]")
    backend, scores = run(found)
    assert (backend.outputs, backend.single) == (("scores",), False)
    assert scores == pytest.approx(expected(arrays, found.input), abs=1e-3 if kind == "f16" else 1e-4)


def test_weights_in_another_file(arrays, make, run, tmp_path):
    file = foreign.save(foreign.classifier(arrays), tmp_path / "net.onnx", location="net.onnx.data")
    found = make(file, "range = [0, 1]")
    with pytest.raises(ModelError, match=r"^net.onnx keeps weights in 'net.onnx.data', which is not there: copy that"):
        convert.convert(found, "0" * 64, tmp_path / "cache")
    shutil.copy(tmp_path / "net.onnx.data", found.folder)
    assert run(found)[1] == pytest.approx(expected(arrays, found.input), abs=1e-4)
    foreign.relocate(found.runtime.weights, "../../net.onnx.data")
    with pytest.raises(
        ModelError, match=r"^net.onnx keeps weights in '../../net.onnx.data', outside of its own folder"
    ):
        network.open_network(found.runtime.weights)


def test_a_batch_of_one_that_is_written_into_the_network(arrays, make, run, tmp_path):
    """It runs picture by picture, and gives for a batch what it gives for each alone."""
    made = foreign.classifier(arrays, shape=(1, 3, 10, 12), flatten=[1, 4])
    # Its rows are put together again by a reshape to one row, whatever the batch.
    made.graph.node.insert(3, foreign.node("ReduceMax", "features", "one", axes=[0], keepdims=1))
    made.graph.node[4].input[0] = "one"
    backend, scores = run(found := make(foreign.save(made, tmp_path / "net.onnx"), "range = [0, 1]"))
    assert backend.single
    assert scores == pytest.approx(expected(arrays, found.input), abs=1e-4)


def test_a_batch_of_one_in_a_reshape_is_let_go(arrays, make, run, tmp_path):
    made = foreign.classifier(arrays, shape=(1, 3, 10, 12), flatten=[1, 4])
    backend, scores = run(found := make(foreign.save(made, tmp_path / "net.onnx"), "range = [0, 1]"))
    assert not backend.single
    assert scores == pytest.approx(expected(arrays, found.input), abs=1e-4)


def test_a_batch_of_one_that_only_the_input_says(arrays, make, run, tmp_path):
    file = foreign.save(foreign.classifier(arrays, shape=(1, 3, 10, 12)), tmp_path / "net.onnx")
    backend, scores = run(found := make(file, "range = [0, 1]"))
    assert not backend.single
    assert scores == pytest.approx(expected(arrays, found.input), abs=1e-4)


@pytest.mark.parametrize("shape", [("n", 3, "h", "w"), (1, 3, None, None)])
def test_any_size_becomes_the_manifests(arrays, make, run, tmp_path, shape):
    found = make(foreign.save(foreign.classifier(arrays, shape=shape), tmp_path / "net.onnx"), "range = [0, 1]")
    assert run(found)[1] == pytest.approx(expected(arrays, found.input), abs=1e-4)


def test_further_inputs_become_part_of_it(arrays, make, run, tmp_path):
    made = foreign.classifier(arrays, softmax=False)
    made.graph.input.extend([foreign.value("scale", ("n", 3)), foreign.value("shift", (), "i64")])
    made.graph.node.append(foreign.node("Mul", "scores scale", "scaled"))
    made.graph.node.append(foreign.node("Cast", "shift", "moved", to=TensorProto.FLOAT))
    made.graph.node.append(foreign.node("Add", "scaled moved", "end"))
    made.graph.output[0].name = "end"
    file = foreign.save(made, tmp_path / "net.onnx")
    with pytest.raises(ModelError, match=r"^net.onnx takes 'scale' \(\?x3, f32\) beside the picture: say what"):
        run(make(file))
    with pytest.raises(ModelError, match=r"takes 'scale' \(\?x3, f32\): 2 numbers in input.constants do not fill it"):
        run(make(file, "constants = { scale = [1, 2], shift = 5 }"))
    with pytest.raises(ModelError, match=r"^net.onnx has no input 'other' beside the picture; it has 'scale'"):
        run(make(file, "constants = { other = 1 }"))
    plain = run(make(foreign.save(foreign.classifier(arrays, softmax=False), tmp_path / "plain.onnx")))[1]
    moved = run(make(file, "constants = { scale = [1, 2, 3], shift = 5 }"))[1]
    assert moved == pytest.approx(plain * [1, 2, 3] + 5, rel=1e-5)


def test_several_outputs(arrays, make, run, tmp_path):
    made = foreign.classifier(arrays)
    made.graph.output.append(foreign.value("logits", ("n", 3)))
    file = foreign.save(made, tmp_path / "net.onnx")
    with pytest.raises(ModelError, match=r"'logits' \(\?x3, f32\); say which holds the scores with output.name"):
        run(make(file))
    assert run(make(file, output=f'{CATS}\nname = "scores"'))[1].sum(axis=1) == pytest.approx(1)
    with pytest.raises(ModelError, match=r"^net.onnx has no output 'x'; it gives 'scores'"):
        run(make(file, output=f'{CATS}\nname = "x"'))


def test_scores_with_sides_of_one(arrays, make, run, tmp_path):
    made = foreign.classifier(arrays)
    made.graph.initializer.append(onnx.numpy_helper.from_array(np.array([0, 3, 1, 1], np.int64), "sides"))
    made.graph.node.append(foreign.node("Reshape", "scores sides", "end"))
    made.graph.output[0].CopyFrom(foreign.value("end", ("n", 3, 1, 1)))
    found = make(foreign.save(made, tmp_path / "net.onnx"), "range = [0, 1]")
    assert run(found)[1] == pytest.approx(expected(arrays, found.input), abs=1e-4)


def test_quantised_tflite(root, make, run):
    """What the quantised network gives stands for scores; TFLite's own answers, within a step of its scale."""
    plain = run(make(root / "foreign/tiny.tflite", "range = [0, 1]"))[1]
    for name, values in (("int8", "range = [-128, 127]"), ("uint8", "range = [0, 255]")):
        scores = run(make(root / f"foreign/{name}.tflite", values))[1]
        assert scores == pytest.approx(plain, abs=0.02)
        assert np.unique(scores * 256) == pytest.approx(np.round(np.unique(scores * 256)))


def test_the_same_network_in_every_format(root, make, run, tmp_path):
    arrays = list(np.load(root / "foreign/arrays.npz").values())
    foreign.save(foreign.classifier(arrays), tmp_path / "tiny.onnx")
    shutil.copy(root / "foreign/tiny.bin", tmp_path)
    (tmp_path / "models/tiny").mkdir(parents=True)
    shutil.copy(root / "foreign/tiny.bin", tmp_path / "models/tiny")
    for file in (tmp_path / "tiny.onnx", root / "foreign/tiny.tflite", root / "foreign/tiny.xml"):
        found = make(file, "range = [0, 1]")
        assert run(found)[1] == pytest.approx(expected(arrays, found.input), abs=1e-5)


@pytest.mark.parametrize(
    ("content", "name", "sentence"),
    [
        (lambda whole: whole[: len(whole) // 2], "net.onnx", "net.onnx is cut short"),
        (
            lambda whole: whole.replace(b"GlobalMaxPool", b"GlobalMixPool"),
            "net.onnx",
            "does not have: GlobalMixPool-17",
        ),
        (lambda whole: whole.replace(b"scores", b"\xff\xff\xff\xff\xff\xff"), "net.onnx", "a name that is no text"),
        (lambda whole: whole.replace(b"GlobalMaxPool", b"Global\x1b[31mol"), "net.onnx", "have: Global\\x1b[31mol-17"),
        (lambda whole: b"", "net.onnx", "net.onnx is empty"),
        (lambda whole: b"PK\x03\x04" + whole, "net.onnx", "net.onnx is an archive: unpack it"),
        (lambda whole: b"<net>", "net.xml", "net.xml cannot be read: Start-end tags mismatch"),
        (lambda whole: b"\x20\0\0\0TFL3" + bytes(100), "net.tflite", "net.tflite cannot be read: "),
    ],
)
def test_what_is_damaged_or_lacking_gets_its_sentence(arrays, tmp_path, content, name, sentence):
    file = foreign.save(foreign.classifier(arrays), tmp_path / "whole.onnx")
    (tmp_path / name).write_bytes(content(file.read_bytes()))
    with pytest.raises(ModelError) as said:
        network.open_network(tmp_path / name)
    assert sentence in str(said.value)
    assert "\n" not in str(said.value)
    assert str(tmp_path) not in str(said.value)
    assert len(str(said.value)) < 400


def test_what_a_manifest_and_a_network_disagree_about(arrays, make, run, tmp_path):
    file = foreign.save(foreign.classifier(arrays), tmp_path / "net.onnx")
    for more, output, sentence in (
        ('layout = "nhwc"', CATS, "net.onnx takes 'picture' (?x3x10x12, f32), but its manifest says (10, 12, 3)"),
        ("channels = 1", CATS, "but its manifest says (10, 12, 1)"),
        ('name = "other"', CATS, "net.onnx has no input 'other'; it takes 'picture' (?x3x10x12, f32)"),
        ("", 'labels = ["a", "b"]', "net.onnx gives 3 scores, but its manifest has 2 labels"),
    ):
        found = make(file, output=output)
        text = (found.folder / "model.toml").read_text().replace('layout = "nchw"', more or 'layout = "nchw"')
        (found.folder / "model.toml").write_text(text)
        with pytest.raises(ModelError) as said:
            run(manifest.read(found.folder))
        assert sentence in str(said.value)


def test_several_pictures_are_too_many(arrays, tmp_path):
    made = foreign.classifier(arrays)
    made.graph.input.append(foreign.value("other", ("n", 3, 10, 12)))
    opened = network.open_network(foreign.save(made, tmp_path / "net.onnx"))
    with pytest.raises(ModelError, match="takes several pictures: .* say which is the camera's with input.name"):
        fitting.picture_port(opened, "")
    assert fitting.picture_port(opened, "other").name == "other"


def test_comparing():
    one, other = np.ones((1, 2)), np.full((1, 2), 1.5)
    assert comparing.difference([[one], [one]], [[one], [other]]) == 0.5
    assert comparing.difference([[one]], [[one], [one]]) == float("inf")
    assert comparing.difference([[one]], [[np.ones((1, 3))]]) == float("inf")
    assert comparing.difference([[one]], [[one * np.nan]]) == float("inf")
    assert [len(each) for each in comparing.split([np.ones((2, 5)), np.ones((2, 1))], 2)] == [2, 2]
    assert len(comparing.split([np.ones((5, 7))], 2)) == 1


# ---- what add_model takes from a file ---------------------------------------------------------------------------


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
