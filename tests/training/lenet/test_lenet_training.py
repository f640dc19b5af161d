"""Training LeNet: its data, its pictures, and a short run in a process of its own, as it is meant to run."""

import io
import json
import struct
import subprocess
import sys
import zipfile

import numpy as np
import pytest
from tests.inference.worker.worker_process import ROOT

from imageserver.errors import TrainingError
from imageserver.training import weights as stored
from imageserver.training.lenet import data as lenet_data
from imageserver.training.lenet import training
from imageserver.training.lenet.data import Mix
from imageserver.training.lenet.strokes import draw


def drawings(count, seed=0):
    rng = np.random.default_rng(seed)
    labels = np.arange(count, dtype=np.int64) % 10
    return np.stack([lenet_data.as_mnist(draw(int(label), 80, rng), rng) for label in labels]), labels


def write(path, **changes):
    x, y = drawings(40)
    parts = {"x_train": x, "y_train": y.astype(np.uint8), "x_test": x[:20], "y_test": y[:20].astype(np.uint8)} | changes
    np.savez(path, **{name: part for name, part in parts.items() if part is not None})
    return path


def test_data_is_read(tmp_path):
    data = lenet_data.load(write(tmp_path / "digits.npz"))
    assert (data.x_train.shape, data.y_train.dtype, len(data.y_test)) == ((40, 28, 28), np.int64, 20)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"y_test": None}, "y_test"),
        ({"x_train": np.zeros((40, 28, 28), np.float32)}, "float32"),
        ({"x_train": np.zeros((40, 32, 32), np.uint8)}, "(40, 32, 32)"),
        ({"x_train": np.zeros((39, 28, 28), np.uint8)}, "(39, 28, 28)"),
        ({"y_train": np.full(40, 10)}, "10"),
        ({"x_test": np.zeros((0, 28, 28), np.uint8), "y_test": np.zeros(0)}, "(0, 28, 28)"),
        ({"y_train": np.array([{}] * 40)}, "no .npz"),
        ({"y_train": np.zeros((40, 1000, 1000), np.uint8)}, "(40, 1000, 1000)"),
    ],
)
def test_data_that_is_wrong_is_named(tmp_path, changes, named):
    path = write(tmp_path / "digits.npz", **changes)
    with pytest.raises(TrainingError) as caught:
        lenet_data.load(path)
    assert named in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_description_that_is_no_python_is_no_npz(tmp_path):
    header = b"{'descr':\n(" + b" " * 107
    with zipfile.ZipFile(tmp_path / "digits.npz", "w") as archive:
        archive.writestr("x_train.npy", b"\x93NUMPY\1\0" + struct.pack("<H", len(header)) + header)
    with pytest.raises(TrainingError, match="no .npz file"):
        lenet_data.load(tmp_path / "digits.npz")


def test_data_is_measured_before_it_is_unpacked(tmp_path):
    path = write(tmp_path / "digits.npz")
    with pytest.raises(TrainingError, match="--training-pictures allows 39"):
        lenet_data.load(path, 39)
    header = io.BytesIO()
    shape = {"descr": "|u1", "fortran_order": False, "shape": (10**6, 28, 28)}
    np.lib.format.write_array_header_1_0(header, shape)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("x_train.npy", "w") as stream:
        stream.write(header.getvalue())
        for _ in range(784):  # MB, in as many KB
            stream.write(bytes(10**6))
    with pytest.raises(TrainingError, match="--training-pictures allows 300000"):
        lenet_data.load(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x_train.npy", header.getvalue())  # says a million, and holds none
    with pytest.raises(TrainingError, match="x_train is cut short"):
        lenet_data.load(path, 10**6)


def test_a_file_that_is_no_npz_ends_the_command_with_2(tmp_path, capsys):
    (tmp_path / "digits.npz").write_bytes(b"PK not really")
    for name in ("digits.npz", "absent.npz"):
        assert training.main(["--data", str(tmp_path / name), "--out", str(tmp_path / "out")]) == 2
        assert name in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "mix", [Mix(), Mix(1, 0, 0, 0), Mix(0, 1, 0, 0), Mix(0, 0, 1, 0), Mix(0, 0, 0.5, 1), Mix(0, 0, 0, 0)]
)
def test_an_epoch_repeats_by_its_seed_and_shows_ink(mix):
    x, y = drawings(40)
    one, other = (lenet_data.epoch(x, y, np.random.default_rng(3), mix) for _ in range(2))
    assert np.array_equal(one[0], other[0])
    assert np.array_equal(one[1], other[1])
    assert one[0].shape == x.shape
    assert (one[0].max(axis=(1, 2)) > 128).all()


