"""The network of `shapes`: what its cells are given, and that the file says what Keras says."""

import re
import subprocess
import sys

import pytest
from tests.inference.worker.worker_process import ROOT

EXPORT = """
import sys
from pathlib import Path
import bootstrap; bootstrap.provide_package()
import keras, numpy as np, openvino
from imageserver.training.shapes import export, network
keras.utils.set_random_seed(1)
rng = np.random.default_rng(1)
model = network.network(network.SERVED)
model.set_weights([weight + rng.uniform(0.05, 0.15, weight.shape) for weight in model.get_weights()])
pictures = rng.integers(0, 256, (3, network.SERVED, network.SERVED, 3)).astype(np.float32)
for _ in range(3):
    model(pictures, training=True)  # the normalisations get means and variances of their own
said = model(pictures, training=False).numpy()
said[..., 4:] = 1 / (1 + np.exp(-said[..., 4:]))
path = Path(sys.argv[1])
export.save(path, {layer.name: layer.get_weights() for layer in model.layers})
run = openvino.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
for count in (3, 1):
    answer = run(pictures[:count].transpose(0, 3, 1, 2))[0]
    assert answer.shape == (count, network.cells(network.SERVED), network.OUTPUTS), answer.shape
    far = np.abs(answer - said[:count]).max() / max(1, np.abs(said).max())
    assert far < 1e-4, far
assert said.std() > 0.01
"""

ASSIGN = """
import bootstrap; bootstrap.provide_package()
import numpy as np, tensorflow as tf
from imageserver.training.shapes import loss, network
boxes = np.zeros((1, 3, 4), np.float32)
boxes[0, :2] = [[20, 20, 60, 60], [100, 30, 130, 60]]
labels, real = np.array([[0, 2, 0]]), np.array([[True, True, False]])
out = np.full((1, network.cells(network.SIDE), network.OUTPUTS), -8, np.float32)
for box, label in zip(boxes[0, :2], labels[0]):  # each cell says the box of the shape whose middle is in its reach
    middle, size = (box[:2] + box[2:]) / 2, box[2:] - box[:2]
    near = np.abs((loss.CORNERS + 0.5) * loss.PIXELS - middle).max(axis=1) < 1.5 * loss.PIXELS[:, 0]
    out[0, near, :2] = middle / loss.PIXELS[near] - loss.CORNERS[near]
    out[0, near, 2:4] = np.log(size / loss.PIXELS[near])
    out[0, near, 4], out[0, near, 5 + label] = 8, 8
given, row = (part.numpy() for part in loss.assign(out, boxes, labels, real))
assert set(row[given]) == {0, 1}
decoded = loss.decoded(tf.constant(out)).numpy()
assert np.abs(decoded[given] - boxes[0, row[given]]).max() < 1e-3
nothing = np.zeros_like(real)
assert not loss.assign(out, boxes, labels, nothing)[0].numpy().any()
wrong = out.copy()
wrong[..., 4:] = -wrong[..., 4:]
good, bad, none = (float(loss.loss(tf.constant(each), boxes, labels, which))
    for each, which in ((out, real), (wrong, real), (np.full_like(out, -8), nothing)))
assert good < bad and 0 <= none < 1, (good, bad, none)
"""


def run(*arguments):
    done = subprocess.run(
        [sys.executable, *map(str, arguments)], cwd=ROOT / "src", capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.mark.long
def test_the_file_says_what_keras_says(tmp_path):
    run("-c", EXPORT, tmp_path / "shapes.onnx")


@pytest.mark.long
def test_cells_are_given_to_the_shapes_they_know():
    run("-c", ASSIGN)


@pytest.mark.long
def test_the_command_learns_and_writes_the_file(tmp_path):
    path = tmp_path / "made" / "shapes.onnx"
    said = [run("bootstrap.py", "training.shapes.training", "--out", path, "--drawn", drawn) for drawn in (20, 200)]
    few, many = (float(re.search(r"shapes\.onnx: loss ([0-9.]+),", each)[1]) for each in said)
    assert many < 0.9 * few
    assert 1_000_000 < path.stat().st_size < 1_500_000
