"""Adding one's own model, as a new user would: a command, a file, a picture."""

import io
import json
import os
import subprocess
import sys
import tomllib

import numpy as np
import pytest
from PIL import Image
from skimage import data
from tests.inference.worker.worker_process import ROOT, WorkerProcess

from imageserver.errors import ModelError
from imageserver.inference import add_model
from imageserver.inference.shared import conversion_cache

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
    for name, content in (("ä.txt", b"no model"), ("yolo.pt", b"PK"), ("cut.onnx", b"\x08\x08\x3a\xff\x01")):
        (folder / name).write_bytes(content)
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
        ([files / "ä.txt"], "ä.txt is no model: give an ONNX, TFLite or .keras file"),
        ([files / "yolo.pt"], "yolo.pt is PyTorch's, which holds Python objects and can run code as it is loaded"),
        ([files / "cut.onnx"], "cut.onnx is cut short: it ends within a field"),
        ([files], "holds no saved_model.pb"),
        ([root / "logits.keras", "--name", "health"], "a model may not be called 'health'"),
        ([root / "logits.keras", "--name", "../up"], "may hold only a-z"),
    ]:
        done = run(files, *arguments)
        assert done.returncode == 1
        assert sentence in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1
    assert sorted((files / "models").iterdir()) == before


@pytest.mark.long
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
        "grid": [str(root / "grid.keras"), *two, "--try", str(files / "cat.jpg")],
        "lists": [str(root / "lists.keras"), *two, "--preprocessing", "letterbox"],
        "exported lists": [str(root / "lists"), *two, "--name", "exported-lists"],
        "vector": [str(root / "logits.keras"), "--name", "vector", "--kind", "embedding", "--range", "0,255"],
        "values": [str(root / "logits.keras"), "--name", "values", "--kind", "regression", *labels],
        "no row": [str(root / "grid.keras"), "--name", "wrong", "--kind", "embedding", *two],
        "replace": [str(root / "scaled.keras"), "--replace", "--title", "Better", *labels],
    }
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "TF_CPP_MIN_LOG_LEVEL": "3"}
    program = [sys.executable, "-c", SEVERAL]
    arguments = json.dumps([[*call, *models] for call in calls.values()])
    done = subprocess.run(program, input=arguments, env=environment, capture_output=True, text=True, timeout=110)
    said = dict(zip(calls, json.loads(done.stdout), strict=True))

    assert said["scaled"][0] == 0
    assert "Warning" not in said["scaled"][1]
    assert "the warnings above" not in said["scaled"][1]
    assert "the warnings above" in said["against"][1]
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
        "outputs": "(?, 1), which is no layout that is known",
        "exported outputs": "outputs: it gives output_0 (?, 3), output_1 (?, 1), which is no layout",
        "no row": "grid.keras is for detection, by its outputs; --kind is for networks that give one row of numbers",
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
    check_kinds(files, said)
    left = {path.name for path in (files / "models").iterdir()}
    assert left >= {"scaled", "against", "inside", "binary", "nameless", "exported", "old"}
    assert not {name for name in left if name.startswith(".")} | (left & {"code", "two", "wrong", "outputs", "cut"})


def check_kinds(files, said):
    """Keras' networks that find boxes, and those whose one row is no scores, as they are read and as they run."""
    for name, keys, prepared in (
        ("grid", {"format": "yolox", "decoded": False}, "letterbox-corner"),
        ("lists", {"format": "boxes", "tensors": ["boxes", "labels", "scores"]}, "letterbox"),
    ):
        assert said[name][:1] == [0], said[name]
        written = manifest_of(files, name)
        assert keys.items() <= written["output"].items()
        assert (written["kind"], written["input"]["preprocessing"]) == ("detection", prepared)
    assert "- by the numbers it gives, it leaves its grid to be added" in said["grid"][1]
    assert "yes, 228x116 at 171, 116" in said["grid"][1]
    assert "Warning: nothing in the model shows how its pictures were scaled" in said["grid"][1]
    assert said["vector"][:1] + said["values"][:1] == [0, 0]
    assert manifest_of(files, "vector")["output"] == {"activation": "none"}
    with WorkerProcess(files / "cache") as worker:
        for name in ("grid", "lists", "exported-lists"):
            assert worker.load(files / "models" / name)["runtime"] == "openvino float32"
            [result] = worker.run(name, [(files / "cat.jpg").read_bytes()])
            assert [box["label"] for box in result["boxes"]] == ["yes"]
        for name, key in (("vector", "embedding"), ("values", "values")):
            worker.load(files / "models" / name)
            [result] = worker.run(name, [(files / "cat.jpg").read_bytes()])
            assert len(result[key]) == 3


