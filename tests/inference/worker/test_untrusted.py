"""Files of weights that try to run, read or fill something: refused before Keras sees them, and by Keras as well."""

import io
import json
import os
import re
import subprocess
import sys
import zipfile

import h5py
import numpy as np
import pytest
from tests.inference.worker import hostile
from tests.inference.worker.worker_process import ROOT

from imageserver.inference.worker.backends import untrusted


@pytest.fixture(scope="module")
def mark(tmp_path_factory):
    return tmp_path_factory.mktemp("mark") / "ran"


@pytest.fixture(scope="module")
def attacks(tmp_path_factory, mark):
    return hostile.make(tmp_path_factory.mktemp("attacks"), mark)


def refusal(path):
    look = untrusted.check_whole_hdf5
    if path.suffix == ".keras":
        look = lambda path: untrusted.check_archive(path, ())  # noqa: E731
    with pytest.raises(ValueError) as raised:
        look(path)
    return str(raised.value)


def test_every_attack_is_refused_with_a_sentence(attacks, mark, monkeypatch):
    monkeypatch.setattr(untrusted, "MOST_ENTRIES", 1000)  # one holds itself, and is followed until there are too many
    for name, path in attacks.items():
        sentence = refusal(path)
        assert sentence.startswith(("it ", "its ")), name
        assert len(sentence) < 300
        assert "\n" not in sentence
    assert not mark.exists()


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("CVE-2025-1550", "it names 'os.system', which is no layer of Keras: layers of your own belong into model.py"),
        ("CVE-2025-9906", "it holds a Lambda layer, which is code|it names 'keras.config.enable_unsafe_"),
        ("CVE-2025-12058", "its layer StringLookup reads the file '/"),
        ("CVE-2025-9905", "it holds a Lambda layer, which is code and would run unseen; use Keras' own layers"),
        ("tables-zeros", r"it would unpack from \d+ bytes to 17179869184, as no weights do"),
        ("bomb", r"it would unpack from \d+ bytes to 26843"),
        ("deep", "its description is nested too deeply"),
        ("out", "it holds '../out.txt', which would lie outside of it"),
        ("tables-storage", "its weights point into another file"),
    ],
)
def test_what_is_said(attacks, name, sentence):
    assert re.match(sentence, refusal(attacks[name]))


def test_what_keras_writes_is_let_in(root):
    for name in ("models/tiny/model.keras", "scaled.keras", "inside.keras", "outputs.keras", "binary.keras"):
        untrusted.check_archive(root / name, ())
    untrusted.check_whole_hdf5(root / "old.h5")
    untrusted.check_hdf5(next((root / "models/mobilenet").glob("*.h5")))


def test_layers_that_model_py_registered_are_let_in():
    own = hostile.sequential(hostile.layer("Strange", {"name": "l"}, "mine", registered_name="Custom>Strange"))
    untrusted.check_config(json.dumps(own), {"Custom>Strange"})
    with pytest.raises(ValueError, match=r"it names 'mine\.Strange', which is no layer of Keras: .*register_keras"):
        untrusted.check_config(json.dumps(own), ())


def test_a_loss_of_ones_own_is_left_out_and_let_in():
    loss = {"module": "__main__", "class_name": "MyLoss", "config": {}, "registered_name": "MyLoss"}
    untrusted.check_config(json.dumps({**hostile.sequential(), "compile_config": {"loss": loss}}), ())


@pytest.mark.parametrize(
    "named",
    [
        {"class_name": "Dense", "module": "keras.layers", "config": {"units": 3, "activation": "relu"}},
        {"class_name": "TrueDivide", "module": "keras.src.ops.numpy", "config": {}},
        {"class_name": "DTypePolicy", "module": "keras", "config": {"name": "float32"}},
        {"class_name": "GlorotUniform", "module": "keras.initializers", "config": {"seed": None}},
        {"class_name": "function", "module": "builtins", "config": "relu", "registered_name": "function"},
        {"class_name": "function", "module": "keras.activations", "config": "gelu"},
        {"class_name": "__tuple__", "items": [1, 2]},
        {"class_name": "__numpy__", "config": {"value": [1], "dtype": "float32"}},
    ],
)
def test_what_networks_name_is_let_in(named):
    untrusted.check_config(json.dumps(named), ())


