"""model.toml: what it may say, and that each wrong value is named."""

import dataclasses
import json
import os
import tomllib
from pathlib import Path

import pytest

from imageserver.errors import ManifestError
from imageserver.inference.shared import labels as label_files
from imageserver.inference.shared import manifest
from imageserver.inference.shared.elsewhere import open_inference
from imageserver.inference.worker.preprocessing import base as preprocessing

ROOT = Path(__file__).resolve().parents[3]

GOOD = """
title = "Digits"
kind = "classification"
tcp_code = "digi"

[input]
width = 28
height = 20
channels = 1
range = [0, 1]

[output]
labels = ["no", "yes"]
threshold = 0.5

[batch]
max_batch = 4
max_delay_ms = 1.5

[runtime]
weights = "model.keras"
"""


def make(folder, text, **files):
    folder.mkdir(exist_ok=True)
    (folder / "model.toml").write_text(text)
    for name, content in files.items():
        (folder / name.replace("_", ".", 1)).write_text(content)
    return folder


def test_all_of_it(tmp_path):
    found = manifest.read(make(tmp_path / "digits", GOOD))
    assert (found.name, found.title, found.description, found.kind, found.tcp_code) == (
        "digits",
        "Digits",
        "",
        "classification",
        "DIGI",
    )
    assert (found.input.width, found.input.height, found.input.channels, found.input.range) == (28, 20, 1, (0.0, 1.0))
    assert (found.input.order, found.input.layout, found.input.preprocessing) == ("rgb", "nhwc", "stretch")
    assert (found.output.labels, found.output.activation, found.output.threshold) == (("no", "yes"), "none", 0.5)
    assert (found.batch.max_batch, found.batch.max_delay_ms) == (4, 1.5)
    assert (found.runtime.runtime, found.runtime.precision, found.runtime.sha256) == ("auto", "float32", None)
    assert found.runtime.weights == tmp_path / "digits" / "model.keras"
    assert not found.stateful