def test_a_foreign_file_is_looked_into_by_a_process_in_a_jail(root, files):
    foreign = pytest.importorskip("tests.inference.foreign", exc_type=ImportError)
    arrays = list(np.load(root / "foreign/arrays.npz").values())
    (files / "given").mkdir()
    file = foreign.save(foreign.classifier(arrays), files / "given/tiny.onnx", location="weights of it")
    labels = ["--labels", files / "labels.txt", "--range", "0,1"]
    done = run(files, file, *labels, "--try", files / "cat.jpg")
    assert done.returncode == 0, done.stderr
    said = done.stdout.splitlines()
    assert said[0] == "- tiny.onnx is ONNX."
    assert said[1] == "- its input 'picture' (?x3x10x12, f32) is a picture of 12x10 in colours, channels first."
    assert "Warning" not in done.stdout
    assert sum(float(line.split()[0]) for line in said[said.index("cat.jpg:") + 1 :][:3]) == pytest.approx(1, abs=1e-3)
    made = {str(path.relative_to(files / "models/tiny")) for path in (files / "models/tiny").rglob("*")}
    assert made == {"model.toml", "labels.txt", "network", "network/tiny.onnx", "network/weights of it"}
    assert [path.name[:5] for path in (files / "cache").iterdir() if path.name[:4] == "tiny"] == ["tiny-"]
    expected = np.load(root / "expected.npz")
    stream = io.BytesIO()
    Image.fromarray(expected["picture"]).save(stream, "PNG")
    with WorkerProcess(files / "cache") as worker:
        assert worker.load(files / "models/tiny")["runtime"] == "openvino float32"
        [result] = worker.run("tiny", [stream.getvalue()])
    scores = {entry["label"]: entry["score"] for entry in result["labels"]}
    assert [scores[label] for label in ("cat", "dog", "bird")] == pytest.approx(expected["scores"].tolist(), abs=2e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("program", "sentence"),
    [
        ("import os; os.kill(os.getpid(), 11)", "ended the process that looked into it (SIGSEGV): it is damaged"),
        ("import os; os._exit(7)", "(exit code 7)"),
        ("print('no JSON')", "said what cannot be understood"),
        ("print('[' * 100000)", "said what cannot be understood"),
        ("while True: print('{}')", "said what cannot be understood"),
        ("""print('{"error": "it is \\\\u001b[31m wrong"}')""", "it is \\x1b[31m wrong"),
        ("import time; time.sleep(60)", "took more than 0.5 s to look into"),
    ],
)
def test_what_becomes_of_the_process_that_looks_into_a_file(monkeypatch, program, sentence):
    monkeypatch.setattr(conversion_cache, "LIMIT", 0.5 if "sleep" in program else 60)
    monkeypatch.setattr(add_model, "MOST_SAID", 10_000)
    with pytest.raises(ModelError) as said:
        add_model._follow([sys.executable, "-S", "-c", program], "net.onnx", lambda _part, _text: None, print)
    assert sentence in str(said.value)


def test_what_it_made_is_data(tmp_path):
    for name, content in (("model.py", "code"), ("network/x.py", "code")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
        with pytest.raises(ModelError, match="which no model of this kind has"):
            add_model._check_made(tmp_path)
        (tmp_path / name).unlink()
    (tmp_path / "link").symlink_to("/etc/passwd")
    with pytest.raises(ModelError, match="looking into the file made 'link'"):
        add_model._check_made(tmp_path)


def test_options_that_are_lists_of_numbers(capsys):
    known = add_model.parser()
    given = known.parse_args(["a.onnx", "--mean", "1,2,3", "--constant", "im=shape=1,2", "--constant", "scale=1"])
    assert given.mean == [1.0, 2.0, 3.0]
    assert given.constant == [("im=shape", [1.0, 2.0]), ("scale", [1.0])]
    for wrong, sentence in (
        (["--mean", "a"], "'a' is no list of numbers"),
        (["--constant", "1,2"], "'1,2' is not NAME=NUMBERS"),
    ):
        with pytest.raises(SystemExit):
            known.parse_args(["a.onnx", *wrong])
        assert sentence in capsys.readouterr().err
