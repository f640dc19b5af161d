"""The same network as Keras', ONNX, TFLite and IR file answers the same at every door."""

import io
import shutil

import numpy as np
import pytest
import requests
from PIL import Image
from tests.running import PATIENCE, Camera, Server, until

foreign = pytest.importorskip("tests.inference.foreign", exc_type=ImportError)

MANIFEST = """
kind = "classification"
[input]
width = 12
height = 10
range = [0, 1]
layout = "{layout}"
[output]
labels = ["cat", "dog", "bird"]
[runtime]
weights = "{weights}"
"""
FORMATS = ("tiny", "onnx", "tflite", "xml")
"""Names of the models; `tiny` is Keras'."""


@pytest.fixture(scope="module")
def models(root, tmp_path_factory):
    """A models folder with the network in each format."""
    folder = tmp_path_factory.mktemp("models")
    arrays = list(np.load(root / "foreign/arrays.npz").values())
    shutil.copytree(root / "models/tiny", folder / "tiny")
    for name in FORMATS[1:]:
        made = folder / name
        made.mkdir()
        layout = "nchw" if name == "onnx" else "nhwc"
        (made / "model.toml").write_text(MANIFEST.format(layout=layout, weights=f"tiny.{name}"))
        if name == "onnx":
            foreign.save(foreign.classifier(arrays), made / "tiny.onnx")
        else:
            shutil.copy(root / f"foreign/tiny.{name}", made)
    shutil.copy(root / "foreign/tiny.bin", folder / "xml")
    return folder


@pytest.fixture(scope="module")
def pixels():
    """A picture of the network's own size, as pixels and as a PNG file."""
    found = np.random.default_rng(5).integers(0, 256, (10, 12, 3), np.uint8)
    stream = io.BytesIO()
    Image.fromarray(found).save(stream, "PNG")
    return found, stream.getvalue()


def by_label(answer):
    assert "labels" in answer, answer
    return {entry["label"]: entry["score"] for entry in answer["labels"]}


@pytest.mark.long
def test_the_same_answer_within_a_ten_thousandth(root, models, pixels, tmp_path, monkeypatch):
    array, file = pixels
    found = {}
    shutil.copytree(root / "cache", tmp_path / "imageserver")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    (tmp_path / "data").mkdir()
    with (
        Server("--picture-rate", "0", data=tmp_path / "data", models=models, model="tiny") as server,
        Camera(server) as camera,
    ):
        server.ready()
        for name in FORMATS:
            ready = f"/v2/models/{name}/ready"
            until(lambda path=ready: server.get(path)[0] == 200, f"the model {name}\n{server.text}", every=0.2)
            camera.configure(model=name)
            found[name, "CamStream"] = by_label(camera.ask(file))
            answer = requests.post(f"{server.url}/{name}/classify", data=file, timeout=PATIENCE)
            found[name, "REST"] = by_label(answer.json())
            tensor = {"name": "image", "shape": [1, *array.shape], "datatype": "UINT8", "data": array.ravel().tolist()}
            answer = requests.post(f"{server.url}/v2/models/{name}/infer", json={"inputs": [tensor]}, timeout=PATIENCE)
            scores = next(output["data"] for output in answer.json()["outputs"] if output["name"] == "scores")
            found[name, "v2"] = dict(zip(("cat", "dog", "bird"), scores, strict=True))
            answer = requests.put(f"{server.url}/snippets/1/?model={name}", data=file, timeout=PATIENCE)
            found[name, "snippets"] = by_label(answer.json()["prediction"])
    expected = found["tiny", "v2"]
    assert max(expected.values()) - min(expected.values()) > 0.1
    for way, answer in found.items():
        assert answer == pytest.approx(expected, abs=1e-4), way
