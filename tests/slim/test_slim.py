"""Without TensorFlow: every shipped model answers, and whoever wants what cannot be done is told in a sentence."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.running import ROOT, Camera, Server, picture

from imageserver import folders

ADDED_BY = "needs TensorFlow, which is not installed here; `make run` adds it"

EVERY_MODEL = """
import importlib.util, json, sys
sys.path.insert(0, sys.argv[1])
import bootstrap; bootstrap.provide_package()
assert importlib.util.find_spec("tensorflow") is None and importlib.util.find_spec("keras") is None
import numpy as np
from imageserver.errors import ModelError
from imageserver.inference import alone
frame = np.random.default_rng(1).integers(0, 256, (240, 320, 3), np.uint8)
for name in sys.argv[2:]:
    try:
        model = alone.load(alone.manifest(name))
        answer = [model.run(number, frame) for number in range(2)][-1]
        print(json.dumps([name, answer, getattr(getattr(model, "serving", None), "runtime", "")]))
    except ModelError as error:
        print(json.dumps([name, str(error), "none"]))
"""


def run(python: Path, *words: str | Path, home: Path) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.environ["PATH"], "HOME": str(home)}
    return subprocess.run([python, *words], cwd=home, env=environment, capture_output=True, text=True, timeout=110)


@pytest.mark.long
def test_every_shipped_model_answers(python: Path, tmp_path: Path) -> None:
    members = {"xray-densenet", "xray-inception", "xray-mycn", "xray-resnet", "xray-vgg", "xray-xception"}
    names = {path.parent.name for path in ROOT.glob("models/*/model.toml")} - members  # whom the ensemble asks
    done = run(python, "-c", EVERY_MODEL, ROOT / "src", *sorted(names), home=tmp_path)
    assert done.returncode == 0, done.stderr
    found = {name: (answer, runtime) for name, answer, runtime in map(json.loads, done.stdout.splitlines())}
    assert found["lenet"][1] == "openvino float32" and len(found["lenet"][0]["labels"]) == 5
    assert found["xray-ensemble"][1] == "6 of 6 members, openvino float32"
    assert set(found["xray-ensemble"][0]["label"].split()) <= {"normal", "pneumonia"}
    assert found["faces"][0]["label"] in ("none", "face")
    assert found["mock_fast"][0]["mock_fast_frames"] == 2
    lacking = {name for name, (_answer, runtime) in found.items() if runtime == "none"}
    assert lacking <= {"mobilenet"}, found
    if lacking:
        assert "lacks its weights" in found["mobilenet"][0]
    converted = {path.name.rpartition("-")[0] for path in (tmp_path / ".cache" / "imageserver").glob("*-*")}
    assert converted <= {"shapes"}, "a network in a file is read by OpenVINO alone"


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A folder with LeNet, and with a Keras model that somebody has added."""
    made = tmp_path / "models"
    shutil.copytree(ROOT / "models" / "lenet", made / "lenet")
    (made / "cats").mkdir()
    shutil.copy(ROOT / "clients" / "samples" / "cats.keras", made / "cats" / "model.keras")
    manifest = '[input]\nwidth = 64\nheight = 64\n[output]\nclasses = 3\n[runtime]\nweights = "model.keras"\n'
    (made / "cats" / "model.toml").write_text(f'kind = "classification"\n{manifest}')
    return made


@pytest.mark.parametrize(
    ("code", "words", "said"),
    [
        (
            1,
            "src/inference/add_model.py clients/samples/cats.keras --name d --models {models}",
            f": adding cats.keras {ADDED_BY}",
        ),
        (0, "src/inference/prepare.py --models {models}", f"model cats: converting it {ADDED_BY}"),
        (1, "src/inference/prepare.py --models {models} --graph lenet", f"making a graph {ADDED_BY}"),
        (2, "src/bootstrap.py training.xray.fit", f"training.xray.fit {ADDED_BY}"),
        (1, "src/inference/try_model.py {models}/cats clients/samples/photos", f"the model 'cats' {ADDED_BY}"),
        (2, "src/ImageServer.py check -m lenet --models {models}", f"The model 'cats' {ADDED_BY}."),
        (0, "src/ImageServer.py model list --models {models}", "cats; lacks TensorFlow: `make run` adds it"),
    ],
)
def test_who_misses_it_is_told_in_one_line(
    python: Path, models: Path, tmp_path: Path, code: int, words: str, said: str
) -> None:
    program, *rest = [str(ROOT / word) if (ROOT / word).exists() else word for word in words.split()]
    done = run(python, program, *(word.format(models=models) for word in rest), home=tmp_path)
    assert "Traceback" not in done.stderr
    assert any(line.endswith(said) for line in (done.stdout + done.stderr).splitlines()), done
    assert done.returncode == code


class SlimServer(Server):
    def __init__(self, python: Path, models: Path, data: Path) -> None:
        self.command = (python, ROOT / "src" / "ImageServer.py")
        # In a jail its libraries could not be read, which are links to those of another environment.
        super().__init__("--no-jail", "--user", "test_nn:lenet", data=data, models=models, model="lenet")


def test_a_server_serves_and_says_what_it_cannot(
    python: Path, models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import requests

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))  # where nobody has converted the other model
    with SlimServer(python, models, tmp_path) as server:
        server.wait_for("^models ready: lenet")
        assert server.find(f"^training a model, or converting one of Keras', {ADDED_BY}; all else runs$")
        with Camera(server) as camera:
            assert len(camera.ask(picture())["labels"]) == 5
        login = ("test_nn", "lenet")
        refused = requests.post(
            f"{server.url}/lenet/train", auth=login, params={"training_sample": "mnist"}, timeout=60
        )
        assert (refused.status_code, refused.json()["error"]) == (406, f"training {ADDED_BY}")
        files = {"file": (ROOT / "clients" / "samples" / "photos" / "chelsea.jpg").read_bytes()}
        refused = requests.post(f"{server.url}/cats/classify", auth=login, files=files, timeout=60)
        assert refused.json()["error"].endswith(f"the model 'cats' {ADDED_BY}")
        server.wait_for(f"^warning: .*the model 'cats' {ADDED_BY}")  # a thread writes the log, after the answer perhaps


def test_the_command_is_that_of_how_it_was_installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert folders.ADD_TENSORFLOW == "`make run`"
    monkeypatch.setattr(folders, "INSTALLED", True)
    assert folders._adds_tensorflow() == "`pip install 'imageserver[tensorflow]'`"
    monkeypatch.setattr(folders, "INSTALLED", False)
    monkeypatch.setattr(folders, "PROJECT", tmp_path)
    assert folders._adds_tensorflow() == "the full image"


def test_a_model_whose_code_imports_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from imageserver.errors import ModelError
    from imageserver.inference.shared import manifest
    from imageserver.inference.shared.slim import tensorflow
    from imageserver.inference.worker import model_api

    (tmp_path / "own").mkdir()
    text = 'kind = "custom"\n[input]\nwidth = 8\nheight = 8\n[runtime]\nruntime = "python"\n'
    (tmp_path / "own" / "model.toml").write_text(text)
    (tmp_path / "own" / "model.py").write_text("import tensorflow.keras")
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    monkeypatch.setattr(tensorflow, "is_here", lambda: False)
    with pytest.raises(ModelError, match=r"^model.py of the model 'own' needs TensorFlow, which is not"):
        model_api.load_code(manifest.read(tmp_path / "own"))
