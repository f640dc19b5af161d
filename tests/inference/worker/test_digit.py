"""From a picture to 28x28: what must come out the same however the digit was photographed."""

import cv2
import numpy as np
import pytest
from bench.digit_scenes import SCENES, cropped, scene

from imageserver.inference.shared.manifest import Input
from imageserver.inference.worker.preprocessing.digit import BOX, PREPROCESSING, SIDE, digit
from imageserver.training.lenet.data import as_mnist
from imageserver.training.lenet.strokes import VARIANTS, draw

STROKE = 0.09


def ink(label=5, width=STROKE, seed=0):
    return cropped(draw(label, 160, np.random.default_rng(seed), variant=0, wobble=0, width=width))


def mnist(label=5, seed=0):
    return as_mnist(ink(label, seed=seed), np.random.default_rng(seed))


def on_paper(label=5, size=(120, 120), paper=235, pen=30, width=STROKE):
    strokes = ink(label, width)
    scale = 0.8 * size[1] / strokes.shape[0]
    strokes = cv2.resize(strokes, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    sheet = np.zeros(size[::-1], np.float32)
    top, left = (size[1] - strokes.shape[0]) // 2, (size[0] - strokes.shape[1]) // 2
    sheet[top : top + strokes.shape[0], left : left + strokes.shape[1]] = strokes
    return np.round(paper + sheet * (pen - paper)).astype(np.uint8)


def differs(one, other):
    """Mean difference over the digit's pixels, in levels; it may lie a pixel off, as the centre of mass is rounded."""
    moved = [np.roll(one.astype(int), (down, across), (0, 1)) for down in (-1, 0, 1) for across in (-1, 0, 1)]
    return min(np.abs(each - other).sum() for each in moved) / max(1, (other > 64).sum())


@pytest.mark.parametrize("label", range(10))
def test_28x28_with_its_border_keeps_its_pixels(label):
    picture = mnist(label)
    assert np.array_equal(digit(picture), picture)
    assert np.array_equal(digit(255 - picture), picture)


def test_28x28_in_grey_is_stretched_but_not_moved():
    picture = mnist()
    pale = (200 - picture * 0.5).astype(np.uint8)
    assert differs(digit(pale), picture) < 3


def test_28x28_that_is_cut_to_the_digit_is_given_its_border():
    tight = cv2.resize(mnist()[4:24, 4:24], (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
    found = digit(255 - tight)
    assert not found[:2].any()
    assert not found[-2:].any()


@pytest.mark.parametrize("label", range(10))
@pytest.mark.parametrize("size", [(60, 60), (100, 100), (160, 120), (320, 240), (1280, 960)])
def test_any_size_gives_the_geometry_of_mnist(label, size):
    found = digit(on_paper(label, size))
    rows, columns = np.flatnonzero(found.max(axis=1) > 30), np.flatnonzero(found.max(axis=0) > 30)
    assert BOX - 1 <= max(np.ptp(rows), np.ptp(columns)) + 1 <= BOX
    weights = found.astype(float)
    down, across = np.mgrid[0:SIDE, 0:SIDE] + 0.5
    assert abs((weights * down).sum() / weights.sum() - 14.5) <= 0.51
    assert abs((weights * across).sum() / weights.sum() - 14.5) <= 0.51
    assert differs(found, mnist(label)) < 90  # half a pixel beside a bar two pixels wide counts 80


@pytest.mark.parametrize("label", range(10))
def test_light_on_dark_and_dark_on_light_are_the_same(label):
    assert differs(digit(255 - on_paper(label, paper=255, pen=0)), digit(on_paper(label, paper=255, pen=0))) < 8


@pytest.mark.parametrize("paper", [255, 180, 120])
def test_paper_and_ink_may_have_any_brightness(paper):
    assert differs(digit(on_paper(paper=paper, pen=paper // 3)), digit(on_paper())) < 40


def test_a_shadow_across_the_digit_leaves_no_trace():
    picture = on_paper()
    down, across = np.mgrid[0:120, 0:120]
    lit = (picture * np.where(across + down / 2 > 85, 0.45, 1.0)).astype(np.uint8)
    assert differs(digit(lit), digit(picture)) < 25


def test_specks_and_a_table_at_the_margin_are_left_out():
    picture = on_paper()
    dirty = picture.copy()
    cv2.circle(dirty, (6, 60), 2, 20, -1)
    cv2.circle(dirty, (112, 8), 2, 20, -1)
    cv2.fillPoly(dirty, [np.array([[0, 119], [22, 119], [0, 100]])], 40)
    assert differs(digit(dirty), digit(picture)) < 10


def test_a_fine_line_stays_in_one_piece():
    fine = digit(on_paper(0, (150, 150), width=0.012))
    count, _ = cv2.connectedComponents((fine > 60).astype(np.uint8))
    assert count == 2
    assert fine.max() > 240


def test_a_five_keeps_a_bar_that_does_not_touch():
    picture = on_paper(5)
    rows = np.flatnonzero((picture < 100).any(axis=1))
    picture[rows[0] + 14 : rows[0] + 18] = 235
    found = digit(picture)
    whole = digit(on_paper(5))
    assert abs(int((found > 100).sum()) - int((whole > 100).sum())) < 0.25 * (whole > 100).sum()


@pytest.mark.parametrize(
    "shape", [(1, 1), (1, 300), (300, 1), (2, 2), (27, 29), (28, 28), (28, 500), (33, 900), (81, 81), (3000, 40)]
)
@pytest.mark.parametrize("fill", ["black", "white", "grey", "noise", "half"])
def test_no_picture_is_too_odd(shape, fill):
    rng = np.random.default_rng(1)
    picture = np.full(shape, {"black": 0, "white": 255}.get(fill, 128), np.uint8)
    if fill == "noise":
        picture = rng.integers(0, 256, shape).astype(np.uint8)
    if fill == "half":
        picture[: shape[0] // 2] = 10
    found = digit(picture)
    assert found.shape == (SIDE, SIDE)
    assert found.dtype == np.uint8
    if fill in ("black", "white", "grey") and shape != (SIDE, SIDE):
        assert not found.any()


def test_the_input_is_not_written_to():
    picture = on_paper()
    picture.flags.writeable = False
    digit(picture)


def test_every_scene_shows_the_digit():
    rng = np.random.default_rng(3)
    whole = int((mnist(3) > 100).sum())
    for name, make in SCENES.items():
        found = digit(cv2.cvtColor(make(ink(3), rng), cv2.COLOR_BGR2GRAY))
        assert 0.5 * whole < (found > 100).sum() < 1.6 * whole, name


def test_registered_for_grey_and_for_colour():
    grey = Input(28, 28, 1, "rgb", (0.0, 1.0), (), (), "nhwc", "digit")
    colour = Input(32, 32, 3, "rgb", (0.0, 1.0), (), (), "nhwc", "digit")
    picture = scene(ink(), np.random.default_rng(0))
    assert PREPROCESSING.function(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY), grey).shape == (28, 28, 1)
    assert PREPROCESSING.function(picture, colour).shape == (32, 32, 3)


def test_drawings_repeat_by_their_seed_and_cover_every_variant():
    for label, variants in enumerate(VARIANTS):
        for variant in range(len(variants)):
            one, other = (draw(label, 64, np.random.default_rng(4), variant=variant) for _ in range(2))
            assert np.array_equal(one, other)
            assert 0.01 < (one > 0.5).mean() < 0.6