WRONG = [
    ('title = "Digits"', "title = 5", "title: must be text"),
    ('title = "Digits"', f'title = "{"x" * 101}"', "title: is 101 characters long"),
    ('kind = "classification"', "", "kind: missing"),
    (
        'kind = "classification"',
        'kind = "segmentation"',
        "kind: must be one of classification, detection, keypoints, embedding, regression, custom, not 'segmentation'",
    ),
    ('kind = "classification"', 'kind = "detection"', "output.format: missing: how its boxes are read"),
    ('kind = "classification"', 'kind = "custom"', 'kind: "custom" needs runtime.runtime = "python"'),
    ("threshold = 0.5", "iou = 0.5", 'output.iou: is for kind = "detection" and "keypoints", not \'classification\''),
    ('"digi"', '"x1!!"', "tcp_code: must be four letters"),
    ('"digi"', '"abc"', "tcp_code: must be four letters"),
    ("[input]", "[inputs]\n[input]", "inputs: unknown key; did you mean 'input'?"),
    ("width = 28", "", "input.width: missing"),
    ("width = 28", "widht = 28", "input.width: missing"),
    ("width = 28", "width = 28\nheigth = 3", "input.heigth: unknown key; did you mean 'height'?"),
    ("width = 28", "width = 28\nzzz = 3", "input.zzz: unknown key; known are "),
    ("width = 28", "width = 0", "input.width: must be a whole number from 1 to 8192, not 0"),
    ("width = 28", 'width = "28"', "input.width: must be a whole number"),
    ("width = 28", "width = true", "input.width: must be a whole number"),
    ("channels = 1", "channels = 2", "input.channels: must be 1 (grey) or 3 (colour)"),
    ("range = [0, 1]", "range = [1, 0]", "input.range: must be [low, high] with low < high"),
    ("range = [0, 1]", "range = [0]", "input.range: must be a list of 2 numbers"),
    ("range = [0, 1]", "range = [0, nan]", "input.range: must be a list of 2 numbers"),
    ("range = [0, 1]", "mean = [1, 2, 3]", "input.mean: must be a list of 1 numbers"),
    ("range = [0, 1]", "std = [0]", "input.std: every value must be above 0"),
    ("range = [0, 1]", 'order = "rbg"', "input.order: must be one of rgb, bgr"),
    ("range = [0, 1]", 'preprocessing = "magic"', "input.preprocessing: must be one of none, stretch"),
    ("[output]", "[output]\nlabels_file = 'x'", "output.labels_file: give labels or labels_file, not both"),
    ('labels = ["no", "yes"]', "labels_file = 'x.txt'", "output.labels_file: there is no file 'x.txt'"),
    (
        'labels = ["no", "yes"]',
        "labels_file = '../x.txt'",
        "output.labels_file: must name something in the model's own folder",
    ),
    (
        'labels = ["no", "yes"]',
        "labels_file = '/etc/passwd'",
        "output.labels_file: must name something in the model's own folder",
    ),
    ('labels = ["no", "yes"]', 'labels = ["no", 5]', "output.labels: must be a list of texts"),
    ('labels = ["no", "yes"]', 'labels = ["no"]\nclasses = 2', "output.classes: is 2, but there are 1 labels"),
    ("threshold = 0.5", "threshold = 2", "output.threshold: must be a number from 0 to 1, not 2"),
    ("max_batch = 4", "max_batch = 1000", "batch.max_batch: must be a whole number from 1 to 256"),
    ("max_delay_ms = 1.5", "max_delay_ms = -1", "batch.max_delay_ms: must be a number from 0 to 1000"),
    ("[runtime]", "[runtime]\nruntime = 'torch'", "runtime.runtime: must be one of auto, tensorflow, openvino, python"),
    ("[runtime]", "[runtime]\nruntime = 'python'", 'runtime.runtime: "python" needs the file model.py'),
    ("[runtime]", "[runtime]\nprecision = 'int8'", "runtime.precision: must be one of float32, bfloat16"),
    ("[runtime]", "[runtime]\nsha256 = 'ABC'", "runtime.sha256: must be 64 hexadecimal digits"),
    ('weights = "model.keras"', "", "runtime.weights: missing"),
    ('weights = "model.keras"', 'weights = "w.npz"', "runtime.weights: 'w.npz' holds weights only"),
    (
        'weights = "model.keras"',
        'weights = "net.pt"',
        "runtime.weights: net.pt is PyTorch's, which holds Python objects",
    ),
    (
        'weights = "model.keras"',
        'weights = "net.onnx"\nruntime = "tensorflow"',
        "runtime.runtime: 'tensorflow' cannot run 'net.onnx', which OpenVINO reads by itself",
    ),
    ("range = [0, 1]", "constants = { a = [1, true] }", "input.constants: must be a table of numbers, or of lists"),
    ("range = [0, 1]", "constants = [1]", "input.constants: must be a table of numbers, or of lists of numbers"),
    ("range = [0, 1]", f"constants = {{ a = {[1] * 65} }}", "input.constants: holds more than 64 names, or numbers"),
    (
        'weights = "model.keras"',
        'weights = "../other/model.keras"',
        "runtime.weights: must name something in the model's own folder",
    ),
    ("[runtime]", "[state]\n[runtime]", "state: a model that keeps state is code"),
    ("[batch]", "batch = 5\n[batch]", "output.batch: unknown key"),
    ("[batch]", "[batch", "not valid TOML"),
]


@pytest.mark.parametrize(("old", "new", "message"), WRONG, ids=[message for _old, _new, message in WRONG])
def test_wrong_values_are_named(tmp_path, old, new, message):
    assert old in GOOD
    with pytest.raises(ManifestError) as caught:
        manifest.read(make(tmp_path / "digits", GOOD.replace(old, new, 1)))
    assert str(tmp_path / "digits" / "model.toml") in str(caught.value)
    assert message in str(caught.value)


def fault(folder):
    """What the one error says after the file's name."""
    with pytest.raises(ManifestError) as caught:
        manifest.read(folder)
    return str(caught.value).removeprefix(f"{folder / 'model.toml'}: ")


