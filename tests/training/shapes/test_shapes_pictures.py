"""The pictures that `shapes` learns from: boxes that are right to the pixel, shapes that are what their label says."""

import cv2
import numpy as np
import pytest

from imageserver.training.shapes import backgrounds, batches, pictures
from imageserver.training.shapes.network import SIDE
from imageserver.training.shapes.pictures import LABELS, MOST, VISIBLE


@pytest.fixture(scope="module")
def scenes():
    photographs = backgrounds.photographs(backgrounds.SEEN)
    sizes = ((320, 240), (240, 320), (320, 180), (640, 480))
    return [pictures.draw(photographs, *sizes[seed % 4], np.random.default_rng(seed), made=0.5) for seed in range(60)]


def test_a_box_is_that_of_what_is_to_be_seen(scenes):
    for scene in scenes:
        assert 1 <= len(scene.labels) <= MOST
        for number, box in enumerate(scene.boxes, 1):
            rows, columns = np.nonzero(scene.owner == number)
            assert box.tolist() == [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    assert {len(scene.labels) for scene in scenes} >= {1, MOST}


def test_what_is_hidden_is_counted_and_bounded(scenes):
    hidden = np.concatenate([scene.hidden for scene in scenes])
    assert hidden.min() >= 0
    assert hidden.max() <= 1 - VISIBLE + 1e-6
    assert np.mean(hidden == 0) > 0.3
    assert np.mean(hidden > 0.2) > 0.1


def test_a_shape_is_what_its_label_says(scenes):
    """By how much of the smallest rectangle around it a whole shape fills: a tilted one loses none of it."""
    fills = {label: [] for label in range(len(LABELS))}
    for scene in scenes:
        for number in np.flatnonzero(scene.hidden == 0):
            mask = (scene.owner == number + 1).astype(np.uint8)
            if mask.sum() < 400:
                continue
            [outline, *_] = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)[0]
            _, (width, height), _ = cv2.minAreaRect(outline)
            fills[scene.labels[number]].append(mask.sum() / ((width + 1) * (height + 1)))
    assert min(len(found) for found in fills.values()) > 20
    assert all(0.70 < fill < 0.86 for fill in fills[0])
    assert np.percentile(fills[1], 10) > 0.78
    assert all(fill < 0.66 for fill in fills[2])


def test_the_same_seed_draws_the_same_picture():
    photographs = backgrounds.photographs(("chelsea",))
    one, other, another = (pictures.draw(photographs, 160, 120, np.random.default_rng(seed)) for seed in (5, 5, 6))
    assert np.array_equal(one.pixels, other.pixels)
    assert np.array_equal(one.boxes, other.boxes)
    assert not np.array_equal(one.pixels, another.pixels)


def test_what_is_kept_for_judging_is_not_learnt_from():
    assert not set(backgrounds.SEEN) & set(backgrounds.UNSEEN)


@pytest.mark.parametrize("how", range(8))
def test_a_box_turns_with_its_picture(how):
    pixels = np.zeros((30, 50, 3), np.uint8)
    pixels[5:12, 20:44] = 255
    turned, boxes = batches.turned(pixels, np.array([[20, 5, 44, 12]], np.float32), how)
    rows, columns = np.nonzero(turned[:, :, 0])
    assert boxes.tolist() == [[columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]]


def test_a_batch_fills_up_what_is_no_shape():
    images, boxes, labels, real = batches.drawn(3, 2, np.random.default_rng(1))
    assert (images.shape, images.dtype) == ((6, SIDE, SIDE, 3), np.uint8)
    assert boxes.shape == (6, MOST, 4)
    assert real.any(axis=1).all()
    assert (boxes[real] >= 0).all() and (boxes[real] <= SIDE + 1e-3).all()
    assert (boxes[real][:, 2:] > boxes[real][:, :2]).all()
    assert not boxes[~real].any() and not labels[~real].any()


def test_a_picture_lies_in_the_upper_left_of_the_input():
    pixels = np.full((100, 400, 3), 7, np.uint8)
    small, scale = batches.shrunk(pixels)
    out = batches.padded(small)
    assert scale == SIDE / 400
    assert (out[: SIDE // 4] == 7).all() and (out[SIDE // 4 :] == 114).all()
