"""Training and judging the X-ray models, on made pictures: light above means normal, light below pneumonia."""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from imageserver.errors import SettingError, TrainingError
from imageserver.inference.shared import manifest
from imageserver.inference.toolkit.xray import NETWORKS
from imageserver.training import cards
from imageserver.training.weights import WEIGHTS
from imageserver.training.xray import figures, recipe, scores
from imageserver.training.xray.recipe import MEMBERS, Recipe

ROOT = Path(__file__).resolve().parents[3]
MODELS = ROOT / "models"
EXAMPLES = sorted((ROOT / "tests/data/xray").glob("*.png"))


def made_up(count, seed=0):
    """(images, labels): noise, brighter in the upper half (0) or in the lower half (1)."""
    random = np.random.default_rng(seed)
    labels = (np.arange(count) % 3 > 0).astype(np.int64)
    images = random.integers(60, 160, (count, 28, 28))
    images[labels == 0, :14] += 40
    images[labels == 1, 14:] += 40
    return images.astype(np.uint8), labels


@pytest.mark.parametrize("name", MEMBERS)
def test_what_is_shipped_is_compact_and_what_the_manifest_names(name):
    path = MODELS / name / WEIGHTS
    assert path.stat().st_size <= 3_000_000
    assert manifest.read(MODELS / name).runtime.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    with np.load(path, allow_pickle=False) as file:
        arrays = [file[key] for key in file.files]
    assert all(array.dtype == np.float16 and np.isfinite(array).all() for array in arrays)
    assert sum(array.size for array in arrays) <= 1_500_000
    assert len(arrays) % NETWORKS == 0


@pytest.mark.long
def test_a_committee_is_the_mean_of_its_networks_and_knows_the_examples():
    from imageserver.training.xray import fit
    from imageserver.training.xray import members as xray_members

    name = "xray-mycn"
    images = np.stack([cv2.imread(str(path), cv2.IMREAD_UNCHANGED) for path in EXAMPLES])
    pneumonia = np.array(["pneumonia" in path.name for path in EXAMPLES])
    networks = xray_members.load(MODELS / name / WEIGHTS, NETWORKS)
    network = xray_members.new_network(MODELS, name, 0)
    logits = []
    for weights in networks:
        network.set_weights(weights)
        logits.append(fit.logits(network, images))
    committee = xray_members.code(MODELS, name).build()
    committee.set_weights([weight for weights in networks for weight in weights])
    found = np.asarray(committee(images[..., None].astype(np.float32), training=False))
    assert found[:, 1] == pytest.approx(1 / (1 + np.exp(-np.mean(logits, axis=0))), abs=1e-4)
    assert found.sum(axis=1) == pytest.approx(1, abs=1e-5)
    assert ((found[:, 1] > 0.5) == pneumonia).all()


def test_a_network_does_not_see_contrast_or_brightness():
    from imageserver.training.xray import fit
    from imageserver.training.xray import members as xray_members

    network = xray_members.new_network(MODELS, "xray-mycn", 1)
    network.set_weights(xray_members.load(MODELS / "xray-mycn" / WEIGHTS, NETWORKS)[0])
    images = np.stack([cv2.imread(str(path), cv2.IMREAD_UNCHANGED) for path in EXAMPLES]).astype(np.float32)
    assert fit.logits(network, images * 0.6 + 40) == pytest.approx(fit.logits(network, images), abs=0.2)


@pytest.mark.long
def test_fitting_learns_and_the_same_seed_gives_the_same_network():
    import keras

    from imageserver.inference.toolkit.xray import layers as xray_layers
    from imageserver.training.xray import fit

    images, labels = made_up(192)
    results = []
    for _ in range(2):
        keras.utils.set_random_seed(5)
        network = xray_layers.network("tiny", lambda x: xray_layers.convolution(x, 8, 9, stride=4))
        fit.fit(network, images, labels.astype(np.float32), Recipe(epochs=12, batch=64, average=0.8), 5)
        others, answers = made_up(120, seed=1)
        results.append(fit.logits(network, others))
        # Mirrored pictures are half of what it saw, and upside down none was.
        assert scores.auc(results[-1], answers) > 0.95
    assert results[0] == pytest.approx(
        results[1], abs=0.02
    )  # to the bit on one core; here sums may be taken in another order


def test_pictures_from_elsewhere_are_other_pictures_of_the_same_kind():
    from imageserver.training.xray import fit

    images, _ = made_up(64)
    once, again = (fit.otherwise(images, 3) for _ in range(2))
    assert (once == again).all()
    assert once.shape == images.shape
    assert once.min() >= 0
    assert once.max() <= 255
    assert np.abs(once - images).mean() > 5