def test_unknown_keys_are_told_first_and_all_faults_together(tmp_path):
    assert fault(make(tmp_path / "a", 'titel = "Digits"\n[input]\nwidth = "28"\nheight = 28\n')) == (
        "titel: unknown key; did you mean 'title'?; also kind: missing; "
        "also input.width: must be a whole number from 1 to 8192, not '28'"
    )
    wrong = GOOD.replace("width = 28", "widht = 28").replace("max_batch = 4", "max_batch = 0")
    assert fault(make(tmp_path / "b", wrong)) == (
        "input.widht: unknown key; did you mean 'width'?; also input.width: missing; "
        "also batch.max_batch: must be a whole number from 1 to 256, not 0"
    )


def test_a_key_in_the_wrong_table_is_told_where_it_belongs(tmp_path):
    wrong = GOOD.replace("threshold = 0.5", "").replace("[batch]", "[batch]\nthreshold = 0.5")
    assert fault(make(tmp_path / "a", wrong)) == "batch.threshold: unknown key; did you mean 'output.threshold'?"


def test_thousands_of_faults_are_told_in_a_few_words(tmp_path):
    many = "".join(f"key{number} = 1\n" for number in range(5000))
    assert fault(make(tmp_path / "a", many + GOOD)).count("unknown key") == 10


def test_a_huge_number_is_a_fault_like_any_other(tmp_path):
    assert "output.threshold: must be a number" in fault(
        make(tmp_path / "a", GOOD.replace("threshold = 0.5", f"threshold = 1{'0' * 400}"))
    )


@pytest.mark.parametrize("value", [f"0x{'f' * 5000}", f'"{"x" * 200_000}"', "9" * 5000, f"{{{'x' * 200_000} = 1}}"])
def test_what_is_long_is_told_in_a_line(tmp_path, value):
    """The server process reads manifests, so nothing in one may cost it time, or more than a line of its log."""
    found = fault(make(tmp_path / "a", GOOD.replace("width = 28", f"width = {value}")))
    assert len(found) < 500


def test_a_long_unknown_key_is_told_in_a_line(tmp_path):
    assert len(fault(make(tmp_path / "a", f"{'x' * 200_000} = 1{GOOD}"))) < 500


@pytest.mark.parametrize(
    "text",
    [
        ".".join("a" * 40_000) + " = 1",
        "[" + ". ".join(["a"] * 40_000) + "]",
        "[[" + '."".'.join("a" * 40_000) + "]]",
        "a = {" + " .".join("b" * 40_000) + " = 1}",
    ],
    ids=["key", "table", "quoted", "inline"],
)
def test_keys_of_many_parts_are_refused_before_they_are_parsed(tmp_path, text):
    """80 KB of `a.a.a.a…` took half a minute and gigabytes."""
    with pytest.raises(ManifestError, match=r"model\.toml: holds a key of more than 8 parts"):
        manifest.read(make(tmp_path / "a", text))


def test_dots_in_prose_are_no_keys(tmp_path):
    about = "See 1.2.3, www.example.org. It finds cats. Dogs. Birds... e.g. a.b.c. And so on. Or not. Or so. Well. Yes."
    assert manifest.read(make(tmp_path / "a", f'description = "{about}"' + GOOD)).description == about


@pytest.mark.parametrize("name", ["model.toml", "labels.txt"])
@pytest.mark.parametrize("kind", ["fifo", "loop", "device", "folder"])
def test_what_is_no_file_is_not_waited_for(tmp_path, name, kind):
    """Opening a FIFO waits for whoever writes into it, and there is nobody; /dev/zero has no end."""
    folder = make(tmp_path / "a", GOOD.replace('labels = ["no", "yes"]', "labels_file = 'labels.txt'"))
    path = folder / name
    path.unlink(missing_ok=True)
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to(path if kind == "loop" else "/dev/zero")
    with pytest.raises(ManifestError, match="cannot be read|there is no file"):
        manifest.read(folder)


def test_inputs_and_outputs_of_a_foreign_network(tmp_path):
    text = GOOD.replace("model.keras", "net.onnx").replace("[output]", '[output]\nname = "scores"')
    more = 'name = "images"\nconstants = { size = [28, 20], "im/shape" = 1.5 }\n[output]'
    found = manifest.read(make(tmp_path / "digits", text.replace("[output]", more, 1)))
    assert (found.input.name, found.output.name) == ("images", "scores")
    assert found.input.constants == (("size", (28.0, 20.0)), ("im/shape", (1.5,)))


