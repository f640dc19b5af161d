"""Pictures unlike those of the training: the distance, the file, and the network that it was fitted to."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import openvino
import pytest
from openvino import opset13 as ops

from imageserver.errors import ModelError
from imageserver.inference.shared import manifest as manifests
from imageserver.inference.worker import loader, tensors
from imageserver.inference.worker.backends import features
from imageserver.inference.worker.context import LoadContext
from imageserver.inference.worker.outputs import input_check
from imageserver.inference.worker.outputs.input_check import FeatureDistance
from imageserver.inference.worker.predictor import Network, PictureJob

TABLE = '[input_check]\nfeatures = ["inner", "last"]\n'
COUNT = 5


def network() -> openvino.Model:
    """(n, 1, 4, 4) to two scores: through "inner", the picture in three channels, and "last", two of its means."""
    picture = ops.parameter([-1, 1, 4, 4], np.float32, "picture")
    inner = ops.concat([picture, ops.multiply(picture, np.float32(0.5)), ops.multiply(picture, picture)], 1)
    inner.set_friendly_name("inner")
    means = ops.reduce_mean(inner, [2, 3], False)
    last = ops.matmul(means, np.float32([[1, 0], [0, 1], [0, 0]]), False, False)
    last.output(0).get_tensor().set_names({"last"})
    scores = ops.sigmoid(last)
    scores.output(0).get_tensor().set_names({"scores"})
    return openvino.Model([scores], [picture], "small")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Of a model whose network `load` brings."""
    folder = tmp_path / "small"
    folder.mkdir()
    (folder / "net.xml").write_bytes(b"not read")
    (folder / "model.toml").write_text(
        'kind = "classification"\n[input]\nwidth = 4\nheight = 4\nchannels = 1\nlayout = "nchw"\n'
        '[output]\nlabels = ["a", "b"]\n[runtime]\nweights = "net.xml"\n' + TABLE
    )
    return folder


def features_of(grey: float) -> list[float]:
    return [grey, grey / 2, grey**2, grey, grey / 2]


def write(folder: Path, arrays: dict[str, np.ndarray] | None = None, **changes: np.ndarray) -> Path:
    """The file: pictures of grey 100 to 110 are like those of the training, by their mean alone."""
    ramp = np.linspace(0, 255, 16).astype(np.uint8).astype(np.float32)
    means = [ramp.mean(), ramp.mean() / 2, (ramp**2).mean(), ramp.mean(), ramp.mean() / 2]
    whitening = np.zeros((COUNT, COUNT), np.float32)
    whitening[0, 0] = 1 / 5
    fitted = {"mean": np.float32(features_of(105)), "whitening": whitening, "probe": np.float32(means)}
    np.savez(folder / "input_check.npz", **(arrays or fitted | changes))
    return folder / "input_check.npz"


def load(folder: Path, monkeypatch: pytest.MonkeyPatch, watched: Sequence[str] = ("inner", "last")) -> Network:
    """As the loader does it, without the detour of a conversion in a process of its own."""
    from imageserver.inference.worker.backends import openvino as backend

    found = backend.OpenVINO(network(), "float32", 1, watched)
    monkeypatch.setattr(backend, "load", lambda *_arguments: found)
    serving = loader.load(folder, LoadContext(lambda _text: None))
    assert isinstance(serving, Network)
    return serving


def png(grey: int) -> memoryview:
    return memoryview(cv2.imencode(".png", np.full((4, 4), grey, np.uint8))[1].tobytes())


def test_answers_say_it_beside_the_label(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(folder)
    serving = load(folder, monkeypatch)
    found = serving.run([PictureJob(png(grey), 0) for grey in (105, 40, 109, 0)])
    assert [result.get("input") for result in found] == [None, "unlike", None, "unlike"]
    assert all(result["label"] for result in found) and not serving.warnings


@pytest.mark.parametrize(
    ("tensor", "said"),
    [
        ({"shape": [3, 4, 4, 1], "datatype": "UINT8", "data": [105] * 16 + [0] * 16 + [101] * 16}, "like,unlike,like"),
        ({"shape": [1, 1, 4, 4], "datatype": "FP32", "data": [0.0] * 16}, "unlike"),
        ({"shape": [2, 1, 4, 4], "datatype": "FP32", "data": [105.0] * 32}, None),
    ],
)
def test_inference_requests_say_it_of_each_picture_in_their_parameters(
    folder: Path, monkeypatch: pytest.MonkeyPatch, tensor: dict[str, object], said: str | None
) -> None:
    write(folder)
    serving = load(folder, monkeypatch)
    answer = tensors.infer(serving, memoryview(json.dumps({"inputs": [{"name": "image", **tensor}]}).encode()), 0)
    assert isinstance(answer, tuple)
    body = json.loads(answer[0])
    assert body.get("parameters") == ({"input": said} if said else None)
    assert [output["name"] for output in body["outputs"]] == ["scores", "label"]


def test_of_the_tensors_come_the_means_in_one_row_more() -> None:
    model = network()
    assert features.add(model, ["inner", "last"]) == COUNT
    batch = np.stack([np.full((1, 4, 4), grey, np.float32) for grey in (3.0, 8.0)])
    scores, row = openvino.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})([batch]).values()
    assert scores.shape == (2, 2)
    assert np.allclose(row, [features_of(3.0), features_of(8.0)])


