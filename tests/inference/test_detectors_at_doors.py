"""From a file to boxes by one command, and the same answer at every door; of keypoints, vectors and values too.

The networks give the same whatever they see: known numbers, so that known boxes have to come back.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import requests
from tests.running import PATIENCE, ROOT, Camera, Server, picture, until

SIDE = 64
PLAIN = "[input]\nwidth = 64\nheight = 64\nlayout = 'nchw'\npreprocessing = 'letterbox'\n"


def save(file: Path, name: str, numbers: np.ndarray) -> None:
    """An OpenVINO IR that takes pictures of 64x64 and gives these numbers for each."""
    import openvino
    import openvino.opset13 as ops

    pixels = ops.parameter([-1, 3, SIDE, SIDE], np.float32, name="images")
    nothing = ops.multiply(ops.reduce_sum(pixels, np.array([1, 2, 3]), keep_dims=False), np.float32(0))
    column = ops.reshape(nothing, np.array([-1] + [1] * (numbers.ndim - 1)), special_zero=False)
    given = ops.add(column, ops.constant(numbers.astype(np.float32)))
    given.output(0).get_tensor().set_names({name})
    openvino.save_model(openvino.Model([given], [pixels], "net"), file, compress_to_fp16=False)


def by_hand(models: Path, name: str, manifest: str, numbers: np.ndarray) -> None:
    (models / name).mkdir()
    (models / name / "model.toml").write_text(manifest + '[runtime]\nweights = "net.xml"\n')
    save(models / name / "net.xml", "output", numbers)


def make(models: Path, cache: Path) -> None:
    """A model of each kind; the detector is added by the command."""
    cells = np.zeros((1, 84, 7))
    cells[0, 2 * 8 + 3] = [0.5, 0.5, np.log(2), 0.0, 0.9, 0.1, 1.0]  # its middle is 28, 20; it is 16x8
    cells[0, 2 * 8 + 4] = [-0.4, 0.5, np.log(2), 0.0, 0.8, 0.1, 1.0]  # nearly the same
    save(models.parent / "shapes.xml", "output", cells)
    (models.parent / "labels.txt").write_text("circle\n<b>square</b>\n")
    command = [sys.executable, ROOT / "src/inference/add_model.py", models.parent / "shapes.xml"]
    command += ["--labels", models.parent / "labels.txt", "--models", models, "--models-cache", cache]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    assert "yolox" in done.stdout
    pose = np.zeros((1, 5 + 2 * 3, 84))
    pose[0, :, 5] = [32, 32, 20, 20, 0.75, 30, 30, 0.5, 36, 34, 0.25]
    keys = "[output]\nformat = 'yolov8'\nkeypoints = 2\nlabels = ['person']\n"
    by_hand(models, "pose", f"kind = 'keypoints'\n{PLAIN}{keys}", pose)
    by_hand(models, "place", f"kind = 'embedding'\n{PLAIN}", np.array([[3.0, 4.0]]))
    by_hand(models, "age", f"kind = 'regression'\n{PLAIN}[output]\nlabels = ['age']\n", np.array([[31.5]]))


SQUARE = {"x": 200, "y": 160, "width": 160, "height": 80, "label": "<b>square</b>", "score": 0.9}
PERSON = {
    "x": 220, "y": 140, "width": 200, "height": 200, "label": "person", "score": 0.75,
    "keypoints": [[300, 220, 0.5], [360, 260, 0.25]],
}  # fmt: skip
WANTED: dict[str, dict[str, Any]] = {
    "shapes": {
        "label": "<b>square</b>", "score": 0.9, "labels": [{"label": "<b>square</b>", "score": 0.9}], "boxes": [SQUARE],
    },
    "pose": {"label": "person", "score": 0.75, "labels": [{"label": "person", "score": 0.75}], "boxes": [PERSON]},
    "place": {"embedding": [0.6, 0.8]},
    "age": {"values": {"age": 31.5}},
}  # fmt: skip


@pytest.mark.long
def test_the_same_at_every_door(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    models, data, file = tmp_path / "models", tmp_path / "data", picture(0, 640, 480)
    models.mkdir()
    data.mkdir()
    make(models, tmp_path / "cache/imageserver")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with Server("--picture-rate", "0", data=data, models=models, model="shapes") as server, Camera(server) as camera:
        server.ready()
        for name, wanted in WANTED.items():
            wanted["size"] = [640, 480]
            ready = f"/v2/models/{name}/ready"
            until(lambda path=ready: server.get(path)[0] == 200, f"the model {name}\n{server.text}", every=0.2)
            camera.configure(model=name)
            found = camera.ask(file)
            assert {key: found.get(key) for key in wanted} == wanted, found
            answer = requests.post(f"{server.url}/{name}/classify", data=file, timeout=PATIENCE)
            assert answer.json() == wanted
            tensor = {"name": "image", "shape": [1, 480, 640, 3], "datatype": "UINT8", "data": [0] * 480 * 640 * 3}
            answer = requests.post(f"{server.url}/v2/models/{name}/infer", json={"inputs": [tensor]}, timeout=PATIENCE)
            [output] = answer.json()["outputs"]
            assert json.loads(output["data"][0]) == wanted
            answer = requests.put(f"{server.url}/snippets/1/?model={name}", data=file, timeout=PATIENCE)
            found = answer.json()["prediction"]
            assert {key: found.get(key) for key in wanted} == wanted, found
        camera.configure(model="shapes")
        camera.ask(file)
        [stream] = [each for each in json.loads(server.get("/streams")[1]) if each["protocol"] == "camstream"]
        status, jpeg = server.get(f"/streams/{stream['id']}.jpg?boxes=1")
        assert status == 200
        drawn = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
        assert drawn[200, 200, 1] > 120 > drawn[200, 280, 1]