@pytest.mark.parametrize(
    ("labels", "sentence"),
    [
        (["a"] * 100_001, "holds 100001 labels, at most 100000 are allowed"),
        (["a", "b" * 501], "holds a label of 501 characters (number 2), at most 500 are allowed"),
        (["a\nb"], "holds a label with a control character (number 1): 'a\\nb'"),
    ],
)
def test_labels_have_limits(tmp_path, labels, sentence):
    (tmp_path / "labels.json").write_text(json.dumps(labels))
    with pytest.raises(ManifestError) as raised:
        label_files.read(tmp_path / "labels.json")
    assert str(raised.value) == f"'labels.json' {sentence}"


def test_labels_in_the_manifest_have_the_same(tmp_path):
    text = GOOD.replace('"no"', f'"{"n" * 501}"')
    assert fault(make(tmp_path / "a", text)).startswith("output.labels: holds a label of 501 characters (number 1)")


def test_an_ensemble_has_few_members(tmp_path):
    members = json.dumps([f"m{number}" for number in range(65)])
    found = fault(make(tmp_path / "a", GOOD + f"\n[ensemble]\nmembers = {members}"))
    assert found.startswith("ensemble.members: names 65 models, at most 64 are allowed")


def test_a_model_may_be_left_out_of_lists(tmp_path):
    assert manifest.read(make(tmp_path / "a", GOOD)).listed
    assert not manifest.read(make(tmp_path / "b", "listed = false" + GOOD)).listed
    assert fault(make(tmp_path / "c", "listed = 0" + GOOD)) == "listed: must be true or false, not 0"


@pytest.mark.parametrize("name", [*manifest.RESERVED, "Digits", "two words", "-x", "x" * 64, "ä"])
def test_names_that_no_model_may_have(tmp_path, name):
    with pytest.raises(ManifestError, match="route of the server|may hold only"):
        manifest.read(make(tmp_path / name, GOOD))


def test_labels_from_files(tmp_path):
    base = GOOD.replace('labels = ["no", "yes"]', "labels_file = 'labels.txt'")
    assert manifest.read(make(tmp_path / "a", base, labels_txt="no\n\n yes \n")).output.labels == ("no", "yes")
    base = GOOD.replace('labels = ["no", "yes"]', "labels_file = 'labels.json'")
    assert manifest.read(make(tmp_path / "b", base, labels_json='["no", "yes"]')).output.labels == ("no", "yes")
    keras = '{"0": ["n1", "tench"], "1": ["n2", "goldfish"]}'
    assert manifest.read(make(tmp_path / "c", base, labels_json=keras)).output.labels == ("tench", "goldfish")
    for wrong in ('{"1": "x"}', "5", "{", "[" * 100_000):
        with pytest.raises(ManifestError, match=r"output\.labels_file: 'labels\.json' is no list of labels"):
            manifest.read(make(tmp_path / "d", base, labels_json=wrong))


def test_labels_may_come_later_where_their_number_is_known(tmp_path):
    base = GOOD.replace('labels = ["no", "yes"]', "labels_file = 'labels.txt'\nclasses = 2")
    assert manifest.read(make(tmp_path / "a", base)).output.labels == ("class 0", "class 1")
    assert manifest.read(make(tmp_path / "a", base, labels_txt="no\nyes\n")).output.labels == ("no", "yes")


def test_state(tmp_path):
    state = "[state]\nframe = 'pil'\nevery_frame = false\nqueue = 5\ntime_limit_s = 2\n"
    text = GOOD.replace("[runtime]\n", "[runtime]\nruntime = 'python'\n") + state
    found = manifest.read(make(tmp_path / "mood", text, model_py=""))
    assert found.stateful
    assert (found.state.frame, found.state.every_frame, found.state.queue, found.state.time_limit_s) == (
        "pil",
        False,
        5,
        2.0,
    )