@pytest.mark.parametrize("names", [[], ["nothing"], ["inner", "nothing"]])
def test_tensors_that_are_not_there_leave_the_network_as_it_is(names: list[str]) -> None:
    model = network()
    assert features.add(model, names) == 0
    assert len(model.outputs) == 1


def test_numbers_that_are_none_are_unlike() -> None:
    distance = FeatureDistance(np.zeros(2), np.eye(2), np.zeros(2))
    rows = np.array([[0.5, 0.5], [0.9, 0.9], [np.nan, 0.0], [np.inf, 0.0]])
    assert distance.unlike(rows).tolist() == [False, True, True, True]


def test_of_a_network_that_looks_several_times_the_first_view_counts() -> None:
    rows = np.arange(6).reshape(6, 1)
    assert input_check.first_view(rows, 3, single=False).ravel().tolist() == [0, 1, 2]
    assert input_check.first_view(rows, 3, single=True).ravel().tolist() == [0, 2, 4]
    assert input_check.first_view(rows, 6, single=False).ravel().tolist() == [0, 1, 2, 3, 4, 5]
    with pytest.raises(ModelError, match="6 rows for 4 pictures"):
        input_check.first_view(rows, 4, single=False)


def test_what_was_fitted_to_another_network_does_not_count(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(folder, probe=np.zeros(COUNT, np.float32))
    serving = load(folder, monkeypatch)
    [warning] = serving.warnings
    assert "input_check.npz was fitted to other weights, or to another network" in warning
    assert "input" not in serving.run([PictureJob(png(0), 0)])[0]


def test_nor_does_it_where_the_network_has_no_such_tensors(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(folder)
    [warning] = load(folder, monkeypatch, ["other"]).warnings
    assert "openvino float32 gives no features inner, last of it" in warning


def test_a_file_that_is_not_the_one_is_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ModelError, match=r"'input_check.npz' of the model 'small' cannot be read: .*No such file"):
        load(folder, monkeypatch)
    path = write(folder)
    text = (folder / "model.toml").read_text()
    (folder / "model.toml").write_text(f'{text}sha256 = "{hashlib.sha256(path.read_bytes()).hexdigest()}"\n')
    assert not load(folder, monkeypatch).warnings
    write(folder, mean=np.ones(COUNT, np.float32))
    with pytest.raises(ModelError, match="has the SHA-256 .* or its SHA-256 into input_check.sha256"):
        load(folder, monkeypatch)
    (folder / "model.toml").write_text(text)
    for damage in (b"", b"PK\3\4", path.read_bytes()[:-100]):
        path.write_bytes(damage)
        with pytest.raises(ModelError, match="cannot be read"):
            load(folder, monkeypatch)
    write(folder, mean=np.ones(COUNT + 1, np.float32))
    with pytest.raises(ModelError, match="do not have the shapes"):
        load(folder, monkeypatch)
    np.savez(path, mean=np.array([object()] * COUNT), whitening=np.eye(COUNT), probe=np.ones(COUNT))
    with pytest.raises(ModelError, match="holds no numbers"):
        load(folder, monkeypatch)


@pytest.mark.parametrize(
    ("table", "reason"),
    [
        ("[input_check]\n", "input_check.features: must name 1 to 16 tensors"),
        (f"[input_check]\nfeatures = {json.dumps(['x'] * 17)}\n", "input_check.features: must name 1 to 16 tensors"),
        (TABLE + 'file = "../other.npz"\n', "input_check.file: must name something in the model's own folder"),
        (TABLE + 'file = "other.txt"\n', "input_check.file: must be an .npz file"),
        (TABLE + 'sha256 = "1"\n', "input_check.sha256: must be 64 hexadecimal digits"),
        (TABLE + "limit = 2\n", "input_check.limit: unknown key"),
        (TABLE + '[runtime]\nruntime = "tensorflow"\nweights = "a.keras"\n', "input_check: is for a classifier that"),
        (
            TABLE + '[ensemble]\nmembers = ["a"]\n',
            "input_check: is for a classifier that OpenVINO runs; of an ensemble",
        ),
    ],
)
def test_manifests_that_are_wrong(folder: Path, table: str, reason: str) -> None:
    text = (folder / "model.toml").read_text().removesuffix(TABLE)
    if "[runtime]" in table or "[ensemble]" in table:
        text = text.replace('[runtime]\nweights = "net.xml"\n', "")
    (folder / "model.toml").write_text(text + table)
    with pytest.raises(ModelError) as error:
        manifests.read(folder)
    assert reason in str(error.value)
