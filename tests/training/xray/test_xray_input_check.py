"""What is fitted to the features of training pictures, and where it is written."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from tests.running import ROOT

from imageserver.inference.shared import manifest, weights
from imageserver.inference.worker.outputs import input_check as worker
from imageserver.inference.worker.outputs.input_check import FeatureDistance
from imageserver.training.xray import input_check
from imageserver.training.xray.recipe import FEATURES, MEMBERS


def drawn(count: int, seed: int) -> np.ndarray:
    """Features that depend on each other, of very different sizes; the last is always 0."""
    mixed = np.random.default_rng(seed).normal(size=(count, 3)) @ np.array([[1, 9, 0], [0, 1, 0.01], [0, 0, 0.001]])
    return np.concatenate([mixed + 5, np.zeros((count, 1))], axis=1).astype(np.float32)


def test_few_of_the_training_pictures_are_unlike_them_and_what_lies_elsewhere_is() -> None:
    seen, others = drawn(4000, 0), drawn(4000, 1)
    arrays = input_check.fit(seen, others, seen[0])
    distance = FeatureDistance(**arrays)
    assert distance.unlike(seen).mean() == pytest.approx(input_check.FLAGGED, abs=0.0005)
    assert distance.unlike(drawn(4000, 2)).mean() < 0.02
    between = seen.mean(axis=0) + np.array([1.0, -9.0, 0.0, 0.0])  # near in each feature, but never in both
    assert distance.unlike(np.stack([seen.mean(axis=0), between, seen[0] * 3])).tolist() == [False, True, True]
    assert distance.fits(seen[0]) and not distance.fits(seen[1])


def test_it_is_written_into_the_models_folder_as_often_as_one_likes(tmp_path: Path) -> None:
    folder = tmp_path / "xray-vgg"
    folder.mkdir()
    for name in ("model.toml", "model.py"):
        shutil.copy(ROOT / "models/xray-vgg" / name, folder)
    before = (folder / "model.toml").read_text()
    for seed in (0, 1):
        arrays = input_check.fit(drawn(500, seed), drawn(500, seed + 2), drawn(1, 4)[0])
        input_check.save(folder, arrays)
        read = manifest.read(folder)
        assert read.input_check is not None
        assert read.input_check.features == FEATURES["xray-vgg"]
        assert read.input_check.sha256 == weights.sha256(folder / "input_check.npz")
        worker.read(read, 4)
        assert (folder / "model.toml").read_text().splitlines()[:-1] == before.splitlines()[:-1]


def test_the_table_has_the_ensemble_where_half_of_the_members_say_so() -> None:
    told = {name: {"photographs": np.array([True, number < 3, number < 2])} for number, name in enumerate(MEMBERS)}
    assert input_check.table(told).splitlines() == [
        "| called unlike | pictures | inception | densenet | mycn | vgg | xception | resnet | ensemble |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|",
        "| photographs | 3 | 100.0% | 100.0% | 66.7% | 33.3% | 33.3% | 33.3% | 66.7% |",
    ]
