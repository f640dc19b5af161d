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

CATS = 'labels = ["cat", "dog", "bird"]'


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


def test_a_batch_of_four_that_cannot_be_let_go(arrays, make, run, tmp_path):
    made = foreign.classifier(arrays, shape=(4, 3, 10, 12), flatten=[4, 4])
    made.graph.node.insert(3, foreign.node("Reshape", "features halves", "two"))
    made.graph.node[4].input[0] = "two"
    made.graph.initializer.append(onnx.numpy_helper.from_array(np.array([2, 8], np.int64), "halves"))
    with pytest.raises(ModelError, match=r"^net.onnx takes batches of 4 alone: export it with a batch of 1, or of any"):
        run(make(foreign.save(made, tmp_path / "net.onnx")))


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


@pytest.mark.parametrize("name", ["ssd", "ssd-regular"])
def test_tflites_own_post_processing(root, make, name):
    """OpenVINO has no such operation; what TFLite's own interpreter gives for the same picture."""
    opened = network.open_network(root / f"foreign/{name}.tflite")
    found = describe.describe(opened, None, {})
    assert found.output_keys["format"] == "ssd"
    wanted = np.load(root / f"foreign/{name}.npz")
    output = 'format = "ssd"\nlabels = ["cat", "dog", "bird"]'
    made = make(root / f"foreign/{name}.tflite", "range = [0, 1]", output=output, kind="detection")
    model = fitting.fit(network.open_network(made.runtime.weights), made.input, None)
    [given] = comparing.run_alone(model, wanted["picture"])
    names = [network.name_of(each) for each in model.outputs]
    assert sorted(names) == ["boxes", "count", "labels", "scores"]
    count = int(wanted["count"][0])
    assert count == {"ssd": 3, "ssd-regular": 8}[name], "of 12, and at most 8 are told"
    for role, array in zip(names, given, strict=True):
        assert array.shape == wanted[role].shape
        rows = (slice(None), slice(count))[: array.ndim]  # behind them TFLite leaves what was there before
        assert array[rows] == pytest.approx(wanted[role][rows], abs=1e-6), role


def test_post_processing_without_its_settings_gets_its_sentence(root, tmp_path):
    (tmp_path / "net.tflite").write_bytes(
        (root / "foreign/ssd.tflite").read_bytes().replace(b"num_classes", b"num_clothes")
    )
    with pytest.raises(ModelError) as said:
        network.open_network(tmp_path / "net.tflite")
    assert str(said.value).startswith(
        "net.tflite cannot be read: its operation TFLite_Detection_PostProcess is damaged"
    )
    assert ".py" not in str(said.value)


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
    assert fitting.picture_port(opened, "", {"other": [1.0]}).name == "picture"


def test_weights_beside_it_that_are_cut_short(arrays, tmp_path):
    file = foreign.save(foreign.classifier(arrays), tmp_path / "net.onnx", location="weights")
    (tmp_path / "weights").write_bytes((tmp_path / "weights").read_bytes()[:100])
    with pytest.raises(ModelError, match=r"^net.onnx cannot be read: a file with its weights is cut short"):
        network.open_network(file)


def test_what_gives_nothing_or_no_numbers(arrays, make, tmp_path):
    made = foreign.classifier(arrays)
    del made.graph.output[:]
    with pytest.raises(ModelError, match=r"^net.onnx holds no network: it gives nothing"):
        network.open_network(foreign.save(made, tmp_path / "net.onnx"))
    file = foreign.save(foreign.classifier([array * np.nan for array in arrays]), tmp_path / "net.onnx")
    entry = convert.convert(make(file), "0" * 64, tmp_path / "cache")
    assert entry.report.reason.startswith("the network gives values that are no numbers for test pictures")


def test_comparing():
    one, other = np.ones((1, 2)), np.full((1, 2), 1.5)
    assert comparing.difference([[one], [one]], [[one], [other]]) == 0.5
    assert comparing.difference([[one]], [[one], [one]]) == float("inf")
    assert comparing.difference([[one]], [[np.ones((1, 3))]]) == float("inf")
    assert comparing.difference([[one]], [[one * np.nan]]) == float("inf")
    assert [len(each) for each in comparing.split([np.ones((2, 5)), np.ones((2, 1))], 2)] == [2, 2]
    assert len(comparing.split([np.ones((5, 7))], 2)) == 1
