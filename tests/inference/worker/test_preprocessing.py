"""Pixels to arrays: sizes, proportions, and which part of the picture an array shows."""

import numpy as np
import pytest

from imageserver.inference.shared.manifest import Input
from imageserver.inference.worker.predictor import Scaling, batch_sizes
from imageserver.inference.worker.preprocessing import base


def wanted(width=10, height=10, channels=3, **changes):
    values = {
        "order": "rgb",
        "range": (0.0, 255.0),
        "mean": (),
        "std": (),
        "layout": "nhwc",
        "preprocessing": "stretch",
        **changes,
    }
    return Input(width=width, height=height, channels=channels, **values)


def picture(width, height, channels=3):
    """Dark on the left, light on the right."""
    row = np.linspace(0, 250, width).astype(np.uint8)
    grey = np.tile(row, (height, 1))
    return grey if channels == 1 else np.dstack([grey] * 3)


@pytest.mark.parametrize("name", ["stretch", "crop", "letterbox"])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(10, 10), (40, 20), (20, 40), (3, 2), (1, 1), (1000, 2)])
def test_the_array_has_the_models_shape(name, channels, size):
    array = base.find(name).function(picture(*size, channels), wanted(12, 8, channels))
    assert array.shape == (8, 12, channels)
    assert array.dtype == np.uint8


def test_none_changes_nothing():
    assert base.find("none").function(picture(7, 5, 1), wanted(channels=1)).shape == (5, 7, 1)


def test_crop_keeps_the_middle():
    array = base.find("crop").function(picture(30, 10), wanted())
    assert (array == picture(30, 10)[:, 10:20]).all()


def test_letterbox_keeps_all_and_pads_with_grey():
    array = base.find("letterbox").function(picture(20, 10), wanted(20, 20))
    assert (array[5:15] == picture(20, 10)).all()
    assert (array[:5] == base.PADDING).all()
    assert (array[15:] == base.PADDING).all()


@pytest.mark.parametrize(("name", "size", "region"), [
    ("none", (40, 20), (0, 0, 40, 20)),
    ("stretch", (40, 20), (0, 0, 40, 20)),
    ("crop", (40, 20), (10, 0, 20, 20)),
    ("crop", (20, 40), (0, 10, 20, 20)),
    ("letterbox", (40, 20), (0, -8, 40, 40)),  # two rows above, three below: an odd bar
    ("letterbox", (20, 40), (-8, 0, 40, 40)),
    ("letterbox-corner", (40, 20), (0, 0, 40, 40)),
])  # fmt: skip
def test_region(name, size, region):
    assert base.find(name).region(*size, wanted()) == region


def test_scaling():
    batch = np.zeros((1, 1, 2, 3), np.float32)
    batch[0, 0, 1] = (255, 127.5, 51)
    assert Scaling(wanted()).idle
    assert Scaling(wanted(range=(0.0, 1.0))).apply(batch.copy())[0, 0, 1] == pytest.approx([1, 0.5, 0.2])
    assert Scaling(wanted(range=(-1.0, 1.0))).apply(batch.copy())[0, 0] == pytest.approx(
        np.array([[-1, -1, -1], [1, 0, -0.6]]), abs=1e-6
    )
    scaling = Scaling(wanted(range=(0.0, 1.0), mean=(0.5, 0.25, 0.2), std=(0.5, 0.5, 2.0)))
    assert scaling.apply(batch.copy())[0, 0, 1] == pytest.approx([1, 0.5, 0], abs=1e-6)


def test_mean_is_given_in_the_models_own_order():
    scaling = Scaling(wanted(order="bgr", mean=(103.939, 116.779, 123.68)))
    batch = np.full((1, 1, 1, 3), (123.68, 116.779, 103.939), np.float32)  # RGB
    assert scaling.arrange(scaling.apply(batch)) == pytest.approx(np.zeros((1, 1, 1, 3)), abs=1e-4)


def test_order_and_layout():
    batch = np.arange(6, dtype=np.float32).reshape(1, 1, 2, 3)
    assert Scaling(wanted(order="bgr")).arrange(batch).tolist() == [[[[2, 1, 0], [5, 4, 3]]]]
    first = Scaling(wanted(layout="nchw")).arrange(batch)
    assert first.tolist() == [[[[0, 3]], [[1, 4]], [[2, 5]]]]
    assert first.flags.c_contiguous


@pytest.mark.parametrize("most", [1, 2, 3, 7, 8, 9, 16, 30, 64, 256])
def test_batch_sizes_waste_at_most_a_quarter(most):
    sizes = batch_sizes(most)
    assert sizes == sorted(set(sizes))
    assert sizes[-1] == most
    for count in range(1, most + 1):
        size = next(size for size in sizes if size >= count)
        assert size - count < max(1, count / 4)
