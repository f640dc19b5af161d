"""Adding one's own model, as a new user would: a command, a file, a picture."""

import json
import os
import subprocess
import sys
import tomllib

import pytest
from PIL import Image
from skimage import data
from tests.inference.worker.worker_process import ROOT, WorkerProcess

COMMAND = ROOT / "src/inference/add_model.py"

SEVERAL = """
import contextlib, io, json, sys
import bootstrap; bootstrap.provide_package()
from imageserver.inference import add_model
said = []
for arguments in json.loads(sys.stdin.read()):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = add_model.main(arguments)
    said.append([code, out.getvalue(), err.getvalue()])
print(json.dumps(said))
"""
"""Runs the command several times in one process, because importing TensorFlow takes most of its time."""


@pytest.fixture(scope="module")
def files(root, tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    (folder / "labels.txt").write_text("cat\ndog\nbird\n")
    (folder / "two.txt").write_text("no\nyes\n")
    (folder / "models").mkdir()
    (folder / "ä.txt").write_text("no model")
    Image.fromarray(data.chelsea()).save(folder / "cat.jpg")
    return folder


def run(files, *arguments):
    """The real command from another folder, with any Python."""
    places = ["--models", str(files / "models"), "--models-cache", str(files / "cache")]
    program = [sys.executable, str(COMMAND), *map(str, arguments), *places]
    return subprocess.run(program, cwd="/", capture_output=True, text=True, timeout=110)


def manifest_of(files, name):
    return tomllib.loads((files / "models" / name / "model.toml").read_text())


def test_from_a_file_to_an_answer(root, files):
    done = run(files, root / "logits.keras", "--labels", files / "labels.txt", "--try", files / "cat.jpg")
    assert done.returncode == 0, done.stderr
    assert "Warning: nothing in the model scales its pixels, so 0 to 1 is assumed" in done.stdout
    assert "Warning: it ends without a softmax" in done.stdout
    lines = done.stdout[done.stdout.index("cat.jpg:") :].splitlines()
    assert sorted(line.split()[1] for line in lines[1:4]) == ["bird", "cat", "dog"]
    assert sum(float(line.split()[0]) for line in lines[1:4]) == pytest.approx(1, abs=0.001)
    written = manifest_of(files, "logits")
    assert written["input"]["range"] == [0.0, 1.0]
    assert written["output"] == {"labels_file": "labels.txt", "activation": "softmax"}
    assert len(written["runtime"]["sha256"]) == 64
    with WorkerProcess(files / "cache") as worker:
        assert worker.load(files / "models" / "logits")["runtime"] == "openvino float32"
        [result] = worker.run("logits", [(files / "cat.jpg").read_bytes()])
        assert lines[1].split() == [f"{result['score']:.4f}", result["label"]]


def test_refusals_need_no_tensorflow_and_leave_nothing_behind(root, files, tmp_path):
    before = sorted((files / "models").iterdir())
    for arguments, sentence in [
        ([root / "old.h5"], "repeat the command with --allow-h5"),
        ([root / "nothing.keras"], "there is no "),
        ([files / "cat.jpg"], "cat.jpg is no model"),
        ([files / "ä.txt"], "ä.txt is no model: give a .keras file"),
        ([files], "holds no saved_model.pb"),
        ([root / "logits.keras", "--name", "health"], "a model may not be called 'health'"),
        ([root / "logits.keras", "--name", "../up"], "may hold only a-z"),
    ]:
        done = run(files, *arguments)
        assert done.returncode == 1
        assert sentence in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1
    assert sorted((files / "models").iterdir()) == before


def test_every_kind_of_model(root, files):
    models = ["--models", str(files / "models"), "--models-cache", str(files / "cache")]
    labels, two = ["--labels", str(files / "labels.txt")], ["--labels", str(files / "two.txt")]
    calls = {
        "scaled": [str(root / "scaled.keras"), *labels],
        "against": [str(root / "scaled.keras"), "--name", "against", "--range", "0,1", *labels],
        "inside": [str(root / "inside.keras"), *labels],
        "binary": [str(root / "binary.keras"), *two],
        "nameless": [str(root / "binary.keras"), "--name", "nameless"],
        "exported": [str(root / "exported"), "--range", "0,255", "--order", "bgr", *labels],
        "old": [str(root / "old.h5"), "--allow-h5", *labels, "--preprocessing", "crop"],
        "code": [str(root / "code.keras")],
        "two": [str(root / "two.keras")],
        "outputs": [str(root / "outputs.keras")],
        "exported outputs": [str(root / "outputs")],
        "cut": [str(root / "cut.keras")],
        "wrong labels": [str(root / "scaled.keras"), "--name", "wrong", *two],
        "again": [str(root / "scaled.keras"), *labels],
        "no picture": [str(root / "scaled.keras"), "--name", "wrong", "--try", "nowhere.jpg", *labels],
        "replace": [str(root / "scaled.keras"), "--replace", "--title", "Better", *labels],
    }
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "TF_CPP_MIN_LOG_LEVEL": "3"}
    program = [sys.executable, "-c", SEVERAL]
    arguments = json.dumps([[*call, *models] for call in calls.values()])
    done = subprocess.run(program, input=arguments, env=environment, capture_output=True, text=True, timeout=110)
    said = dict(zip(calls, json.loads(done.stdout), strict=True))

    assert said["scaled"][0] == 0
    assert "Warning" not in said["scaled"][1]
    assert said["against"][1].count("Warning") == 1
    assert "most likely wants --range 0,255" in said["against"][1]
    assert said["inside"][:1] == [0]
    assert "Warning" not in said["inside"][1]
    assert manifest_of(files, "inside")["input"]["range"] == [0.0, 255.0]
    assert said["binary"][0] == 0
    assert "its 2 classes are called 'class 0' to 'class 1'" in said["nameless"][1]
    assert manifest_of(files, "nameless")["output"] == {"classes": 2, "activation": "none"}
    assert said["exported"][0] == 0
    assert manifest_of(files, "exported")["input"]["order"] == "bgr"
    assert (files / "models/exported/saved_model/saved_model.pb").is_file()
    assert said["old"][0] == 0
    assert "an .h5 file can hold code" in said["old"][1]
    assert manifest_of(files, "old")["runtime"]["weights"] == "model.keras"
    assert manifest_of(files, "old")["input"]["preprocessing"] == "crop"
    for name, sentence in {
        "code": "it holds a Lambda layer, which is code",
        "two": "needed is one input",
        "outputs": "outputs.keras gives 2 outputs; a classifier gives one",
        "exported outputs": "outputs gives 2 outputs; a classifier gives one",
        "cut": "cut.keras does not load: it is no zip archive, as a .keras file is: it may be cut short",
        "wrong labels": "two.txt has 2 labels, but the model gives 3 scores",
        "again": "there is a model 'scaled' already",
        "no picture": "there is no file nowhere.jpg, which --try names",
    }.items():
        code, _out, err = said[name]
        assert code == 1
        assert sentence in err
        assert len(err.strip().splitlines()) == 1
    assert said["replace"][0] == 0
    assert manifest_of(files, "scaled")["title"] == "Better"
    left = {path.name for path in (files / "models").iterdir()}
    assert left >= {"scaled", "against", "inside", "binary", "nameless", "exported", "old"}
    assert not {name for name in left if name.startswith(".")} | (left & {"code", "two", "wrong", "outputs", "cut"})