def test_calibration_goes_into_the_last_layer():
    from imageserver.training.xray import members as xray_members

    weights = [np.ones((3, 3)), np.array([[2.0], [4.0]]), np.array([1.0])]
    first, kernel, bias = xray_members.calibrated(weights, 0.5, -3)
    assert (first == weights[0]).all()
    assert kernel.tolist() == [[1.0], [2.0]]
    assert bias.tolist() == [-2.5]


def test_weights_are_stored_in_order_and_named_in_the_manifest(tmp_path):
    from imageserver.training.xray import members as xray_members

    others = '\n[input_check]\nsha256 = "1"\n'
    (tmp_path / "model.toml").write_text(f'[runtime]\nruntime = "auto"\nsha256 = "0"\n{others}')
    networks = [[np.full((2, k + 1), k), np.array([float(k)])] for k in range(6)]
    xray_members.save(tmp_path, networks)
    loaded = xray_members.load(tmp_path / WEIGHTS, 6)
    assert [[array.tolist() for array in network] for network in loaded] == [
        [array.tolist() for array in network] for network in networks
    ]
    digest = hashlib.sha256((tmp_path / WEIGHTS).read_bytes()).hexdigest()
    assert (tmp_path / "model.toml").read_text() == f'[runtime]\nruntime = "auto"\nsha256 = "{digest}"\n{others}'
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.toml", WEIGHTS]


def test_missing_models_and_weights_are_named(tmp_path):
    from imageserver.training.xray import members as xray_members

    with pytest.raises(SettingError, match="xray-none"):
        xray_members.code(MODELS, "xray-none")
    with pytest.raises(TrainingError, match="train the model first"):
        xray_members.load(tmp_path / WEIGHTS, NETWORKS)


def test_figures_go_between_the_marks(tmp_path):
    path = tmp_path / "README.md"
    path.write_text(f"before\n\n{cards.START}\nold\n{cards.END}\n\nafter\n")
    assert not cards.put(path, "| new |", check=True)
    assert "old" in path.read_text()
    assert not cards.put(path, "| new |", check=False)
    assert path.read_text() == f"before\n\n{cards.START}\n| new |\n{cards.END}\n\nafter\n"
    assert cards.put(path, "| new |", check=True)
    path.write_text("nothing\n")
    with pytest.raises(SettingError, match="no lines"):
        cards.put(path, "| new |", check=False)


def test_the_ensemble_averages_probabilities():
    logits = [np.array([2.0, -1.0]), np.array([0.0, -3.0])]
    members = [figures.OutOfFold(str(k), 10, 20, z, z * 2) for k, z in enumerate(logits)]
    found = figures.ensemble(members)
    expected = np.mean([1 / (1 + np.exp(-z)) for z in logits], axis=0)
    assert 1 / (1 + np.exp(-found.seen)) == pytest.approx(expected)
    assert (found.parameters, found.size) == (20, 40)


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_one_command_trains_and_another_says_how_well(tmp_path):
    images, labels = made_up(240)
    data = tmp_path / "data.npz"
    np.savez(
        data, train_images=images[:200], train_labels=labels[:200], val_images=images[200:], val_labels=labels[200:]
    )
    models = tmp_path / "models"
    models.mkdir()
    for name in (*MEMBERS, recipe.ENSEMBLE):
        shutil.copytree(MODELS / name, models / name)
    shutil.copy(MODELS / "README.md", models)

    def run(module, *options, code=0):
        command = [
            sys.executable,
            str(ROOT / "src/bootstrap.py"),
            module,
            "--data",
            str(data),
            "--models",
            str(models),
            *options,
        ]
        done = subprocess.run(
            command,
            cwd=ROOT / "src",
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
            capture_output=True,
            text=True,
            timeout=600,
        )
        assert done.returncode == code, done.stderr
        return done.stdout

    before = (models / "xray-mycn" / WEIGHTS).read_bytes()
    options = ("--model", "xray-mycn", "--work", str(tmp_path / "work"), "--epochs", "1")
    assert f"{NETWORKS} of {NETWORKS} networks trained" in run("training.xray.training", *options)
    trained = (models / "xray-mycn" / WEIGHTS).read_bytes()
    assert trained != before
    assert "networks trained" not in run("training.xray.training", *options)  # all is done
    assert (models / "xray-mycn" / WEIGHTS).read_bytes() == trained
    run("training.xray.figures")
    run("training.xray.figures", "--check")
    assert "240" not in (models / "README.md").read_text().split(cards.START)[0]
    (models / "xray-vgg" / "README.md").write_text(f"{cards.START}\n{cards.END}\n")
    run("training.xray.figures", "--check", code=1)