def test_missing_unreadable_and_huge_files(tmp_path):
    with pytest.raises(ManifestError, match="cannot be read"):
        manifest.read(tmp_path)
    folder = make(tmp_path / "x", "#" * 2**21)
    with pytest.raises(ManifestError, match="larger than"):
        manifest.read(folder)
    (folder / "model.toml").write_bytes(b"title = '\xff'")
    with pytest.raises(ManifestError, match="not valid TOML"):
        manifest.read(folder)


FOLDERS = sorted(
    path.parent for path in [*(ROOT / "models").glob("*/model.toml"), *(ROOT / "tests/models").glob("*/model.toml")]
)


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_the_manifests_here_are_right(folder):
    assert manifest.read(folder).name == folder.name


def test_the_names_of_preprocessing_are_those_that_exist():
    assert set(manifest.PREPROCESSINGS) == set(preprocessing.PREPROCESSING) | set(preprocessing.MODULES)
    for name in manifest.PREPROCESSINGS:
        assert callable(preprocessing.find(name).function)


def test_the_example_in_the_guide_is_right(tmp_path):
    """The reference page shows a whole manifest; it has to be one."""
    guide = (ROOT / "docs/models.md").read_text("utf-8")
    blocks = [block.split("```")[0] for block in guide.split("```toml\n")[1:]]
    assert blocks
    for number, block in enumerate(blocks):
        tomllib.loads(block)
        whole = block if "kind =" in block else GOOD + block  # a table alone
        manifest.read(make(tmp_path / f"example{number}", whole, model_py="", labels_txt="a\nb\n"))


def test_the_guide_names_every_key():
    guide = (ROOT / "docs/models.md").read_text("utf-8")
    tables = (manifest.Input, manifest.Output, manifest.Batch, manifest.Runtime, manifest.State)
    keys = {field.name for table in tables for field in dataclasses.fields(table)}
    keys = keys - {"remote"} | set(open_inference.KEYS)
    keys |= {"title", "description", "kind", "tcp_code", "listed", "labels_file", "classes", "members"}
    assert [key for key in sorted(keys) if f"`{key}`" not in guide] == []
    assert [name for name in manifest.PREPROCESSINGS if f"| `{name}` |" not in guide] == []


def test_without_a_jail_it_asks_for_nothing_and_an_empty_one_for_a_worker_of_its_own(tmp_path):
    assert manifest.read(make(tmp_path / "none", GOOD)).permissions is None
    assert manifest.read(make(tmp_path / "empty", GOOD + "[jail]\n")).permissions == manifest.Permissions()


def test_what_a_jail_may_ask_for(tmp_path):
    jail = '[jail]\nread = ["/srv/faces/", "/srv/a/../b"]\nnetwork = true\nprocesses = true\nmemory_gib = 8\n'
    found = manifest.read(make(tmp_path / "digits", GOOD + jail)).permissions
    assert found == manifest.Permissions(("/srv/faces", "/srv/b"), network=True, processes=True, memory_gib=8.0)


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ('read = ["faces"]', "jail.read: must be absolute paths, not 'faces'"),
        ('read = ["~/faces"]', "jail.read: must be absolute paths, not '~/faces'"),
        ('read = ["/srv/\\u0000"]', "jail.read: must be absolute paths"),
        ('read = "/srv"', "jail.read: must be a list of texts, not '/srv'"),
        ("network = 1", "jail.network: must be true or false, not 1"),
        ('memory_gib = "8G"', "jail.memory_gib: must be a number from 0.25 to 4096, not '8G'"),
        ("memory_gib = 0", "jail.memory_gib: must be a number from 0.25 to 4096, not 0"),
        ("write = []", "jail.write: unknown key"),
    ],
)
def test_what_a_jail_may_not_ask_for(tmp_path, line, fault):
    with pytest.raises(ManifestError) as caught:
        manifest.read(make(tmp_path / "digits", f"{GOOD}[jail]\n{line}\n"))
    assert fault in str(caught.value)


