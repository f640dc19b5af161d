"""How the X-rays are divided, and how predictions are judged."""

import numpy as np
import pytest

from imageserver.errors import SettingError
from imageserver.training.xray import data as xray_data
from imageserver.training.xray import scores as xray_scores
from imageserver.training.xray.data import Dataset


def made_up(count: int, seed: int = 0) -> Dataset:
    random = np.random.default_rng(seed)
    return Dataset(
        random.integers(0, 256, (count, 28, 28), dtype=np.uint8), (np.arange(count) % 4 > 0).astype(np.int64)
    )


def with_copies(data: Dataset) -> Dataset:
    """The same, and its first ten pictures once more, half of them with one pixel changed."""
    again = data.images[:10].copy()
    again[:5, 3, 3] ^= 64
    return Dataset(np.concatenate([data.images, again]), np.concatenate([data.labels, data.labels[:10]]))


def test_copies_share_a_group_and_others_do_not():
    group = xray_data.groups(with_copies(made_up(60)).images)
    assert (group[60:] == group[:10]).all()
    assert len(np.unique(group)) == 60


def test_chains_of_copies_are_one_group():
    random = np.random.default_rng(1)
    images = np.repeat(random.integers(0, 256, (1, 28, 28)), 12, axis=0).astype(np.float64)
    for index in range(1, 12):  # each is close to the one before it, the last far from the first
        images[index] = images[index - 1] + random.normal(0, 18, (28, 28))
    group = xray_data.groups(np.clip(images, 0, 255).astype(np.uint8))
    assert len(np.unique(group)) == 1


@pytest.mark.parametrize("divide", [xray_data.folds, xray_data.wards])
def test_every_picture_has_a_fold_and_copies_share_theirs(divide):
    data = with_copies(made_up(200))
    fold = divide(data, 5, seed=3)
    assert set(fold) == set(range(5))
    assert (fold[200:] == fold[:10]).all()
    assert (fold == divide(data, 5, seed=3)).all()


def test_folds_hold_both_classes_in_proportion():
    data = made_up(400)
    fold = xray_data.folds(data, 5, seed=3)
    for number in range(5):
        assert (fold == number).sum() == 80
        assert data.labels[fold == number].mean() == 0.75


def test_load_joins_train_and_validation(tmp_path):
    data = made_up(12)
    path = tmp_path / "data.npz"
    labels = data.labels[:, None]
    np.savez(
        path, train_images=data.images[:8], train_labels=labels[:8], val_images=data.images[8:], val_labels=labels[8:]
    )
    loaded = xray_data.load(path)
    assert (loaded.images == data.images).all()
    assert (loaded.labels == data.labels).all()


@pytest.mark.parametrize("arrays", [{}, {"train_images": np.zeros((3, 28, 28), np.uint8)}])
def test_load_refuses_other_files(tmp_path, arrays):
    path = tmp_path / "data.npz"
    np.savez(path, **arrays)
    with pytest.raises(SettingError, match="pneumoniamnist"):
        xray_data.load(path)
    with pytest.raises(SettingError):
        xray_data.load(tmp_path / "none.npz")


def test_load_refuses_another_size(tmp_path):
    path = tmp_path / "data.npz"
    labels = np.array([0, 1])
    np.savez(
        path,
        train_images=np.zeros((2, 64, 64)),
        train_labels=labels,
        val_images=np.zeros((2, 64, 64)),
        val_labels=labels,
    )
    with pytest.raises(SettingError, match="64"):
        xray_data.load(path)


@pytest.mark.parametrize(
    ("scores", "labels", "area"),
    [
        ([0.1, 0.2, 0.8, 0.9], [0, 0, 1, 1], 1.0),
        ([0.9, 0.8, 0.2, 0.1], [0, 0, 1, 1], 0.0),
        ([0.5, 0.5, 0.5, 0.5], [0, 0, 1, 1], 0.5),
        ([1, 2, 2, 3], [0, 0, 1, 1], 0.875),
        ([3, 1, 2], [1, 0, 1], 1.0),
    ],
)
def test_auc(scores, labels, area):
    assert xray_scores.auc(np.array(scores), np.array(labels)) == pytest.approx(area)


def test_rates_and_accuracies():
    scores, labels = np.array([-1.0, -2.0, 3.0, 1.0, -1.0, 2.0]), np.array([0, 0, 0, 1, 1, 1])
    assert xray_scores.rates(scores, labels) == (pytest.approx(2 / 3), pytest.approx(2 / 3))
    assert xray_scores.balanced(scores, labels) == pytest.approx(2 / 3)
    assert xray_scores.accuracy(scores, labels) == pytest.approx(4 / 6)
    assert xray_scores.rates(scores, labels, threshold=-5) == (1.0, 0.0)


def test_calibration_finds_scale_and_offset_whatever_the_prevalence():
    random = np.random.default_rng(4)
    labels = (random.random(40_000) < 0.8).astype(np.int64)
    evidence = random.normal(np.where(labels == 1, 1.0, -1.0))  # its true log odds at equal classes: 2 x
    found = xray_scores.calibrate(evidence * 3 + 5, labels)
    assert found.scale == pytest.approx(2 / 3, rel=0.03)
    assert found.offset == pytest.approx(-10 / 3, rel=0.03)


def test_interval_holds_the_value_and_narrows_with_more_pictures():
    random = np.random.default_rng(5)
    widths = []
    for count in (200, 3200):
        labels = np.arange(count) % 2
        scores = random.normal(labels * 2.0)
        low, high = xray_scores.interval(xray_scores.auc, scores, labels)
        assert low < xray_scores.auc(scores, labels) < high
        widths.append(high - low)
    assert widths[1] < widths[0] / 2