def test_arrays_are_measured_before_they_are_unpacked(tmp_path):
    np.savez_compressed(tmp_path / "a.npz", np.zeros((2, 3), np.float16), np.zeros(4, np.float32))
    assert untrusted.npz_shapes(tmp_path / "a.npz", 2) == [(2, 3), (4,)]
    assert untrusted.npz_shapes(tmp_path / "a.npz", 1) == [(), ()]
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": (2**40,)})
    with zipfile.ZipFile(tmp_path / "bomb.npz", "w") as file:
        file.writestr("0000.npy", header.getvalue())
    assert untrusted.npz_shapes(tmp_path / "bomb.npz", 1) == [(2**40,)]
    np.savez(tmp_path / "pickle.npz", np.array([print], object))
    with pytest.raises(ValueError, match="its array 'arr_0.npy' holds no numbers"):
        untrusted.npz_shapes(tmp_path / "pickle.npz", 1)


PROGRAM = """
import sys
from pathlib import Path
import bootstrap; bootstrap.provide_package()
from imageserver.errors import ModelError
from imageserver.inference.convert import inspect
from imageserver.inference.worker import loader
from imageserver.inference.worker.context import LoadContext
import keras

root, mark = Path(sys.argv[1]), Path(sys.argv[2])
models = sorted((root / "models").iterdir())
assert len(models) > 25
def outcome(load, *arguments, **more):
    try:
        load(*arguments, **more)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "loaded"
for folder in models:
    said = outcome(loader.load, folder, LoadContext(print, 1, root / "cache"))
    assert said.startswith("ModelError: ") and "weights" in said and folder.name in said, said
    assert not mark.exists(), folder.name
for folder in models:
    file = next(folder.glob("model.*[5s]"))
    said = outcome(inspect.load, file)
    assert said.startswith(f"ModelError: {file.name} does not load: it"), (said, folder.name)
    assert not mark.exists(), folder.name
for folder in models:
    file = next(folder.glob("model.*[5s]"))
    if file.stem == "model" and folder.name[:4] in ("cve-", "lamb"):
        said = outcome(keras.saving.load_model, file, compile=False, safe_mode=True)
        assert not mark.exists() and said != "loaded", (folder.name, said)
for folder in sorted((root / "graphs").iterdir()):
    said = outcome(inspect.load, folder)
    assert "does not load: it" in said and "export" in said, said
    assert not mark.exists(), folder.name
assert keras.src.saving.serialization_lib.in_safe_mode() is not False
print("done")
"""

MANIFEST = """
kind = "classification"
[input]
width = 12
height = 10
[output]
labels = ["a", "b"]
[runtime]
runtime = "tensorflow"
weights = "{}"
"""


@pytest.mark.long
def test_our_loaders_and_keras_itself_run_nothing(root, attacks, tmp_path, mark):
    """All of them in one process, since starting TensorFlow takes most of the time."""
    for name, path in attacks.items():
        folder = tmp_path / "models" / name.lower()
        folder.mkdir(parents=True)
        (folder / "model.toml").write_text(MANIFEST.format(f"model{path.suffix}"))
        (folder / f"model{path.suffix}").hardlink_to(path)
        if path.suffix == ".h5":
            (folder / "model.py").write_text("def build():\n    raise ValueError('its weights are no weights')\n")
    (tmp_path / "graphs").symlink_to(root / "graphs")
    program = [sys.executable, "-c", PROGRAM, str(tmp_path), str(mark)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "TF_CPP_MIN_LOG_LEVEL": "3"}
    environment |= {"CUDA_VISIBLE_DEVICES": "-1", "KERAS_HOME": str(tmp_path / "keras")}
    done = subprocess.run(program, env=environment, capture_output=True, text=True, timeout=110, cwd=tmp_path)
    assert done.stdout.endswith("done\n"), done.stdout + done.stderr


def test_pyproject_demands_a_keras_without_the_known_bypasses():
    text = (ROOT / "pyproject.toml").read_text()
    assert re.search(r'"keras>=3\.15', text)


@pytest.mark.long
def test_weights_of_a_layer_may_not_come_from_elsewhere(tmp_path, mark):
    for kind, content in hostile.tables(mark).items():
        path = tmp_path / f"{kind}.weights.h5"
        path.write_bytes(content)
        with pytest.raises(ValueError, match="another file|would unpack|holds itself"):
            untrusted.check_hdf5(path)
    with h5py.File(tmp_path / "good.weights.h5", "w") as file:
        file["layers/dense/vars/0"] = np.zeros((3, 4), np.float32)
    untrusted.check_hdf5(tmp_path / "good.weights.h5")