REMOTE = """
kind = "classification"
[input]
width = 28
height = 20
[output]
labels = ["no", "yes"]
[runtime]
runtime = "open_inference"
endpoint = ["grpc://gpu1:8001", "https://[2001:DB8::1]/shared/", "http://gpu2"]
model = "digits/v7"
user = "anna"
password_file = "/run/secrets/anna"
ca_file = "ca.pem"
"""


def test_a_model_elsewhere(tmp_path):
    found = manifest.read(make(tmp_path / "far", REMOTE)).runtime
    assert (found.runtime, found.remote.model, found.remote.send) == ("open_inference", "digits/v7", "tensor")
    addresses = ["grpc://gpu1:8001", "https://[2001:db8::1]:443/shared", "http://gpu2:80"]
    assert [str(address) for address in found.remote.addresses] == addresses
    assert found.remote.files == (Path("/run/secrets/anna"), tmp_path / "far" / "ca.pem")
    assert (
        manifest.read(make(tmp_path / "near", REMOTE.replace('model = "digits/v7"', ""))).runtime.remote.model == "near"
    )


ENDPOINTS = 'endpoint = ["grpc://gpu1:8001", "https://[2001:DB8::1]/shared/", "http://gpu2"]'
WRONG_ELSEWHERE = [
    (ENDPOINTS, "", "runtime.endpoint: missing: a list of where the model runs"),
    (ENDPOINTS, 'endpoint = "http://gpu2"', "runtime.endpoint: must be a list of texts"),
    (ENDPOINTS, 'endpoint = ["ftp://gpu2"]', "must be \"http://gpu1:8000\", "),
    (ENDPOINTS, 'endpoint = ["https://gpu2/a b"]', "must be "),
    (ENDPOINTS, 'endpoint = ["https://gpu2?x=1"]', "must be "),
    (ENDPOINTS, 'endpoint = ["https://anna:secret@gpu2"]', "runtime.endpoint: holds no name or password"),
    (ENDPOINTS, 'endpoint = ["https://gpu2/v2"]', "is the address below which /v2 is"),
    (ENDPOINTS, 'endpoint = ["https://gpu2:0"]', "needs a port"),
    (ENDPOINTS, 'endpoint = ["grpcs://gpu2"]', "needs a port"),
    (ENDPOINTS, 'endpoint = ["grpcs://gpu2:1/a"]', "has no path with gRPC"),
    (ENDPOINTS, 'endpoint = ["https://gpu2", "https://GPU2:443"]', "each once"),
    (ENDPOINTS, f"endpoint = {json.dumps([f'https://gpu{number}' for number in range(17)])}", "at most 16"),
    (ENDPOINTS, 'endpoint = ["http://gpu2"]', "runtime.ca_file: is for endpoints with https://"),
    ('user = "anna"', "", "runtime.user: belongs together with password_file"),
    ('user = "anna"', 'user = "anna"\ntoken_file = "t"', "runtime.token_file: logs in already"),
    ('"ca.pem"', '"../ca.pem"', "runtime.ca_file: must be an absolute path, or"),
    ('"digits/v7"', '"a\\u0000b"', "runtime.model: must be a text without control characters"),
    ('"open_inference"', '"auto"', 'runtime.endpoint: is for runtime = "open_inference"'),
    ('user = "anna"', 'user = "anna"\nweights = "a.onnx"', "runtime.weights: are where the model runs"),
    ('kind = "classification"', 'kind = "custom"', 'kind: "custom" needs runtime.send = "picture"'),
    ('kind = "classification"', 'kind = "detection"', "output.format: missing"),
    ("[runtime]", '[jail]\n[runtime]', "jail: is for the model's own code"),
    ("[runtime]", '[state]\n[runtime]', "state: a model that keeps state runs on this machine"),
    ("[runtime]", '[ensemble]\nmembers = ["a"]\n[runtime]', "ensemble: averages"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "sentence"), WRONG_ELSEWHERE)
def test_what_is_wrong_with_a_model_elsewhere_is_said(tmp_path, old, new, sentence):
    assert old in REMOTE
    with pytest.raises(ManifestError) as caught:
        manifest.read(make(tmp_path / "far", REMOTE.replace(old, new)))
    assert sentence in str(caught.value)
    assert "secret@" not in str(caught.value)