def test_an_epoch_of_originals_is_a_permutation():
    x, y = drawings(30)
    pictures, labels = lenet_data.epoch(x, y, np.random.default_rng(0), Mix(original=1))
    assert sorted(map(bytes, pictures)) == sorted(map(bytes, x))
    assert sorted(labels) == sorted(y)


def test_saving_keeps_manifest_and_weights_together(tmp_path):
    (tmp_path / "model.toml").write_text('title = "mine"\n[runtime]\nsha256 = "' + "0" * 64 + '"\n')
    weights = [np.full((2, 3), 0.5, np.float16), np.zeros(3, np.float16)]
    digest = training.save(training.Trained(weights, 1.0, 1.0), tmp_path)
    assert f'sha256 = "{digest}"' in (tmp_path / "model.toml").read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.toml", "training.json", "weights.npz"]
    assert json.loads((tmp_path / "training.json").read_text())["accuracy"] == "100.00"
    for one, other in zip(stored.load(tmp_path / "weights.npz"), weights, strict=True):
        assert np.array_equal(one, other)
    with pytest.raises(TrainingError):
        stored.load(tmp_path / "absent")


RUN = """
import json, sys
from pathlib import Path
import bootstrap; bootstrap.provide_package()
from imageserver.errors import TrainingCancelled
from imageserver.training.lenet import data as lenet_data, training
options = training.Options(samples=1200, teachers=1, teacher_samples=800, rate=4e-3)
data = lenet_data.load(Path(sys.argv[1]))
states = []
trained = training.train(data, options, states.append)
calls = iter([False] * 5)
try:
    training.train(data, options, cancelled=lambda: next(calls, True))
except TrainingCancelled as error:
    stopped = str(error)
print(json.dumps({"states": [vars(state) for state in states], "accuracy": trained.accuracy, "stopped": stopped,
    "again": training.evaluate(trained.weights, data.x_test, data.y_test),
    "shapes": [list(each.shape) for each in trained.weights]}))
"""


@pytest.mark.long
def test_a_short_training_learns_reports_and_can_be_cancelled(tmp_path):
    x, y = drawings(200, 1)
    path = write(tmp_path / "digits.npz", x_train=x, y_train=y, x_test=x[:50], y_test=y[:50])
    done = subprocess.run(
        [sys.executable, "-c", RUN, str(path)], cwd=ROOT / "src", capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    told = json.loads(done.stdout.splitlines()[-1])
    states = told["states"]
    assert [state["epoch"] for state in states] == list(range(1, 11))
    assert [state["phase"] for state in states] == ["teacher 1 of 1"] * 4 + ["LeNet"] * 6
    assert all(state["part"] == 1 and state["epochs"] == 10 and state["seconds_left"] >= -1e-6 for state in states)
    assert states[-1]["accuracy"] > states[4]["accuracy"] + 0.2
    assert told["accuracy"] == told["again"]
    assert "cancelled" in told["stopped"]
    assert told["shapes"] == [[5, 5, 1, 75], [75], [5, 5, 75, 100], [100], [1600, 500], [500], [500, 10], [10]]
